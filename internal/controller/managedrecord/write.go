// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// newest remembers what was written, so that a cache that lags behind is not
// believed: what is known to be ours must never be forgotten.
type newest struct {
	mu   sync.Mutex
	seen map[types.UID]client.Object
}

// newestOf is the newer of what a cache shows and what was written.
func newestOf[T client.Object](n *newest, cached T) T {
	n.mu.Lock()
	defer n.mu.Unlock()
	written, ok := n.seen[cached.GetUID()].(T)
	if !ok {
		return cached
	}
	if order, err := resourceversion.CompareResourceVersion(cached.GetResourceVersion(), written.GetResourceVersion()); err == nil && order < 0 {
		return written
	}
	delete(n.seen, cached.GetUID())
	return cached
}

func (n *newest) put(o client.Object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen[o.GetUID()] = o
}

// drop forgets what is gone for good.
func (n *newest) drop(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.seen, uid)
}

// keep forgets the ManagedRecords of a namespace that are not there any more.
func (n *newest) keep(namespace string, records []v1alpha1.ManagedRecord) {
	there := map[types.UID]bool{}
	for i := range records {
		there[records[i].UID] = true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid, o := range n.seen {
		if o.GetNamespace() == namespace && kindOf(o) == kindRecord && !there[uid] {
			delete(n.seen, uid)
		}
	}
}

// kept is what this controller may write to.
type kept[T any] interface {
	client.Object
	DeepCopy() T
}

// tries bounds how often a write is raced for.
const tries = 3

// patch changes an object, or its status, where it is as it was seen, and returns
// it as it is then. Where others have changed what this is not about, it is read
// and changed once more; where its status is another than was seen, the error is
// a conflict: somebody knows more.
func patch[T kept[T]](ctx context.Context, r *Reconciler, seen T, status bool, change func(T)) (T, error) {
	base := seen
	for try := 1; ; try++ {
		next := base.DeepCopy()
		change(next)
		p := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
		var err error
		if status {
			err = r.client.Status().Patch(ctx, next, p, client.FieldOwner(fieldOwner))
		} else {
			err = r.client.Patch(ctx, next, p, client.FieldOwner(fieldOwner))
		}
		if err == nil {
			r.newest.put(next)
			return next, nil
		}
		problem := fmt.Errorf("writing %s %s: %w", client.ObjectKeyFromObject(seen), kindOf(seen), err)
		if !apierrors.IsConflict(err) || try == tries {
			return seen, problem
		}
		live := reflect.New(reflect.TypeOf(seen).Elem()).Interface().(T) //nolint:errcheck // it has the type of seen
		if getErr := r.client.Get(ctx, client.ObjectKeyFromObject(seen), live); getErr != nil {
			return seen, fmt.Errorf("reading %s again: %w", client.ObjectKeyFromObject(seen), getErr)
		}
		if live.GetUID() != seen.GetUID() || !reflect.DeepEqual(statusOf(live), statusOf(seen)) {
			return seen, problem
		}
		base = live
	}
}

func statusOf(o client.Object) any {
	switch o := o.(type) {
	case *v1alpha1.ManagedRecord:
		return o.Status
	case *v1alpha1.DNSProvider:
		return o.Status
	}
	return nil
}

func kindOf(o client.Object) string {
	if _, ok := o.(*v1alpha1.DNSProvider); ok {
		return kindProvider
	}
	return kindRecord
}

const (
	kindProvider = "DNSProvider"
	kindRecord   = "ManagedRecord"
)
