// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// randomPermission is one of those that Istio writes for hosts, and of those that
// look like them.
func randomPermission(r *rand.Rand, depth int) *rbacv3.Permission {
	text := []string{"a.example", "A.example", "b.example", "a.example:", "b.example:8", ":", "a", "a.example:80"}[r.IntN(8)]
	m := &matcherv3.StringMatcher{IgnoreCase: r.IntN(2) == 0}
	switch r.IntN(4) {
	case 0, 1:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: text}
	case 2:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: text}
	case 3:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: text}
	}
	header := &routev3.HeaderMatcher{
		Name: []string{":authority", "host", "Host", "x"}[r.IntN(4)], InvertMatch: r.IntN(8) == 0, TreatMissingHeaderAsEmpty: r.IntN(8) == 0,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m},
	}
	one := &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: header}}
	if depth == 0 {
		return one
	}
	other := randomPermission(r, depth-1)
	switch r.IntN(5) {
	case 0:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: []*rbacv3.Permission{one, other}}}}
	case 1:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: []*rbacv3.Permission{one, other}}}}
	case 2:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: other}}
	case 3:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: 80}}
	}
	return one
}

func TestAnIndexedSetOfPoliciesDecidesAsOneThatIsNot(t *testing.T) {
	anybody := []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}}
	indexed, decided := 0, 0
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		rules := &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: map[string]*rbacv3.Policy{}}
		for i := range indexedFrom + r.IntN(8) {
			rules.Policies[fmt.Sprintf("p%02d", i)] = &rbacv3.Policy{Permissions: []*rbacv3.Permission{randomPermission(r, 2)}, Principals: anybody}
		}
		with, err := newEngine(rules, false, false)
		if err != nil {
			t.Fatal(err)
		}
		if with.index != nil {
			indexed++
		}
		without := *with
		without.index = nil
		for _, hosts := range [][]string{{"a.example"}, {"A.EXAMPLE"}, {"a.example:80"}, {"b.example:8"}, {"b.example:80:1"}, {":"}, {":80"}, {""}, {"c"}, nil, {"a.example", "b.example"}} {
			s := &stream.Stream{Connection: &stream.Connection{Local: netip.MustParseAddrPort("192.0.2.1:81")}}
			for _, h := range hosts {
				s.Headers.Add(stream.Authority, h)
			}
			got, want := with.decide(s), without.decide(s)
			if got != want {
				t.Fatalf("seed %d, hosts %q: %+v with an index and %+v without", seed, hosts, got, want)
			}
			if want.Policy != "" {
				decided++
			}
		}
	}
	if indexed < 1000 || decided < 1000 {
		t.Errorf("%d sets have an index and %d requests match: too few to say anything", indexed, decided)
	}
}
