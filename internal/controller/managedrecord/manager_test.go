// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedrecord"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/nameserver"
	"github.com/trellis-mesh/trellis/test/stack"
)

// managed runs the controller by a real manager and its caches.
func (w *world) managed() {
	w.Helper()
	log := slog.New(slog.NewTextHandler(w.Output(), nil))
	m, err := ctrl.NewManager(server.Config(), ctrl.Options{
		Scheme: w.client.Scheme(), Logger: logr.FromSlogHandler(log.Handler()), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{w.namespace: {}}},
	})
	if err != nil {
		w.Fatal(err)
	}
	r, err := managedrecord.New(managedrecord.Options{
		Cache: m.GetCache(), Client: w.client, Recorder: m.GetEventRecorder("trellis"), Registry: w.registry, Clock: clock.RealClock{}, Log: log,
	})
	if err != nil {
		w.Fatal(err)
	}
	if err := r.SetupWithManager(m); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the manager ended with %v", err)
		}
	})
}

func (w *world) await(what string, check func(context.Context) error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	if err := stack.Until(ctx, what, check); err != nil {
		w.Fatal(err)
	}
}

func (w *world) awaitData(want ...string) {
	w.Helper()
	slices.Sort(want)
	w.await("the zone to have its entries", func(context.Context) error {
		if got := w.data(); !slices.Equal(got, want) {
			return errors.New("it has others")
		}
		return nil
	})
}

func TestTheManagerHearsOfRecordsAndProviders(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.managed()
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.awaitData("shop.example.test A → 192.0.2.1")
	w.await("the record to be ready", func(context.Context) error {
		if r := w.record("shop"); !meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReady) {
			return errors.New("it is not")
		}
		return nil
	})
	w.change("shop", addresses("192.0.2.2"))
	w.awaitData("shop.example.test A → 192.0.2.2")
	// Without a provider, and then with one.
	other := w.dns().DeepCopy()
	other.ObjectMeta = w.meta("other")
	r := &v1alpha1.ManagedRecord{ObjectMeta: w.meta("late"), Spec: v1alpha1.ManagedRecordSpec{
		ProviderRef: v1alpha1.DNSProviderReference{Name: "other"}, Name: "late." + zone, Addresses: []string{"192.0.2.3"},
	}}
	w.create(r)
	w.await("the record to say that its provider is not there", func(context.Context) error {
		if got := w.record("late").Status.Phase; got != string(dns.PhaseBlocked) {
			return errors.New("it is " + got)
		}
		return nil
	})
	w.create(other)
	w.awaitData("late.example.test A → 192.0.2.3", "shop.example.test A → 192.0.2.2")
	w.remove(w.record("shop"))
	w.remove(r)
	w.awaitData()
	w.await("the records to be gone", func(context.Context) error {
		if w.there(r) || w.there(&v1alpha1.ManagedRecord{ObjectMeta: w.meta("shop")}) {
			return errors.New("they are not")
		}
		return nil
	})
	w.remove(other)
	w.await("the provider to be gone", func(context.Context) error {
		if w.there(other) {
			return errors.New("it is not")
		}
		return nil
	})
}
