// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// source says what a watch is about.
type source struct {
	// name is for people: pods, or secrets in a namespace.
	name string
	// object and list are empty values of what is watched.
	object runtime.Object
	list   func() client.ObjectList
	strip  strip
	// namespace, fields and labels narrow it down.
	namespace string
	fields    fields.Selector
	labels    labels.Selector
	// optional is true for what Trellis can do without: that it cannot be read holds
	// up nothing but what needs it.
	optional bool
}

// watch is one informer and what is known of its health.
type watch struct {
	source source
	store  cache.Store
	synced cache.InformerSynced
	stop   context.CancelFunc

	mu sync.Mutex
	// refused is the last answer of the API server when it was a refusal that
	// trying again will not change; nil after a success.
	refused error
}

// startWatch begins to watch. onEvent is called with the old and the new entry,
// either of which may be nil, after the store has changed; onHealth after the
// first complete list, and whenever the API server begins or ends to refuse.
func startWatch(ctx context.Context, c client.WithWatch, s source, onEvent func(was, is *entry), onHealth func(), log *slog.Logger) (*watch, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &watch{source: s, stop: stop}
	informer := cache.NewSharedIndexInformer(w.listerWatcher(c, onHealth), s.object, 0, cache.Indexers{})
	err := informer.SetTransform(func(obj any) (any, error) {
		o, ok := obj.(runtime.Object)
		if _, done := obj.(*entry); done || !ok {
			return obj, nil
		}
		return s.strip(o)
	})
	if err != nil {
		stop()
		return nil, fmt.Errorf("watching %s: %w", s.name, err)
	}
	err = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		log.Debug("a watch was interrupted and begins again", "watch", s.name, "error", err)
	})
	if err != nil {
		stop()
		return nil, fmt.Errorf("watching %s: %w", s.name, err)
	}
	registration, err := informer.AddEventHandler(handler(onEvent))
	if err != nil {
		stop()
		return nil, fmt.Errorf("watching %s: %w", s.name, err)
	}
	w.store, w.synced = informer.GetStore(), registration.HasSynced
	go informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), w.synced) {
			onHealth()
		}
	}()
	return w, nil
}

func handler(onEvent func(was, is *entry)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { onEvent(nil, entryOf(obj)) },
		UpdateFunc: func(was, is any) {
			onEvent(entryOf(was), entryOf(is))
		},
		DeleteFunc: func(obj any) { onEvent(entryOf(obj), nil) },
	}
}

func entryOf(obj any) *entry {
	if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	e, _ := obj.(*entry)
	return e
}

func (w *watch) listerWatcher(c client.WithWatch, onHealth func()) *cache.ListWatch {
	options := func(o metav1.ListOptions) *client.ListOptions {
		return &client.ListOptions{
			Raw: &o, Limit: o.Limit, Continue: o.Continue,
			Namespace: w.source.namespace, FieldSelector: w.source.fields, LabelSelector: w.source.labels,
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list := w.source.list()
			err := c.List(ctx, list, options(o))
			w.note(err, onHealth)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			events, err := c.Watch(ctx, w.source.list(), options(o))
			w.note(err, onHealth)
			return events, err
		},
	}
}

// note keeps what the API server thinks of us.
func (w *watch) note(err error, onHealth func()) {
	refused := apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
	// A definition may lack our version of the kind, or not be served yet.
	unknown := w.source.optional && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err))
	if err != nil && !refused && !unknown {
		return
	}
	w.mu.Lock()
	news := (w.refused == nil) != (err == nil)
	w.refused = err
	w.mu.Unlock()
	if news {
		onHealth()
	}
}

// refusal is why nothing can be read, or nil.
func (w *watch) refusal() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// entries are everything that is cached now, in no order.
func (w *watch) entries() []*entry {
	list := w.store.List()
	out := make([]*entry, 0, len(list))
	for _, obj := range list {
		if e := entryOf(obj); e != nil {
			out = append(out, e)
		}
	}
	return out
}
