// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
)

// get makes a request with header fields, name and value in turn.
func get(path string, fields ...string) request {
	q := request{method: "GET", path: path, host: "shop"}
	for i := 0; i+1 < len(fields); i += 2 {
		q.fields = append(q.fields, [2]string{fields[i], fields[i+1]})
	}
	q.write()
	return q
}

// What random requests found once, by what it taught. Both sides answer again.
func TestRBACDisagreementsOfOldStaySettled(t *testing.T) {
	template := func(text string) string {
		return `{"uriTemplate":{"name":"t","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","pathTemplate":"` + text + `"}}}`
	}
	var cases []*rbacCase
	for name, c := range map[string]struct {
		config   string
		requests []request
	}{
		"a repeated header matches by any of its values": {
			permission(`{"header":{"name":"x-a","rangeMatch":{"start":-7,"end":1}}}`), []request{get("/", "x-a", "-3", "x-a", "12"), get("/", "x-a", "12", "x-a", "13")},
		},
		"a repeated header is not joined": {
			permission(`{"header":{"name":"x-a","stringMatch":{"exact":"a,b"}}}`), []request{get("/", "x-a", "a", "x-a", "b"), get("/", "x-a", "a,b")},
		},
		"an inverted matcher wants no value to match": {
			permission(`{"header":{"name":"x-a","stringMatch":{"prefix":"abc"},"invertMatch":true}}`), []request{get("/", "x-a", "ABCD", "x-a", "abc,a"), get("/", "x-a", "x"), get("/")},
		},
		"a glob of a template matches star and equals": {permission(template("/**")), []request{get("/*"), get("/a=b/c"), get("/a;b=1")}},
		"a literal of a template may have equals":      {permission(template("/a;b=1")), []request{get("/a;b=1"), get("/a;b=2")}},
		"an exact match of nothing takes anything":     {permission(`{"header":{"name":"x-a","exactMatch":""}}`), []request{get("/", "x-a", "b"), get("/", "x-a", ""), get("/")}},
	} {
		cases = append(cases, &rbacCase{name: name, filters: []*httprbacv3.RBAC{read(t, c.config, &httprbacv3.RBAC{})}, state: "x", requests: c.requests})
	}
	runRBAC(t, dice{}, cases)
}

func TestJWTDisagreementsOfOldStaySettled(t *testing.T) {
	s := newSigner(t)
	k := s.keys[0]
	claims := func(issuer, audience string) map[string]any {
		return map[string]any{"iss": issuer, "aud": audience, "sub": "user"}
	}
	good, audience, other, forged := k.token(t, nil, claims("a", "web")), k.token(t, nil, claims("a", "x")), k.token(t, nil, claims("c", "web")), s.forger.token(t, nil, claims("a", "web"))
	bearer := func(tokens ...string) request {
		var fields []string
		for _, token := range tokens {
			fields = append(fields, "authorization", "Bearer "+token)
		}
		return get("/?b&a=%31&z", fields...)
	}
	all := []request{bearer(), bearer(good), bearer(audience), bearer(other), bearer(forged), bearer("x"), bearer(good, forged), get("/", "x-a", "-3", "x-a", good), get("/?access_token=" + good + "&b&a=%31"), get("/", "x-claim", "forged", "x-payload", "forged")}
	var cases []*jwtCase
	for name, requires := range map[string]string{
		"the last telling failure of alternatives counts": `{"requiresAny":{"requirements":[{"providerName":"p"},{"providerAndAudiences":{"providerName":"p","audiences":["nobody"]}}]}}`,
		"a missing token among alternatives":              `{"requiresAny":{"requirements":[{"allowMissing":{}},{"providerName":"p"}]}}`,
		"a token that is of none of the alternatives":     `{"requiresAny":{"requirements":[{"allowMissing":{}},{"providerName":"p"},{"providerName":"q"}]}}`,
		"a failure that is allowed verifies nothing more": `{"requiresAny":{"requirements":[{"allowMissingOrFailed":{}},{"providerName":"q"}]}}`,
		"only missing tokens are alternatives":            `{"requiresAny":{"requirements":[{"allowMissing":{}},{"allowMissing":{}}]}}`,
		"missing beside what is needed together":          `{"requiresAny":{"requirements":[{"allowMissing":{}},{"requiresAll":{"requirements":[{"providerName":"p"},{"providerName":"q"}]}}]}}`,
		"what Istio makes of two issuers":                 `{"requiresAny":{"requirements":[{"providerName":"p"},{"providerName":"q"},{"requiresAll":{"requirements":[{"requiresAny":{"requirements":[{"providerName":"p"},{"allowMissing":{}}]}},{"requiresAny":{"requirements":[{"providerName":"q"},{"allowMissing":{}}]}}]}}]}}`,
		"what Istio makes of one issuer":                  `{"requiresAny":{"requirements":[{"providerName":"p"},{"allowMissing":{}}]}}`,
		"missing alone looks at all providers":            `{"allowMissing":{}}`,
		"claims are checked before signatures":            `{"providerName":"strict"}`,
	} {
		config := read(t, `{"providers":{
			"p":{"issuer":"a","payloadInMetadata":"payload","claimToHeaders":[{"headerName":"x-claim-0","claimName":"sub"}]},
			"q":{"issuer":"b","fromHeaders":[{"name":"x-a"}]},
			"strict":{"issuer":"s","audiences":["nobody"],"subjects":{"exact":"x"},"maxLifetime":"60s"}},
			"rules":[{"match":{"prefix":"/"},"requires":`+requires+`}]}`, &jwtv3.JwtAuthentication{})
		for _, p := range config.Providers {
			p.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s.set(t, 1)}}}
		}
		strict := k.token(t, nil, claims("s", "web"))
		cases = append(cases, &jwtCase{name: name, config: config, state: "x", requests: append([]request{bearer(strict)}, all...)})
	}
	runJWT(t, dice{}, cases, nil)
}
