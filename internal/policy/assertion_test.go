// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// outside asserts that the internet is denied some paths.
func outside(paths v1alpha1.Expression) v1alpha1.Assertion {
	return v1alpha1.Assertion{
		Name: "rule", From: v1alpha1.AssertionClient{Internet: &v1alpha1.InternetClient{}}, Request: v1alpha1.AssertionRequest{Paths: paths},
		Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny}, Message: "it is open",
	}
}

func inside(from v1alpha1.Expression) v1alpha1.Assertion {
	a := outside("['/']")
	a.From = v1alpha1.AssertionClient{Namespaces: from}
	return a
}

func with(a v1alpha1.Assertion, change func(*v1alpha1.Assertion)) v1alpha1.Assertion {
	change(&a)
	return a
}

// asserted are the assertions of one Application in namespace shop.
func asserted(a v1alpha1.Assertion, app *v1alpha1.Application, exceptions ...*v1alpha1.PolicyException) ([]*policy.Assertion, *policy.Set) {
	t := template([]v1alpha1.PolicyParameter{{Name: "paths", Type: v1alpha1.ParameterStrings, Default: &v1alpha1.JSON{Raw: []byte(`["/admin"]`)}}})
	t.Spec.Assertions = []v1alpha1.Assertion{a}
	s := compiled(model.Policies{
		Templates: []*v1alpha1.PolicyTemplate{t}, ClusterBindings: []*v1alpha1.ClusterPolicyBinding{binding("b")}, Exceptions: exceptions,
	}, model.Namespace{Name: "shop"}, model.Namespace{Name: "test", Labels: map[string]string{"env": "test"}}, model.Namespace{Name: "trial", Labels: map[string]string{"env": "test"}})
	held := s.Application(app, origin(app))
	if held == nil {
		return nil, s
	}
	return held.Assertions(), s
}

func many(n int) v1alpha1.Expression {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("'/%d'", i)
	}
	return v1alpha1.Expression("[" + strings.Join(paths, ", ") + "]")
}

func TestAnAssertionSaysWhatItAsksOrWhyItCannot(t *testing.T) {
	for _, c := range []struct {
		name string
		of   v1alpha1.Assertion
		// says is what is asserted, broken why it cannot be; both empty: it is not about it.
		says, broken string
	}{
		{"of the internet, with GET", outside("['/admin', '/admin']"), "asserts that GET /admin from the internet is denied", ""},
		{"by parameters", outside("params.paths"), "asserts that GET /admin from the internet is denied", ""},
		{"by the Application", outside("['/' + application.name, '/' + namespaceObject.name]"), "asserts that GET /cart, /shop from the internet is denied", ""},
		{"with methods", with(outside("['/']"), func(a *v1alpha1.Assertion) { a.Request.Methods = "['PUT', 'GET']" }), "asserts that PUT, GET / from the internet is denied", ""},
		{"of namespaces", inside("caller.labels[?'env'].orValue('') == 'test'"), "asserts that GET / from namespace test, trial is denied", ""},
		{"of no namespace", inside("false"), "asserts that GET / from no namespace is denied", ""},
		{"with a token and a code", with(outside("['/']"), func(a *v1alpha1.Assertion) {
			a.Request.Token, a.Expect.Code = &v1alpha1.TestToken{Issuer: "https://login"}, 403
		}), "asserts that GET / from the internet with a token of https://login is denied with 403", ""},
		{"about it", with(outside("['/']"), func(a *v1alpha1.Assertion) { a.When = "application.name == 'cart'" }), "asserts that GET / from the internet is denied", ""},
		{"not about it", with(outside("['/']"), func(a *v1alpha1.Assertion) { a.When = "application.name == 'till'" }), "", ""},
		{"without a path", outside("params.paths.filter(p, false)"), "asserts nothing, as it names no request", ""},
		{"whose when fails", with(outside("['/']"), func(a *v1alpha1.Assertion) { a.When = "application.labels['a'] == 'b'" }), "", "its when gives an error"},
		{"whose namespaces fail", inside("caller.labels['env'] == 'test'"), "", "its from gives an error (of namespace shop"},
		{"whose paths fail", outside("[application.labels['a']]"), "", "its request gives an error"},
		{"of a path that is none", outside("['admin']"), "", `"admin" is no path`},
		{"of a path with a space", outside("['/a b']"), "", "is no path"},
		{"of a path that is too long", outside("['/' + '" + v1alpha1.Expression(strings.Repeat("a", 2048)) + "']"), "", "at most 2048 characters"},
		{"of a method that is none", with(outside("['/']"), func(a *v1alpha1.Assertion) { a.Request.Methods = "['get']" }), "", `"get" is none of the methods`},
		{"of as many as may be", outside(many(policy.MaxAsserted)), "asserts that GET /0, /1, /2, /3, /4, /5, /6, /7 and 248 more from the internet is denied", ""},
		{"of too many", outside(many(policy.MaxAsserted + 1)), "", "it would send 257 requests, and at most 256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, s := asserted(c.of, application("shop", "cart", nil))
			if len(s.Findings) > 0 {
				t.Fatalf("%+v", s.Findings)
			}
			if c.says == "" && c.broken == "" {
				if len(got) != 0 {
					t.Errorf("it is about it: %s", got[0])
				}
				return
			}
			if len(got) != 1 || c.broken == "" && (got[0].Broken != "" || got[0].String() != c.says) || !strings.Contains(got[0].Broken, c.broken) {
				t.Fatalf("%+v", got)
			}
			if j := got[0].Judge(); c.broken != "" && (j.Outcome != policy.Unknown || j.Reason() != policy.ReasonAssertionNotKnown || !strings.Contains(j.Message, c.broken)) {
				t.Errorf("%s: %s", j.Reason(), j.Message)
			}
		})
	}
}

func TestAnAssertionThatContradictsItselfMakesTheTemplateUnusable(t *testing.T) {
	for name, c := range map[string]struct {
		of    v1alpha1.Assertion
		field string
	}{
		"nobody asks":            {with(outside("['/']"), func(a *v1alpha1.Assertion) { a.From = v1alpha1.AssertionClient{} }), "spec.assertions[0].from"},
		"two ask":                {with(outside("['/']"), func(a *v1alpha1.Assertion) { a.From.Namespaces = "true" }), "spec.assertions[0].from"},
		"nothing is asked":       {outside(""), "spec.assertions[0].request.paths"},
		"paths are no list":      {outside("'/admin'"), "spec.assertions[0].request.paths"},
		"methods are no list":    {with(outside("['/']"), func(a *v1alpha1.Assertion) { a.Request.Methods = "'GET'" }), "spec.assertions[0].request.methods"},
		"when is no condition":   {with(outside("['/']"), func(a *v1alpha1.Assertion) { a.When = "1" }), "spec.assertions[0].when"},
		"namespaces read routes": {inside("application.name == 'a'"), "spec.assertions[0].from.namespaces"},
		"another verdict":        {with(outside("['/']"), func(a *v1alpha1.Assertion) { a.Expect.Verdict = "Denied" }), "spec.assertions[0].expect.verdict"},
		"a code of what is allowed": {with(outside("['/']"), func(a *v1alpha1.Assertion) {
			a.Expect = v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictAllow, Code: 200}
		}), "spec.assertions[0].expect.code"},
	} {
		_, s := asserted(c.of, application("shop", "cart", nil))
		if len(s.Findings) == 0 || s.Findings[0].Reason != "TemplateInvalid" || s.Findings[0].Field != c.field {
			t.Errorf("%s: %+v", name, s.Findings)
		}
	}
}

func TestWhatAnAssertionFindsIsCountedAndClosesNothing(t *testing.T) {
	e := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e"}, Spec: v1alpha1.PolicyExceptionSpec{
		Binding: v1alpha1.BindingReference{Kind: "ClusterPolicyBinding", Name: "b"}, Rules: []v1alpha1.LabelName{"rule"},
		Subject: v1alpha1.ExceptionSubject{Application: "old"}, Reason: "it goes", Expires: metav1.NewTime(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)),
	}}
	digest, err := policy.Digest(e)
	if err != nil {
		t.Fatal(err)
	}
	e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "officer", Of: digest}
	for _, c := range []struct {
		name   string
		app    string
		answer *policy.Answer
		want   policy.Outcome
		reason string
	}{
		{"it holds", "cart", &policy.Answer{Outcome: policy.Pass}, policy.Pass, ""},
		{"it does not", "cart", &policy.Answer{Outcome: policy.Fail, Says: "it is Allow"}, policy.Fail, policy.ReasonAssertionFailed},
		{"it cannot be told", "cart", &policy.Answer{Outcome: policy.Unknown, Says: "no keys"}, policy.Unknown, policy.ReasonAssertionNotKnown},
		{"nobody has asked", "cart", nil, policy.Unknown, policy.ReasonAssertionNotKnown},
		{"it is let go", "old", &policy.Answer{Outcome: policy.Fail, Says: "it is Allow"}, policy.Exempt, "PolicyExempt"},
		{"it holds and would be let go", "old", &policy.Answer{Outcome: policy.Pass}, policy.Pass, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := application("shop", c.app, nil)
			got, s := asserted(outside("['/admin']"), app, e)
			got[0].Answer = c.answer
			j := got[0].Judge()
			if j.Outcome != c.want || j.Closes() || c.reason != "" && j.Reason() != c.reason || j.Fix() == "" {
				t.Errorf("%s %s: %s; %s", j.Outcome, j.Reason(), j.Message, j.Fix())
			}
			if outcome, ok := s.Bindings[0].Asked(origin(app).Object); !ok || outcome != c.want {
				t.Errorf("it counts as %s", outcome)
			}
			if got[0].Holds() != (c.app == "cart") {
				t.Error("what is let go holds back a change, or what is not does not")
			}
		})
	}
	if slices.ContainsFunc([]string{"RuleNotFound"}, func(r string) bool {
		_, s := asserted(outside("['/']"), application("shop", "cart", nil), e)
		return slices.Contains(findings(s), r)
	}) {
		t.Error("an exception cannot name an assertion")
	}
}

func TestTheDigestIsThatOfTheQuestion(t *testing.T) {
	digest := func(a v1alpha1.Assertion) string {
		got, _ := asserted(a, application("shop", "cart", nil))
		return got[0].Digest()
	}
	was := digest(outside("['/admin']"))
	if digest(with(outside("['/admin', '/admin']"), func(a *v1alpha1.Assertion) { a.Message = "in other words" })) != was {
		t.Error("the same question has another digest")
	}
	for name, a := range map[string]v1alpha1.Assertion{
		"another path":        outside("['/']"),
		"another name":        with(outside("['/admin']"), func(a *v1alpha1.Assertion) { a.Name = "other" }),
		"another method":      with(outside("['/admin']"), func(a *v1alpha1.Assertion) { a.Request.Methods = "['PUT']" }),
		"a token":             with(outside("['/admin']"), func(a *v1alpha1.Assertion) { a.Request.Token = &v1alpha1.TestToken{Issuer: "i"} }),
		"another expectation": with(outside("['/admin']"), func(a *v1alpha1.Assertion) { a.Expect.Code = 403 }),
		"other clients":       with(outside("['/admin']"), func(a *v1alpha1.Assertion) { a.From = v1alpha1.AssertionClient{Namespaces: "true"} }),
	} {
		if digest(a) == was {
			t.Errorf("%s has the same digest", name)
		}
	}
}
