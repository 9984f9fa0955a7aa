// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/gather"
	"github.com/trellis-mesh/trellis/internal/model"
)

// policies are one object of each kind of policy. The exception expires at noon.
func policies(namespace string, noon time.Time) []client.Object {
	binding := v1alpha1.PolicyBindingSpec{
		Policy: v1alpha1.PolicyVersion{Name: "named-owner", Version: "1.0.0"}, Mode: v1alpha1.ModeAudit, Goals: []v1alpha1.LabelName{"somebody-to-ask"},
	}
	return []client.Object{
		&v1alpha1.Goal{ObjectMeta: metav1.ObjectMeta{Name: "somebody-to-ask"}, Spec: v1alpha1.GoalSpec{Title: "There is somebody to ask", Owner: "platform"}},
		&v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "named-owner-1.0.0"}, Spec: v1alpha1.PolicyTemplateSpec{
			Policy: "named-owner", Version: "1.0.0", Title: "Applications name their owner", Severity: v1alpha1.SeverityLow,
			Remediation: v1alpha1.Remediation{Text: "set the label owner"},
			Constraints: []v1alpha1.Constraint{{
				Name: "owner", Subject: v1alpha1.SubjectApplication, Expression: "'owner' in application.labels", Message: "nobody is named",
			}},
		}},
		&v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "named-owner"}, Spec: v1alpha1.ClusterPolicyBindingSpec{
			Tier: v1alpha1.TierMandatory, PolicyBindingSpec: binding,
		}},
		&v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "named-owner"}, Spec: binding},
		&v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "prototype"}, Spec: v1alpha1.PolicyExceptionSpec{
			Binding: v1alpha1.BindingReference{Kind: "ClusterPolicyBinding", Name: "named-owner"},
			Subject: v1alpha1.ExceptionSubject{Application: "prototype"}, Reason: "it goes away soon", Expires: metav1.NewTime(noon),
		}},
	}
}

// watching follows a cluster, and tells of news.
type watching struct {
	*world
	gatherer *gather.Gatherer
}

func (w *watching) input() model.Input {
	w.t.Helper()
	var in model.Input
	w.await("the cluster to be read", func(context.Context) (err error) {
		in, err = w.gatherer.Input()
		return err
	})
	return in
}

// news waits until the gatherer has something to tell after which it is so.
func (w *watching) news(what string, so func(model.Input) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for {
		select {
		case <-w.gatherer.Changed():
		case <-ctx.Done():
			w.t.Fatalf("nothing was told, waiting for %s", what)
		}
		if in, err := w.gatherer.Input(); err == nil && so(in) {
			return
		}
	}
}

func TestPoliciesAreReadAndTheirChangesAndTheEndOfAnExceptionAreNews(t *testing.T) {
	noon := time.Date(2099, 1, 10, 12, 0, 0, 0, time.UTC)
	clock := testingclock.NewFakeClock(noon.Add(-10 * time.Minute))
	w := &watching{world: newWorld(t, server)}
	objects := policies(w.shop, noon)
	for _, o := range objects {
		w.create(o)
		t.Cleanup(func() { _ = w.client.Delete(context.Background(), o) })
	}
	direct, err := client.NewWithWatch(server.Config(), client.Options{Scheme: w.client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w.gatherer = gather.New(direct, apply.NewLedger(), gather.Options{
		Mesh: model.DefaultMesh(), IstiodNamespace: "istio-system", MeshConfigMap: "istio", Clock: clock, Log: w.options.Log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.gatherer.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.news("all policies", func(in model.Input) bool {
		p := in.Policies
		return len(p.Goals) == 1 && len(p.Templates) == 1 && len(p.ClusterBindings) == 1 && len(p.Bindings) == 1 && len(p.Exceptions) == 1
	})
	if at := w.input().At; !at.Equal(clock.Now()) {
		t.Errorf("policies are judged at %s, and it is %s", at, clock.Now())
	}

	for _, change := range []struct {
		of    client.Object
		patch string
		so    func(model.Policies) bool
	}{
		{objects[0], `{"spec":{"title":"Another"}}`, func(p model.Policies) bool { return p.Goals[0].Spec.Title == "Another" }},
		{objects[1], `{"metadata":{"labels":{"by":"hand"}}}`, func(p model.Policies) bool { return p.Templates[0].Labels["by"] == "hand" }},
		{objects[2], `{"spec":{"mode":"Shadow"}}`, func(p model.Policies) bool { return p.ClusterBindings[0].Spec.Mode == v1alpha1.ModeShadow }},
		{objects[3], `{"spec":{"mode":"Shadow"}}`, func(p model.Policies) bool { return p.Bindings[0].Spec.Mode == v1alpha1.ModeShadow }},
		{objects[4], `{"spec":{"reason":"it goes away very soon"}}`, func(p model.Policies) bool {
			return p.Exceptions[0].Spec.Reason == "it goes away very soon"
		}},
	} {
		if err := w.client.Patch(t.Context(), change.of, client.RawPatch(types.MergePatchType, []byte(change.patch))); err != nil {
			t.Fatal(err)
		}
		w.news(fmt.Sprintf("%T", change.of), func(in model.Input) bool { return change.so(in.Policies) })
	}

	w.await("a timer to run", func(context.Context) error {
		if !clock.HasWaiters() {
			return fmt.Errorf("nothing waits for %s", noon)
		}
		return nil
	})
	clock.SetTime(noon)
	w.news("noon", func(in model.Input) bool { return !in.At.Before(noon) })

	exception := objects[4]
	exception.SetFinalizers([]string{"example.com/keep"})
	if err := w.client.Update(t.Context(), exception); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Delete(t.Context(), exception); err != nil {
		t.Fatal(err)
	}
	w.news("an exception on its way out to let nothing go", func(in model.Input) bool { return len(in.Policies.Exceptions) == 0 })
	if err := w.client.Patch(t.Context(), exception, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
}
