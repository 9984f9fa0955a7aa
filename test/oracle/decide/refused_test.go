// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/decide/jwt"
	"github.com/trellis-mesh/trellis/internal/decide/rbac"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// permission and principal make a whole configuration of one rule.
func permission(rule string) string {
	return `{"rules":{"policies":{"p":{"permissions":[` + rule + `],"principals":[{"any":true}]}}}}`
}

func principal(id string) string {
	return `{"rules":{"policies":{"p":{"permissions":[{"any":true}],"principals":[` + id + `]}}}}`
}

func read[M proto.Message](t *testing.T, text string, m M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// takes asks Envoy whether it starts with a listener.
func takes(t *testing.T, l *listenerv3.Listener) error {
	t.Helper()
	p, err := envoy.Start(t.Context(), t.TempDir(), envoy.Bootstrap([]*listenerv3.Listener{l}, envoy.Cluster("upstream")))
	if err == nil {
		p.Stop()
	}
	return err
}

func agree(t *testing.T, name string, theirs, ours error) {
	t.Helper()
	if (theirs == nil) != (ours == nil) {
		t.Errorf("%s: Envoy: %v, here: %v", name, theirs, ours)
	}
}

func TestRBACThatEnvoyRefusesIsRefused(t *testing.T) {
	for _, config := range []string{
		permission(`{"any":false}`), permission(`{}`), permission(`{"andRules":{}}`), permission(`{"orRules":{}}`), permission(`{"notRule":{}}`),
		permission(`{"header":{}}`), permission(`{"header":{"name":"a","prefixMatch":""}}`), permission(`{"header":{"name":"a","exactMatch":""}}`),
		permission(`{"header":{"name":"a","stringMatch":{}}}`), permission(`{"header":{"name":"a","stringMatch":{"exact":""}}}`),
		permission(`{"header":{"name":"a","stringMatch":{"prefix":""}}}`), permission(`{"header":{"name":"a","stringMatch":{"contains":""}}}`),
		permission(`{"header":{"name":"a","stringMatch":{"ignoreCase":true,"safeRegex":{"regex":"a"}}}}`),
		permission(`{"header":{"name":"a","stringMatch":{"safeRegex":{"regex":""}}}}`), permission(`{"header":{"name":"a","stringMatch":{"safeRegex":{"regex":"a)|(b"}}}}`),
		permission(`{"header":{"name":"a","stringMatch":{"safeRegex":{"regex":"(?=a)"}}}}`), permission(`{"header":{"name":"a","rangeMatch":{}}}`),
		permission(`{"header":{"name":"a","stringMatch":{"safeRegex":{"regex":"a{1001}"}}}}`), permission(`{"header":{"name":"a","stringMatch":{"safeRegex":{"regex":"(?P<a>b)(?<c>d)"}}}}`),
		permission(`{"urlPath":{}}`), permission(`{"destinationIp":{"addressPrefix":"x"}}`), permission(`{"destinationIp":{"addressPrefix":"10.0.0.0","prefixLen":33}}`),
		permission(`{"destinationIp":{"addressPrefix":"10.0.0.0"}}`), permission(`{"destinationPort":65535}`), permission(`{"destinationPort":65536}`),
		permission(`{"destinationPortRange":{"start":5,"end":5}}`), permission(`{"destinationPortRange":{"start":0,"end":65536}}`), permission(`{"destinationPortRange":{"start":-1,"end":5}}`),
		permission(`{"metadata":{"filter":"a"}}`), permission(`{"metadata":{"filter":"a","path":[{"key":"b"}]}}`), permission(`{"metadata":{"filter":"a","path":[{"key":""}],"value":{"presentMatch":true}}}`),
		permission(`{"metadata":{"filter":"a","path":[{"key":"b"}],"value":{"orMatch":{"valueMatchers":[{"presentMatch":true}]}}}}`),
		permission(`{"metadata":{"filter":"a","path":[{"key":"b"}],"value":{"listMatch":{}}}}`), permission(`{"metadata":{"filter":"a","path":[{"key":"b"}],"value":{"doubleMatch":{}}}}`),
		principal(`{"authenticated":{}}`), principal(`{"authenticated":{"principalName":{}}}`), principal(`{"filterState":{"key":"a"}}`), principal(`{"filterState":{"stringMatch":{"exact":"a"}}}`),
		principal(`{"andIds":{}}`), principal(`{}`), principal(`{"sourceIp":{"addressPrefix":""}}`),
		`{}`, `{"rules":{}}`, `{"rules":{"policies":{"":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}}`,
		`{"rules":{"policies":{"p":{"permissions":[{"any":true}]}}}}`, `{"rules":{"policies":{"p":{"principals":[{"any":true}]}}}}`,
		`{"rules":{"action":7}}`,
	} {
		c := read(t, config, &httprbacv3.RBAC{})
		_, ours := rbac.NewHTTP(c)
		agree(t, config, takes(t, (&rbacCase{name: "a", filters: []*httprbacv3.RBAC{c}, state: "x"}).listener(t, nil)), ours)
	}
}

func TestPathTemplatesThatEnvoyRefusesAreRefused(t *testing.T) {
	for _, text := range append([]string{
		"", "a", "//", "/", "/a b", "/a=b", "/a*", "/*a", "/***", "/**/**", "/*/**", "/**/*", "/{a}/{a}", "/{a", "/{1}", "/{a=}", "/{a=*/}", "/{a=/b}",
		"/{a}/{b}/{c}/{d}/{e}", "/{a}/{b}/{c}/{d}/{e}/{f}", "/{abcdefghijklmnop}", "/{abcdefghijklmnopq}", "/a//b", "/{a}b", "/{a}b/c", "/**a", "/%61", "/a?b", "/é", "/{a=**}/{b}", "/a/b/",
	}, templates...) {
		c := &httprbacv3.RBAC{}
		read(t, permission(`{"any":true}`), c)
		c.Rules.Policies["p"].Permissions[0] = &rbacv3.Permission{Rule: &rbacv3.Permission_UriTemplate{UriTemplate: template(text)}}
		_, ours := rbac.NewHTTP(c)
		agree(t, text, takes(t, (&rbacCase{name: "a", filters: []*httprbacv3.RBAC{c}, state: "x"}).listener(t, nil)), ours)
	}
}

func TestNetworkRBACThatEnvoyRefusesIsRefused(t *testing.T) {
	for _, config := range []string{
		permission(`{"header":{"name":"a"}}`), permission(`{"notRule":{"header":{"name":"a"}}}`), permission(`{"urlPath":{"path":{"exact":"/"}}}`),
		principal(`{"header":{"name":"a"}}`), principal(`{"urlPath":{"path":{"exact":"/"}}}`), permission(`{"any":true}`),
	} {
		c := read(t, config, &networkrbacv3.RBAC{})
		c.StatPrefix = "a"
		_, ours := rbac.NewNetwork(c)
		agree(t, config, takes(t, (&networkCase{name: "a", filters: []*networkrbacv3.RBAC{c}}).listener(nil)), ours)
	}
}

func TestJWTThatEnvoyRefusesIsRefused(t *testing.T) {
	set := newSigner(t).set(t, 1)
	for _, c := range []struct{ name, keys, rest string }{
		{"nothing", set, `{}`}, {"no key set", "", `{}`}, {"no JSON", "x", `{}`}, {"no keys", `{"keys":[]}`, `{}`}, {"no known key", `{"keys":[{"kty":"x"}]}`, `{}`},
		{"no such provider", set, `{"rules":[{"match":{"prefix":"/"},"requires":{"providerName":"x"}}]}`},
		{"no such provider in audiences", set, `{"rules":[{"match":{"prefix":"/"},"requires":{"providerAndAudiences":{"providerName":"x"}}}]}`},
		{"one alternative", set, `{"rules":[{"match":{"prefix":"/"},"requires":{"requiresAny":{"requirements":[{"providerName":"p"}]}}}]}`},
		{"one of all", set, `{"rules":[{"match":{"prefix":"/"},"requires":{"requiresAll":{"requirements":[{"providerName":"p"}]}}}]}`},
		{"no such requirement", set, `{"rules":[{"match":{"prefix":"/"},"requirementName":"x"}]}`},
		{"a requirement of nothing", set, `{"rules":[{"match":{"prefix":"/"},"requires":{}}]}`},
		{"no path", set, `{"rules":[{"match":{}}]}`}, {"no match", set, `{"rules":[{}]}`}, {"an empty path", set, `{"rules":[{"match":{"path":""}}]}`},
		{"a bad segment prefix", set, `{"rules":[{"match":{"pathSeparatedPrefix":"/a/"}}]}`}, {"a segment prefix with a query", set, `{"rules":[{"match":{"pathSeparatedPrefix":"/a?b"}}]}`},
		{"CONNECT", set, `{"rules":[{"match":{"connectMatcher":{}}}]}`},
	} {
		config := read(t, c.rest, &jwtv3.JwtAuthentication{})
		p := &jwtv3.JwtProvider{}
		p.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: c.keys}}}
		config.Providers = map[string]*jwtv3.JwtProvider{"p": p}
		_, ours := jwt.New(config)
		agree(t, c.name, takes(t, (&jwtCase{name: "a", config: config, state: "x"}).listener(t)), ours)
	}
}
