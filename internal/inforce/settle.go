// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package inforce

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// Reasons of Accepted where the present statement is not in force. They are how a
// status tells that a generation never was.
const (
	// ReasonAwaitingTests is that of a statement whose tests have not been run.
	ReasonAwaitingTests = "AwaitingTests"
	// ReasonTestsFailed is that of one whose tests did not pass.
	ReasonTestsFailed = "TestsFailed"
)

// Standing is how it stands with one Application.
type Standing struct {
	// Application is what is stated now.
	Application *v1alpha1.Application
	// InForce is what is to be compiled: Application itself, a copy with an older
	// statement, or nil for nothing.
	InForce *v1alpha1.Application
	// Last is the record that is in force where the present statement is not, or
	// was not until now; nil for none.
	Last *Record
	// Verdict is what is known of the tests of the present statement, nil for
	// nothing.
	Verdict *verdict.Application
	// Unrecorded is true when the present statement is in force and no record says
	// so yet.
	Unrecorded bool
	// Gates is how many assertions of policies it must have passed as well.
	Gates int
	// unasked is true where the tests passed, and something that policies assert of it now
	// has not been asked.
	unasked bool
	// Proven is true when it comes into force by tests that passed: without a record
	// of it, it must not.
	Proven bool
}

// Present reports whether the present statement is in force.
func (s *Standing) Present() bool { return s.InForce == s.Application }

// back is the standing before the present statement came into force.
func (s *Standing) back() {
	s.InForce, s.Unrecorded, s.Proven = nil, false, false
	if s.Last != nil {
		s.InForce = s.Application.DeepCopy()
		s.InForce.Spec, s.InForce.Generation = *s.Last.Spec.DeepCopy(), s.Last.Generation
	}
}

// Settle decides about one Application. last is its newest record, or nil; tested
// is what is known of the tests of its present statement, or nil. gates are the digests
// of what policies assert of it.
//
// A statement is in force if it was before, if it has neither tests nor gates, or if they
// passed.
// Tests that fail later take nothing out of force: a failing test alone neither
// opens nor closes anything.
func Settle(a *v1alpha1.Application, last *Record, tested *verdict.Application, gates []string) Standing {
	s := Standing{Application: a, InForce: a, Last: last, Verdict: tested, Gates: len(gates)}
	s.unasked = tested != nil && tested.State == verdict.Passed && !tested.Answers(gates)
	switch {
	case last != nil && last.Digest == verdict.Digest(&a.Spec):
	case len(a.Spec.Tests)+len(gates) == 0, last == nil && wasInForce(a):
		s.Unrecorded = true
	case tested != nil && tested.State == verdict.Passed && !s.unasked:
		s.Unrecorded, s.Proven = true, true
	default:
		s.back()
	}
	return s
}

// wasInForce reports whether a status says that this very generation was in force,
// as one has it that was written before anybody waited for tests.
func wasInForce(a *v1alpha1.Application) bool {
	accepted := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionAccepted)
	// Unknown is what nobody could compile, or what waits for its tests.
	return accepted != nil && accepted.ObservedGeneration == a.Generation &&
		accepted.Status != metav1.ConditionUnknown && accepted.Reason != ReasonTestsFailed
}
