// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/trellis-mesh/trellis/internal/decide/rbac"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// networkCase is one listener that passes connections on, with network RBAC
// filters.
type networkCase struct {
	name    string
	filters []*networkrbacv3.RBAC
	secure  bool
}

func (c *networkCase) listener(authority *envoy.Authority) *listenerv3.Listener {
	chain := &listenerv3.FilterChain{}
	for i, f := range c.filters {
		chain.Filters = append(chain.Filters, envoy.NetworkFilter(fmt.Sprintf("rbac-%d", i), f))
	}
	chain.Filters = append(chain.Filters, envoy.NetworkFilter("envoy.filters.network.tcp_proxy", &tcpproxyv3.TcpProxy{
		StatPrefix: c.name, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: "upstream"},
	}))
	out := &listenerv3.Listener{
		Name: c.name, Address: envoy.Address("127.0.0.1", 0), AccessLog: envoy.AccessLog(),
		FilterChains: []*listenerv3.FilterChain{chain},
	}
	if c.secure {
		chain.TransportSocket = envoy.TransportSocket(authority.Server(false))
		out.ListenerFilters = []*listenerv3.ListenerFilter{envoy.TLSInspector()}
	}
	return out
}

// decide answers as Envoy's access log does: why the connection was closed, and
// the metadata.
func (c *networkCase) decide(t *testing.T, way client, e envoy.Entry) (string, map[string]any) {
	t.Helper()
	// A connection has no headers, whatever is sent on it.
	s := way.stream(t, request{}, e)
	details := ""
	for _, config := range c.filters {
		filter, err := rbac.NewNetwork(config)
		if err != nil {
			t.Fatalf("%s: Envoy takes what this refuses: %v\n%s", c.name, err, text(config))
		}
		v := filter.Decide(s)
		if v.Why() != "" {
			t.Errorf("%s: unknown: %s", c.name, v.Why())
		}
		if v.Outcome() == rbac.Denied {
			details = v.Details()
			break
		}
	}
	return details, s.Metadata.Of("envoy.filters.network.rbac").AsMap()
}

func runNetwork(t *testing.T, cases []*networkCase, all func(*networkCase) []client, authority *envoy.Authority) {
	upstream := envoy.RunUpstream(t, "one")
	var listeners []*listenerv3.Listener
	for _, c := range cases {
		listeners = append(listeners, c.listener(authority))
	}
	proxy := envoy.Run(t, envoy.Bootstrap(listeners, envoy.Cluster("upstream", upstream.Address)))
	total, denied := 0, 0
	for _, c := range cases {
		for _, way := range all(c) {
			conn, err := proxy.Dial(t.Context(), envoy.Call{To: proxy.Address(c.name), From: way.from, TLS: way.config})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			// The filters are asked at the first byte.
			_, failed := conn.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			conn.Close()
			entry, err := conn.Logged(t.Context(), 0)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			details, metadata := c.decide(t, way, entry)
			total++
			if failed != nil {
				denied++
			}
			if details != entry.Termination || !sameMetadata(metadata, entry.NetworkRBAC) || (details != "") != (failed != nil) {
				t.Errorf("%s from %+v:\nEnvoy: %s %v %v\nhere:  %s %v\n%v", c.name, way.identity, entry.Termination, entry.NetworkRBAC, failed, details, metadata, c.filters)
				return
			}
		}
	}
	t.Logf("%d connections, %d denied", total, denied)
}

func TestEnvoyAgreesOnRandomNetworkRBAC(t *testing.T) {
	d := newDice(t)
	authority := envoy.NewAuthority(t)
	var cases []*networkCase
	for i := range *configs {
		c := &networkCase{name: fmt.Sprintf("random-%d", i), secure: i%2 == 1}
		for range 1 + d.IntN(2) {
			f := &networkrbacv3.RBAC{StatPrefix: "tcp", Rules: d.rules(true)}
			if d.chance(0.3) {
				f.ShadowRules, f.ShadowRulesStatPrefix = d.rules(true), pick(d, []string{"", "s_"})
			}
			c.filters = append(c.filters, f)
		}
		cases = append(cases, c)
	}
	ways := map[bool][]client{false: clients(authority, false), true: clients(authority, true)}
	runNetwork(t, cases, func(c *networkCase) []client { return ways[c.secure] }, authority)
}
