// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sight_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/report/assessment"
	"github.com/trellis-mesh/trellis/internal/server/sight"
)

var (
	developer = &sight.Sight{Namespaces: map[string]bool{"shop": true}}
	platform  = &sight.Sight{Everywhere: true, AllIngresses: true}
	security  = &sight.Sight{Everywhere: true, AllIngresses: true, Goals: true, Bindings: true, Templates: true}
	onlooker  = &sight.Sight{Everywhere: true, AllIngresses: true, Goals: true, Bindings: true, Templates: true}
	nobody    = &sight.Sight{}
)

func TestEachSeesWhatTheirRightsSay(t *testing.T) {
	for object, seen := range map[string][5]bool{
		//                                    developer, platform, security, viewer, nobody
		"Application shop/cart":            {true, true, true, true, false},
		"Application bank/till":            {false, true, true, true, false},
		"PolicyException shop/cart":        {true, true, true, true, false},
		"PolicyBinding bank/strict":        {false, true, true, true, false},
		"AuthorizationPolicy bank/by-hand": {false, true, true, true, false},
		"SecureIngress istio-ingress/main": {false, true, true, true, false},
		"Goal private":                     {false, false, true, true, false},
		"ClusterPolicyBinding strict":      {false, false, true, true, false},
		"PolicyTemplate strict-1.0.0":      {false, false, true, true, false},
		"HostClaim host":                   {false, true, true, true, false},
		"":                                 {true, true, true, true, true},
	} {
		for i, s := range []*sight.Sight{developer, platform, security, onlooker, nobody} {
			if s.Named(object) != seen[i] {
				t.Errorf("%q is seen by viewer %d: %t", object, i, s.Named(object))
			}
		}
	}
}

// TestARefusalBySomebodyElseSaysWhoseItIsAndNoMore: a developer whose request is refused by
// the statement of others learns whom to ask.
func TestARefusalBySomebodyElseSaysWhoseItIsAndNoMore(t *testing.T) {
	theirs := &answer.Statement{Object: "Application bank/till", Field: "spec.access", Source: "secret.yaml:3", Layer: "Application", Reason: "NotACaller"}
	all := &answer.Answer{
		Outcome: "Deny", Code: 403, Details: "secret", Why: "a secret rule", Do: "add secret", Decided: theirs, Reached: &answer.Reached{Workload: "bank/till-1", Address: "secret"},
		Change: []answer.Place{{Statement: *theirs, Whom: "the developers of Application bank/till"}},
		Steps: []answer.Step{
			{Proxy: "shop/cart-1", Stage: "route", Says: "own"}, {Proxy: "bank/till-1", Stage: "rbac", Rule: "secret", Object: "secret", Says: "secret", Stops: true, Statement: theirs},
		},
	}
	got := developer.Answer(all)
	if !got.Redacted || got.Outcome != "Deny" || got.Code != 403 || got.Steps[0].Says != "own" || got.Change[0].Whom == "" {
		t.Errorf("it is %+v", got)
	}
	if want := "it hangs on Application bank/till, which you may not read: ask the developers of Application bank/till"; got.Why != want {
		t.Errorf("it says %q", got.Why)
	}
	for _, text := range []string{got.Details, got.Do, got.Decided.Source, got.Decided.Field, got.Change[0].Source, got.Steps[1].Rule, got.Steps[1].Object, got.Reached.Address} {
		if text != "" {
			t.Errorf("it tells %q", text)
		}
	}
	if all.Steps[1].Says != "secret" || all.Decided.Source == "" {
		t.Error("what others are told has changed, too")
	}
	if security.Answer(all) != all {
		t.Error("whoever may read all is not told all")
	}
}

func TestAGoalIsSeenAsFarAsItIsAboutOnesOwnObjects(t *testing.T) {
	tree := []*answer.Node{{
		Kind: "Goal", Name: "private", State: "NotMet", Says: "“Private”: 7 of 9 fail", Open: "“Private”", Statement: "Goal private", Hits: &answer.Hit{Denied: 7},
		Below: []*answer.Node{{
			Kind: "ClusterPolicyBinding", Name: "strict", Enforced: true, State: "NotMet", Says: "strict 1.0.0, Mandatory, Enforce: 7 of 9 fail", Open: "strict 1.0.0, Mandatory, Enforce", Statement: "ClusterPolicyBinding strict",
			Below: []*answer.Node{{Kind: "Application", Name: "shop/cart", State: "Passing", Statement: "Application shop/cart"}, {Kind: "Application", Name: "bank/till", State: "Failing", Statement: "Application bank/till"}},
		}},
	}}
	got := developer.Tree(tree)
	if len(got) != 1 || got[0].State != "Met" || got[0].Says != "“Private”" || got[0].Hits != nil || !got[0].Redacted {
		t.Fatalf("the goal is %+v", got)
	}
	if b := got[0].Below[0]; b.State != "Met" || b.Says != "strict 1.0.0, Mandatory, Enforce" || len(b.Below) != 1 || b.Below[0].Name != "shop/cart" {
		t.Errorf("the binding is %+v", b)
	}
	if len(nobody.Tree(tree)) != 0 {
		t.Error("nobody sees a goal that is not about them")
	}
	if tree[0].State != "NotMet" || len(tree[0].Below[0].Below) != 2 {
		t.Error("what others are told has changed, too")
	}
}

// TestAGoalThatNothingEnforcesIsNotMetForAnybody: who sees little is not told better news
// than who sees all.
func TestAGoalThatNothingEnforcesIsNotMetForAnybody(t *testing.T) {
	tree := []*answer.Node{{
		Kind: "Goal", Name: "private", State: "NotMet", Open: "“Private”", Statement: "Goal private",
		Below: []*answer.Node{{
			Kind: "ClusterPolicyBinding", Name: "tried", State: "Met", Open: "strict 1.0.0, Mandatory, Shadow", Statement: "ClusterPolicyBinding tried",
			Below: []*answer.Node{{Kind: "Application", Name: "shop/cart", State: "Passing", Statement: "Application shop/cart"}},
		}},
	}}
	if got := developer.Tree(tree); got[0].State != "NotMet" || got[0].Below[0].State != "Met" || !strings.Contains(got[0].Says, "nothing that serves it is enforced") {
		t.Errorf("the tree is %+v", got[0])
	}
	shadow := assessment.Policy{Binding: "PolicyBinding shop/tried", Mode: "Shadow", State: "Met"}
	report := &assessment.Assessment{
		Goals:    []assessment.Goal{{Name: "private", State: "NotMet", Bindings: []string{shadow.Binding}}},
		Policies: []assessment.Policy{shadow},
	}
	if got := developer.Assessment(report); got.Goals[0].State != "NotMet" || !strings.Contains(got.Goals[0].Message, "nothing that serves it is enforced") {
		t.Errorf("the report says %+v", got.Goals[0])
	}
	report.Policies[0].Mode = "Enforce"
	if got := developer.Assessment(report); got.Goals[0].State != "Met" {
		t.Errorf("of what is enforced the report says %+v", got.Goals[0])
	}
}

// TestWhoElseCallsAServiceOfOthersIsTheirs: a change for one's own workload and for others is
// told as far as it is one's own.
func TestWhoElseCallsAServiceOfOthersIsTheirs(t *testing.T) {
	all := &outgoing.Changes{Changes: ask.Changes{Changes: []ask.Change{
		{Reach: ask.Reach{From: []string{"bank/teller", "shop/cart"}, To: "bank/till-1", Witness: ask.Witness{From: "bank/teller-1", URL: "http://till.bank/"}}},
		{Reach: ask.Reach{From: []string{"bank/teller", "shop/cart"}, To: "shop/cart-1", Witness: ask.Witness{From: "bank/teller-1"}}},
		{Reach: ask.Reach{From: []string{"shop/cart"}, To: "bank.example.com", Paths: []string{"/"}, Witness: ask.Witness{From: "shop/cart-1"}}},
		{Reach: ask.Reach{From: []string{"bank/teller"}, To: "till.bank.svc.cluster.local"}},
		{Reach: ask.Reach{From: []string{"bank/teller"}, To: "bank.example.com"}},
	}}}
	got := developer.Changes(all)
	if to := got.Changes.Changes.Changes[0]; !slices.Equal(to.From, []string{"shop/cart"}) || to.Witness.From != "" || !got.Redacted {
		t.Errorf("of a service of others it tells %+v", to)
	}
	if own := got.Changes.Changes.Changes[1]; len(own.From) != 2 || own.Witness.From == "" {
		t.Errorf("of one's own it tells %+v", own)
	}
	if outside := got.Changes.Changes.Changes[2]; outside.Witness.From == "" || len(outside.Paths) != 1 {
		t.Errorf("of what one's own calls outside it tells %+v", outside)
	}
	if len(got.Changes.Changes.Changes) != 3 {
		t.Errorf("what others call is told, too: %+v", got.Changes.Changes.Changes[3:])
	}
	if len(all.Changes.Changes[0].From) != 2 || all.Changes.Changes[0].Witness.From == "" {
		t.Error("what others are told has changed, too")
	}
}

// TestACallIsToldToBothItsEnds: whoever keeps neither learns nothing of it, and of a row of
// many each sees its own.
func TestACallIsToldToBothItsEnds(t *testing.T) {
	stated := []ask.Origin{{Object: "Application bank/teller", Field: "spec.access.calls", Source: "teller.yaml:7"}}
	all := &outgoing.Changes{Calls: []outgoing.Call{
		{From: []string{"bank/teller", "shop/cart"}, To: []string{"bank/till:80"}, Witness: ask.Witness{From: "shop/cart-1"}},
		{From: []string{"bank/teller"}, To: []string{"bank/till:80", "shop/cart:80", outgoing.AnyOther}, Witness: ask.Witness{From: "bank/teller-1"}, After: ask.Moment{Why: "secret", Because: stated}},
		{From: []string{"bank/teller"}, To: []string{"api.example.com:443"}},
	}}
	got := developer.Changes(all)
	if len(got.Calls) != 2 || !got.Redacted {
		t.Fatalf("it tells %+v", got.Calls)
	}
	if own := got.Calls[0]; !slices.Equal(own.From, []string{"shop/cart"}) || len(own.To) != 1 || own.Witness.From == "" {
		t.Errorf("of one's own call it tells %+v", own)
	}
	if other := got.Calls[1]; len(other.From) != 1 || !slices.Equal(other.To, []string{"shop/cart:80"}) || other.Witness.From != "" || other.After.Why != "" || other.After.Because[0].Field != "" {
		t.Errorf("of a call of others it tells %+v", other)
	}
	if stated[0].Field == "" || len(all.Calls[1].To) != 3 {
		t.Error("what others are told has changed, too")
	}
}

func TestAStepOfOnesOwnProxyIsTold(t *testing.T) {
	of := &answer.Answer{Steps: []answer.Step{{Proxy: "sidecar shop/cart-1", Says: "own"}, {Proxy: "sidecar bank/till-1", Says: "theirs"}, {Says: "nobody's"}}}
	got := developer.Answer(of)
	if got.Steps[0].Says != "own" || got.Steps[1].Says == "theirs" || got.Steps[2].Says != "nobody's" {
		t.Errorf("it tells %+v", got.Steps)
	}
}
