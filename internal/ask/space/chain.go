// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Rule is one policy of an RBAC filter.
type Rule struct {
	// Name is Envoy's.
	Name      string
	Action    rbacv3.RBAC_Action
	condition condition
	proto     *rbacv3.Policy
}

// rules are those of one filter, in the order in which they are asked.
type rules struct {
	list   []*Rule
	action rbacv3.RBAC_Action
	// shadow rules refuse nothing; optional ones are not asked for every request.
	shadow, optional bool
	// byHost are the rules that ask for one of some hosts, by each of these, and
	// others the rest; positions in list, in order. Nil where there are few rules.
	byHost map[atom.Pattern][]int
	others []int
}

// indexedFrom is how many rules are worth an index.
const indexedFrom = 32

func (r *rules) index() {
	if len(r.list) < indexedFrom {
		return
	}
	r.byHost = map[atom.Pattern][]int{}
	for i, rule := range r.list {
		asked, known := hostsOf(rule.condition)
		if !known {
			r.others = append(r.others, i)
		}
		for _, p := range asked {
			r.byHost[p] = append(r.byHost[p], i)
		}
	}
}

// hostsOf are patterns of which a host has to take one; known is false where a
// condition may hold for others.
func hostsOf(c condition) (patterns []atom.Pattern, known bool) {
	switch c := c.(type) {
	case leaf:
		if c.dimension.Kind == class.Host {
			return []atom.Pattern{c.pattern}, true
		}
	case all:
		for _, one := range c {
			if patterns, known = hostsOf(one); known {
				return patterns, true
			}
		}
	case some:
		for _, one := range c {
			more, known := hostsOf(one)
			if !known {
				return nil, false
			}
			patterns = append(patterns, more...)
		}
		return patterns, true
	}
	return nil, false
}

// at are the rules that a class of hosts does not rule out, and perhaps some more.
func (r *rules) at(host *class.Point) []*Rule {
	if r.byHost == nil || host == nil {
		return r.list
	}
	positions := slices.Clone(r.others)
	alone := host.Alone()
	for p, of := range r.byHost {
		if sign, known := alone.Takes(class.Dimension{Kind: class.Host}, p); sign || !known {
			positions = append(positions, of...)
		}
	}
	slices.Sort(positions)
	positions = slices.Compact(positions)
	out := make([]*Rule, 0, len(positions))
	for _, i := range positions {
		out = append(out, r.list[i])
	}
	return out
}

// refusing reports whether the rules can refuse a request: others only say what
// they would.
func (r *rules) refusing() bool {
	return r != nil && !r.shadow && (r.action == rbacv3.RBAC_ALLOW || r.action == rbacv3.RBAC_DENY)
}

// tokens are what a JWT filter looks for.
type tokens struct {
	providers []*jwtv3.JwtProvider
	// rest is the filter without its providers, to be compared.
	rest *jwtv3.JwtAuthentication
}

// chain is a filter chain as far as it is split.
type chain struct {
	network []*rules
	// filters are *rules and *tokens in order.
	filters []any
	table   *table
	// clusters are those of a TCP proxy.
	clusters []string
	http     bool
	// others are the filters that are not split, to be compared.
	others string
}

// Reader compiles configurations once. It is safe for concurrent use.
type Reader struct {
	mu        sync.Mutex
	listeners map[*listenerv3.Listener]*listener.Chains
	// chains have all that they have, ways only where they lead.
	chains, ways map[*listenerv3.FilterChain]*chain
	tables       map[*routev3.RouteConfiguration]*table
	digests      map[*listenerv3.Listener]string
	// filters are by the type and the bytes of their configuration.
	filters map[string]map[string][]any
	splits  class.Memo
}

// digest is a text that is the same for listeners that are.
func (r *Reader) digest(l *listenerv3.Listener) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, ok := r.digests[l]
	if !ok {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(l)
		h := fnv.New128a()
		// Writing to a hash never fails.
		_, _ = h.Write(raw)
		out = fmt.Sprintf("%x %v\n", h.Sum(nil), err)
		r.digests[l] = out
	}
	return out
}

// NewReader makes an empty one.
func NewReader() *Reader {
	return &Reader{
		listeners: map[*listenerv3.Listener]*listener.Chains{}, chains: map[*listenerv3.FilterChain]*chain{}, ways: map[*listenerv3.FilterChain]*chain{},
		tables: map[*routev3.RouteConfiguration]*table{}, digests: map[*listenerv3.Listener]string{},
		filters: map[string]map[string][]any{},
	}
}

func (r *Reader) listener(l *listenerv3.Listener) *listener.Chains {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, ok := r.listeners[l]
	if !ok {
		out = listener.Compile(l)
		r.listeners[l] = out
	}
	return out
}

func (r *Reader) chain(config *xds.Config, c *listenerv3.FilterChain) *chain {
	return r.compiled(r.chains, config, c, true)
}

// way is a chain without its rules: reading those of a gateway takes long.
func (r *Reader) way(config *xds.Config, c *listenerv3.FilterChain) *chain {
	return r.compiled(r.ways, config, c, false)
}

// compiled is a chain that is compiled once.
func (r *Reader) compiled(known map[*listenerv3.FilterChain]*chain, config *xds.Config, c *listenerv3.FilterChain, whole bool) *chain {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, ok := known[c]
	if !ok {
		out = r.compile(config, c, whole)
		known[c] = out
	}
	return out
}

// compile is called with the lock held. What cannot be read is left out: package
// decide says of it that it is Unknown.
func (r *Reader) compile(config *xds.Config, c *listenerv3.FilterChain, whole bool) *chain {
	out := &chain{}
	for _, f := range c.GetFilters() {
		any := f.GetTypedConfig()
		switch {
		case any.MessageIs((*networkrbacv3.RBAC)(nil)):
			m := &networkrbacv3.RBAC{}
			if any.UnmarshalTo(m) == nil {
				out.network = append(out.network, rulesOf(m.GetShadowRules(), true), rulesOf(m.GetRules(), false))
			}
		case any.MessageIs((*tcpv3.TcpProxy)(nil)):
			m := &tcpv3.TcpProxy{}
			if any.UnmarshalTo(m) == nil {
				out.clusters = tcpClusters(m)
			}
		case any.MessageIs((*hcmv3.HttpConnectionManager)(nil)):
			if m, err := xds.Manager(any); err == nil {
				out.http = true
				r.routing(config, m, out)
				if whole {
					r.filtering(config, m, out)
				}
			}
		}
	}
	return out
}

func tcpClusters(m *tcpv3.TcpProxy) []string {
	if weighted := m.GetWeightedClusters(); weighted != nil {
		var out []string
		for _, c := range weighted.GetClusters() {
			out = append(out, c.GetName())
		}
		return out
	}
	return []string{m.GetCluster()}
}

// filtering reads the HTTP filters of a connection manager.
func (r *Reader) filtering(config *xds.Config, m *hcmv3.HttpConnectionManager, out *chain) {
	depends := false
	for _, f := range m.GetHttpFilters() {
		typed := f.GetTypedConfig()
		if f.GetConfigDiscovery() != nil {
			if extension, ok := config.Extension(f.GetName()); ok {
				typed = extension.GetTypedConfig()
			}
		}
		read := r.filtersOf(typed)
		if read == nil {
			out.others += fmt.Sprintf("%s %v %x\n", f.GetName(), f.GetDisabled(), typed.GetValue())
		}
		out.filters = append(out.filters, read...)
		depends = depends || len(read) > 0 && (f.GetDisabled() || out.table != nil && out.table.overridden[f.GetName()])
	}
	if depends {
		out.filters = optional(out.filters)
	}
	rest := without(m, "http_filters", "route_config", "rds", "scoped_routes", "access_log", "tracing")
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(rest)
	out.others += fmt.Sprintf("%x %v\n", raw, err)
}

// optional are filters of which some are left out for some routes: what they refuse
// may pass. Routes of Istio's do not do that; an EnvoyFilter may.
func optional(filters []any) []any {
	out := slices.Clone(filters)
	for i, f := range out {
		if r, is := f.(*rules); is && r != nil {
			own := *r
			own.optional = true
			out[i] = &own
		}
	}
	return out
}

// routing reads its routes, where they are known.
func (r *Reader) routing(config *xds.Config, m *hcmv3.HttpConnectionManager, out *chain) {
	routes, ok := config.RoutesOf(m)
	if !ok {
		return
	}
	if out.table, ok = r.tables[routes]; !ok {
		out.table = tableOf(routes)
		r.tables[routes] = out.table
	}
}

// filtersOf reads what was not read before: each chain of a gateway has the same rules.
// It is called with the lock held.
func (r *Reader) filtersOf(typed *anypb.Any) []any {
	known, ok := r.filters[typed.GetTypeUrl()][string(typed.GetValue())]
	if !ok {
		known = filtersOf(typed)
		if r.filters[typed.GetTypeUrl()] == nil {
			r.filters[typed.GetTypeUrl()] = map[string][]any{}
		}
		r.filters[typed.GetTypeUrl()][string(typed.GetValue())] = known
	}
	return known
}

func filtersOf(typed *anypb.Any) []any {
	rbac, jwt := &httprbacv3.RBAC{}, &jwtv3.JwtAuthentication{}
	switch {
	case typed.MessageIs(rbac) && typed.UnmarshalTo(rbac) == nil:
		return []any{rulesOf(rbac.GetShadowRules(), true), rulesOf(rbac.GetRules(), false)}
	case typed.MessageIs(jwt) && typed.UnmarshalTo(jwt) == nil:
		out := &tokens{rest: without(jwt, "providers")}
		for _, name := range slices.Sorted(maps.Keys(jwt.GetProviders())) {
			out.providers = append(out.providers, jwt.GetProviders()[name])
		}
		return []any{out}
	}
	return nil
}

func rulesOf(m *rbacv3.RBAC, shadow bool) *rules {
	if m == nil {
		return nil
	}
	out := &rules{action: m.GetAction(), shadow: shadow}
	// Envoy asks them by name.
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		out.list = append(out.list, &Rule{Name: name, Action: m.GetAction(), condition: policyOf(m.GetPolicies()[name]), proto: m.GetPolicies()[name]})
	}
	out.index()
	return out
}

// TakesHTTP reports whether a listener takes a door's connections for HTTP.
func (r *Reader) TakesHTTP(l *listenerv3.Listener, d *Door) bool {
	choice := r.listener(l).Choose(d.connection(nil), "http/1.1")
	if choice.Chain == nil {
		return false
	}
	for _, f := range choice.Chain.GetFilters() {
		if f.GetTypedConfig().MessageIs((*hcmv3.HttpConnectionManager)(nil)) {
			return true
		}
	}
	return false
}
