// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile/oddpath"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/intent/paths"
	"github.com/trellis-mesh/trellis/internal/model"
)

// ProbeHeader carries the probe key. A request with it is answered 418 by the
// gateway itself, after authorization, and never reaches an application.
const ProbeHeader = "trellis-probe"

// entries collects the http entries of a VirtualService with their stamps.
type entries struct {
	routes []*networkingapi.HTTPRoute
	stamps []stamp
}

func (e *entries) add(at place, reason Reason, route *networkingapi.HTTPRoute) {
	e.routes = append(e.routes, route)
	e.stamps = append(e.stamps, stamp{at, reason})
}

// virtualService makes the routes of one host. The order of its entries is what
// decides: probe, plain HTTP, odd paths, the reserved path, then the longest
// path first.
func (b *builder) virtualService(h *intent.Host) {
	in := h.Ingress
	var e entries
	b.probeEntry(&e, in)
	b.plainEntries(&e, h)
	if !h.RawPaths {
		e.add(below(&in.Origin, ""), provenance.ReasonPath, answer("odd-path", 400, "this path can be read in more than one way\n",
			&networkingapi.HTTPMatchRequest{Uri: regex(oddpath.Pattern(tablesOf(h)...)), Port: uint32(in.HTTPS.Number)}))
	}
	e.add(below(&in.Origin, ""), provenance.ReasonPath, answer("acme-challenge", 404, "", prefixMatches(paths.Acme, 0)...))
	b.routeEntries(&e, h)
	addSecurityHeader(&e, in)

	value := &networkingv1.VirtualService{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "VirtualService"},
		ObjectMeta: metav1.ObjectMeta{Namespace: in.Ref.Namespace, Name: hostName(in.Ref.Name, h.Name)},
	}
	if in.Spec.DNS != nil {
		value.Annotations = notForExternalDNS
	}
	value.Spec.Hosts = []string{h.Name}
	value.Spec.Gateways = []string{gatewayName(in.Ref.Name)}
	value.Spec.Http = e.routes
	owners := []model.Reference{in.Ref}
	for _, p := range h.Publications {
		if !slices.Contains(owners, p.Application.Ref) {
			owners = append(owners, p.Application.Ref)
		}
	}
	b.object(value, "VirtualService", "networking.istio.io", owners, e.stamps)
}

// tablesOf are the paths that applications of a host serve, published or not.
func tablesOf(h *intent.Host) []*intent.PathTable {
	var out []*intent.PathTable
	var last *intent.Application
	for _, p := range h.Publications {
		if p.Application != last {
			last = p.Application
			out = append(out, last.AllPaths()...)
		}
	}
	return out
}

func (b *builder) probeEntry(e *entries, in *intent.Ingress) {
	key := b.snapshot.ProbeKey()
	if key == "" {
		return
	}
	e.add(below(&in.Origin, ""), provenance.ReasonProbe, answer("probe", 418, "", &networkingapi.HTTPMatchRequest{
		Headers: map[string]*networkingapi.StringMatch{ProbeHeader: exact(key)},
		Port:    uint32(in.HTTPS.Number),
	}))
}

// plainEntries answer plain HTTP. A request that brought its token along has
// leaked it, and is told so; it is not redirected as if nothing had happened.
func (b *builder) plainEntries(e *entries, h *intent.Host) {
	in := h.Ingress
	port := uint32(in.HTTP.Number)
	if port == 0 {
		return
	}
	where := below(&in.Origin, "spec.insecureRequests")
	b.challengeEntries(e, h)
	e.add(where, provenance.ReasonPlain, answer("acme-challenge-plain", 404, "", prefixMatches(paths.Acme, port)...))
	if in.Spec.InsecureRequests == v1alpha1.InsecureRequestsReject {
		e.add(where, provenance.ReasonPlain, answer("plain-refused", 403, "this host is served over HTTPS alone\n", &networkingapi.HTTPMatchRequest{Port: port}))
		return
	}
	e.add(where, provenance.ReasonPlain, answer("plain-token", 400, "a token was sent over plain HTTP; consider it leaked, and use HTTPS\n", tokenMatches(in, port)...))
	e.add(where, provenance.ReasonPlain, &networkingapi.HTTPRoute{
		Name:  "plain-redirect",
		Match: []*networkingapi.HTTPMatchRequest{{Port: port}},
		Redirect: &networkingapi.HTTPRedirect{
			Scheme: "https",
			// The host as it is known: a port that the request named is of HTTP.
			Authority:    h.Name,
			RedirectPort: &networkingapi.HTTPRedirect_Port{Port: uint32(in.HTTPS.Number)},
			RedirectCode: 308,
		},
	})
}

// tokenMatches match requests that carry a token where one may be.
func tokenMatches(in *intent.Ingress, port uint32) []*networkingapi.HTTPMatchRequest {
	headers := map[string]string{"authorization": `(?i)bearer .*`}
	queries := make(map[string]bool)
	var cookies []string
	for _, p := range providersOf(in) {
		for _, s := range p.Spec.TokenSources {
			switch {
			case s.Header != nil && string(s.Header.Name) != "authorization":
				headers[string(s.Header.Name)] = ".*"
			case s.Cookie != "":
				cookies = append(cookies, regexp.QuoteMeta(s.Cookie))
			case s.Query != "":
				queries[s.Query] = true
			}
		}
	}
	if len(cookies) > 0 {
		slices.Sort(cookies)
		headers["cookie"] = `(.*;)?\s*(` + strings.Join(slices.Compact(cookies), "|") + `)=.+`
	}
	var out []*networkingapi.HTTPMatchRequest
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		out = append(out, &networkingapi.HTTPMatchRequest{Port: port, Headers: map[string]*networkingapi.StringMatch{name: regex(headers[name])}})
	}
	for _, name := range slices.Sorted(maps.Keys(queries)) {
		out = append(out, &networkingapi.HTTPMatchRequest{Port: port, QueryParams: map[string]*networkingapi.StringMatch{name: regex(".+")}})
	}
	return out
}

// hostPath is one path of a host with the publication that it leads to.
type hostPath struct {
	path        intent.Path
	publication *intent.Publication
	// below is true for a prefix whose own text is another one's exact path.
	below bool
}

// matches are the requests for the path, over HTTPS.
func (hp hostPath) matches() []*networkingapi.HTTPMatchRequest {
	port := uint32(hp.publication.Host.Ingress.HTTPS.Number)
	switch {
	case hp.below:
		return []*networkingapi.HTTPMatchRequest{{Uri: startsWith(hp.path.Value + "/"), Port: port}}
	case hp.path.Prefix:
		return prefixMatches(hp.path.Value, port)
	}
	return []*networkingapi.HTTPMatchRequest{{Uri: exact(hp.path.Value), Port: port}}
}

// routeEntries lead every path of the host to its application, the longest
// first, and close those that are not published.
func (b *builder) routeEntries(e *entries, h *intent.Host) {
	var all []hostPath
	for _, p := range h.Publications {
		for _, path := range p.Route.Paths {
			all = append(all, hostPath{path: path, publication: p})
		}
	}
	e.routes = slices.Grow(e.routes, 2*len(all))
	e.stamps = slices.Grow(e.stamps, 2*len(all))
	slices.SortStableFunc(all, func(x, y hostPath) int {
		return cmp.Or(paths.MoreSpecific(x.path, y.path), compareBool(x.path.Guess, y.path.Guess), compareBool(y.publication.Closed, x.publication.Closed))
	})
	// Of equal paths the first one decides; Istio warns of the others.
	all = slices.CompactFunc(all, func(x, y hostPath) bool { return paths.MoreSpecific(x.path, y.path) == 0 })
	for i, hp := range all {
		// An exact path is just before the prefix of the same text.
		hp.below = i > 0 && hp.path.Value != "/" && all[i-1].path.Value == hp.path.Value
		p := hp.publication
		name := p.Application.Ref.Namespace + "/" + p.Application.Ref.Name + "/" + p.Route.Name
		switch {
		case p.Unpublished:
			e.add(at(&p.Origin), provenance.ReasonPolicy, answer(name, 404, "", hp.matches()...))
		case p.Closed:
			e.add(statedAt(p.ClosedBy, &p.Origin), provenance.ReasonPolicy, answer(name, 403, "this route is closed; its Application's status says why\n", hp.matches()...))
		default:
			b.openRoute(e, hp, name)
		}
	}
}

func (b *builder) openRoute(e *entries, hp hostPath, name string) {
	p := hp.publication
	cors := corsPolicy(p)
	if cors != nil {
		e.add(below(&p.Origin, "cors"), provenance.ReasonMethod, answer(name, 400, "an empty header makes no preflight\n", emptyPreflight(hp)...))
	}
	route := &networkingapi.HTTPRoute{
		Name:  name,
		Match: hp.matches(),
		Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{
			Host: p.Application.ServiceHost(b.snapshot.Mesh()),
			Port: &networkingapi.PortSelector{Number: uint32(p.Route.Port.Number)},
		}}},
		CorsPolicy: cors,
	}
	if p.Route.Timeout > 0 {
		route.Timeout = durationpb.New(p.Route.Timeout)
	}
	if p.Route.Retries != nil {
		route.Retries = &networkingapi.HTTPRetry{Attempts: int32(*p.Route.Retries)}
	}
	e.add(at(&p.Origin), provenance.ReasonRoute, route)
}

// emptyPreflight matches OPTIONS requests whose preflight headers are there and
// empty. Authorization rules take them for preflights, since they ask no more
// than whether a header is there, and the CORS filter would pass them on.
func emptyPreflight(hp hostPath) []*networkingapi.HTTPMatchRequest {
	var out []*networkingapi.HTTPMatchRequest
	for _, header := range preflightHeaders {
		for _, m := range hp.matches() {
			m.Method = exact("OPTIONS")
			m.Headers = map[string]*networkingapi.StringMatch{header: regex("^$")}
			out = append(out, m)
		}
	}
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

func corsPolicy(p *intent.Publication) *networkingapi.CorsPolicy {
	c := p.CORS
	if c == nil {
		return nil
	}
	out := &networkingapi.CorsPolicy{
		AllowCredentials: wrapperspb.Bool(c.AllowCredentials),
		// A preflight of another origin is answered here, without the headers
		// that would let it through, and not forwarded.
		UnmatchedPreflights: networkingapi.CorsPolicy_IGNORE,
	}
	for _, o := range c.Origins {
		out.AllowOrigins = append(out.AllowOrigins, exact(o))
	}
	for _, m := range c.Methods {
		out.AllowMethods = append(out.AllowMethods, string(m))
	}
	if len(c.Methods) == 0 {
		out.AllowMethods = p.Route.Methods
	}
	for _, h := range c.Headers {
		out.AllowHeaders = append(out.AllowHeaders, string(h))
	}
	for _, h := range c.ExposeHeaders {
		out.ExposeHeaders = append(out.ExposeHeaders, string(h))
	}
	if c.MaxAge != nil {
		out.MaxAge = durationpb.New(c.MaxAge.Duration)
	}
	return out
}

// addSecurityHeader sends Strict-Transport-Security with every answer that a
// route gives over HTTPS (refusals by authorization rules come before routes);
// over plain HTTP browsers ignore it (RFC 6797 section 7.2).
func addSecurityHeader(e *entries, in *intent.Ingress) {
	hsts := in.Spec.TLS.HSTS
	if hsts == nil {
		return
	}
	value := "max-age=" + strconv.FormatInt(int64(hsts.MaxAge.Duration/time.Second), 10)
	if hsts.IncludeSubdomains {
		value += "; includeSubDomains"
	}
	for i, r := range e.routes {
		if e.stamps[i].reason != provenance.ReasonPlain {
			r.Headers = &networkingapi.Headers{Response: &networkingapi.Headers_HeaderOperations{Set: map[string]string{"strict-transport-security": value}}}
		}
	}
}

func exact(v string) *networkingapi.StringMatch {
	return &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Exact{Exact: v}}
}

func regex(v string) *networkingapi.StringMatch {
	return &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Regex{Regex: v}}
}

func startsWith(v string) *networkingapi.StringMatch {
	return &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Prefix{Prefix: v}}
}

// prefixMatches match a path and everything below it; port zero is every port.
func prefixMatches(path string, port uint32) []*networkingapi.HTTPMatchRequest {
	if path == "/" {
		return []*networkingapi.HTTPMatchRequest{{Uri: startsWith("/"), Port: port}}
	}
	return []*networkingapi.HTTPMatchRequest{{Uri: exact(path), Port: port}, {Uri: startsWith(path + "/"), Port: port}}
}

func answer(name string, status uint32, body string, matches ...*networkingapi.HTTPMatchRequest) *networkingapi.HTTPRoute {
	out := &networkingapi.HTTPRoute{Name: name, Match: matches, DirectResponse: &networkingapi.HTTPDirectResponse{Status: status}}
	if body != "" {
		out.DirectResponse.Body = &networkingapi.HTTPBody{Specifier: &networkingapi.HTTPBody_String_{String_: body}}
	}
	return out
}
