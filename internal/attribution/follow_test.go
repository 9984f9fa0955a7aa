// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/xds"
)

var noon = time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)

// without leaves an object out.
func without(in attribution.Input, name string) attribution.Input {
	in.Objects = slices.DeleteFunc(slices.Clone(in.Objects), func(o runtime.Object) bool {
		p, is := o.(*securityv1.AuthorizationPolicy)
		return is && p.Name == name
	})
	return in
}

// renumbered moves all rules of a policy, so that each of them has the number that another
// had.
func renumbered(t *testing.T, in attribution.Input, name string, by int) attribution.Input {
	t.Helper()
	at := slices.IndexFunc(in.Objects, func(o runtime.Object) bool {
		p, is := o.(*securityv1.AuthorizationPolicy)
		return is && p.Name == name
	})
	p, is := in.Objects[at].DeepCopyObject().(*securityv1.AuthorizationPolicy)
	if !is {
		t.Fatal("it is no policy")
	}
	var origin map[string]any
	must(t, json.Unmarshal([]byte(p.Annotations["trellis.dev/origin"]), &origin))
	rules, is := origin["rules"].([]any)
	if !is {
		t.Fatal("it has no rules")
	}
	by %= len(rules)
	origin["rules"] = append(slices.Clone(rules[by:]), rules[:by]...)
	raw, err := json.Marshal(origin)
	must(t, err)
	p.Annotations["trellis.dev/origin"] = string(raw)
	in.Objects = slices.Clone(in.Objects)
	in.Objects[at] = p
	return in
}

const allow = "trellis-application-web-allow"

// caller is what a caller's rule is said to be by numbers.
func caller(rule, number int) string {
	return fmt.Sprintf("Attributed||Allowed|Workload|shop/web/api|AuthorizationPolicy shop/trellis-application-web-allow|%d|Application shop/web|spec.access.callers[%d]|Caller|jobs/nightly", rule, number)
}

const (
	letInByUnknown = "Attributed|RuleUnknown|Allowed|Workload|shop/web/api||-1||||jobs/nightly"
)

func TestARuleWithAnotherNumberIsNotGuessedForAWhile(t *testing.T) {
	in := mesh(t)
	first := attribution.Follow(nil, in, noon)
	if got := said(first.Of(change(t, atWeb))); got != caller(3, 1) || !first.Due().IsZero() {
		t.Fatalf("%s, and again at %s", got, first.Due())
	}
	moved := renumbered(t, in, allow, 1)
	second := attribution.Follow(first, moved, noon)
	if got := said(second.Of(change(t, atWeb))); got != letInByUnknown {
		t.Errorf("at once it is %s", got)
	}
	if want := noon.Add(time.Minute); !second.Due().Equal(want) {
		t.Errorf("more is known at %s, want %s", second.Due(), want)
	}
	// Pods that come and go do not make it forget.
	third := attribution.Follow(second, moved, noon.Add(59*time.Second))
	if got := said(third.Of(change(t, atWeb))); got != letInByUnknown {
		t.Errorf("after 59 s it is %s", got)
	}
	fourth := attribution.Follow(third, moved, noon.Add(time.Minute))
	if got := said(fourth.Of(change(t, atWeb))); got == letInByUnknown || got == caller(3, 1) || !fourth.Due().IsZero() {
		t.Errorf("after a minute it is %s, and again at %s", got, fourth.Due())
	}
	if got := said(fourth.Of(change(t, atWeb, "rbac", rbac("enforced_engine_result", "allowed", "enforced_effective_policy_id", "ns[shop]-policy["+allow+"]-rule[2]")))); got != caller(2, 1) {
		t.Errorf("by its new number it is %s", got)
	}
}

func TestRulesThatStayAreKnownWhileOthersChange(t *testing.T) {
	in := mesh(t)
	changed := renumbered(t, in, "trellis-host-public.web.example.com.web.shop-deny", 1)
	x := attribution.Follow(attribution.Follow(nil, in, noon), changed, noon)
	if got := said(x.Of(change(t, atWeb))); got != caller(3, 1) {
		t.Errorf("it is %s", got)
	}
}

// longer has more rules at the end of a policy.
func longer(t *testing.T, in attribution.Input, name string, by int) attribution.Input {
	t.Helper()
	in = renumbered(t, in, name, 0)
	for _, o := range in.Objects {
		if p, is := o.(*securityv1.AuthorizationPolicy); is && p.Name == name {
			for range by {
				p.Spec.Rules = append(p.Spec.Rules, &securityapi.Rule{})
			}
		}
	}
	return in
}

func TestOfAPolicyThatChangesTooOftenNothingIsKnown(t *testing.T) {
	in := mesh(t)
	x := attribution.Follow(nil, renumbered(t, in, allow, 1), noon)
	for i := range 6 {
		x = attribution.Follow(x, longer(t, in, allow, i), noon.Add(time.Duration(i)*time.Second))
	}
	// All versions that are remembered say the same, and the first one did not.
	if got := said(x.Of(change(t, atWeb))); got != letInByUnknown {
		t.Errorf("it is %s", got)
	}
}

func TestAPolicyThatIsGoneIsRememberedForAWhile(t *testing.T) {
	in := mesh(t)
	gone := without(in, allow)
	x := attribution.Follow(attribution.Follow(nil, in, noon), gone, noon)
	if got := said(x.Of(change(t, atWeb))); got != caller(3, 1) {
		t.Errorf("at once it is %s", got)
	}
	x = attribution.Follow(x, gone, noon.Add(5*time.Minute))
	if got := said(x.Of(change(t, atWeb))); got != letInByUnknown {
		t.Errorf("after five minutes it is %s", got)
	}
}

func TestADefaultDenialIsOfAllThatMayHaveDecided(t *testing.T) {
	denied := change(t, atWeb, denial("none")...)
	in := mesh(t)
	before := attribution.Follow(nil, in, noon)
	if got := said(before.Of(denied)); got != "Attributed||Denied|Workload|shop/web/api|AuthorizationPolicy shop/"+allow+"|-1|Application shop/web||Default|jobs/nightly" {
		t.Fatal(got)
	}
	// Nothing that is gone was there as long as nothing refused: it is known who did.
	if got := said(attribution.Follow(before, without(in, allow), noon).Of(denied)); got != said(before.Of(denied)) {
		t.Errorf("after it is gone it is %s", got)
	}
	more := in
	more.Objects = append(slices.Clone(in.Objects), byHand("shop", "by-hand", securityapi.AuthorizationPolicy_ALLOW, "web"))
	after := attribution.Follow(before, more, noon)
	if got := said(after.Of(denied)); got != "Unknown|RuleUnknown|Denied|Workload|shop/web/api||-1|||Default|jobs/nightly" {
		t.Errorf("beside another one it is %s", got)
	}
	later := attribution.Follow(after, more, noon.Add(time.Minute))
	if got, want := said(later.Of(denied)), said(attribution.New(more).Of(denied)); got != want {
		t.Errorf("a minute later it is %s, want %s", got, want)
	}
}

func TestARouteThatIsGoneOrStatedOtherwiseStaysWhatItWas(t *testing.T) {
	in := mesh(t)
	first := attribution.Follow(nil, in, noon)
	const known = "Attributed||Allowed|Gateway|shop/web/api|VirtualService istio-ingress/trellis-host-public.web.example.com|5|Application shop/web|spec.exposures[0].routes[0]|Route|internet"
	if got := said(first.Of(change(t, atGateway))); got != known {
		t.Fatal(got)
	}
	gone := in
	gone.Objects = slices.DeleteFunc(slices.Clone(in.Objects), func(o runtime.Object) bool {
		_, is := o.(*networkingv1.VirtualService)
		return is
	})
	if got := said(attribution.Follow(first, gone, noon).Of(change(t, atGateway))); got != known {
		t.Errorf("after it is gone it is %s", got)
	}
	if got := said(attribution.New(gone).Of(change(t, atGateway))); got == known {
		t.Error("it is known to who never knew it")
	}
}

func TestAPodThatIsGoneIsRememberedForAWhile(t *testing.T) {
	in := mesh(t)
	gone := in
	gone.Proxies = slices.DeleteFunc(slices.Clone(in.Proxies), func(n xds.Node) bool { return n.Name == "web-1" })
	e := change(t, atWeb)
	e.Writer = accesslog.Writer{Namespace: "shop", Pod: "web-1"}
	x := attribution.Follow(attribution.Follow(nil, in, noon), gone, noon)
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, caller(3, 1)}, {4 * time.Minute, caller(3, 1)}, {5 * time.Minute, "Unknown|WriterUnknown|Allowed"}} {
		x = attribution.Follow(x, gone, noon.Add(c.after))
		if got := said(x.Of(e)); len(got) < len(c.want) || got[:len(c.want)] != c.want {
			t.Errorf("after %s it is %s, want %s", c.after, got, c.want)
		}
	}
}

func TestWhatItsProvenanceDoesNotTellIsNobodysOwnRule(t *testing.T) {
	in := mesh(t)
	at := slices.IndexFunc(in.Objects, func(o runtime.Object) bool {
		p, is := o.(*securityv1.AuthorizationPolicy)
		return is && p.Name == allow
	})
	p, is := in.Objects[at].(*securityv1.AuthorizationPolicy)
	if !is {
		t.Fatal("it is no policy")
	}
	p.Annotations["trellis.dev/origin"] = `{"configMap":"elsewhere"}`
	if got := said(attribution.New(in).Of(change(t, atWeb))); got != letInByUnknown {
		t.Errorf("it is %s", got)
	}
}
