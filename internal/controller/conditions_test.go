// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/gather"
	"github.com/trellis-mesh/trellis/internal/model"
)

// good are the facts of an owner with which everything is well.
func good() *facts {
	return &facts{
		generation: 3, accepted: true, generated: 4, exposed: true,
		programmed: &Verdict{Status: metav1.ConditionTrue, Reason: "Acknowledged", Message: "all have it"},
		probes:     []compile.Probe{{Host: "a"}, {Host: "b"}},
		result: func(p compile.Probe) (ProbeResult, bool) {
			return ProbeResult{Probe: p, Status: metav1.ConditionTrue}, true
		},
	}
}

func answered(status metav1.ConditionStatus, reason string) func(compile.Probe) (ProbeResult, bool) {
	return func(p compile.Probe) (ProbeResult, bool) {
		if p.Host == "b" {
			return ProbeResult{Probe: p, Status: status, Reason: reason, Message: "b is bad"}, true
		}
		return ProbeResult{Probe: p, Status: metav1.ConditionTrue}, true
	}
}

func TestConditionsFollowFromFacts(t *testing.T) {
	conflict := model.Finding{Severity: model.SeverityError, Reason: "Conflict", Message: "there is another"}
	for name, test := range map[string]struct {
		change func(*facts)
		want   string
	}{
		"everything is well": {func(*facts) {}, "Accepted=True/Accepted Programmed=True/Acknowledged Enforced=True/Probed Ready=True/Ready"},
		"refused": {func(f *facts) {
			f.accepted = false
			f.problems = []model.Finding{{Severity: model.SeverityError, Reason: "ServiceNotFound", Message: "no such Service"}}
		}, "Accepted=False/ServiceNotFound Programmed=True/Acknowledged Enforced=True/Probed Ready=False/ServiceNotFound Stalled=True/ServiceNotFound"},
		"nothing follows": {func(f *facts) { f.generated, f.exposed = 0, false },
			"Accepted=True/Accepted Programmed=False/NoEffect Ready=False/NoEffect"},
		"a certificate is awaited": {func(f *facts) { f.certificates = []kept{{name: "ManagedCertificate a"}} },
			"Accepted=True/Accepted Programmed=True/Acknowledged Enforced=True/Probed CertificatesReady=Unknown/Pending Ready=Unknown/Pending Reconciling=True/Pending"},
		"a certificate cannot be had": {func(f *facts) {
			f.certificates = []kept{{name: "ManagedCertificate a"}, {name: "ManagedCertificate b", ready: &metav1.Condition{Status: metav1.ConditionFalse, Reason: "RateLimited", Message: "wait"}}}
			f.records = []kept{{name: "ManagedRecord a", ready: &metav1.Condition{Status: metav1.ConditionTrue}}}
		}, "Accepted=True/Accepted Programmed=True/Acknowledged Enforced=True/Probed CertificatesReady=False/RateLimited DNSReady=True/Kept Ready=False/RateLimited"},
		"tests are there, and nobody runs them": {func(f *facts) { f.tests = 2 },
			"Accepted=True/Accepted Programmed=True/Acknowledged Enforced=True/Probed TestsPassed=Unknown/NotRun Ready=True/Ready"},
		"not exposed": {func(f *facts) { f.exposed = false },
			"Accepted=True/Accepted Programmed=True/Acknowledged Ready=True/Ready"},
		"exposed without a probe": {func(f *facts) { f.probes = nil },
			"Accepted=True/Accepted Programmed=True/Acknowledged Enforced=Unknown/NoProbes Ready=Unknown/NoProbes"},
		"a change on its way": {func(f *facts) { f.programmed = nil },
			"Accepted=True/Accepted Programmed=Unknown/Pending Enforced=True/Probed Ready=Unknown/Pending Reconciling=True/Pending"},
		"istiod refuses to say": {func(f *facts) {
			f.programmed = &Verdict{Status: metav1.ConditionUnknown, Reason: "IstiodRefuses"}
		}, "Accepted=True/Accepted Programmed=Unknown/IstiodRefuses Enforced=True/Probed Ready=Unknown/IstiodRefuses"},
		"an open route": {func(f *facts) { f.result = answered(metav1.ConditionFalse, "RouteOpen") },
			"Accepted=True/Accepted Programmed=True/Acknowledged Enforced=False/RouteOpen Ready=False/RouteOpen"},
		"a pod that does not answer": {func(f *facts) { f.result = answered(metav1.ConditionUnknown, "Unreachable") },
			"Accepted=True/Accepted Programmed=True/Acknowledged Enforced=Unknown/Unreachable Ready=Unknown/Unreachable"},
		"a probe that is still out": {func(f *facts) {
			f.result = func(compile.Probe) (ProbeResult, bool) { return ProbeResult{}, false }
		}, "Accepted=True/Accepted Programmed=True/Acknowledged Enforced=Unknown/Pending Ready=Unknown/Pending Reconciling=True/Pending"},
		"an object of somebody else": {func(f *facts) { f.unwritten, f.problems = &conflict, []model.Finding{conflict} },
			"Accepted=True/Accepted Programmed=False/Conflict Enforced=True/Probed Ready=False/Conflict Stalled=True/Conflict"},
		"paused": {func(f *facts) { f.paused, f.result = true, answered(metav1.ConditionFalse, "RouteOpen") },
			"Accepted=True/Accepted Programmed=True/Acknowledged Enforced=False/RouteOpen Ready=False/Paused"},
		"Istio is missing": {func(f *facts) { f.blockers, f.exposed = []gather.Blocker{{Reason: "IstioMissing"}}, false },
			"Accepted=Unknown/IstioMissing Programmed=Unknown/IstioMissing Ready=Unknown/IstioMissing Stalled=True/IstioMissing"},
	} {
		t.Run(name, func(t *testing.T) {
			f := good()
			test.change(f)
			var got []string
			for _, c := range conditions(f) {
				got = append(got, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
				if c.ObservedGeneration != 3 {
					t.Errorf("%s is about generation %d", c.Type, c.ObservedGeneration)
				}
			}
			if joined := strings.Join(got, " "); joined != test.want {
				t.Errorf("got  %s\nwant %s", joined, test.want)
			}
		})
	}
}

func TestARefusalSaysHowManyMoreThereAre(t *testing.T) {
	f := good()
	f.accepted = false
	for _, reason := range []string{"First", "Second", "Third"} {
		f.problems = append(f.problems, model.Finding{Severity: model.SeverityError, Reason: reason, Field: "spec.x", Message: "is bad", Fix: "repair it"})
	}
	f.problems = append(f.problems, model.Finding{Severity: model.SeverityWarning, Reason: "Odd"})
	got := conditions(f)[0].Message
	if want := "spec.x: is bad; repair it (and 2 more, see status.problems)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheTimeOfATransitionMovesWithTheStatusAlone(t *testing.T) {
	then, now := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	was := []metav1.Condition{
		{Type: "A", Status: metav1.ConditionTrue, Reason: "X", LastTransitionTime: then},
		{Type: "B", Status: metav1.ConditionTrue, LastTransitionTime: then},
	}
	is := settle(now, was, []metav1.Condition{
		{Type: "A", Status: metav1.ConditionTrue, Reason: "Y"}, {Type: "B", Status: metav1.ConditionFalse}, {Type: "C", Status: metav1.ConditionTrue},
	})
	for i, want := range []metav1.Time{then, now, now} {
		if !is[i].LastTransitionTime.Equal(&want) {
			t.Errorf("%s changed at %v, want %v", is[i].Type, is[i].LastTransitionTime, want)
		}
	}
}

func TestListsInStatusAreBounded(t *testing.T) {
	var findings []model.Finding
	for i := range 100 {
		findings = append(findings, model.Finding{Reason: fmt.Sprint(i)})
	}
	problems := problemsOf(findings)
	if len(problems) != maxProblems || !strings.HasPrefix(problems[maxProblems-1].Message, "69 more") {
		t.Errorf("%d problems, the last says %q", len(problems), problems[len(problems)-1].Message)
	}
	if exact := problemsOf(findings[:maxProblems]); len(exact) != maxProblems || exact[maxProblems-1].Reason != "31" {
		t.Errorf("as many problems as fit are not all shown: %+v", exact[len(exact)-1])
	}
	if n := len(generatedObjects(make([]model.Reference, 1000))); n != maxGenerated {
		t.Errorf("%d generated objects", n)
	}
}

func TestAClaimOutlivesItsLastUserBySevenDays(t *testing.T) {
	now := time.Unix(10_000_000, 0)
	ago := func(d time.Duration) *metav1.Time { t := metav1.NewTime(now.Add(-d)); return &t }
	for name, test := range map[string]struct {
		used, byHand bool
		since        *metav1.Time
		want         claimStep
		again        time.Duration
	}{
		"in use":                        {used: true, want: claimStays},
		"its last user has gone":        {want: claimBecomesUnused, again: claimOutlives},
		"unused for six days":           {since: ago(6 * 24 * time.Hour), want: claimStays, again: 24 * time.Hour},
		"unused for seven days":         {since: ago(7 * 24 * time.Hour), want: claimIsReleased},
		"used again":                    {used: true, since: ago(6 * 24 * time.Hour), want: claimIsUsedAgain},
		"used again at the last":        {used: true, since: ago(8 * 24 * time.Hour), want: claimIsUsedAgain},
		"made by hand, never used":      {byHand: true, want: claimBecomesUnused},
		"made by hand, unused for long": {byHand: true, since: ago(700 * time.Hour), want: claimStays},
	} {
		t.Run(name, func(t *testing.T) {
			claim := &v1alpha1.HostClaim{Status: v1alpha1.HostClaimStatus{UnusedSince: test.since}}
			if !test.byHand {
				claim.Labels = map[string]string{compile.LabelManagedBy: compile.ManagedBy}
			}
			step, again := nextClaimStep(claim, test.used, now)
			if step != test.want || again != test.again {
				t.Errorf("step %v again in %v, want %v in %v", step, again, test.want, test.again)
			}
		})
	}
}

func TestAPausedApplicationDoesNotHoldUpWhatItShares(t *testing.T) {
	paused := map[string]string{v1alpha1.PausedAnnotation: "true"}
	in := model.Input{
		Applications: []*v1alpha1.Application{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "stopped", Annotations: paused}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "goes-on"}},
		},
		SecureIngresses: []*v1alpha1.SecureIngress{{ObjectMeta: metav1.ObjectMeta{Namespace: "g", Name: "public"}}},
	}
	ref := func(kind ownerKind, namespace, name string) model.Reference {
		return reference("c", kind, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	stopped, goesOn, ingress := ref(kindApplication, "n", "stopped"), ref(kindApplication, "n", "goes-on"), ref(kindSecureIngress, "g", "public")
	isFrozen := frozen(in, "c")
	for name, test := range map[string]struct {
		owners []model.Reference
		want   bool
	}{
		"its own":                           {[]model.Reference{stopped}, true},
		"its own at the gateway":            {[]model.Reference{ingress, stopped}, true},
		"a host that it shares":             {[]model.Reference{ingress, stopped, goesOn}, false},
		"the ingress's":                     {[]model.Reference{ingress}, false},
		"another one's":                     {[]model.Reference{goesOn}, false},
		"nobody's, as a claim of a host is": {nil, false},
	} {
		if got := isFrozen(test.owners); got != test.want {
			t.Errorf("%s: frozen %v, want %v", name, got, test.want)
		}
	}
}
