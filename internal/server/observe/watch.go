// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/attribution"
)

// watch is one informer and what is known of its health.
type watch struct {
	source source
	store  cache.Store
	synced cache.InformerSynced
	stop   context.CancelFunc

	mu sync.Mutex
	// refused is the last answer of the API server when trying again will not
	// change it; nil after a success.
	refused error
}

// startWatch begins to watch; onEvent is called after each change, after the first
// complete list, and whenever the API server begins or ends to refuse.
func startWatch(ctx context.Context, c client.WithWatch, s source, onEvent func(), log *slog.Logger) (*watch, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &watch{source: s, stop: stop}
	informer := cache.NewSharedIndexInformer(w.listerWatcher(c, onEvent), s.object, 0, cache.Indexers{})
	err := informer.SetTransform(strip)
	if err == nil {
		err = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			log.Debug("a watch was interrupted and begins again", "watch", s.name, "error", err)
		})
	}
	var registration cache.ResourceEventHandlerRegistration
	if err == nil {
		registration, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { onEvent() }, UpdateFunc: func(any, any) { onEvent() }, DeleteFunc: func(any) { onEvent() },
		})
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("watching %s: %w", s.name, err)
	}
	w.store, w.synced = informer.GetStore(), registration.HasSynced
	go informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), w.synced) {
			onEvent()
		}
	}()
	return w, nil
}

// strip drops what only servers and kubectl need, and from pods what changes
// nothing for a proxy: environments and volumes are most of a pod.
func strip(obj any) (any, error) {
	object, ok := obj.(client.Object)
	if !ok {
		return obj, nil
	}
	attribution.KeepChanged(object)
	annotations := object.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	object.SetAnnotations(annotations)
	switch o := object.(type) {
	case *unstructured.Unstructured:
		delete(o.Object, "status")
		return typed(o), nil
	case *corev1.Pod:
		return stripPod(o), nil
	}
	return object, nil
}

func stripPod(pod *corev1.Pod) *corev1.Pod {
	containers := func(all []corev1.Container) []corev1.Container {
		var out []corev1.Container
		for i := range all {
			c := &all[i]
			out = append(out, corev1.Container{Name: c.Name, Args: c.Args, Ports: c.Ports, RestartPolicy: c.RestartPolicy})
		}
		return out
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			Labels: pod.Labels, Annotations: meaning(pod.Annotations), DeletionTimestamp: pod.DeletionTimestamp, CreationTimestamp: pod.CreationTimestamp,
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: pod.Spec.ServiceAccountName, HostNetwork: pod.Spec.HostNetwork,
			InitContainers: containers(pod.Spec.InitContainers), Containers: containers(pod.Spec.Containers),
		},
		// It is taken to be ready: what a test says does not hang on that.
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: pod.Status.PodIP, PodIPs: pod.Status.PodIPs,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func (w *watch) listerWatcher(c client.WithWatch, onEvent func()) *cache.ListWatch {
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
			w.note(err, onEvent)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			events, err := c.Watch(ctx, w.source.list(), options(o))
			w.note(err, onEvent)
			return events, err
		},
	}
}

// note keeps what the API server thinks of us.
func (w *watch) note(err error, onEvent func()) {
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) && !apierrors.IsNotFound(err) {
		return
	}
	w.mu.Lock()
	news := (w.refused == nil) != (err == nil)
	w.refused = err
	w.mu.Unlock()
	if news {
		onEvent()
	}
}

func (w *watch) refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// objects are everything that is cached now, in no order. Read only.
func (w *watch) objects() []client.Object {
	list := w.store.List()
	out := make([]client.Object, 0, len(list))
	for _, obj := range list {
		if o, ok := obj.(client.Object); ok {
			out = append(out, o)
		}
	}
	return out
}
