// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"fmt"
	"net/netip"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/decide/rbac"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

func compile(t testing.TB, text string) *rbac.Filter {
	t.Helper()
	config := &httprbacv3.RBAC{}
	if err := protojson.Unmarshal([]byte(text), config); err != nil {
		t.Fatal(err)
	}
	f, err := rbac.NewHTTP(config)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func request(path string) *stream.Stream {
	return &stream.Stream{
		Connection: &stream.Connection{DirectRemote: netip.MustParseAddrPort("127.0.0.1:1"), Local: netip.MustParseAddrPort("127.0.0.1:80")},
		Headers:    stream.NewHeaders(stream.Header{Name: ":path", Value: path}, stream.Header{Name: ":method", Value: "GET"}),
	}
}

const (
	open   = `{"permissions":[{"matcher":{"name":"mine"}}],"principals":[{"any":true}]}`
	always = `{"permissions":[{"any":true}],"principals":[{"any":true}]}`
	never  = `{"permissions":[{"urlPath":{"path":{"exact":"/never"}}}],"principals":[{"any":true}]}`
	cel    = `{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":{"constExpr":{"boolValue":true}}}`
)

func TestAnOpenPolicyMakesTheOutcomeUnknownOnlyWhereItCouldChangeIt(t *testing.T) {
	for _, c := range []struct {
		name, action, policies string
		outcome                rbac.Outcome
		policy                 string
		sure                   bool
	}{
		{"nothing else allows", "ALLOW", `{"a":` + open + `}`, rbac.Unknown, "", false},
		{"nothing else denies", "DENY", `{"a":` + open + `,"b":` + never + `}`, rbac.Unknown, "", false},
		{"a later one allows", "ALLOW", `{"a":` + open + `,"b":` + always + `}`, rbac.Allowed, "", false},
		{"an earlier one denies", "DENY", `{"b":` + open + `,"a":` + always + `}`, rbac.Denied, "a", true},
		{"a later one denies", "DENY", `{"a":` + open + `,"b":` + always + `}`, rbac.Denied, "", false},
		{"a condition", "ALLOW", `{"a":` + cel + `}`, rbac.Unknown, "", false},
		{"rules that only log", "LOG", `{"a":` + open + `}`, rbac.Allowed, "", false},
		{"none matches", "ALLOW", `{"a":` + never + `}`, rbac.Denied, "", true},
		{"no policy denies", "DENY", `{}`, rbac.Allowed, "", true},
	} {
		v := compile(t, `{"rules":{"action":"`+c.action+`","policies":`+c.policies+`}}`).Decide(request("/x"))
		if v.Outcome() != c.outcome || v.Enforced.Policy != c.policy || (v.Why() == "") != c.sure {
			t.Errorf("%s: %+v, want %v by %q, sure: %v", c.name, v.Enforced, c.outcome, c.policy, c.sure)
		}
		if !c.sure && v.Details() != "" {
			t.Errorf("%s: details %s name a policy that is not sure", c.name, v.Details())
		}
	}
}

func TestAMatcherTreeIsUnknownWhateverTheRulesAre(t *testing.T) {
	if v := compile(t, `{"matcher":{},"rules":{"policies":{"a":`+always+`}}}`).Decide(request("/")); v.Outcome() != rbac.Unknown || v.Why() == "" {
		t.Errorf("verdict: %+v", v)
	}
}

func TestShadowRulesChangeTheMetadataAndNothingElse(t *testing.T) {
	s := request("/")
	v := compile(t, `{"shadowRules":{"action":"DENY","policies":{"a b":`+always+`}},"shadowRulesStatPrefix":"dry_"}`).Decide(s)
	if v.Outcome() != rbac.Allowed || v.Shadow.Outcome != rbac.Denied {
		t.Errorf("verdict: %+v", v)
	}
	fields := s.Metadata.Of("envoy.filters.http.rbac").AsMap()
	if fields["dry_shadow_engine_result"] != "denied" || fields["dry_shadow_effective_policy_id"] != "a b" {
		t.Errorf("metadata: %v", fields)
	}
}

func TestMetadataOfAnEarlierFilterStaysWhereAFilterSaysNothing(t *testing.T) {
	s := request("/")
	compile(t, `{"shadowRules":{"policies":{"a":`+always+`}}}`).Decide(s)
	before := s.Clone()
	compile(t, `{"rules":{"policies":{"b":`+always+`}}}`).Decide(s)
	if fields := s.Metadata.Of("envoy.filters.http.rbac").AsMap(); len(fields) != 4 {
		t.Errorf("metadata: %v", fields)
	}
	if fields := before.Metadata.Of("envoy.filters.http.rbac").AsMap(); len(fields) != 2 {
		t.Errorf("the clone has changed: %v", fields)
	}
}

func FuzzConfigurationsNeverPanic(f *testing.F) {
	for _, text := range []string{`{"rules":{"policies":{"a":` + open + `,"b":` + cel + `}}}`, `{"rules":{"policies":{"a":{"permissions":[{"andRules":{"rules":[{"notRule":{}}]}}],"principals":[{"orIds":{}}]}}}}`} {
		m := &httprbacv3.RBAC{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			f.Fatal(err)
		}
		encoded, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(_ *testing.T, encoded []byte) {
		http, network := &httprbacv3.RBAC{}, &networkrbacv3.RBAC{}
		_, _ = proto.Unmarshal(encoded, http), proto.Unmarshal(encoded, network)
		if filter, err := rbac.NewHTTP(http); err == nil {
			v := filter.Decide(request("/a?b"))
			_ = v.Details() + v.Outcome().String()
		}
		if filter, err := rbac.NewNetwork(network); err == nil {
			filter.Decide(request("/a?b"))
		}
	})
}

func TestRulesThatAreNestedForeverAreRefused(t *testing.T) {
	p := &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
	for range 100000 {
		p = &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
	}
	config := &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{"a": {
		Permissions: []*rbacv3.Permission{p}, Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
	}}}}
	if _, err := rbac.NewHTTP(config); err == nil {
		t.Error("taken")
	}
}

// A workload with 100 rules of Istio's shape, of which the last matches.
func BenchmarkDecideOneHundredRules(b *testing.B) {
	policies := ""
	for i := range 100 {
		if i > 0 {
			policies += ","
		}
		policies += fmt.Sprintf(`"ns[a]-policy[p]-rule[%03d]":{"permissions":[{"andRules":{"rules":[{"orRules":{"rules":[{"urlPath":{"path":{"prefix":"/api/%03d/"}}}]}},{"orRules":{"rules":[{"header":{"name":":method","stringMatch":{"exact":"GET"}}}]}}]}}],"principals":[{"andIds":{"ids":[{"notId":{"authenticated":{"principalName":{"safeRegex":{"regex":".*/ns/a/.*"}}}}}]}}]}`, i, i)
	}
	f := compile(b, `{"rules":{"policies":{`+policies+`}}}`)
	s := request("/api/099/x")
	b.ReportAllocs()
	for b.Loop() {
		if v := f.Decide(s); v.Outcome() != rbac.Allowed {
			b.Fatal(v)
		}
	}
}
