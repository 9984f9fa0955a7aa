// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// rolling is a world with an Application in each of three namespaces, and a binding that
// goes from a version that all meet to one that asks for a label.
type rolling struct {
	*world
	clock *testingclock.FakeClock
	// dev, test and rest are the namespaces of the stages.
	dev, test, rest string
	binding         *v1alpha1.ClusterPolicyBinding
}

func newRolling(t *testing.T) *rolling {
	t.Helper()
	w := &rolling{world: newWorld(t, server), clock: testingclock.NewFakeClock(time.Now())}
	w.options.Clock, w.options.Prober = w.clock, &prober{clock: w.clock}
	// Time stands still but for what the loop waits for.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if w.clock.HasWaiters() {
				w.clock.Step(50 * time.Millisecond)
			}
		}
	}()
	w.dev, w.test, w.rest = w.gateway, w.shop, w.shop+"-rest"
	if err := w.server.Namespace(t.Context(), w.rest, nil); err != nil {
		t.Fatal(err)
	}
	name := "labelled-" + w.shop
	for version, expression := range map[string]v1alpha1.Expression{"1.0.0": "true", "2.0.0": "'owner' in application.labels"} {
		w.keep(&v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + version}, Spec: v1alpha1.PolicyTemplateSpec{
			Policy: v1alpha1.LabelName(name), Version: version, Title: "Applications name their owner", Severity: v1alpha1.SeverityLow,
			Remediation: v1alpha1.Remediation{Text: "set the label owner"},
			Constraints: []v1alpha1.Constraint{{Name: "owner", Subject: v1alpha1.SubjectApplication, Expression: expression, Message: "nobody is named"}},
		}})
	}
	w.binding = &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ClusterPolicyBindingSpec{
		Tier: v1alpha1.TierMandatory,
		PolicyBindingSpec: v1alpha1.PolicyBindingSpec{
			Policy: v1alpha1.PolicyVersion{Name: v1alpha1.LabelName(name), Version: "2.0.0"}, Mode: v1alpha1.ModeEnforce,
		},
		Rollout: &v1alpha1.PolicyRolloutSpec{From: "1.0.0", Soak: metav1.Duration{Duration: time.Hour}, Stages: []v1alpha1.PolicyRolloutStage{
			{Name: "dev", Namespaces: named(w.dev)}, {Name: "test", Namespaces: named(w.test)},
		}},
	}}
	w.keep(w.binding)
	for _, namespace := range []string{w.dev, w.test, w.rest} {
		app := w.application()
		app.Namespace = namespace
		if namespace != w.test {
			app.Labels = map[string]string{"owner": "checkout"}
		}
		w.create(app)
	}
	return w
}

// keep makes an object that no other test must see.
func (w *rolling) keep(o client.Object) {
	w.t.Helper()
	w.create(o)
	w.t.Cleanup(func() { _ = w.client.Delete(context.Background(), o) })
}

func named(namespace string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace}}
}

// stands waits until the rollout is there, and says so for this reason.
func (w *rolling) stands(stage, reason string, parts ...string) {
	w.t.Helper()
	w.await("the rollout to be at "+stage+": "+reason, func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(w.binding), w.binding); err != nil {
			return err
		}
		at, c := w.binding.Status.Rollout, meta.FindStatusCondition(w.binding.Status.Conditions, v1alpha1.ConditionProgressing)
		ready := meta.IsStatusConditionTrue(w.binding.Status.Conditions, v1alpha1.ConditionReady)
		if at == nil || c == nil || at.Stage != stage || c.Reason != reason || (c.Status == metav1.ConditionTrue) != (reason != "Trouble") || !ready {
			return fmt.Errorf("it is at %+v, with %+v", at, w.binding.Status.Conditions)
		}
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("the condition does not say %q: %s", part, c.Message)
			}
		}
		return nil
	})
}

// told waits until the Application of a namespace is told of its policies for this reason
// alone; empty: of nothing.
func (w *rolling) told(namespace, reason string) {
	w.t.Helper()
	app := &v1alpha1.Application{}
	w.await("the Application of "+namespace+" to be told "+reason, func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "shop"}, app); err != nil {
			return err
		}
		var got []string
		for _, p := range app.Status.Problems {
			if strings.HasPrefix(p.Reason, "Policy") {
				got = append(got, p.Reason)
			}
		}
		if want := slices.DeleteFunc([]string{reason}, func(s string) bool { return s == "" }); !slices.Equal(got, want) || len(app.Status.Conditions) == 0 {
			return fmt.Errorf("it is told %v", got)
		}
		return nil
	})
}

// label sets the label that the new version asks for, or takes it away.
func (w *rolling) label(namespace, value string) {
	w.t.Helper()
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{"owner":%s}}}`, value)
	if err := w.client.Patch(w.t.Context(), app, client.RawPatch(types.MergePatchType, patch)); err != nil {
		w.t.Fatal(err)
	}
}

// except makes an approved exception for the Application of a namespace.
func (w *rolling) except(namespace string) {
	w.t.Helper()
	e := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "prototype"}, Spec: v1alpha1.PolicyExceptionSpec{
		Binding: v1alpha1.BindingReference{Kind: "ClusterPolicyBinding", Name: v1alpha1.LabelName(w.binding.Name)},
		Subject: v1alpha1.ExceptionSubject{Application: "shop"}, Reason: "it goes away soon", Expires: metav1.NewTime(w.clock.Now().Add(1000 * time.Hour).Truncate(time.Second)),
	}}
	digest, err := policy.Digest(e)
	if err != nil {
		w.t.Fatal(err)
	}
	e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "officer", Of: digest}
	w.keep(e)
}

func TestAVersionIsRolledOutStageByStageAndStopsOnTrouble(t *testing.T) {
	w := newRolling(t)
	w.start()
	w.stands("dev", "Trying", "stage dev, 1 of 3")
	w.told(w.test, "")

	w.clock.Step(time.Hour)
	w.stands("test", "Trouble", "Application "+w.test+"/shop (owner)")
	w.told(w.test, "PolicyWouldRefuse")
	w.clock.Step(9 * time.Hour)
	w.quiet()
	w.stands("test", "Trouble")

	// Another operator goes on where this one stood.
	w.stop()
	w.start()
	w.except(w.test)
	w.stands("test", "Trying")
	w.told(w.test, "PolicyExempt")
	if holds := w.binding.Status.Rollout.Holds; !slices.Equal(holds, []string{"dev"}) {
		t.Errorf("it holds in %v", holds)
	}
	w.clock.Step(time.Hour)
	w.stands("rest", "Trying", "stage rest, 3 of 3")

	// Trouble where it holds already stops what is to come, and goes back nowhere.
	w.label(w.dev, "null")
	w.stands("rest", "Trouble", "Application "+w.dev+"/shop (owner)")
	w.told(w.dev, "PolicyViolated")
	w.clock.Step(9 * time.Hour)
	w.quiet()
	w.stands("rest", "Trouble")
	w.label(w.dev, `"checkout"`)
	w.stands("rest", "Trying")
	w.told(w.dev, "")

	w.clock.Step(time.Hour)
	w.stands("rest", "Complete", "spec.rollout can be taken out")
	w.label(w.rest, "null")
	w.told(w.rest, "PolicyViolated")
	w.taken()
	w.told(w.rest, "PolicyViolated")
}

// taken takes the rollout out, and waits until nothing is said of it any more.
func (w *rolling) taken() {
	w.t.Helper()
	if err := w.client.Patch(w.t.Context(), w.binding, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"rollout":null}}`))); err != nil {
		w.t.Fatal(err)
	}
	w.await("the rollout to be forgotten", func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(w.binding), w.binding); err != nil {
			return err
		}
		if w.binding.Status.Rollout != nil || meta.FindStatusCondition(w.binding.Status.Conditions, v1alpha1.ConditionProgressing) != nil {
			return errors.New("it is not")
		}
		return nil
	})
}

// The API server refuses what a rollout cannot be.
func TestTheAPIServerRefusesARolloutThatIsNone(t *testing.T) {
	w := newWorld(t, server)
	for name, change := range map[string]func(*v1alpha1.PolicyRolloutSpec){
		"goes from another version": func(r *v1alpha1.PolicyRolloutSpec) { r.From = "2.0.0" },
		"rest is the stage":         func(r *v1alpha1.PolicyRolloutSpec) { r.Stages[0].Name = "rest" },
		"Duplicate value":           func(r *v1alpha1.PolicyRolloutSpec) { r.Stages = append(r.Stages, r.Stages[0]) },
		"at least 1 items":          func(r *v1alpha1.PolicyRolloutSpec) { r.Stages = []v1alpha1.PolicyRolloutStage{} },
		"the soak is between":       func(r *v1alpha1.PolicyRolloutSpec) { r.Soak = metav1.Duration{} },
		"at most 16 items": func(r *v1alpha1.PolicyRolloutSpec) {
			for i := range 16 {
				r.Stages = append(r.Stages, v1alpha1.PolicyRolloutStage{Name: v1alpha1.LabelName(fmt.Sprintf("s%d", i))})
			}
		},
		"": func(*v1alpha1.PolicyRolloutSpec) {},
	} {
		b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "refused"}, Spec: v1alpha1.ClusterPolicyBindingSpec{
			Tier: v1alpha1.TierMandatory,
			PolicyBindingSpec: v1alpha1.PolicyBindingSpec{
				Policy: v1alpha1.PolicyVersion{Name: "none", Version: "2.0.0"}, Mode: v1alpha1.ModeAudit,
			},
			Rollout: &v1alpha1.PolicyRolloutSpec{From: "1.0.0", Soak: metav1.Duration{Duration: time.Hour}, Stages: []v1alpha1.PolicyRolloutStage{{Name: "dev"}}},
		}}
		change(b.Spec.Rollout)
		err := w.client.Create(t.Context(), b, client.DryRunAll)
		switch {
		case name == "" && err != nil:
			t.Errorf("a rollout that is right: %v", err)
		case name != "" && (err == nil || !strings.Contains(err.Error(), name)):
			t.Errorf("want %q, got %v", name, err)
		}
	}
}
