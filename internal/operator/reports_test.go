// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/controller/openreports"
)

// reporting is a world whose operator writes Reports. The definition of Reports is our own
// and has what we write: see testdata/reports.openreports.io.yaml.
type reporting struct{ *world }

func (w reporting) install() {
	w.t.Helper()
	crd, err := os.ReadFile("testdata/reports.openreports.io.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.server.InstallCRDs(w.t.Context(), crd); err != nil {
		w.t.Fatal(err)
	}
}

func report(namespace string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(openreports.Kind)
	u.SetNamespace(namespace)
	u.SetName(openreports.Name)
	return u
}

// summary waits for a Report with these counts.
func (w reporting) summary(namespace, want string) *unstructured.Unstructured {
	w.t.Helper()
	u := report(namespace)
	w.await("the report of "+namespace, func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(u), u); err != nil {
			return err
		}
		summary, _, _ := unstructured.NestedMap(u.Object, "summary")
		got := fmt.Sprintf("pass %v fail %v warn %v error %v skip %v", summary["pass"], summary["fail"], summary["warn"], summary["error"], summary["skip"])
		if got != want {
			return fmt.Errorf("it says %s, want %s", got, want)
		}
		return nil
	})
	return u
}

func (w reporting) gone(namespace string) {
	w.t.Helper()
	w.await("the report of "+namespace+" to be gone", func(ctx context.Context) error {
		err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: openreports.Name}, report(namespace))
		if err == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	})
}

func (w reporting) patch(o client.Object, patch string) {
	w.t.Helper()
	if err := w.client.Patch(w.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("somebody")); err != nil {
		w.t.Fatal(err)
	}
}

// held starts an operator that reports, with an Application in the namespace of the shop and
// one in that of the gateway, and a policy in Audit that neither meets.
func held(t *testing.T) (w reporting, app, binding client.Object) {
	t.Helper()
	w = reporting{newWorld(t, server)}
	w.options.OpenReports = true
	for _, o := range policies(w.shop, time.Now().Add(time.Hour))[:3] {
		w.create(o)
		t.Cleanup(func() { _ = w.client.Delete(context.Background(), o) })
		binding = o
	}
	other := w.application()
	other.Namespace = w.gateway
	app = w.application()
	w.create(app)
	w.create(other)
	return w, app, binding
}

func TestHowItStandsWithPoliciesIsReportedWhereTheClusterHasReports(t *testing.T) {
	w, app, binding := held(t)
	w.start()
	w.quiet()
	w.install()
	const fails, passes = "pass 0 fail 0 warn 1 error 0 skip 0", "pass 1 fail 0 warn 0 error 0 skip 0"
	first := w.summary(w.shop, fails)
	if first.GetLabels()["app.kubernetes.io/managed-by"] != "trellis" {
		t.Errorf("nobody can tell whose it is: %v", first.GetLabels())
	}
	results, _, err := unstructured.NestedSlice(first.Object, "results")
	if err != nil || len(results) != 1 {
		t.Fatalf("results %v, %v", results, err)
	}
	result, _ := results[0].(map[string]any)
	subjects, _, _ := unstructured.NestedSlice(result, "resources")
	if result["policy"] != "named-owner" || result["message"] != "nobody is named" || len(subjects) != 1 {
		t.Errorf("the result is %v", result)
	}
	w.summary(w.gateway, fails)

	w.quiet()
	before := w.writes.Load()
	// A change of nothing that matters wakes the loop.
	w.patch(app, `{"metadata":{"labels":{"some":"label"}}}`)
	w.quiet()
	if after := w.writes.Load(); after != before {
		t.Errorf("%d writes where nothing was to be done", after-before)
	}
	w.stop()
	w.start()
	w.quiet()
	if again := w.summary(w.shop, fails); again.GetResourceVersion() != first.GetResourceVersion() {
		t.Errorf("a restart wrote the report:\n%v\n%v", first.Object, again.Object)
	}

	w.patch(app, `{"metadata":{"labels":{"owner":"checkout"}}}`)
	w.patch(w.summary(w.shop, passes), `{"summary":{"pass":7},"metadata":{"labels":{"their":"label"}}}`)
	if u := w.summary(w.shop, passes); u.GetLabels()["their"] != "label" {
		t.Errorf("what is not ours was taken away: %v", u.GetLabels())
	}
	if err := w.client.Delete(t.Context(), report(w.shop)); err != nil {
		t.Fatal(err)
	}
	w.summary(w.shop, passes)

	if err := w.client.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	w.gone(w.shop)
	w.gone(w.gateway)
}

func TestAReportOfSomebodyElseOfTheSameNameIsNotTouched(t *testing.T) {
	w, _, binding := held(t)
	w.install()
	theirs := report(w.shop)
	theirs.Object["source"] = "kyverno"
	w.create(theirs)
	w.start()
	w.awaitEvent(theirs, "Conflict", "was not made by Trellis")
	w.summary(w.gateway, "pass 0 fail 0 warn 1 error 0 skip 0")
	untouched := func() {
		t.Helper()
		now := report(w.shop)
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
			t.Fatal(err)
		}
		if now.GetResourceVersion() != theirs.GetResourceVersion() {
			t.Errorf("it was written to: %v", now.Object)
		}
	}
	w.quiet()
	untouched()
	if notes := w.events(theirs, "Conflict"); len(notes) != 1 {
		t.Errorf("it is said %d times", len(notes))
	}
	if err := w.client.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.summary(w.shop, "pass 0 fail 0 warn 1 error 0 skip 0")

	// Who takes the label away takes the report over.
	w.patch(report(w.shop), `{"metadata":{"labels":null},"source":"kyverno"}`)
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	if err := w.client.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	w.gone(w.gateway)
	w.quiet()
	untouched()
	if err := w.client.Delete(t.Context(), theirs); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}
