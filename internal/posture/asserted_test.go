// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package posture_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// asserting is a mesh with one Application, of which a policy that serves a goal asserts
// something.
func asserting(mode v1alpha1.PolicyMode) *model.Snapshot {
	return model.NewSnapshot(model.Input{
		Mesh:       model.DefaultMesh(),
		Namespaces: []model.Namespace{{Name: "shop"}},
		Applications: []*v1alpha1.Application{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}, Spec: v1alpha1.ApplicationSpec{Service: "cart"},
		}},
		Policies: model.Policies{
			Goals: []*v1alpha1.Goal{{ObjectMeta: metav1.ObjectMeta{Name: "private"}, Spec: v1alpha1.GoalSpec{Title: "It is private", Owner: "officer"}}},
			Templates: []*v1alpha1.PolicyTemplate{{ObjectMeta: metav1.ObjectMeta{Name: "p-1.0.0"}, Spec: v1alpha1.PolicyTemplateSpec{
				Policy: "p", Version: "1.0.0", Title: "Nobody reads", Remediation: v1alpha1.Remediation{Text: "close it"},
				Assertions: []v1alpha1.Assertion{{
					Name: "outside", From: v1alpha1.AssertionClient{Internet: &v1alpha1.InternetClient{}}, Request: v1alpha1.AssertionRequest{Paths: "['/']"},
					Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny}, Message: "anybody reads",
				}},
			}}},
			ClusterBindings: []*v1alpha1.ClusterPolicyBinding{{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: v1alpha1.ClusterPolicyBindingSpec{
				Tier: v1alpha1.TierMandatory, PolicyBindingSpec: v1alpha1.PolicyBindingSpec{
					Policy: v1alpha1.PolicyVersion{Name: "p", Version: "1.0.0"}, Mode: mode, Goals: []v1alpha1.LabelName{"private"},
				},
			}}},
		},
	})
}

func TestWhatCameOfAnAssertionIsCountedForBindingsAndGoals(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    v1alpha1.PolicyMode
		answer  *policy.Answer
		verdict string
		// reason is that of the finding at the Application; empty: there is none.
		reason string
	}{
		{"nobody has asked", v1alpha1.ModeEnforce, nil, "Unknown", policy.ReasonAssertionNotKnown},
		{"it cannot be told", v1alpha1.ModeEnforce, &policy.Answer{Outcome: policy.Unknown, Says: "no keys"}, "Unknown", policy.ReasonAssertionNotKnown},
		{"it holds", v1alpha1.ModeEnforce, &policy.Answer{Outcome: policy.Pass}, "Met", ""},
		{"it does not", v1alpha1.ModeEnforce, &policy.Answer{Outcome: policy.Fail}, "NotMet", policy.ReasonAssertionFailed},
		{"it holds, and is tried", v1alpha1.ModeShadow, &policy.Answer{Outcome: policy.Pass}, "NotMet", ""},
		{"it holds, and is only looked at", v1alpha1.ModeAudit, &policy.Answer{Outcome: policy.Pass}, "NotMet", ""},
		{"it does not, and is tried", v1alpha1.ModeShadow, &policy.Answer{Outcome: policy.Fail}, "NotMet", "PolicyWouldRefuse"},
		{"it does not, and is only looked at", v1alpha1.ModeAudit, &policy.Answer{Outcome: policy.Fail}, "NotMet", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := asserting(c.mode)
			outcome := compile.Compile(s)
			if len(outcome.Assertions) != 1 {
				t.Fatalf("%d assertions", len(outcome.Assertions))
			}
			outcome.Assertions[0].Answer = c.answer
			p := posture.Of(s, outcome)
			// A binding holds, or not, in any mode; a goal is met by what is enforced.
			held := c.verdict
			if c.answer != nil && c.answer.Outcome == policy.Pass {
				held = "Met"
			}
			if got, binding := p.Goals[0].Verdict().Word(), p.Bindings[0].Verdict().Word(); got != c.verdict || binding != held {
				t.Errorf("the goal is %s, the binding %s", got, binding)
			}
			found := p.Asserted()
			if c.reason == "" && len(found) > 0 || c.reason != "" && (len(found) != 1 || found[0].Reason != c.reason || found[0].Severity != model.SeverityWarning || found[0].Fix == "") {
				t.Errorf("got %+v", found)
			}
		})
	}
}
