// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// asserts asks of every Application whether the internet reaches its API without a login.
const asserts = `
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: api-1.0.0}
spec:
  policy: api
  version: 1.0.0
  title: Nobody reads APIs without a login
  severity: High
  remediation: {text: ask for a login}
  assertions:
  - name: login
    from: {internet: {}}
    request: {paths: "['/api']"}
    expect: {verdict: Deny}
    message: anybody reads the API
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: api}
spec: {tier: Mandatory, policy: {name: api, version: 1.0.0}, mode: MODE}
`

// untested is an Application without tests of its own.
func untested(replace ...string) string {
	text, _, _ := strings.Cut(application, "  tests:\n")
	return named(text, "cart", replace...)
}

func TestWhatPoliciesAssertIsRunForApplicationsWithoutTestsToo(t *testing.T) {
	for _, c := range []struct {
		name, mode  string
		application string
		state, of   verdict.State
		tests       int
	}{
		{"it holds", "Enforce", untested(), verdict.Passed, verdict.Passed, 1},
		{"it does not hold", "Enforce", untested(open...), verdict.Failed, verdict.Failed, 1},
		{"it is tried, and does not hold", "Shadow", untested(open...), verdict.Passed, verdict.Failed, 0},
		{"beside tests of its own", "Enforce", named(application, "cart"), verdict.Passed, verdict.Passed, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := states(t, observed(t, decode(t, platform, named(workload, "cart"), c.application, strings.ReplaceAll(asserts, "MODE", c.mode))...))["cart"]
			if a.State != c.state || a.Tests != c.tests || len(a.Assertions) != 1 || a.Assertions[0].State != c.of {
				t.Fatalf("got %+v", a)
			}
			if got := a.Assertions[0]; got.Binding != "ClusterPolicyBinding api" || got.Rule != "login" || got.Of == "" {
				t.Errorf("got %+v", got)
			}
			if c.state == verdict.Failed && (len(a.Failures) != 1 || a.Failures[0].Policy != "ClusterPolicyBinding api" || !strings.Contains(a.Failures[0].Sentence(), `assertion "login" of ClusterPolicyBinding api: it is Allow`)) {
				t.Errorf("got %+v", a.Failures)
			}
		})
	}
}

// What is in force stays in force, and a change that a policy does not let pass is not
// what others are tested with.
func TestAChangeThatFailsWhatAPolicyAssertsIsNotChosen(t *testing.T) {
	record, changed := later(t, untested(), untested(open...))
	objects := append(decode(t, platform, named(workload, "cart"), strings.ReplaceAll(asserts, "MODE", "Enforce")), record, changed)
	settled := settledOf(t, observed(t, objects...))
	if len(settled.Applications) != 1 || settled.Applications[0].State != verdict.Failed {
		t.Errorf("got %+v", settled.Applications)
	}
	if generation(settled.Choice) != 1 {
		t.Errorf("generation %d is chosen", generation(settled.Choice))
	}
	objects = append(decode(t, platform, named(workload, "cart"), strings.ReplaceAll(asserts, "MODE", "Audit")), record, changed)
	if settled := settledOf(t, observed(t, objects...)); generation(settled.Choice) != 2 {
		t.Errorf("nothing is enforced, and generation %d is chosen", generation(settled.Choice))
	}
}

func generation(c examine.Choice) int64 {
	if len(c) != 1 {
		return 0
	}
	return c[0].Generation
}

func TestAChangeThatBreaksAnAssertionIsRefusedWithWhoseItIs(t *testing.T) {
	is := func(replace ...string) client.Object {
		return applicationOf(t, named(application, "cart", append(replace, "expect: {verdict: Deny}", "expect: {verdict: Allow}")...))
	}
	there := decode(t, platform, named(workload, "cart"), strings.ReplaceAll(asserts, "MODE", "Enforce"))
	got := asked(t, observed(t, there...), nil, nil, is(open...))
	if got.Allowed || !strings.Contains(got.Result.Message, `: assertion "login": it is Allow`) ||
		!strings.Contains(got.Result.Message, "ask for an exception from ClusterPolicyBinding api") {
		t.Errorf("%+v", got.Result)
	}
}
