// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide/jwt"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// provider makes one. Issuers are given out once each: which of two with the same
// issuer Envoy takes is chance.
func (d dice) provider(t testing.TB, s *signer, issuer string) *jwtv3.JwtProvider {
	set := s.set(t, 1+d.IntN(len(s.keys)))
	if d.chance(0.05) {
		set = "" // Envoy refuses a set without keys, but not none.
	}
	p := &jwtv3.JwtProvider{
		Issuer: issuer, Forward: d.chance(0.5),
		JwksSourceSpecifier: &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: set}}},
	}
	if d.chance(0.3) {
		p.Audiences = []string{pick(d, []string{"web", "https://web/", "nobody"})}
	}
	if d.chance(0.3) {
		p.FromHeaders = append(p.FromHeaders, &jwtv3.JwtHeader{Name: pick(d, []string{"X-A", "x-b"}), ValuePrefix: pick(d, []string{"", "Bearer ", "t="})})
	}
	if d.chance(0.3) {
		p.FromHeaders = append(p.FromHeaders, &jwtv3.JwtHeader{Name: "Authorization", ValuePrefix: "Bearer "})
	}
	if d.chance(0.3) {
		p.FromParams = []string{pick(d, []string{"token", "access_token"})}
	}
	if d.chance(0.2) {
		p.FromCookies = []string{"session"}
	}
	if d.chance(0.7) {
		p.PayloadInMetadata = pick(d, []string{"payload", "other"})
		if d.chance(0.4) {
			p.NormalizePayloadInMetadata = &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: []string{"scope", "missing"}}
		}
	}
	if d.chance(0.3) {
		p.FailedStatusInMetadata = pick(d, []string{"failed", "why"})
	}
	if d.chance(0.2) {
		p.HeaderInMetadata = "header"
	}
	if d.chance(0.2) {
		p.ForwardPayloadHeader, p.PadForwardPayloadHeader = "x-payload", d.chance(0.5)
	}
	if d.chance(0.3) {
		for i, name := range []string{"sub", "n", "f", "yes", "nested.k", "nothing"} {
			p.ClaimToHeaders = append(p.ClaimToHeaders, &jwtv3.JwtClaimToHeader{HeaderName: fmt.Sprintf("x-claim-%d", i), ClaimName: name})
		}
	}
	if d.chance(0.1) {
		p.ClockSkewSeconds = pick(d, []uint32{1, 7200})
	}
	if d.chance(0.1) {
		p.Subjects = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "user"}}
	}
	if d.chance(0.1) {
		p.RequireExpiration = true
	}
	if d.chance(0.1) {
		p.MaxLifetime = durationpb.New(pick(d, []time.Duration{time.Minute, 24 * time.Hour}))
	}
	return p
}

func (d dice) requirement(providers []string, depth int) *jwtv3.JwtRequirement {
	kind := d.IntN(10)
	if depth > 2 && kind > 6 {
		kind = 0
	}
	list := func() []*jwtv3.JwtRequirement {
		var out []*jwtv3.JwtRequirement
		for range 2 + d.IntN(2) {
			out = append(out, d.requirement(providers, depth+1))
		}
		return out
	}
	switch kind {
	case 4:
		return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderAndAudiences{ProviderAndAudiences: &jwtv3.ProviderWithAudiences{
			ProviderName: pick(d, providers), Audiences: []string{pick(d, []string{"web", "nobody"})},
		}}}
	case 5:
		return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}}
	case 6:
		return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_AllowMissingOrFailed{AllowMissingOrFailed: &emptypb.Empty{}}}
	case 7, 8:
		return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: list()}}}
	case 9:
		return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAll{RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: list()}}}
	}
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: pick(d, providers)}}
}

func (d dice) jwt(t testing.TB, s *signer) *jwtv3.JwtAuthentication {
	out := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}, BypassCorsPreflight: d.chance(0.5)}
	var names []string
	issuers := []string{"https://a", "b", ""}
	for i := range 1 + d.IntN(3) {
		names = append(names, fmt.Sprintf("p%d", i))
		out.Providers[names[i]] = d.provider(t, s, issuers[i])
	}
	out.RequirementMap = map[string]*jwtv3.JwtRequirement{"named": d.requirement(names, 0), "Other one": {}}
	for range 1 + d.IntN(3) {
		r := &jwtv3.RequirementRule{Match: d.routeMatch()}
		switch d.IntN(6) {
		case 0:
		case 1:
			r.RequirementType = &jwtv3.RequirementRule_RequirementName{RequirementName: "named"}
		default:
			r.RequirementType = &jwtv3.RequirementRule_Requires{Requires: d.requirement(names, 0)}
		}
		out.Rules = append(out.Rules, r)
	}
	if d.chance(0.2) {
		out.FilterStateRules = &jwtv3.FilterStateRule{Name: stateKey, Requires: map[string]*jwtv3.JwtRequirement{"a": d.requirement(names, 0)}}
	}
	return out
}

func (d dice) routeMatch() *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch d.IntN(8) {
	case 0:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: pick(d, paths)}
	case 1:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: d.regex(pick(d, paths))}
	case 2:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: pick(d, []string{"/api", "/a", "/API"})}
	case 3:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: pick(d, paths)}
	default:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: pick(d, []string{"/", ""})}
	}
	if d.chance(0.2) {
		out.CaseSensitive = wrapperspb.Bool(d.chance(0.3))
	}
	if d.chance(0.1) {
		out.Headers = []*routev3.HeaderMatcher{d.header()}
	}
	if d.chance(0.1) {
		m := &routev3.QueryParameterMatcher{Name: pick(d, []string{"a", "b", "q"})}
		if d.chance(0.7) {
			m.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: d.text([]string{"1", "2", "%31", "/api"})}
		}
		out.QueryParameters = []*routev3.QueryParameterMatcher{m}
	}
	return out
}

// bearing puts tokens where providers may look for them.
func (d dice) bearing(tokens []string) request {
	q := d.request()
	for range d.IntN(3) {
		token := pick(d, tokens)
		switch d.IntN(8) {
		case 0:
			q.fields = append(q.fields, [2]string{pick(d, []string{"x-a", "x-b"}), pick(d, []string{"", "Bearer ", "t=", "t= "}) + token})
		case 1:
			separator := "?"
			if strings.Contains(q.path, "?") {
				separator = "&"
			}
			q.path += separator + pick(d, []string{"token", "access_token"}) + "=" + url.QueryEscape(token)
		case 2:
			q.fields = append(q.fields, [2]string{"cookie", pick(d, []string{"session=", "a=b; session=", "session=\"\"; session="}) + token})
		default:
			q.fields = append(q.fields, [2]string{"authorization", pick(d, []string{"Bearer ", "Bearer ", "Bearer ", "bearer ", "Basic x, Bearer ", "Bearer  ", "Bearer !"}) + token})
		}
	}
	if d.chance(0.1) {
		q.fields = append(q.fields, [2]string{"origin", "https://x"}, [2]string{"access-control-request-method", "GET"})
	}
	if d.chance(0.1) {
		q.fields = append(q.fields, [2]string{"x-claim-0", "forged"}, [2]string{"X-Payload", "forged"})
	}
	q.write()
	return q
}

type jwtCase struct {
	name   string
	config *jwtv3.JwtAuthentication
	route  *jwtv3.PerRouteConfig
	state  string
	// requests are made by dice when there are none.
	requests []request
}

// watched are the headers of which upstream must see the same.
var watched = []string{"authorization", "x-a", "x-b", "cookie", "x-payload", "x-claim-0", "x-claim-1", "x-claim-2", "x-claim-3", "x-claim-4", "x-claim-5"}

type jwtDecision struct {
	status   int
	details  string
	metadata map[string]any
	path     string
	headers  [][2]string
}

func (c *jwtCase) listener(t testing.TB) *listenerv3.Listener {
	routes := envoy.Everything()
	route := routes.VirtualHosts[0].Routes[0]
	route.Action = &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "upstream"}}}
	const filter = "envoy.filters.http.jwt_authn"
	if c.route != nil {
		route.TypedPerFilterConfig = map[string]*anypb.Any{filter: envoy.Any(c.route)}
	}
	filters := before(t, c.state)
	if c.config != nil {
		filters = append(filters, envoy.HTTPFilter(filter, c.config))
	}
	return listen(c.name, false, nil, routes, []*hcmv3.HttpFilter(filters))
}

func (c *jwtCase) decide(t *testing.T, s *stream.Stream) jwtDecision {
	t.Helper()
	s.FilterState = map[string]string{stateKey: c.state}
	filter, err := jwt.New(c.config)
	if err != nil {
		t.Fatalf("%s: Envoy takes what this refuses: %v\n%s", c.name, err, text(c.config))
	}
	var route *jwt.Route
	if c.route != nil {
		route = jwt.NewRoute(c.route)
	}
	switch v := filter.Decide(s, route, time.Now()); v.Outcome {
	case jwt.Unknown:
		t.Errorf("%s: unknown: %s", c.name, v.Why)
	case jwt.Denied:
		return jwtDecision{status: v.Status, details: v.Details}
	case jwt.Allowed:
	}
	out := jwtDecision{status: 200, details: "via_upstream", path: s.Path(), metadata: s.Metadata.Of("envoy.filters.http.jwt_authn").AsMap()}
	for _, h := range s.Headers.All() {
		if slices.Contains(watched, h.Name) {
			out.headers = append(out.headers, [2]string{h.Name, h.Value})
		}
	}
	return out
}

// short puts what is in tokens in their place, without their signatures.
func short(tokens []string, text string) string {
	for i, token := range tokens {
		parts := strings.Split(token, ".")
		if len(token) < 100 || len(parts) < 2 {
			continue
		}
		header, _ := base64.RawURLEncoding.DecodeString(parts[0])
		claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
		text = strings.ReplaceAll(text, token, fmt.Sprintf("<token %d: %s %s>", i, header, claims))
	}
	return text
}

func observed(t *testing.T, a asked) jwtDecision {
	t.Helper()
	out := jwtDecision{status: a.status, details: a.entry.Details}
	if a.status != 200 {
		return out
	}
	out.metadata = a.entry.JWT
	if a.request.method == "HEAD" {
		return out
	}
	got := (&envoy.Response{Body: []byte(a.body)}).Got()
	if got == nil {
		t.Fatalf("the upstream's answer is none: %s", a.body)
	}
	out.path = got.Target
	for _, h := range got.Headers {
		for _, name := range watched {
			if strings.EqualFold(h[0], name) {
				out.headers = append(out.headers, [2]string{name, h[1]})
			}
		}
	}
	return out
}

func same(a, b jwtDecision, head bool) bool {
	if a.status != b.status || a.details != b.details || a.status != 200 {
		return a.status == b.status && a.details == b.details
	}
	if !sameMetadata(a.metadata, b.metadata) {
		return false
	}
	return head || a.path == b.path && sameHeaders(a.headers, b.headers)
}

// sameHeaders compares the values of each header: Envoy keeps those that it knows
// well before others.
func sameHeaders(a, b [][2]string) bool {
	group := func(in [][2]string) map[string][]string {
		out := map[string][]string{}
		for _, h := range in {
			out[h[0]] = append(out[h[0]], h[1])
		}
		return out
	}
	return reflect.DeepEqual(group(a), group(b))
}

func TestEnvoyAgreesOnRandomJWT(t *testing.T) {
	d := newDice(t)
	s := newSigner(t)
	tokens := s.tokens(t)
	var cases []*jwtCase
	for i := range *configs {
		c := &jwtCase{name: fmt.Sprintf("random-%d", i), config: d.jwt(t, s), state: pick(d, []string{"a", "x"})}
		if d.chance(0.15) {
			c.route = &jwtv3.PerRouteConfig{RequirementSpecifier: &jwtv3.PerRouteConfig_RequirementName{RequirementName: pick(d, []string{"named", "Other one", "none such"})}}
		} else if d.chance(0.05) {
			c.route = &jwtv3.PerRouteConfig{RequirementSpecifier: &jwtv3.PerRouteConfig_Disabled{Disabled: true}}
		}
		cases = append(cases, c)
	}
	runJWT(t, d, cases, tokens)
}

func runJWT(t *testing.T, d dice, cases []*jwtCase, tokens []string) {
	upstream := envoy.RunUpstream(t, "one")
	var listeners []*listenerv3.Listener
	for _, c := range cases {
		listeners = append(listeners, c.listener(t))
	}
	proxy := envoy.Run(t, envoy.Bootstrap(listeners, envoy.Cluster("upstream", upstream.Address)))
	seen := map[string]int{}
	total := 0
	for _, c := range cases {
		requests := c.requests
		if requests == nil {
			for range *perConfig {
				requests = append(requests, d.bearing(tokens))
			}
		}
		for _, a := range send(t, proxy, c.name, clients(nil, false)[:1], requests) {
			want := observed(t, a)
			got := c.decide(t, a.client.stream(t, a.request, a.entry))
			total++
			seen[want.details]++
			if !same(got, want, a.request.method == "HEAD") {
				t.Error(short(tokens, fmt.Sprintf("%s: %q:\nEnvoy: %+v\nhere:  %+v\n%s\nroute: %s", c.name, a.request.raw, want, got, text(c.config), text(c.route))))
				return
			}
		}
	}
	t.Logf("%d requests: %v", total, seen)
}
