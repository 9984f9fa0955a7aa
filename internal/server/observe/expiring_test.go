// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

const patience = 20 * time.Second

// holding is a watch that has read these objects and will read no others.
func holding(t *testing.T, objects ...client.Object) *watch {
	t.Helper()
	w := &watch{store: cache.NewStore(cache.MetaNamespaceKeyFunc), synced: func() bool { return true }, stop: func() {}}
	for _, o := range objects {
		if err := w.store.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// TestTheEndOfAnExceptionIsNews has a cluster in which nothing else happens.
func TestTheEndOfAnExceptionIsNews(t *testing.T) {
	noon := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	clock := clocktesting.NewFakeClock(noon.Add(-time.Minute))
	o := New(nil, Options{Clock: clock, Log: slog.New(slog.DiscardHandler)})
	for _, s := range builtIn(o.options) {
		o.watches[s.name] = holding(t)
	}
	o.watches[definitions] = holding(t, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: policyExceptions}})
	o.watches[policyExceptions] = holding(t, &v1alpha1.PolicyException{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}, Spec: v1alpha1.PolicyExceptionSpec{Expires: metav1.NewTime(noon)},
	})
	changed := o.Changed()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	done := make(chan error, 1)
	go func() { done <- o.Start(ctx) }()
	for !clock.HasWaiters() && ctx.Err() == nil {
		runtime.Gosched()
	}
	select {
	case <-changed:
		t.Error("something is told before noon")
	default:
	}
	clock.SetTime(noon)
	select {
	case <-changed:
	case <-ctx.Done():
		t.Error("nobody is told at noon")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
