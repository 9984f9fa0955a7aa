// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	pebble "github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/stack"
)

// run starts the controller as the operator does.
func (w *world) run() {
	w.t.Helper()
	m, err := ctrl.NewManager(server.Config(), ctrl.Options{
		Scheme: w.client.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		// The other tests have their own certificates.
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{w.shop: {}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.options.Recorder, w.options.Clock = m.GetEventRecorder("trellis-operator"), clock.RealClock{}
	if w.r, err = managedcertificate.New(w.options); err == nil {
		err = w.r.SetupWithManager(m)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the manager ended with %v", err)
		}
	})
}

func (w *world) await(what string, check func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := stack.Until(ctx, what, check); err != nil {
		w.t.Fatal(err)
	}
}

func TestTheControllerIsWokenByWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNS01", "example.com", "*.example.com")
	w.run()
	w.await("the certificate", func(context.Context) error {
		w.others()
		if c := w.cert(); !isIssued(c) {
			return fmt.Errorf("the status is %+v", c.Status.Conditions)
		}
		return nil
	})
	// Its own writes wake nobody.
	w.await("rest", func(context.Context) error {
		if len(w.records()) > 0 {
			return fmt.Errorf("there are entries")
		}
		return nil
	})
	w.annotate(v1alpha1.RenewAnnotation, "now")
	w.await("another certificate", func(context.Context) error {
		w.others()
		if c := w.cert(); !isIssued(c) || w.ca.Orders() != 2 {
			return fmt.Errorf("the status is %+v, and %d orders", c.Status.Conditions, w.ca.Orders())
		}
		return nil
	})
	w.await("the events", func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := w.client.List(ctx, list, client.InNamespace(w.shop)); err != nil {
			return err
		}
		found := map[string]bool{}
		for _, e := range list.Items {
			found[e.Reason] = e.Regarding.Kind == "ManagedCertificate" && e.Regarding.Name == "web"
		}
		if !found["Issued"] || !found["Renewed"] {
			return fmt.Errorf("events %v", found)
		}
		return nil
	})
	if err := w.client.Delete(t.Context(), w.cert()); err != nil {
		t.Fatal(err)
	}
	w.await("the end", func(ctx context.Context) error {
		if err := w.client.Get(ctx, w.name, &v1alpha1.ManagedCertificate{}); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
	if w.secret(w.shop, "web-tls") != nil {
		t.Error("the Secret is still there")
	}
}
