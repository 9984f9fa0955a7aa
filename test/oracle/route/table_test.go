// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/route"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

var clusters = []string{"c0", "c1", "c2", "c3"}

// table is a random route configuration.
func (d dice) table() *routev3.RouteConfiguration {
	domains := []string{"shop.example.com", "*.example.com", "*.shop.example.com", "*-x.example.com", "shop.*", "shop.example.*", "a", "A.b", "*",
		"shop.example.com:8080", "*:8080", "a:*", "10.1.2.3", "[::1]", "api.*", "*.com", "x.y", "x.y.", ""}
	domains = domains[:len(domains)-1]
	d.Shuffle(len(domains), func(i, j int) { domains[i], domains[j] = domains[j], domains[i] })
	out := &routev3.RouteConfiguration{
		Name: "r", IgnorePortInHostMatching: d.maybe(30), IgnorePathParametersInPathMatching: d.maybe(20),
		MostSpecificHeaderMutationsWins: d.maybe(30), RequestHeadersToAdd: d.mutations(), RequestHeadersToRemove: []string{"x-gone"},
	}
	if d.maybe(10) {
		out.VhostHeader = "x-vhost"
	}
	at := 0
	for i := range 1 + d.IntN(6) {
		n := min(1+d.IntN(3), len(domains)-at)
		v := &routev3.VirtualHost{Name: fmt.Sprint("v", i), Domains: domains[at : at+n], RequestHeadersToAdd: d.mutations()}
		at += n
		if d.maybe(15) {
			v.RequireTls = routev3.VirtualHost_TlsRequirementType(1 + d.IntN(2))
		}
		if d.maybe(30) {
			v.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.cors": d.cors()}
		}
		for j := range d.IntN(10) {
			v.Routes = append(v.Routes, d.route(fmt.Sprintf("v%d/%d", i, j)))
		}
		out.VirtualHosts = append(out.VirtualHosts, v)
	}
	return out
}

func (d dice) mutations() []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for range d.IntN(3) {
		h := header(d.one("x-add", "x-more"), d.one("1", "2", "a%%b"))
		h.AppendAction = corev3.HeaderValueOption_HeaderAppendAction(d.IntN(4))
		out = append(out, h)
	}
	return out
}

func (d dice) cors() *anypb.Any {
	p := &corsv3.CorsPolicy{AllowMethods: d.one("", "GET", "*"), AllowHeaders: d.one("", "x-a", "*"), MaxAge: d.one("", "60")}
	for range d.IntN(3) {
		p.AllowOriginStringMatch = append(p.AllowOriginStringMatch, d.text())
	}
	if d.maybe(40) {
		p.AllowCredentials = wrapperspb.Bool(d.maybe(50))
	}
	if d.maybe(40) {
		p.ForwardNotMatchingPreflights = wrapperspb.Bool(d.maybe(50))
	}
	if d.maybe(20) {
		p.AllowPrivateNetworkAccess = wrapperspb.Bool(d.maybe(50))
	}
	if d.maybe(30) {
		p.FilterEnabled = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: uint32(d.IntN(2) * 100)}}
	}
	return envoy.Any(p)
}

func (d dice) text() *matcherv3.StringMatcher {
	out := &matcherv3.StringMatcher{IgnoreCase: d.maybe(30)}
	switch v := d.one("a", "b", "http://a", "1", "x"); d.IntN(5) {
	case 0:
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: v}
	case 1:
		out.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: v}
	case 2:
		out.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: v}
	case 3:
		out.IgnoreCase = false
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: d.regex()}
	default:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: v}
	}
	return out
}

func (d dice) regex() *matcherv3.RegexMatcher {
	return &matcherv3.RegexMatcher{Regex: d.one("a.*", "/a/[^/]+", "/(a|b|api)(/.*)?", ".*", "/", "[a-c]+", "(?i)/API.*", ".*\\d", "http://.*")}
}

func (d dice) substitute() *matcherv3.RegexMatchAndSubstitute {
	pattern := d.one("/(a|b)", "^/([^/]*)(.*)$", "a", "/+", "[^a]+")
	with := d.one("/new", "/x\\0", "", "$1", "/\\\\y")
	if pattern == "^/([^/]*)(.*)$" {
		with = "/\\2/\\1"
	}
	return &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: pattern}, Substitution: with}
}

func (d dice) prefix() string {
	return d.one("/", "/", "/a", "/a/", "/api", "/api/", "/b", "/A", "/a/b", "", "//", "/%2e", "/x?", "/a;")
}

func (d dice) match() *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	if d.maybe(25) {
		m.CaseSensitive = wrapperspb.Bool(false)
	}
	switch d.IntN(8) {
	case 0, 1, 2:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: d.prefix()}
	case 3, 4:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: d.prefix()}
	case 5:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: d.regex()}
	case 6:
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: d.one("/a", "/api", "/A/b", "/x")}
	default:
		m.PathSpecifier = &routev3.RouteMatch_PathMatchPolicy{PathMatchPolicy: &corev3.TypedExtensionConfig{
			Name:        "envoy.path.match.uri_template.uri_template_matcher",
			TypedConfig: envoy.Any(&templatev3.UriTemplateMatchConfig{PathTemplate: d.one("/a/*", "/**", "/api/{x=*}", "/{a}/{b=**}", "/*/b")}),
		}}
	}
	for d.maybe(25) {
		m.Headers = append(m.Headers, d.headerMatch())
	}
	if d.maybe(15) {
		q := &routev3.QueryParameterMatcher{Name: d.one("a", "x", "1")}
		if d.maybe(50) {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		} else {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: d.text()}
		}
		m.QueryParameters = append(m.QueryParameters, q)
	}
	if d.maybe(5) {
		m.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	}
	if d.maybe(5) {
		m.TlsContext = &routev3.RouteMatch_TlsContextMatchOptions{Presented: wrapperspb.Bool(d.maybe(50))}
	}
	if d.maybe(10) {
		m.RuntimeFraction = &corev3.RuntimeFractionalPercent{RuntimeKey: "nothing", DefaultValue: &typev3.FractionalPercent{
			Numerator: uint32(d.IntN(5) * 25), Denominator: typev3.FractionalPercent_DenominatorType(d.IntN(2)),
		}}
	}
	return m
}

func (d dice) headerMatch() *routev3.HeaderMatcher {
	h := &routev3.HeaderMatcher{Name: d.one("x-a", "x-b", ":method", ":authority", ":path", "content-type", "cookie"), InvertMatch: d.maybe(25), TreatMissingHeaderAsEmpty: d.maybe(25)}
	if d.maybe(30) {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: d.maybe(70)}
	} else {
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: d.text()}
	}
	return h
}

func (d dice) route(name string) *routev3.Route {
	r := &routev3.Route{Name: name, Match: d.match()}
	template := r.GetMatch().GetPathMatchPolicy() != nil
	switch d.IntN(6) {
	case 0:
		r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: []uint32{200, 201, 204, 302, 403, 418, 503}[d.IntN(7)],
		}}
	case 1, 2:
		r.Action = &routev3.Route_Redirect{Redirect: d.redirect(template)}
	default:
		r.Action = &routev3.Route_Route{Route: d.action(template)}
		r.RequestHeadersToAdd = d.mutations()
	}
	if d.maybe(25) {
		r.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.cors": d.cors()}
		if d.maybe(20) {
			r.TypedPerFilterConfig["envoy.filters.http.cors"] = envoy.Any(&routev3.FilterConfig{Disabled: true, Config: d.cors()})
		}
	}
	return r
}

func (d dice) redirect(template bool) *routev3.RedirectAction {
	out := &routev3.RedirectAction{StripQuery: d.maybe(30), ResponseCode: routev3.RedirectAction_RedirectResponseCode(d.IntN(5))}
	switch d.IntN(4) {
	case 0:
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true}
	case 1:
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: d.one("http", "https", "ftp")}
	}
	if d.maybe(30) {
		out.HostRedirect = "new.example"
	}
	if d.maybe(30) {
		out.PortRedirect = 8443
	}
	switch n := d.IntN(5); {
	case n == 0:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: d.one("/to", "to", "/to?q=1")}
	case n == 1 && !template:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: d.one("/", "/new", "new/")}
	case n == 2:
		out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: d.substitute()}
	}
	return out
}

func (d dice) action(template bool) *routev3.RouteAction {
	out := &routev3.RouteAction{AppendXForwardedHost: d.maybe(20)}
	switch d.IntN(4) {
	case 0:
		w := &routev3.WeightedCluster{}
		for i := range 1 + d.IntN(3) {
			w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{
				Name: clusters[i], Weight: wrapperspb.UInt32(uint32(1 + d.IntN(50))), RequestHeadersToAdd: d.mutations(),
			})
			if d.maybe(20) {
				w.Clusters[i].HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: "weighted.example"}
			}
		}
		if d.maybe(20) {
			w.RandomValueSpecifier = &routev3.WeightedCluster_HeaderName{HeaderName: "x-a"}
		}
		out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	case 1:
		out.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x-cluster"}
	default:
		out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: d.one(clusters...)}
	}
	switch n := d.IntN(5); {
	case n == 0 && !template:
		out.PrefixRewrite = d.one("/", "/new", "/new/", "new")
	case n == 1:
		out.RegexRewrite = d.substitute()
	}
	switch d.IntN(6) {
	case 0:
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "rewritten.example"}
	case 1:
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteHeader{HostRewriteHeader: "x-b"}
	case 2:
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewritePathRegex{HostRewritePathRegex: &matcherv3.RegexMatchAndSubstitute{
			Pattern: &matcherv3.RegexMatcher{Regex: "^/([^/]+)/?.*$"}, Substitution: "\\1.example",
		}}
	}
	return out
}

// call is a random valid request.
func (d dice) call() string {
	path := d.prefix() + d.one("", "", "", "/", "/b", "b", "/1", "?a=1", "?x=b&a", ";p=1", "/c/d?1=x", "/A", "?")
	if path == "" || path[0] != '/' || d.maybe(20) {
		path = d.path()
	}
	if strings.Contains(path, "#") {
		path = "/"
	}
	lines := []string{d.one("GET", "GET", "POST", "OPTIONS", "DELETE") + " " + path + " HTTP/1.1", "Host: " + d.host()}
	if d.maybe(15) {
		lines = []string{"OPTIONS " + path + " HTTP/1.1", "Host: " + d.host(), "origin: " + d.one("http://a", "b"), "access-control-request-method: " + d.one("GET", "PUT")}
	}
	for range d.IntN(5) {
		lines = append(lines, d.one("x-a: a", "x-a: a", "x-a: b", "x-a: b", "x-a: 1", "x-a: 77", "x-b: x", "x-b: x", "x-b: a", "x-b: ", "x-b: http://a", "x-cluster: c1", "x-cluster: c2", "x-cluster: nowhere",
			"origin: http://a", "origin: b", "access-control-request-method: GET", "access-control-request-method: GET", "access-control-request-headers: x-b", "access-control-request-private-network: true", "content-type: a/b", "x-forwarded-proto: https",
			"cookie: a=1", "x-vhost: shop.example.com", "x-vhost: A", "x-more: 0", "x-gone: 1", "x-forwarded-host: f"))
	}
	return strings.Join(append(lines, "", ""), "\r\n")
}

// observed is what Envoy did with one request.
type observed struct {
	raw      string
	response *envoy.Response
	choice   route.Choice
	stream   *stream.Stream
	table    int
}

// agrees says how one case differs from what was observed; empty for not at all.
func (o *observed) agrees(c *route.Case, e envoy.Entry) string {
	if c.Unknown != "" {
		return ""
	}
	reply, unknown := c.CORS(o.stream)
	if reply == nil && unknown == "" {
		reply, unknown = c.Answer(o.stream)
	}
	if unknown != "" {
		return ""
	}
	if reply != nil {
		location, _ := reply.Headers.Get("location")
		got := fmt.Sprint(reply.Code, reply.Details, reply.Flags, location)
		want := fmt.Sprint(o.response.Status, e.Details, strings.Fields(e.Flags), o.response.Header.Get("Location"))
		if e.Details == "cors_response" {
			for _, about := range []string{"allow-origin", "allow-methods", "allow-headers", "allow-credentials", "allow-private-network", "max-age"} {
				v, _ := reply.Headers.Get("access-control-" + about)
				got += " " + v
				want += " " + o.response.Header.Get("access-control-"+about)
			}
		}
		if got != want || c.Route != nil && reply.Details == "direct_response" && c.Route.Name() != e.Route {
			return fmt.Sprintf("decided %s, Envoy %s at %s", got, want, e.Route)
		}
		return ""
	}
	if c.Route.Name() != e.Route {
		return fmt.Sprintf("decided route %s, Envoy %s (%d %s)", c.Route.Name(), e.Route, o.response.Status, e.Details)
	}
	if e.Details == "cluster_not_found" {
		if c.Cluster != "" && c.Cluster != "nowhere" {
			return "decided cluster " + c.Cluster + ", Envoy found none"
		}
		return ""
	}
	return o.arrived(c, e)
}

// arrived compares what the upstream host got.
func (o *observed) arrived(c *route.Case, e envoy.Entry) string {
	if c.Cluster != e.Cluster {
		return fmt.Sprintf("decided cluster %s, Envoy %s (%d %s)", c.Cluster, e.Cluster, o.response.Status, e.Details)
	}
	got := o.response.Got()
	if got == nil {
		return fmt.Sprintf("decided cluster %s, Envoy did not reach it: %d %s", c.Cluster, o.response.Status, e.Details)
	}
	out, _ := c.Forwarded(o.stream)
	var diff []string
	if out.Path() != got.Target {
		diff = append(diff, fmt.Sprintf("decided path %q, Envoy %q", out.Path(), got.Target))
	}
	for _, name := range []string{"host", "x-add", "x-more", "x-gone", "x-forwarded-host", "x-envoy-original-path", "x-envoy-original-host"} {
		key := name
		if name == "host" {
			key = stream.Authority
		}
		want, _ := got.Header(name)
		if is, _ := out.Headers.Get(key); is != want {
			diff = append(diff, fmt.Sprintf("%s: decided %q, Envoy %q", name, is, want))
		}
	}
	return strings.Join(diff, "; ")
}

// concerned is the part of a table that a disagreement is about.
func (o *observed) concerned(t *routev3.RouteConfiguration, name string) string {
	var parts []string
	show := func(m proto.Message) {
		text, _ := protojson.Marshal(m)
		parts = append(parts, string(text))
	}
	for _, v := range t.GetVirtualHosts() {
		for _, r := range v.GetRoutes() {
			if r.GetName() == name || len(o.choice.Cases) > 0 && o.choice.Cases[0].Route != nil && o.choice.Cases[0].Route.Name() == r.GetName() {
				show(r)
			}
		}
	}
	t = proto.CloneOf(t)
	if v := o.choice.VirtualHost; v != nil {
		host := proto.CloneOf(v.Proto())
		host.Routes = nil
		show(host)
	}
	t.VirtualHosts = nil
	show(t)
	return strings.Join(parts, "\n")
}

func TestARouteTableChoosesAsEnvoyDoes(t *testing.T) {
	d := roll(t)
	const tables = 25
	upstream := envoy.RunUpstream(t, "u")
	var known []*clusterv3.Cluster
	for _, c := range clusters {
		known = append(known, envoy.Cluster(c, upstream.Address))
	}
	var listeners []*listenerv3.Listener
	var configs []*routev3.RouteConfiguration
	for i := range tables {
		configs = append(configs, d.table())
		m := envoy.Manager(configs[i], envoy.HTTPFilter("envoy.filters.http.cors", &corsv3.Cors{}))
		listeners = append(listeners, envoy.HTTPListener(fmt.Sprint("t", i), m, nil))
	}
	p := envoy.Run(t, envoy.Bootstrap(listeners, known...))
	var all []observed
	for i, config := range configs {
		table := route.Compile(config, route.Surroundings{})
		m := hcm.Compile(envoy.Manager(config), hcm.Surroundings{})
		to := p.Address(fmt.Sprint("t", i))
		for range rounds(800) {
			raw := d.call()
			r, err := p.Send(t.Context(), envoy.Call{To: to}, raw)
			if err != nil {
				t.Errorf("%q: %v", raw, err)
				continue
			}
			o := m.Receive(&stream.Connection{DirectRemote: netip.MustParseAddrPort("127.0.0.1:1"), Local: to}, parse(raw))
			if o.Stream == nil {
				continue
			}
			all = append(all, observed{raw, r, table.Pick(o.Stream), o.Stream, i})
		}
	}
	unknown := 0
	judge(t, len(all), func(i int) (string, string) {
		o := &all[i]
		e, err := o.response.Logged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var diffs []string
		for j := range o.choice.Cases {
			if o.choice.Cases[j].Unknown != "" {
				unknown++
			}
			diff := o.agrees(&o.choice.Cases[j], e)
			if diff == "" {
				return "", ""
			}
			diffs = append(diffs, diff)
		}
		return strings.Join(diffs, " | "), fmt.Sprintf("%q\n%s", o.raw, o.concerned(configs[o.table], e.Route))
	})
	t.Logf("%d unknown", unknown)
	if unknown*100 > len(all) {
		t.Errorf("%d of %d requests are unknown, at most one in a hundred may be", unknown, len(all))
	}
}
