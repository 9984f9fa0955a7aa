// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package inforce

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// asserting is an Application of which a policy asserts something.
func asserting(a *v1alpha1.Application, tier v1alpha1.PolicyTier, mode v1alpha1.PolicyMode) model.Input {
	return model.Input{
		Mesh: model.DefaultMesh(), At: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Applications: []*v1alpha1.Application{a},
		Namespaces: []model.Namespace{{Name: "shop"}},
		Policies: model.Policies{
			Templates: []*v1alpha1.PolicyTemplate{{
				ObjectMeta: metav1.ObjectMeta{Name: "admin-1.0.0"},
				Spec: v1alpha1.PolicyTemplateSpec{
					Policy: "admin", Version: "1.0.0", Title: "nobody", Severity: v1alpha1.SeverityHigh, Remediation: v1alpha1.Remediation{Text: "close it"},
					Assertions: []v1alpha1.Assertion{{
						Name: "outside", From: v1alpha1.AssertionClient{Internet: &v1alpha1.InternetClient{}},
						Request: v1alpha1.AssertionRequest{Paths: "['/admin']"}, Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny}, Message: "it is open",
					}},
				},
			}},
			ClusterBindings: []*v1alpha1.ClusterPolicyBinding{{
				ObjectMeta: metav1.ObjectMeta{Name: "admin"},
				Spec: v1alpha1.ClusterPolicyBindingSpec{
					Tier:              tier,
					PolicyBindingSpec: v1alpha1.PolicyBindingSpec{Policy: v1alpha1.PolicyVersion{Name: "admin", Version: "1.0.0"}, Mode: mode},
				},
			}},
		},
	}
}

// exempted lets the Application go, as somebody has approved it.
func exempted(t *testing.T, in model.Input, until time.Time) model.Input {
	t.Helper()
	e := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}, Spec: v1alpha1.PolicyExceptionSpec{
		Binding: v1alpha1.BindingReference{Kind: "ClusterPolicyBinding", Name: "admin"},
		Subject: v1alpha1.ExceptionSubject{Application: "cart"}, Reason: "it is old", Expires: metav1.NewTime(until),
	}}
	digest, err := policy.Digest(e)
	if err != nil {
		t.Fatal(err)
	}
	e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "officer", Of: digest}
	in.Policies.Exceptions = append(in.Policies.Exceptions, e)
	return in
}

// leaving is what the version asserts that holds until another one does.
func leaving(a *v1alpha1.Application, to string) model.Input {
	in := asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeEnforce)
	silent := in.Policies.Templates[0].DeepCopy()
	silent.Name, silent.Spec.Version, silent.Spec.Assertions = "admin-1.1.0", "1.1.0", nil
	silent.Spec.Constraints = []v1alpha1.Constraint{{Name: "all", Subject: v1alpha1.SubjectApplication, Expression: "true", Message: "never"}}
	in.Policies.Templates = append(in.Policies.Templates, silent)
	b := in.Policies.ClusterBindings[0]
	b.Spec.Policy.Version = to
	b.Spec.Rollout = &v1alpha1.PolicyRolloutSpec{
		From: "1.0.0", Soak: metav1.Duration{Duration: time.Hour},
		Stages: []v1alpha1.PolicyRolloutStage{{Name: "test", Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{"env": "test"}}}},
	}
	return in
}

func TestOnlyWhatIsEnforcedAndMandatoryAndNotLetGoHoldsBackAStatement(t *testing.T) {
	a := application("a", 0)
	day := time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		in   model.Input
		want int
	}{
		"it is enforced":                               {asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeEnforce), 1},
		"it is tried":                                  {asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeShadow), 0},
		"it is only looked at":                         {asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeAudit), 0},
		"it is a default":                              {asserting(a, v1alpha1.TierDefault, v1alpha1.ModeEnforce), 0},
		"an exception lets it go":                      {exempted(t, asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeEnforce), day), 0},
		"an exception that is over":                    {exempted(t, asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeEnforce), day.AddDate(0, 0, -2)), 1},
		"nothing asserts anything":                     {model.Input{Mesh: model.DefaultMesh(), Applications: []*v1alpha1.Application{a}}, 0},
		"a new version that asserts nothing is tried":  {leaving(a, "1.1.0"), 1},
		"a new version that does not exist is to come": {leaving(a, "2.0.0"), 1},
		"a template that is unbound": {func() model.Input {
			in := asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeEnforce)
			in.Policies.ClusterBindings = nil
			return in
		}(), 0},
	} {
		if got := GatesOf(c.in)["uid"]; len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}

func TestAStatementWaitsForWhatPoliciesAssertWhileSomebodyAsks(t *testing.T) {
	stated := func() *v1alpha1.Application { return application("b", 0) }
	away := Silence{Reason: ReasonServerUnavailable, Message: "connection refused"}
	question := GatesOf(asserting(stated(), v1alpha1.TierMandatory, v1alpha1.ModeEnforce))["uid"][0]
	said := func(state verdict.State, of string) *verdict.Application {
		return &verdict.Application{State: state, Assertions: []verdict.Assertion{{Of: of, Binding: "ClusterPolicyBinding admin", Rule: "outside", State: state}}}
	}
	for _, c := range []struct {
		name       string
		a          *v1alpha1.Application
		silence    Silence
		tested     *verdict.Application
		generation int64
		awaits     bool
	}{
		{"nobody was asked yet", stated(), Silence{Reason: ReasonNotRun, Initial: true}, nil, 2, true},
		{"it has not been asked", stated(), Silence{}, nil, 2, true},
		{"it holds", stated(), Silence{}, said(verdict.Passed, question), 3, false},
		{"something else held", stated(), Silence{}, said(verdict.Passed, "another question"), 2, true},
		{"it does not hold", stated(), Silence{}, said(verdict.Failed, question), 2, false},
		{"nobody answers", stated(), away, nil, 3, false},
		{"nobody answers, and it is known to fail", accepted(stated(), 3, metav1.ConditionFalse, ReasonTestsFailed), away, nil, 2, true},
		{"nobody answers, and another generation failed", accepted(stated(), 2, metav1.ConditionFalse, ReasonTestsFailed), away, nil, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			gates := Waiting(asserting(c.a, v1alpha1.TierMandatory, v1alpha1.ModeEnforce), c.silence)
			s := Settle(c.a, recordOf(t, application("a", 0), 2), c.tested, gates[c.a.UID])
			if s.InForce.Generation != c.generation || s.Awaits() != c.awaits {
				t.Errorf("generation %d is in force, awaits %t", s.InForce.Generation, s.Awaits())
			}
		})
	}
}

// What is in force stays when a policy comes that it does not pass.
func TestAPolicyTakesNothingOutOfForce(t *testing.T) {
	a := application("a", 0)
	gates := GatesOf(asserting(a, v1alpha1.TierMandatory, v1alpha1.ModeEnforce))
	s := Settle(a, recordOf(t, a, 3), &verdict.Application{State: verdict.Failed}, gates[a.UID])
	if !s.Present() {
		t.Error("it is not in force")
	}
}

func TestAnAssertionIsToldWhatCameOfIt(t *testing.T) {
	now := application("b", 0)
	in := asserting(now, v1alpha1.TierMandatory, v1alpha1.ModeEnforce)
	snapshot := model.NewSnapshot(in)
	ref := model.Reference{Group: v1alpha1.GroupName, Kind: "Application", Namespace: "shop", Name: "cart"}
	ask := func() *policy.Assertion {
		return policy.Compile(snapshot).Application(now, model.Origin{Object: ref}).Assertions()[0]
	}
	question := ask().Digest()
	said := func(of string, state verdict.State) *verdict.Application {
		return &verdict.Application{State: state, Assertions: []verdict.Assertion{{Of: of, Binding: "ClusterPolicyBinding admin", Rule: "outside", State: state, Says: "it is Allow", Ask: "trellis can"}}}
	}
	present := Standing{Application: now, InForce: now}
	for _, c := range []struct {
		name    string
		verdict *verdict.Application
		back    bool
		silence Silence
		want    policy.Outcome
		says    string
	}{
		{"nobody has asked", nil, false, Silence{}, policy.Unknown, "has not been asked yet"},
		{"nobody answers", nil, false, Silence{Reason: "x", Message: "connection refused"}, policy.Unknown, "connection refused"},
		{"it holds", said(question, verdict.Passed), false, Silence{}, policy.Pass, ""},
		{"it fails", said(question, verdict.Failed), false, Silence{}, policy.Fail, "it is open: it is Allow"},
		{"it cannot be told", said(question, verdict.Unknown), false, Silence{}, policy.Unknown, "it is Allow"},
		{"another question was asked", said("another", verdict.Failed), false, Silence{}, policy.Unknown, "has not been asked yet"},
		{"a statement fails that is not in force", said("another", verdict.Failed), true, Silence{}, policy.Fail, "generation 3 is not in force"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := present
			s.Verdict = c.verdict
			if c.back {
				s.Last = recordOf(t, application("a", 0), 2)
				s.back()
			}
			a := ask()
			Tell([]*policy.Assertion{a}, map[types.UID]*Standing{now.UID: &s}, c.silence)
			if j := a.Judge(); j.Outcome != c.want || !strings.Contains(j.Message, c.says) || j.Closes() {
				t.Errorf("%s: %s", j.Outcome, j.Message)
			}
		})
	}
}

// While a version is tried, both it and the one before may have a rule of one name.
func TestOfTwoVersionsNoneIsToldWhatCameOfTheOther(t *testing.T) {
	now := application("b", 0)
	in := leaving(now, "1.1.0")
	in.Policies.Templates[1].Spec.Assertions = []v1alpha1.Assertion{*in.Policies.Templates[0].Spec.Assertions[0].DeepCopy()}
	in.Policies.Templates[1].Spec.Assertions[0].Request.Paths = "['/admin', '/debug']"
	in.Namespaces[0].Labels = map[string]string{"env": "test"}
	ref := model.Reference{Group: v1alpha1.GroupName, Kind: "Application", Namespace: "shop", Name: "cart"}
	asserted := policy.Compile(model.NewSnapshot(in)).Application(now, model.Origin{Object: ref}).Assertions()
	if len(asserted) != 2 {
		t.Fatalf("%d assertions", len(asserted))
	}
	for _, changed := range []bool{false, true} {
		of := func(a *policy.Assertion) string {
			if changed {
				return "that of another statement"
			}
			return a.Digest()
		}
		s := Standing{Application: now, InForce: now, Last: recordOf(t, application("a", 0), 2), Verdict: &verdict.Application{State: verdict.Failed, Assertions: []verdict.Assertion{
			{Of: of(asserted[0]), Binding: "ClusterPolicyBinding admin", Rule: "outside", State: verdict.Passed},
			{Of: of(asserted[1]), Binding: "ClusterPolicyBinding admin", Rule: "outside", State: verdict.Failed},
		}}}
		s.back()
		Tell(asserted, map[types.UID]*Standing{now.UID: &s}, Silence{})
		if asserted[1].Answer.Outcome != policy.Fail || !changed && asserted[0].Answer.Outcome != policy.Pass {
			t.Errorf("changed %t: %+v, %+v", changed, asserted[0].Answer, asserted[1].Answer)
		}
	}
}
