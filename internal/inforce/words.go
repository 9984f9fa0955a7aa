// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package inforce

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// Reasons of TestsPassed, besides ReasonTestsFailed.
const (
	ReasonPassed            = "Passed"
	ReasonNotRun            = "NotRun"
	ReasonNotKnown          = "NotKnown"
	ReasonServerUnavailable = "ServerUnavailable"
)

// Silence is why nothing is known of tests at all; both are empty where something
// is.
type Silence struct {
	Reason, Message string
	// Initial is true until somebody was asked for the first time.
	Initial bool
}

// Awaits reports whether the present statement waits for tests that may pass yet.
func (s *Standing) Awaits() bool {
	return !s.Present() && (s.Verdict == nil || s.Verdict.State == verdict.Unknown || s.unasked)
}

// Says is which generation is in force, where it is not the present one.
func (s *Standing) Says() string {
	if s.InForce == nil {
		return fmt.Sprintf("generation %d is not in force, and none was before", s.Application.Generation)
	}
	return fmt.Sprintf("generation %d is not in force, generation %d is", s.Application.Generation, s.InForce.Generation)
}

// TestsPassed is the condition of that name.
func (s *Standing) TestsPassed(silence Silence) (status metav1.ConditionStatus, reason, message string) {
	v, tests := s.Verdict, len(s.Application.Spec.Tests)+s.Gates
	switch {
	case v == nil && silence.Reason != "":
		return metav1.ConditionUnknown, silence.Reason, fmt.Sprintf("the %d tests have not been run on generation %d: %s", tests, s.Application.Generation, silence.Message)
	case v == nil:
		return metav1.ConditionUnknown, ReasonNotRun, fmt.Sprintf("the %d tests have not been run on generation %d yet", tests, s.Application.Generation)
	case s.unasked && !s.Present():
		return metav1.ConditionUnknown, ReasonNotRun, fmt.Sprintf("what policies assert of generation %d has not been asked yet", s.Application.Generation)
	case v.State == verdict.Passed:
		return metav1.ConditionTrue, ReasonPassed, fmt.Sprintf("all %d tests pass", v.Tests)
	}
	var texts []string
	for i := range v.Failures {
		texts = append(texts, v.Failures[i].Sentence())
	}
	message = fmt.Sprintf("%d of %d tests did not pass: %s", len(v.Failures)+v.More, v.Tests, strings.Join(texts, "; "))
	if v.State == verdict.Failed {
		return metav1.ConditionFalse, ReasonTestsFailed, message
	}
	return metav1.ConditionUnknown, ReasonNotKnown, message
}

// Findings are one for what is not in force, with the reason and message given, and
// one for each test that did not pass. They close nothing.
func (s *Standing) Findings(owner model.Reference, reason, message string) []model.Finding {
	var out []model.Finding
	severity := model.SeverityWarning
	if !s.Present() {
		severity = model.SeverityError
		out = append(out, model.Finding{
			Severity: severity, Object: owner, Field: "spec", Reason: reason, Message: message, Owner: owner.String(),
			Fix: "make the tests pass; what was in force before stays so until then",
		})
	}
	if s.Verdict == nil {
		return out
	}
	for i := range s.Verdict.Failures {
		if s.Verdict.Failures[i].Policy != "" {
			continue // its judgement says it, with whom to ask and what to do
		}
		out = append(out, finding(&s.Verdict.Failures[i], owner, severity))
	}
	return out
}

func finding(f *verdict.Failure, owner model.Reference, severity model.Severity) model.Finding {
	out := model.Finding{
		Severity: severity, Object: owner, Field: f.Field, Reason: "TestFailed", Message: f.Sentence(), Owner: owner.String(),
		Fix: "change what it is about, or the test where it is no longer right",
	}
	if f.State == verdict.Unknown {
		out.Reason = "TestNotKnown"
	}
	if f.By != "" {
		out.Owner = f.By
	}
	if f.Whom != "" {
		out.Fix += "; ask " + f.Whom
	}
	if f.Ask != "" {
		out.Fix += "; see every step with: " + f.Ask
	}
	return out
}
