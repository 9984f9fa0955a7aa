// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package inforce

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

func application(service string, tests int) *v1alpha1.Application {
	a := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "uid", Generation: 3},
		Spec:       v1alpha1.ApplicationSpec{Service: service},
	}
	for range tests {
		a.Spec.Tests = append(a.Spec.Tests, v1alpha1.AccessTest{Name: "a test"})
	}
	return a
}

// recordOf is the record of another statement than the present one, or of it.
func recordOf(t *testing.T, a *v1alpha1.Application, generation int64) *Record {
	t.Helper()
	a = a.DeepCopy()
	a.Generation = generation
	revision, err := Revision(a)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := Read(revision)
	if !ok {
		t.Fatal("what was recorded cannot be read")
	}
	return &r
}

func accepted(a *v1alpha1.Application, generation int64, status metav1.ConditionStatus, reason string) *v1alpha1.Application {
	a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, ObservedGeneration: generation, Status: status, Reason: reason}}
	return a
}

func TestAStatementIsInForceIfItWasOrHasNoTestsOrTheyPassed(t *testing.T) {
	passed := &verdict.Application{State: verdict.Passed}
	for _, c := range []struct {
		name       string
		a          *v1alpha1.Application
		last       *Record
		tested     *verdict.Application
		generation int64 // that is in force; 0: none
		unrecorded bool
	}{
		{"it is recorded", application("a", 1), recordOf(t, application("a", 1), 3), nil, 3, false},
		{"it was recorded under another generation", application("a", 1), recordOf(t, application("a", 1), 1), nil, 3, false},
		{"it is recorded and its tests fail", application("a", 1), recordOf(t, application("a", 1), 3), &verdict.Application{State: verdict.Failed}, 3, false},
		{"its tests have not been run", application("b", 1), recordOf(t, application("a", 1), 2), nil, 2, false},
		{"they failed", application("b", 1), recordOf(t, application("a", 1), 2), &verdict.Application{State: verdict.Failed}, 2, false},
		{"they cannot be told", application("b", 1), recordOf(t, application("a", 1), 2), &verdict.Application{State: verdict.Unknown}, 2, false},
		{"they passed", application("b", 1), recordOf(t, application("a", 1), 2), passed, 3, true},
		{"it has none any more", application("b", 0), recordOf(t, application("a", 1), 2), nil, 3, true},
		{"it is new", application("a", 1), nil, nil, 0, false},
		{"it is new and passed", application("a", 1), nil, passed, 3, true},
		{"it is new and has no tests", application("a", 0), nil, nil, 3, true},
		{"it was in force before anybody waited", accepted(application("a", 1), 3, metav1.ConditionTrue, "Accepted"), nil, nil, 3, true},
		{"it was refused in part before anybody waited", accepted(application("a", 1), 3, metav1.ConditionFalse, "PathInvalid"), nil, nil, 3, true},
		{"another generation was", accepted(application("a", 1), 2, metav1.ConditionTrue, "Accepted"), nil, nil, 0, false},
		{"it never was", accepted(application("a", 1), 3, metav1.ConditionUnknown, ReasonAwaitingTests), nil, nil, 0, false},
		{"it never was, since its tests failed", accepted(application("a", 1), 3, metav1.ConditionFalse, ReasonTestsFailed), nil, nil, 0, false},
		{"nobody could tell, since the cluster could not be read", accepted(application("a", 1), 3, metav1.ConditionUnknown, "CannotRead"), nil, nil, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Settle(c.a, c.last, c.tested, nil)
			var got int64
			if s.InForce != nil {
				got = s.InForce.Generation
			}
			if got != c.generation || s.Unrecorded != c.unrecorded || s.Present() != (c.generation == 3) {
				t.Errorf("generation %d is in force, unrecorded %t, want %d and %t", got, s.Unrecorded, c.generation, c.unrecorded)
			}
		})
	}
}

func TestWhatIsNotOursIsNoRecord(t *testing.T) {
	for name, change := range map[string]func(*metav1.ObjectMeta){
		"without the label":       func(m *metav1.ObjectMeta) { m.Labels = nil },
		"without an owner":        func(m *metav1.ObjectMeta) { m.OwnerReferences = nil },
		"of a StatefulSet":        func(m *metav1.ObjectMeta) { m.OwnerReferences[0].Kind = "StatefulSet" },
		"whose owner controls it": func(*metav1.ObjectMeta) {},
	} {
		revision, err := Revision(application("a", 1))
		if err != nil {
			t.Fatal(err)
		}
		change(&revision.ObjectMeta)
		if _, ok := Read(revision); ok != (name == "whose owner controls it") {
			t.Errorf("%s: %t", name, ok)
		}
	}
	revision, err := Revision(application("a", 1))
	if err != nil {
		t.Fatal(err)
	}
	revision.Data.Raw = []byte("no JSON")
	if _, ok := Read(revision); ok {
		t.Error("what cannot be read is a record")
	}
}

func TestWordsSayWhichGenerationWhyAndWhereToLook(t *testing.T) {
	failed := &verdict.Application{State: verdict.Failed, Tests: 2, Failures: []verdict.Failure{{
		Test: "nobody", Field: "spec.tests[0]", State: verdict.Failed, Says: "it is Allow, and Deny was expected", Why: "no rule denies it",
		By: "Application shop/cart spec.routes[0]", Whom: "the developers", Ask: "trellis can x",
	}}}
	s := Settle(application("b", 1), recordOf(t, application("a", 1), 2), failed, nil)
	_, reason, message := s.TestsPassed(Silence{})
	if reason != ReasonTestsFailed || message != `1 of 2 tests did not pass: test "nobody": it is Allow, and Deny was expected: no rule denies it (Application shop/cart spec.routes[0])` {
		t.Errorf("%s: %s", reason, message)
	}
	if got := s.Says(); got != "generation 3 is not in force, generation 2 is" {
		t.Error(got)
	}
	found := s.Findings(model.Reference{Kind: "Application", Namespace: "shop", Name: "cart"}, "TestsFailed", "words")
	if len(found) != 2 || found[0].Severity != model.SeverityError || found[1].Owner != "Application shop/cart spec.routes[0]" || !strings.Contains(found[1].Fix, "trellis can x") {
		t.Errorf("%+v", found)
	}
	s = Settle(application("a", 1), recordOf(t, application("a", 1), 3), failed, nil)
	if found := s.Findings(model.Reference{}, "", ""); len(found) != 1 || found[0].Severity != model.SeverityWarning {
		t.Errorf("a test that fails later: %+v", found)
	}
}
