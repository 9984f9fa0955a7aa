// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

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
	"github.com/trellis-mesh/trellis/internal/once"
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
	listeners once.Map[*listenerv3.Listener, *listener.Chains]
	// chains have all that they have, ways only where they lead.
	chains, ways once.Map[*listenerv3.FilterChain, *chain]
	tables       once.Map[*routev3.RouteConfiguration, *table]
	digests      once.Map[proto.Message, digest]
	filters      once.Map[proto.Message, []any]
	splits       class.Memo
}

// NewReader makes an empty one.
func NewReader() *Reader { return &Reader{} }

// digest is the same for messages that are; known is false where it cannot be told.
type digest struct {
	sum   [sha256.Size]byte
	known bool
}

// digest remembers a message's: the rules of a gateway are written down for each of its
// hosts.
func (r *Reader) digest(m proto.Message) digest {
	return r.digests.Get(m, func() digest {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		return digest{sha256.Sum256(raw), err == nil}
	})
}

func (r *Reader) listener(l *listenerv3.Listener) *listener.Chains {
	return r.listeners.Get(l, func() *listener.Chains { return listener.Compile(l) })
}

func (r *Reader) chain(config *xds.Config, c *listenerv3.FilterChain) *chain {
	return r.chains.Get(c, func() *chain { return r.compile(config, c, true) })
}

// way is a chain without its rules: reading those of a gateway takes long.
func (r *Reader) way(config *xds.Config, c *listenerv3.FilterChain) *chain {
	return r.ways.Get(c, func() *chain { return r.compile(config, c, false) })
}

// compile leaves out what cannot be read: package decide says of it that it is Unknown.
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
		read := r.filtersOf(config, typed)
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
	if routes, ok := config.RoutesOf(m); ok {
		out.table = r.tables.Get(routes, func() *table { return tableOf(routes) })
	}
}

// filtersOf reads what was not read before: each chain of a gateway has the same rules.
func (r *Reader) filtersOf(config *xds.Config, typed *anypb.Any) []any {
	switch {
	case typed.MessageIs((*httprbacv3.RBAC)(nil)):
		if m, err := xds.Unpack[httprbacv3.RBAC](config, typed); err == nil {
			return r.filters.Get(m, func() []any { return []any{rulesOf(m.GetShadowRules(), true), rulesOf(m.GetRules(), false)} })
		}
	case typed.MessageIs((*jwtv3.JwtAuthentication)(nil)):
		if m, err := xds.Unpack[jwtv3.JwtAuthentication](config, typed); err == nil {
			return r.filters.Get(m, func() []any { return []any{tokensOf(m)} })
		}
	}
	return nil
}

func tokensOf(m *jwtv3.JwtAuthentication) *tokens {
	out := &tokens{rest: without(m, "providers")}
	for _, name := range slices.Sorted(maps.Keys(m.GetProviders())) {
		out.providers = append(out.providers, m.GetProviders()[name])
	}
	return out
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
