// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"slices"
	"sort"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
)

// table is a route configuration.
type table struct {
	domains []domain
	// rest is the route configuration without its virtual hosts, to be compared.
	rest *routev3.RouteConfiguration
	// overridden are the filters of which routes say something else.
	overridden map[string]bool
}

type domain struct {
	pattern atom.Pattern
	// rest is the virtual host without its routes, to be compared.
	rest   *routev3.VirtualHost
	routes []route
}

// route is one of Envoy's, or several behind each other that differ in their paths
// only.
type route struct {
	condition condition
	protos    []*routev3.Route
	clusters  []string
}

func tableOf(c *routev3.RouteConfiguration) *table {
	out := &table{rest: without(c, "virtual_hosts"), overridden: map[string]bool{}}
	out.override(c.GetTypedPerFilterConfig())
	for _, v := range c.GetVirtualHosts() {
		out.override(v.GetTypedPerFilterConfig())
		for _, r := range v.GetRoutes() {
			out.override(r.GetTypedPerFilterConfig())
			for _, weighted := range r.GetRoute().GetWeightedClusters().GetClusters() {
				out.override(weighted.GetTypedPerFilterConfig())
			}
		}
		routes := routesOf(v.GetRoutes())
		rest := without(v, "routes")
		for _, name := range v.GetDomains() {
			out.domains = append(out.domains, domain{domainPattern(strings.ToLower(name), c.GetIgnorePortInHostMatching()), rest, routes})
		}
	}
	// As Envoy looks: whole names, the longest ends, the longest beginnings, the star.
	rank := map[atom.Kind]int{atom.Exact: 0, atom.AnyPort: 0, atom.Suffix: 1, atom.Prefix: 2, atom.Present: 3}
	sort.SliceStable(out.domains, func(i, j int) bool {
		a, b := out.domains[i].pattern, out.domains[j].pattern
		if rank[a.Kind] != rank[b.Kind] {
			return rank[a.Kind] < rank[b.Kind]
		}
		return rank[a.Kind] > 0 && len(a.Text) > len(b.Text)
	})
	return out
}

func (t *table) override(filters map[string]*anypb.Any) {
	for name := range filters {
		t.overridden[name] = true
	}
}

func domainPattern(name string, anyPort bool) atom.Pattern {
	switch {
	case name == "*":
		return atom.Pattern{Kind: atom.Present}
	case strings.HasPrefix(name, "*"):
		return atom.Pattern{Kind: atom.Suffix, Text: name[1:]}
	case strings.HasSuffix(name, "*"):
		return atom.Pattern{Kind: atom.Prefix, Text: strings.TrimSuffix(name, "*")}
	}
	if anyPort {
		return atom.Pattern{Kind: atom.AnyPort, Text: name, Fold: true}
	}
	return atom.Pattern{Text: name, Fold: true}
}

// routesOf are the routes of a virtual host in order. One joins another before it
// that differs in its path only, where no request is for it and for one between them.
func routesOf(protos []*routev3.Route) []route {
	type group struct {
		first  *routev3.Route
		protos []*routev3.Route
		paths  []condition
	}
	var groups []*group
	join := func(r *routev3.Route, path condition) bool {
		for _, g := range slices.Backward(groups[max(0, len(groups)-maxBetween):]) {
			if sameButPath(g.first, r) {
				g.protos, g.paths = append(g.protos, r), append(g.paths, path)
				return true
			}
			if !slices.ContainsFunc(g.paths, func(other condition) bool { return !apart(path, other) }) {
				continue
			}
			return false
		}
		return false
	}
	for _, r := range protos {
		if path := pathCondition(r.GetMatch()); !join(r, path) {
			groups = append(groups, &group{r, []*routev3.Route{r}, []condition{path}})
		}
	}
	out := make([]route, 0, len(groups))
	for _, g := range groups {
		out = append(out, route{append(all{either(g.paths)}, restOf(g.first.GetMatch())...), g.protos, clustersOf(g.first)})
	}
	return out
}

// maxBetween bounds how far back a route that differs in its path only is looked for.
const maxBetween = 256

// apart reports whether no path takes both of two patterns, where that is easy to
// tell.
func apart(a, b condition) bool {
	one, is := a.(leaf)
	other, too := b.(leaf)
	if !is || !too || one.pattern.Fold || other.pattern.Fold {
		return false
	}
	beginning := func(p atom.Pattern) bool { return p.Kind == atom.Prefix || p.Kind == atom.Segments }
	switch p, q := one.pattern, other.pattern; {
	case p.Kind == atom.Exact && (q.Kind == atom.Exact || beginning(q)):
		return !q.Match(p.Text)
	case q.Kind == atom.Exact && beginning(p):
		return !p.Match(q.Text)
	case beginning(p) && beginning(q):
		return !strings.HasPrefix(p.Text, q.Text) && !strings.HasPrefix(q.Text, p.Text)
	}
	return false
}

// without is a message that shares all but some fields with another; to be read only.
func without[M proto.Message](m M, fields ...protoreflect.Name) M {
	out := m.ProtoReflect().New()
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if !slices.Contains(fields, field.Name()) {
			out.Set(field, value)
		}
		return true
	})
	typed, ok := out.Interface().(M)
	if !ok {
		return m
	}
	return typed
}

// sameButPath reports whether it makes no difference which of two routes takes a
// request.
func sameButPath(a, b *routev3.Route) bool {
	action := a.GetRoute()
	if action == nil || action.GetPrefixRewrite() != "" || action.GetRegexRewrite() != nil || action.GetPathRewritePolicy() != nil {
		return false
	}
	if a.GetName() != b.GetName() {
		return false
	}
	// Traces have the path in their names.
	match := func(r *routev3.Route) *routev3.RouteMatch {
		return without(r.GetMatch(), "prefix", "path", "path_separated_prefix", "safe_regex", "connect_matcher", "path_match_policy", "case_sensitive")
	}
	return proto.Equal(match(a), match(b)) && proto.Equal(without(a, "match", "decorator"), without(b, "match", "decorator"))
}

func pathCondition(m *routev3.RouteMatch) condition {
	fold := m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	path := class.Dimension{Kind: class.Path}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		if p.Prefix == "/" {
			return constant(yes)
		}
		return leaf{path, atom.Pattern{Kind: atom.Prefix, Text: p.Prefix, Fold: fold}}
	case *routev3.RouteMatch_Path:
		return leaf{path, atom.Pattern{Text: p.Path, Fold: fold}}
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return leaf{path, atom.Pattern{Kind: atom.Segments, Text: p.PathSeparatedPrefix, Fold: fold}}
	case *routev3.RouteMatch_SafeRegex:
		return leaf{path, atom.Pattern{Kind: atom.Regex, Text: p.SafeRegex.GetRegex()}}
	case *routev3.RouteMatch_PathMatchPolicy:
		return templateOf(p.PathMatchPolicy)
	}
	return blind{"a route for CONNECT"}
}

// restOf is what a route asks beside the path.
func restOf(m *routev3.RouteMatch) all {
	var out all
	for _, h := range m.GetHeaders() {
		out = append(out, headerOf(h))
	}
	for _, q := range m.GetQueryParameters() {
		d := class.Dimension{Kind: class.Parameter, Name: q.GetName()}
		if s := q.GetStringMatch(); s != nil {
			out = append(out, text(d, s))
			continue
		}
		out = append(out, leaf{d, atom.Pattern{Kind: atom.Present}})
	}
	for _, d := range m.GetDynamicMetadata() {
		out = append(out, metadataOf(d))
	}
	if len(m.GetFilterState()) > 0 {
		out = append(out, blind{"filter state that chooses a route"})
	}
	if m.GetRuntimeFraction() != nil || m.GetGrpc() != nil || m.GetTlsContext() != nil {
		out = append(out, blind{"a route for a share of requests, for gRPC or for certificates"})
	}
	return out
}

// forwards reports whether it leads to other proxies or applications.
func (r *route) forwards() bool {
	return r.protos[0].GetRedirect() == nil && r.protos[0].GetDirectResponse() == nil
}

// named reports whether all clusters that it may lead to are known by their names.
func (r *route) named() bool {
	weighted := r.protos[0].GetRoute().GetWeightedClusters()
	return len(r.clusters) > 0 && len(r.clusters) >= len(weighted.GetClusters())
}

func clustersOf(r *routev3.Route) []string {
	action := r.GetRoute()
	if weighted := action.GetWeightedClusters(); weighted != nil {
		var out []string
		for _, c := range weighted.GetClusters() {
			if c.GetName() != "" {
				out = append(out, c.GetName())
			}
		}
		return out
	}
	if action.GetCluster() != "" {
		return []string{action.GetCluster()}
	}
	return nil
}

// domain is the virtual host, nil where none has the host; known is false where the
// host is open.
func (w *walker) domain(t *table, v *view) (at *domain, known bool) {
	host := v.point.At(class.Dimension{Kind: class.Host})
	key := domainKey{t, host}
	if v.host == nil && host != nil {
		if d, ok := w.domains[key]; ok {
			return d, true
		}
	}
	var found *domain
	for i := range t.domains {
		l := leaf{class.Dimension{Kind: class.Host}, t.domains[i].pattern}
		switch l.value(v) {
		case open:
			for j := i; j < len(t.domains); j++ {
				leaf{class.Dimension{Kind: class.Host}, t.domains[j].pattern}.leaves(v, w.add)
			}
			return nil, false
		case yes:
			found = &t.domains[i]
		case no:
			continue
		}
		break
	}
	if v.host == nil && host != nil {
		w.domains[key] = found
	}
	return found, true
}

type domainKey struct {
	table *table
	host  *class.Point
}
