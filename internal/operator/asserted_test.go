// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// asserting binds a policy that asserts something of all Applications of the world.
func asserting(w *world) (*v1alpha1.PolicyTemplate, *v1alpha1.PolicyBinding) {
	w.t.Helper()
	name := v1alpha1.LabelName("asserts-" + w.shop)
	template := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: string(name) + "-1.0.0"}, Spec: v1alpha1.PolicyTemplateSpec{
		Policy: name, Version: "1.0.0", Title: "Nobody strange administers", Severity: v1alpha1.SeverityHigh,
		Remediation: v1alpha1.Remediation{Text: "ask for a login"},
		Assertions: []v1alpha1.Assertion{{
			Name: "admin", From: v1alpha1.AssertionClient{Internet: &v1alpha1.InternetClient{}},
			Request: v1alpha1.AssertionRequest{Paths: "['/admin']"}, Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny}, Message: "anybody administers",
		}},
	}}
	binding := &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: "asserts"}, Spec: v1alpha1.PolicyBindingSpec{
		Policy: v1alpha1.PolicyVersion{Name: name, Version: "1.0.0"}, Mode: v1alpha1.ModeEnforce,
	}}
	w.create(template)
	w.create(binding)
	w.t.Cleanup(func() {
		_ = w.client.Delete(context.Background(), binding)
		_ = w.client.Delete(context.Background(), template)
	})
	return template, binding
}

// answer tells what came of all that is asserted of an Application.
func (s *trials) answer(t *testing.T, a *v1alpha1.Application, template *v1alpha1.PolicyTemplate, binding *v1alpha1.PolicyBinding, state verdict.State) {
	t.Helper()
	gates := inforce.GatesOf(model.Input{
		Mesh: model.DefaultMesh(), Applications: []*v1alpha1.Application{a}, Namespaces: []model.Namespace{{Name: a.Namespace}},
		Policies: model.Policies{Templates: []*v1alpha1.PolicyTemplate{template}, Bindings: []*v1alpha1.PolicyBinding{binding}},
	})[a.UID]
	if len(gates) != 1 {
		t.Fatalf("%d gates", len(gates))
	}
	one := verdict.Application{
		Namespace: a.Namespace, Name: a.Name, Digest: verdict.Digest(&a.Spec), State: state, Tests: 1,
		Assertions: []verdict.Assertion{{Of: gates[0], Binding: "PolicyBinding " + binding.Namespace + "/" + binding.Name, Rule: "admin", State: state}},
	}
	if state == verdict.Failed {
		one.Assertions[0].Says = "it is Allow, and Deny was expected"
		one.Failures = []verdict.Failure{{Test: "admin", Policy: one.Assertions[0].Binding, Field: "spec", State: state, Says: one.Assertions[0].Says}}
	}
	report, err := verdict.Seal([]verdict.Application{one}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.tell(report, nil)
}

func TestAChangeThatFailsWhatAPolicyAssertsIsNotInForceAndThePolicyDoesNotHold(t *testing.T) {
	w, s := tested(t)
	app := w.application()
	w.create(app)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	template, binding := asserting(w)

	// What is in force stays, whatever comes of it.
	c := w.awaitCondition(binding, v1alpha1.ConditionHolds, metav1.ConditionUnknown, "Unknown")
	if !strings.Contains(c.Message, "1 cannot be told") {
		t.Errorf("Holds says %q", c.Message)
	}
	s.answer(t, app, template, binding, verdict.Failed)
	w.awaitCondition(binding, v1alpha1.ConditionHolds, metav1.ConditionFalse, "Failing")
	w.awaitCondition(app, v1alpha1.ConditionTestsPassed, metav1.ConditionFalse, "TestsFailed")
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted")
	if !slices.ContainsFunc(app.Status.Problems, func(p v1alpha1.Problem) bool {
		return p.Reason == "PolicyAssertionFailed" && p.Severity == "Warning" && strings.Contains(p.Message, "anybody administers: it is Allow")
	}) {
		t.Errorf("the problems are %+v", app.Status.Problems)
	}

	// A change waits, and does not come into force while it fails.
	w.change(app, addPath("/later"))
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	s.answer(t, app, template, binding, verdict.Failed)
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionFalse, "TestsFailed")
	if !w.serves("/api") || w.serves("/later") {
		t.Error("what was in force is not as it was")
	}
	s.tell(nil, errors.New("away"))
	w.awaitCondition(binding, v1alpha1.ConditionHolds, metav1.ConditionUnknown, "Unknown")
	w.quiet()
	if w.serves("/later") {
		t.Error("what is known to fail came into force when nobody answered")
	}
	s.answer(t, app, template, binding, verdict.Passed)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.awaitCondition(binding, v1alpha1.ConditionHolds, metav1.ConditionTrue, "Passing")
	if !w.serves("/later") {
		t.Error("the change is not in force")
	}
}

func TestWhereNobodyAnswersAnApplicationWithoutTestsDoesNotWaitForPolicies(t *testing.T) {
	w, s := tested(t)
	_, binding := asserting(w)
	app := w.application()
	w.create(app)
	w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	s.tell(nil, errors.New("asking trellis-server: connection refused"))
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.awaitCondition(binding, v1alpha1.ConditionHolds, metav1.ConditionUnknown, "Unknown")
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
		t.Fatal(err)
	}
	if v := binding.Status.Violations; len(v) != 1 || !strings.Contains(v[0].Message, "connection refused") {
		t.Errorf("the binding says %+v", v)
	}
}
