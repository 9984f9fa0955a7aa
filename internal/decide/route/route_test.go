// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide/route"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// read makes a table of the JSON form of a RouteConfiguration.
func read(t testing.TB, text string) *route.Table {
	t.Helper()
	c := &routev3.RouteConfiguration{}
	if err := protojson.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	return route.Compile(c, route.Surroundings{})
}

func asked(host, path string, headers ...stream.Header) *stream.Stream {
	s := &stream.Stream{
		Connection: &stream.Connection{DirectRemote: netip.MustParseAddrPort("192.0.2.7:1")},
		Headers: stream.NewHeaders(
			stream.Header{Name: stream.Method, Value: "GET"}, stream.Header{Name: stream.Authority, Value: host},
			stream.Header{Name: stream.Path, Value: path}, stream.Header{Name: stream.Scheme, Value: "http"},
			stream.Header{Name: "x-forwarded-proto", Value: "http"},
		),
	}
	for _, h := range headers {
		s.Headers.Add(h.Name, h.Value)
	}
	return s
}

func TestTheMostSpecificDomainDecides(t *testing.T) {
	c := &routev3.RouteConfiguration{}
	for _, d := range []string{"shop.example.com", "*.example.com", "*.shop.example.com", "shop.*", "shop.example.*", "shop.example.com:8080", "*"} {
		c.VirtualHosts = append(c.VirtualHosts, &routev3.VirtualHost{Name: d, Domains: []string{d}})
	}
	table := route.Compile(c, route.Surroundings{})
	for host, want := range map[string]string{
		"shop.example.com": "shop.example.com", "SHOP.example.com": "shop.example.com", "shop.example.com:8080": "shop.example.com:8080",
		"shop.example.com:80": "shop.example.*", "a.example.com": "*.example.com", "a.shop.example.com": "*.shop.example.com",
		".example.com": "*", "shop.": "*", "shop.x": "shop.*", "shop.example.org": "shop.example.*", "other": "*", "": "*",
		"shop.example.com.": "shop.example.*",
	} {
		if got := table.VirtualHost(asked(host, "/")).Name(); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

func TestTheFirstRouteThatMatchesIsTaken(t *testing.T) {
	table := read(t, `{"virtualHosts": [{"name": "v", "domains": ["*"], "routes": [
		{"name": "regex", "match": {"safeRegex": {"regex": "/r/.*"}}, "directResponse": {"status": 200}},
		{"name": "header", "match": {"prefix": "/", "headers": [{"name": "x", "stringMatch": {"exact": "1"}}]}, "directResponse": {"status": 200}},
		{"name": "exact", "match": {"path": "/a"}, "directResponse": {"status": 200}},
		{"name": "long", "match": {"prefix": "/a/b"}, "directResponse": {"status": 200}},
		{"name": "folded", "match": {"prefix": "/C", "caseSensitive": false}, "directResponse": {"status": 200}},
		{"name": "segment", "match": {"pathSeparatedPrefix": "/d"}, "directResponse": {"status": 200}},
		{"name": "short", "match": {"prefix": "/a"}, "directResponse": {"status": 200}}
	]}]}`)
	for path, want := range map[string]string{
		"/r/1": "regex", "/a": "exact", "/a?q": "exact", "/a/b": "long", "/a/c": "short", "/ab": "short", "/c1": "folded",
		"/d": "segment", "/d/e": "segment", "/d?x": "segment", "/de": "", "/x": "",
	} {
		c := table.Pick(asked("h", path))
		got := ""
		if c.Cases[0].Route != nil {
			got = c.Cases[0].Route.Name()
		}
		if len(c.Cases) != 1 || got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	// Values of a repeated header are compared one by one.
	twice := asked("h", "/a", stream.Header{Name: "x", Value: "0"}, stream.Header{Name: "x", Value: "1"})
	if got := table.Pick(twice).Cases[0].Route.Name(); got != "header" {
		t.Errorf("a repeated header: %s", got)
	}
	reply, unknown := table.Pick(asked("h", "/x")).Cases[0].Answer(asked("h", "/x"))
	if unknown != "" || reply.Code != 404 || reply.Details != "route_not_found" || !slices.Equal(reply.Flags, []string{"NR"}) {
		t.Errorf("no route: %+v %s", reply, unknown)
	}
}

func TestARedirectionIsWrittenAsEnvoyWritesIt(t *testing.T) {
	for name, c := range map[string]struct{ redirect, host, path, want string }{
		"https":                  {`{"httpsRedirect": true}`, "h:80", "/a?b", "https://h/a?b"},
		"a port that stays":      {`{"httpsRedirect": true}`, "h:8080", "/", "https://h:8080/"},
		"a new port":             {`{"portRedirect": 8443}`, "h:80", "/", "http://h:8443/"},
		"IPv6":                   {`{"portRedirect": 8443}`, "[::1]:80", "/", "http://[::1]:8443/"},
		"a path":                 {`{"pathRedirect": "/to"}`, "h", "/a?b", "http://h/to?b"},
		"a path with query":      {`{"pathRedirect": "/to?q", "stripQuery": true}`, "h", "/a?b", "http://h/to?q"},
		"a path without slash":   {`{"pathRedirect": "to"}`, "h", "/a", "http://h/to"},
		"a prefix":               {`{"prefixRewrite": "/new"}`, "h", "/a/b?c", "http://h/new/b?c"},
		"a regular expression":   {`{"regexRewrite": {"pattern": {"regex": "^/a/(.*)$"}, "substitution": "/x/\\1"}}`, "h", "/a/b?c", "http://h/x/b?c"},
		"a host without query":   {`{"hostRedirect": "n", "stripQuery": true}`, "h:80", "/a?b", "http://n/a"},
		"nothing is no new path": {`{"regexRewrite": {"pattern": {"regex": ".*"}, "substitution": ""}}`, "h", "/a", "http://h/a"},
	} {
		table := read(t, `{"virtualHosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/a"}, "redirect": `+c.redirect+`},
			{"match": {"prefix": "/"}, "redirect": `+c.redirect+`}]}]}`)
		s := asked(c.host, c.path)
		reply, unknown := table.Pick(s).Cases[0].Answer(s)
		if unknown != "" {
			t.Errorf("%s: %s", name, unknown)
			continue
		}
		if got, _ := reply.Headers.Get("location"); got != c.want || reply.Code != 301 {
			t.Errorf("%s: %d %s, want %s", name, reply.Code, got, c.want)
		}
	}
}

func TestChanceIsOneNumberForTheWholeRequest(t *testing.T) {
	part := func(n uint32) *routev3.RouteMatch {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, RuntimeFraction: &corev3.RuntimeFractionalPercent{
			DefaultValue: &typev3.FractionalPercent{Numerator: n},
		}}
	}
	direct := &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}}
	table := route.Compile(&routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{
		{Name: "first", Match: part(30), Action: direct},
		{Name: "never", Match: part(20), Action: direct}, // the first has all below 30
		{Name: "second", Match: part(50), Action: direct},
	}}}}, route.Surroundings{})
	got := map[string]float64{}
	for _, c := range table.Pick(asked("h", "/")).Cases {
		name := "none"
		if c.Route != nil {
			name = c.Route.Name()
		}
		got[name] += c.Share
	}
	want := map[string]float64{"first": 0.3, "second": 0.2, "none": 0.5}
	for name, share := range want {
		if math.Abs(got[name]-share) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got[name], share)
		}
	}
	if len(got) != len(want) {
		t.Errorf("shares: %v", got)
	}
}

func TestWeightsAreSharesAndAHeaderCanFixThem(t *testing.T) {
	table := read(t, `{"virtualHosts": [{"name": "v", "domains": ["*"], "routes": [{"name": "r", "match": {"prefix": "/"}, "route": {"weightedClusters": {
		"headerName": "x-luck", "clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]}}}]}]}`)
	c := table.Pick(asked("h", "/"))
	if len(c.Cases) != 2 || c.Cases[0].Cluster != "a" || c.Cases[0].Share != 0.25 || c.Cases[1].Share != 0.75 {
		t.Errorf("cases: %+v", c.Cases)
	}
	fixed := table.Pick(asked("h", "/", stream.Header{Name: "x-luck", Value: "6"}))
	if len(fixed.Cases) != 1 || fixed.Cases[0].Cluster != "b" || fixed.Cases[0].Share != 1 {
		t.Errorf("with a header: %+v", fixed.Cases)
	}
}

func TestAMatcherTreeAndWhatEnvoyRefusesAreUnknown(t *testing.T) {
	for _, text := range []string{
		`{"virtualHosts": [{"name": "v", "domains": ["a"]}, {"name": "w", "domains": ["A"]}]}`,
		`{"virtualHosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"safeRegex": {"regex": "("}}, "directResponse": {"status": 200}}]}]}`,
		`{"virtualHosts": [{"name": "v", "domains": ["*"], "matcher": {}}]}`,
		`{"virtualHosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"clusterSpecifierPlugin": "p"}}]}]}`,
	} {
		if c := read(t, text).Pick(asked("a", "/")); c.Cases[0].Unknown == "" {
			t.Errorf("%s: %+v", text, c.Cases[0])
		}
	}
	if c := route.Compile(nil, route.Surroundings{}).Pick(asked("a", "/")); c.Cases[0].Unknown == "" {
		t.Errorf("no configuration: %+v", c.Cases[0])
	}
}

// everything is a route that forwards every request, with overrides of filters.
func everything(overrides map[string]*anypb.Any) *routev3.Route {
	return &routev3.Route{
		Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		TypedPerFilterConfig: overrides,
		Action:               &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "c"}}},
	}
}

// preflight asks for PUT in the name of an origin.
func preflight(origin string, headers ...stream.Header) *stream.Stream {
	s := asked("h", "/", append(headers, stream.Header{Name: "origin", Value: origin}, stream.Header{Name: "access-control-request-method", Value: "PUT"})...)
	s.Headers.Set(stream.Method, "OPTIONS")
	return s
}

func TestTheMostSpecificOverrideOfAFilterIsFirst(t *testing.T) {
	cors := func(methods string) map[string]*anypb.Any {
		a, err := anypb.New(&corsv3.CorsPolicy{AllowMethods: methods, AllowOriginStringMatch: []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "o"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]*anypb.Any{"envoy.filters.http.cors": a}
	}
	table := route.Compile(&routev3.RouteConfiguration{TypedPerFilterConfig: cors("table"), VirtualHosts: []*routev3.VirtualHost{{
		Name: "v", Domains: []string{"*"}, TypedPerFilterConfig: cors("host"), Routes: []*routev3.Route{everything(cors("route"))},
	}}}, route.Surroundings{})
	s := preflight("o")
	c := table.Pick(s).Cases[0]
	overrides, err := c.Overrides("envoy.filters.http.cors")
	if err != nil || len(overrides) != 3 {
		t.Fatalf("overrides: %v %v", overrides, err)
	}
	reply, unknown := c.CORS(s)
	if unknown != "" || reply == nil {
		t.Fatalf("no answer to a preflight: %s", unknown)
	}
	if methods, _ := reply.Headers.Get("access-control-allow-methods"); methods != "route" {
		t.Errorf("methods: %s", methods)
	}
}

func TestAPreflightIsAnsweredAsItsPolicySays(t *testing.T) {
	for name, c := range map[string]struct {
		origin string
		policy *corsv3.CorsPolicy
		want   string
	}{
		"an origin that is allowed":               {"o", &corsv3.CorsPolicy{AllowMethods: "GET"}, "origin=o methods=GET"},
		"a wildcard names what is asked for":      {"o", &corsv3.CorsPolicy{AllowMethods: "*", AllowHeaders: "*"}, "origin=o methods=PUT headers=x-a"},
		"credentials of an origin not allowed":    {"p", &corsv3.CorsPolicy{AllowCredentials: wrapperspb.Bool(true)}, "credentials=true"},
		"a private network, asked for":            {"o", &corsv3.CorsPolicy{AllowPrivateNetworkAccess: wrapperspb.Bool(true)}, "origin=o private-network=true"},
		"a private network that is not permitted": {"o", &corsv3.CorsPolicy{AllowPrivateNetworkAccess: wrapperspb.Bool(false)}, "origin=o"},
	} {
		t.Run(name, func(t *testing.T) {
			c.policy.AllowOriginStringMatch = []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "o"}}}
			c.policy.ForwardNotMatchingPreflights = wrapperspb.Bool(false)
			config, err := anypb.New(c.policy)
			if err != nil {
				t.Fatal(err)
			}
			table := route.Compile(&routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{
				Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{everything(map[string]*anypb.Any{"envoy.filters.http.cors": config})},
			}}}, route.Surroundings{})
			s := preflight(c.origin, stream.Header{Name: "access-control-request-headers", Value: "x-a"}, stream.Header{Name: "access-control-request-private-network", Value: "true"})
			reply, unknown := table.Pick(s).Cases[0].CORS(s)
			if unknown != "" || reply == nil {
				t.Fatalf("no answer: %s", unknown)
			}
			var got []string
			for _, about := range []string{"origin", "methods", "headers", "credentials", "private-network"} {
				if v, has := reply.Headers.Get("access-control-allow-" + about); has {
					got = append(got, about+"="+v)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("answered %q, want %q", strings.Join(got, " "), c.want)
			}
		})
	}
}

func FuzzNoTablePanics(f *testing.F) {
	seed, err := proto.Marshal(large(3).GetVirtualHosts()[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, "h", "/a?b")
	f.Fuzz(func(_ *testing.T, config []byte, host, path string) {
		v := &routev3.VirtualHost{}
		if proto.Unmarshal(config, v) != nil {
			return
		}
		table := route.Compile(&routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{v}}, route.Surroundings{})
		s := asked(host, path)
		for _, c := range table.Pick(s).Cases {
			_, _ = c.CORS(s)
			if reply, unknown := c.Answer(s); reply == nil && unknown == "" {
				_, _ = c.Forwarded(s)
			}
			_ = c.Upgrades()
		}
	})
}

// large is a table as a mesh has it: so many routes in one virtual host, prefixes
// first, each asking for something else too, and regular expressions among them.
func large(n int) *routev3.RouteConfiguration {
	v := &routev3.VirtualHost{Name: "v", Domains: []string{"*"}}
	for i := range n {
		m := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprintf("/service-%d/", i)}}
		switch i % 10 {
		case 3:
			m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: fmt.Sprintf("/regex-%d/[^/]+", i)}}
		case 5:
			m.PathSpecifier = &routev3.RouteMatch_Path{Path: fmt.Sprintf("/exact/%d", i)}
		case 7:
			m.Headers = []*routev3.HeaderMatcher{{Name: "x-version", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}}
		}
		v.Routes = append(v.Routes, &routev3.Route{Name: fmt.Sprint("r", i), Match: m, Action: &routev3.Route_Route{
			Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: fmt.Sprint("c", i)}},
		}})
	}
	return &routev3.RouteConfiguration{Name: "large", VirtualHosts: []*routev3.VirtualHost{v}}
}

func BenchmarkPickAmong1000Routes(b *testing.B) {
	table := route.Compile(large(1000), route.Surroundings{})
	for name, path := range map[string]string{"last": "/service-999/a/b?c=d", "none": "/nothing/here"} {
		b.Run(name, func(b *testing.B) {
			s := asked("shop.example.com", path)
			for b.Loop() {
				table.Pick(s)
			}
		})
	}
}
