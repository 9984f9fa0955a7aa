// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// BlackHole is Istio's name of the cluster for what is not to be sent, which has no endpoints
// (pilot/pkg/networking/util/util.go, BlackHoleCluster).
const BlackHole = "BlackHoleCluster"

// OutboundCluster is Istio's name of the cluster for a port of a service, or for a
// subset of it (pilot/pkg/model/push_context.go, BuildSubsetKey).
func OutboundCluster(port uint16, subset, host string) string {
	return fmt.Sprintf("outbound|%d|%s|%s", port, subset, host)
}

// servicePort is a port of a service.
type servicePort struct {
	host string
	port uint16
}

// outbound is what a proxy knows of services.
type outbound struct {
	clusters sync.Once
	subsets  map[servicePort][]string
	routes   sync.Once
	routed   map[servicePort]bool
	leads    sync.Once
	led      map[servicePort]bool
}

// ParseOutbound reads such a name; ok is false for clusters of other kinds.
func ParseOutbound(cluster string) (port uint16, subset, host string, ok bool) {
	parts := strings.SplitN(cluster, "|", 4)
	if len(parts) != 4 || parts[0] != "outbound" {
		return 0, "", "", false
	}
	number, err := strconv.ParseUint(parts[1], 10, 16)
	return uint16(number), parts[2], parts[3], err == nil
}

// Subsets are those of a service's port that the proxy has a cluster for, in order; the
// empty name stands for all of the service. None: the proxy does not know it.
func (c *Config) Subsets(host string, port uint16) []string {
	c.outbound.clusters.Do(func() {
		c.outbound.subsets = map[servicePort][]string{}
		for _, cluster := range c.resources.Clusters {
			if port, subset, host, ok := ParseOutbound(cluster.GetName()); ok {
				key := servicePort{host, port}
				c.outbound.subsets[key] = append(c.outbound.subsets[key], subset)
			}
		}
		for _, subsets := range c.outbound.subsets {
			slices.Sort(subsets)
		}
	})
	return c.outbound.subsets[servicePort{host, port}]
}

// Routed reports whether a sidecar leads what its workload sends to a service's port there:
// by routes for its whole name, or byte for byte. It may have a cluster and none of these:
// for a service that others lead to, and that the workload cannot ask for itself.
func (c *Config) Routed(host string, port uint16) bool {
	c.outbound.routes.Do(func() {
		c.outbound.routed = map[servicePort]bool{}
		for _, l := range c.resources.Listeners {
			if l.GetName() == VirtualInbound || l.GetTrafficDirection() == corev3.TrafficDirection_INBOUND {
				continue
			}
			for _, at := range Addresses(l) {
				c.addRoutes(l, at.Port())
			}
		}
	})
	return c.outbound.routed[servicePort{host, port}]
}

func (c *Config) addRoutes(l *listenerv3.Listener, port uint16) {
	for _, chain := range FilterChains(l) {
		for _, f := range chain.GetFilters() {
			c.addTunnel(f.GetTypedConfig())
			manager, err := Manager(f.GetTypedConfig())
			if err != nil {
				continue
			}
			routes, _ := c.RoutesOf(manager)
			for _, virtual := range routes.GetVirtualHosts() {
				for _, domain := range virtual.GetDomains() {
					// Istio writes names with and without the port.
					name, _, _ := strings.Cut(domain, ":")
					c.outbound.routed[servicePort{name, port}] = true
				}
			}
		}
	}
}

func (c *Config) addTunnel(config *anypb.Any) {
	for _, name := range clustersOf(config) {
		if port, _, host, ok := ParseOutbound(name); ok {
			c.outbound.routed[servicePort{host, port}] = true
		}
	}
}
