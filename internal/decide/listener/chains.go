// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Chains are a listener's filter chains and its listener filters.
type Chains struct {
	unknown string
	chains  []*chain
	// fallback takes what no chain takes; nil closes it.
	fallback *listenerv3.FilterChain
	filters  inspectors
}

// chain is a filter chain with its match.
type chain struct {
	proto         *listenerv3.FilterChain
	port          uint32
	names         map[string]bool
	transport     string
	protocols     []string
	destinations  []netip.Prefix
	directSources []netip.Prefix
	sourceType    listenerv3.FilterChainMatch_ConnectionSourceType
	sources       []netip.Prefix
	sourcePorts   []uint32
}

// Compile reads a listener. What cannot be decided makes connections Unknown; it
// never fails.
func Compile(l *listenerv3.Listener) *Chains {
	out := &Chains{fallback: l.GetDefaultFilterChain(), filters: compileInspectors(l)}
	if l.GetFilterChainMatcher() != nil {
		out.unknown = "listener " + l.GetName() + " chooses its filter chain by a matcher tree"
	}
	for _, proto := range l.GetFilterChains() {
		c, err := compileChain(proto)
		if err != nil {
			out.unknown = fmt.Sprintf("listener %s, filter chain %s: %v", l.GetName(), proto.GetName(), err)
			continue
		}
		out.chains = append(out.chains, c)
	}
	return out
}

func compileChain(proto *listenerv3.FilterChain) (*chain, error) {
	m := proto.GetFilterChainMatch()
	out := &chain{
		proto: proto, port: m.GetDestinationPort().GetValue(), transport: m.GetTransportProtocol(),
		protocols: m.GetApplicationProtocols(), sourceType: m.GetSourceType(), sourcePorts: m.GetSourcePorts(),
		names: make(map[string]bool, len(m.GetServerNames())),
	}
	for _, name := range m.GetServerNames() {
		// "*.example.com" is kept as ".example.com".
		out.names[strings.ToLower(strings.TrimPrefix(name, "*"))] = true
	}
	var err error
	if out.destinations, err = match.NewRanges(m.GetPrefixRanges()); err != nil {
		return nil, err
	}
	if out.directSources, err = match.NewRanges(m.GetDirectSourcePrefixRanges()); err != nil {
		return nil, err
	}
	out.sources, err = match.NewRanges(m.GetSourcePrefixRanges())
	return out, err
}

// Choice is what became of a connection at a listener.
type Choice struct {
	// Chain takes the connection; nil: none does, and Envoy closes it (response
	// flag NR, details filter_chain_not_found).
	Chain *listenerv3.FilterChain
	// Transport and Protocols are what the listener filters found out: "tls" or
	// "raw_buffer", and the application protocols that were offered.
	Transport string
	Protocols []string
	// Unknown says why nobody can tell; Chain is nil then.
	Unknown string
}

// Choose finds the filter chain for a connection that will speak version of HTTP,
// or something else where version is empty ("http/1.0", "http/1.1", "h2c").
func (c *Chains) Choose(connection *stream.Connection, version string) Choice {
	if c.unknown != "" {
		return Choice{Unknown: c.unknown}
	}
	out := Choice{}
	found, why := c.filters.inspect(connection, version)
	if why != "" {
		return Choice{Unknown: why}
	}
	out.Transport, out.Protocols = found.transport, found.protocols
	left, clear := narrow(c.chains, connection, found)
	switch {
	case !clear:
		return Choice{Unknown: "two filter chains fit, one for all addresses and one without any, which Envoy takes in no fixed order"}
	case len(left) > 0:
		out.Chain = left[0].proto
	case c.fallback != nil:
		out.Chain = c.fallback
	}
	return out
}

// narrow does Envoy's steps in their order. It is not clear which chain is left
// where one has a range around everything and another none at all: to Envoy both
// are the same prefix, and it keeps them in no fixed order.
func narrow(left []*chain, connection *stream.Connection, found finding) (out []*chain, clear bool) {
	clear = true
	mostSpecific := func(left []*chain, ranges func(*chain) []netip.Prefix, address netip.Addr) []*chain {
		out := mostSpecific(left, ranges, address)
		none := func(c *chain) bool { return len(ranges(c)) == 0 }
		if n := count(out, none); n > 0 && n < len(out) {
			clear = false
		}
		return out
	}
	local, remote := connection.Local.Addr().Unmap(), connection.Remote
	if !remote.IsValid() {
		remote = connection.DirectRemote.Addr()
	}
	remote = remote.Unmap()
	port := uint32(connection.Local.Port())
	left = namedOrAny(left, func(c *chain) bool { return c.port == port && port != 0 }, func(c *chain) bool { return c.port == 0 })
	left = mostSpecific(left, func(c *chain) []netip.Prefix { return c.destinations }, local)
	left = byServerName(left, found.serverName)
	left = namedOrAny(left, func(c *chain) bool { return c.transport == found.transport && c.transport != "" }, func(c *chain) bool { return c.transport == "" })
	left = byProtocol(left, found.protocols)
	left = mostSpecific(left, func(c *chain) []netip.Prefix { return c.directSources }, connection.DirectRemote.Addr().Unmap())
	left = bySourceType(left, sameHost(remote, local))
	left = mostSpecific(left, func(c *chain) []netip.Prefix { return c.sources }, remote)
	from := uint32(connection.DirectRemote.Port())
	return namedOrAny(left, func(c *chain) bool { return slices.Contains(c.sourcePorts, from) }, func(c *chain) bool { return len(c.sourcePorts) == 0 }), clear
}

// namedOrAny keeps the chains that name a value, or where none does those that
// name none.
func namedOrAny(left []*chain, names, namesNone func(*chain) bool) []*chain {
	if named := where(left, names); len(named) > 0 {
		return named
	}
	return where(left, namesNone)
}

// mostSpecific keeps the chains with the longest range around an address. No
// ranges are a range around everything.
func mostSpecific(left []*chain, ranges func(*chain) []netip.Prefix, address netip.Addr) []*chain {
	longest := -1
	bits := func(c *chain) int {
		if len(ranges(c)) == 0 {
			return 0
		}
		best := -1
		for _, r := range ranges(c) {
			if r.Contains(address) {
				best = max(best, r.Bits())
			}
		}
		return best
	}
	for _, c := range left {
		longest = max(longest, bits(c))
	}
	return where(left, func(c *chain) bool { return longest >= 0 && bits(c) == longest })
}

// byServerName tries the name, then each wildcard above it, then chains without
// names.
func byServerName(left []*chain, name string) []*chain {
	for candidate := name; candidate != ""; {
		if named := where(left, func(c *chain) bool { return c.names[candidate] }); len(named) > 0 {
			return named
		}
		at := nextDot(candidate, 1)
		if at < 0 || at == len(candidate)-1 {
			break
		}
		candidate = candidate[at:]
	}
	return where(left, func(c *chain) bool { return len(c.names) == 0 || c.names[""] })
}

// nextDot is where the next dot is, from a place on; -1 for none.
func nextDot(name string, from int) int {
	if from >= len(name) {
		return -1
	}
	at := strings.IndexByte(name[from:], '.')
	if at < 0 {
		return -1
	}
	return from + at
}

// byProtocol tries what the client offers in its order, then chains without
// protocols.
func byProtocol(left []*chain, offered []string) []*chain {
	for _, protocol := range offered {
		if named := where(left, func(c *chain) bool { return slices.Contains(c.protocols, protocol) }); len(named) > 0 {
			return named
		}
	}
	return where(left, func(c *chain) bool { return len(c.protocols) == 0 })
}

func bySourceType(left []*chain, same bool) []*chain {
	wanted := listenerv3.FilterChainMatch_EXTERNAL
	if same {
		wanted = listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK
	}
	if named := where(left, func(c *chain) bool { return c.sourceType == wanted }); len(named) > 0 {
		return named
	}
	return where(left, func(c *chain) bool { return c.sourceType == listenerv3.FilterChainMatch_ANY })
}

// loopbacks are the addresses that Envoy takes for the loopback interface's: of
// 127.0.0.0/8 only one.
var loopbacks = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

// sameHost is Envoy's isSameIpOrLoopback.
func sameHost(remote, local netip.Addr) bool {
	return remote == local || slices.Contains(loopbacks, remote)
}

// where gives the chains to keep. Nobody changes them: all and none need no list of
// their own.
func where(chains []*chain, keep func(*chain) bool) []*chain {
	n := count(chains, keep)
	switch n {
	case 0:
		return nil
	case len(chains):
		return chains
	}
	out := make([]*chain, 0, n)
	for _, c := range chains {
		if keep(c) {
			out = append(out, c)
		}
	}
	return out
}

func count(chains []*chain, keep func(*chain) bool) int {
	n := 0
	for _, c := range chains {
		if keep(c) {
			n++
		}
	}
	return n
}
