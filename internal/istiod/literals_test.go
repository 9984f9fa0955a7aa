// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	securityapi "istio.io/api/security/v1beta1"
)

// The policy is as istiod 1.31 writes the rule.
const (
	rule = `{
  "from": [{"source": {"notRequestPrincipals": ["https://login.example.com/*"]}}],
  "to": [{"operation": {"hosts": ["shop.example.com", "shop.example.com:*"], "paths": ["/api", "/api/*"], "methods": ["GET"], "ports": ["8443"]}}],
  "when": [{"key": "request.auth.audiences", "notValues": ["shop"]}]
}`
	compiled = `{
  "permissions": [{"andRules": {"rules": [
    {"orRules": {"rules": [
      {"header": {"name": ":authority", "stringMatch": {"exact": "shop.example.com", "ignoreCase": true}}},
      {"header": {"name": ":authority", "stringMatch": {"prefix": "shop.example.com:", "ignoreCase": true}}}]}},
    {"orRules": {"rules": [{"urlPath": {"path": {"exact": "/api"}}}, {"urlPath": {"path": {"prefix": "/api/"}}}]}},
    {"orRules": {"rules": [{"header": {"name": ":method", "stringMatch": {"exact": "GET"}}}]}},
    {"orRules": {"rules": [{"destinationPort": 8443}]}}]}}],
  "principals": [{"andIds": {"ids": [
    {"notId": {"orIds": {"ids": [{"andIds": {"ids": [
      {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": "iss"}], "value": {"stringMatch": {"exact": "https://login.example.com"}}}},
      {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": "sub"}], "value": {"stringMatch": {"safeRegex": {"regex": ".+"}}}}}]}}]}}},
    {"notId": {"orIds": {"ids": [
      {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": "aud"}], "value": {"stringMatch": {"exact": "shop"}}}}]}}}]}}]
}`
)

func TestAPolicyIsRecognisedByTheValuesThatItComparesWith(t *testing.T) {
	policy := &rbacv3.Policy{}
	if err := protojson.Unmarshal([]byte(compiled), policy); err != nil {
		t.Fatal(err)
	}
	got := readPolicy(policy)
	for _, test := range []struct {
		name   string
		change func(*securityapi.Rule)
		differ string
	}{
		{"as written", func(*securityapi.Rule) {}, ""},
		{"a path more", func(r *securityapi.Rule) { r.To[0].Operation.Paths = append(r.To[0].Operation.Paths, "/x") }, "/x"},
		{"a path less", func(r *securityapi.Rule) { r.To[0].Operation.Paths = r.To[0].Operation.Paths[1:] }, "/api"},
		{"a path that begins alike", func(r *securityapi.Rule) { r.To[0].Operation.Paths = []string{"/api", "/api/v1/*"} }, "/api/v1/"},
		{"another host", func(r *securityapi.Rule) { r.To[0].Operation.Hosts[0] = "www.example.com" }, "www.example.com"},
		{"another port", func(r *securityapi.Rule) { r.To[0].Operation.Ports[0] = "8444" }, "8444"},
		{"another method", func(r *securityapi.Rule) { r.To[0].Operation.Methods[0] = "PUT" }, "PUT"},
		{"another issuer", func(r *securityapi.Rule) { r.From[0].Source.NotRequestPrincipals[0] = "https://other.example.com/*" }, "https://other.example.com"},
		{"another audience", func(r *securityapi.Rule) { r.When[0].NotValues[0] = "desk" }, "desk"},
		{"no audience", func(r *securityapi.Rule) { r.When = nil }, "shop"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &securityapi.Rule{}
			if err := protojson.Unmarshal([]byte(rule), r); err != nil {
				t.Fatal(err)
			}
			test.change(r)
			if differ := got.differs(ruleLiterals(r)); differ != test.differ {
				t.Errorf("differs in %q, want %q", differ, test.differ)
			}
		})
	}
}

func TestIdentitiesAreRecognisedInEveryFormOfIstio(t *testing.T) {
	for _, test := range []struct{ name, source, principals string }{
		{"a principal", `{"principals": ["cluster.local/ns/shop/sa/cart"]}`,
			`[{"authenticated": {"principalName": {"exact": "spiffe://cluster.local/ns/shop/sa/cart"}}}]`},
		{"a namespace as a pattern", `{"namespaces": ["shop"]}`,
			`[{"authenticated": {"principalName": {"safeRegex": {"regex": ".*/ns/shop/.*"}}}}]`},
		{"a block of addresses", `{"ipBlocks": ["192.0.2.0/24"]}`,
			`[{"directRemoteIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}}]`},
		{"anybody", `{"principals": ["*"]}`,
			`[{"authenticated": {"principalName": {"safeRegex": {"regex": ".+"}}}}]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			policy, r := &rbacv3.Policy{}, &securityapi.Rule{}
			if err := protojson.Unmarshal([]byte(`{"principals": `+test.principals+`}`), policy); err != nil {
				t.Fatal(err)
			}
			if err := protojson.Unmarshal([]byte(`{"from": [{"source": `+test.source+`}]}`), r); err != nil {
				t.Fatal(err)
			}
			if differ := readPolicy(policy).differs(ruleLiterals(r)); differ != "" {
				t.Errorf("differs in %q", differ)
			}
			if differ := readPolicy(&rbacv3.Policy{}).differs(ruleLiterals(r)); test.name != "anybody" && differ == "" {
				t.Error("an empty policy is taken for it")
			}
		})
	}
}
