// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Leads reports whether any route or tunnel of the proxy ends at a service's port, or at a
// subset of it. Of a gateway that is what it serves: it has clusters for services that it
// leads nothing to.
func (c *Config) Leads(host string, port uint16) bool {
	c.outbound.leads.Do(func() {
		c.outbound.led = map[servicePort]bool{}
		for _, l := range c.resources.Listeners {
			for _, chain := range FilterChains(l) {
				for _, f := range chain.GetFilters() {
					c.addEnds(f.GetTypedConfig())
				}
			}
		}
	})
	return c.outbound.led[servicePort{host, port}]
}

func (c *Config) addEnds(config *anypb.Any) {
	for _, name := range clustersOf(config) {
		c.addEnd(name)
	}
	manager, err := Manager(config)
	if err != nil {
		return
	}
	routes, _ := c.RoutesOf(manager)
	for _, virtual := range routes.GetVirtualHosts() {
		for _, route := range virtual.GetRoutes() {
			c.addAction(route.GetRoute())
		}
	}
}

func (c *Config) addAction(action *routev3.RouteAction) {
	c.addEnd(action.GetCluster())
	for _, one := range action.GetWeightedClusters().GetClusters() {
		c.addEnd(one.GetName())
	}
	for _, mirror := range action.GetRequestMirrorPolicies() {
		c.addEnd(mirror.GetCluster())
	}
}

func (c *Config) addEnd(cluster string) {
	if port, _, host, ok := ParseOutbound(cluster); ok {
		c.outbound.led[servicePort{host, port}] = true
	}
}

// clustersOf are those that a tunnel leads to; none for other filters.
func clustersOf(config *anypb.Any) []string {
	tunnel := &tcpv3.TcpProxy{}
	if !config.MessageIs(tunnel) || config.UnmarshalTo(tunnel) != nil {
		return nil
	}
	out := []string{tunnel.GetCluster()}
	for _, one := range tunnel.GetWeightedClusters().GetClusters() {
		out = append(out, one.GetName())
	}
	return out
}
