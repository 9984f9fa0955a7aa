// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"net/netip"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// The names of the listeners that intercepted connections arrive at
// (pilot/pkg/model/context.go).
const (
	VirtualOutbound = "virtualOutbound"
	VirtualInbound  = "virtualInbound"
)

// listenerIndex finds listeners as Envoy's connection handler does.
type listenerIndex struct {
	byName map[string]*listenerv3.Listener
	// byAddress also has listeners that do not bind their port: those get only
	// connections that a virtual listener hands on.
	byAddress map[netip.AddrPort]*listenerv3.Listener
}

func newListenerIndex(listeners []*listenerv3.Listener) *listenerIndex {
	x := &listenerIndex{
		byName:    byName(listeners, (*listenerv3.Listener).GetName),
		byAddress: make(map[netip.AddrPort]*listenerv3.Listener, len(listeners)),
	}
	for _, l := range listeners {
		for _, at := range Addresses(l) {
			x.byAddress[at] = l
		}
	}
	return x
}

// Addresses are where a TCP listener is: its address and the additional ones.
// Sockets that are not TCP (QUIC, pipes, internal listeners) have none.
func Addresses(l *listenerv3.Listener) []netip.AddrPort {
	var out []netip.AddrPort
	if at, ok := AddrPort(l.GetAddress()); ok {
		out = append(out, at)
	}
	for _, additional := range l.GetAdditionalAddresses() {
		if at, ok := AddrPort(additional.GetAddress()); ok {
			out = append(out, at)
		}
	}
	return out
}

// AddrPort reads a TCP socket address with a numeric IP and port.
func AddrPort(address *corev3.Address) (netip.AddrPort, bool) {
	socket := address.GetSocketAddress()
	if socket == nil || socket.GetProtocol() != corev3.SocketAddress_TCP {
		return netip.AddrPort{}, false
	}
	ip, err := netip.ParseAddr(socket.GetAddress())
	port := socket.GetPortValue()
	if err != nil || port > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// Listener finds a listener by its name.
func (c *Config) Listener(name string) (*listenerv3.Listener, bool) {
	l, ok := c.listeners.byName[name]
	return l, ok
}

// ListenerAt finds the listener at an address as Envoy does: first at exactly
// that address, then at the unspecified address of its family with that port,
// then for IPv4 at [::] (source/common/listener_manager/connection_handler_impl.cc).
// Whether the listener binds its port is for the caller to ask (Binds).
func (c *Config) ListenerAt(at netip.AddrPort) (*listenerv3.Listener, bool) {
	candidates := []netip.Addr{at.Addr(), netip.IPv6Unspecified()}
	if at.Addr().Is4() {
		candidates = []netip.Addr{at.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	for _, address := range candidates {
		if l, ok := c.listeners.byAddress[netip.AddrPortFrom(address, at.Port())]; ok {
			return l, true
		}
	}
	return nil, false
}

// Binds tells whether a listener takes connections from the network by itself.
func Binds(l *listenerv3.Listener) bool {
	return l.GetBindToPort() == nil || l.GetBindToPort().GetValue()
}

// Outbound finds the listener that handles a connection which the workload opens
// to an address and which is intercepted: the one at that address if the virtual
// listener hands connections on (use_original_dst), else the virtual one. False
// when the proxy intercepts nothing.
func (c *Config) Outbound(to netip.AddrPort) (*listenerv3.Listener, bool) {
	return c.intercepted(VirtualOutbound, to)
}

// Inbound finds the listener that handles a connection to the workload, given
// the address that the client connected to. Where connections are intercepted it
// is the virtual inbound listener, or the one that this hands on to; where not,
// the listener that binds the address.
func (c *Config) Inbound(to netip.AddrPort) (*listenerv3.Listener, bool) {
	if l, ok := c.intercepted(VirtualInbound, to); ok {
		return l, true
	}
	l, ok := c.ListenerAt(to)
	if !ok || !Binds(l) {
		return nil, false
	}
	return l, true
}

func (c *Config) intercepted(virtual string, to netip.AddrPort) (*listenerv3.Listener, bool) {
	first, ok := c.Listener(virtual)
	if !ok {
		return nil, false
	}
	if first.GetUseOriginalDst().GetValue() {
		if l, ok := c.ListenerAt(to); ok {
			return l, true
		}
	}
	return first, true
}

// RouteConfiguration finds a route configuration that came by its name.
func (c *Config) RouteConfiguration(name string) (*routev3.RouteConfiguration, bool) {
	r, ok := c.routes[name]
	return r, ok
}

// RoutesOf are the routes of an HTTP connection manager, inline or by name.
// False: it names some that the source did not give, or chooses them by request
// (scoped routes).
func (c *Config) RoutesOf(manager *hcmv3.HttpConnectionManager) (*routev3.RouteConfiguration, bool) {
	switch specifier := manager.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		return specifier.RouteConfig, specifier.RouteConfig != nil
	case *hcmv3.HttpConnectionManager_Rds:
		return c.RouteConfiguration(specifier.Rds.GetRouteConfigName())
	}
	return nil, false
}

// Serves reports whether a listener has routes for a host by its name, or by the name
// of a domain that it is in; routes for any host do not count.
func (c *Config) Serves(l *listenerv3.Listener, host string) bool {
	for _, chain := range l.GetFilterChains() {
		for _, f := range chain.GetFilters() {
			manager := &hcmv3.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(manager) || f.GetTypedConfig().UnmarshalTo(manager) != nil {
				continue
			}
			routes, _ := c.RoutesOf(manager)
			for _, virtual := range routes.GetVirtualHosts() {
				for _, domain := range virtual.GetDomains() {
					rest, wild := strings.CutPrefix(strings.ToLower(domain), "*")
					if !wild && rest == strings.ToLower(host) || wild && rest != "" && strings.HasSuffix(strings.ToLower(host), rest) {
						return true
					}
				}
			}
		}
	}
	return false
}

// Cluster finds a cluster by its name.
func (c *Config) Cluster(name string) (*clusterv3.Cluster, bool) {
	found, ok := c.clusters[name]
	return found, ok
}

// Endpoints are those of a cluster: apart from it (EDS, by its service name if it
// has one) or inside of it (STATIC, STRICT_DNS, LOGICAL_DNS). False: there is no
// such cluster, the source did not give its endpoints, or it has none of its own
// (ORIGINAL_DST).
func (c *Config) Endpoints(cluster string) (*endpointv3.ClusterLoadAssignment, bool) {
	found, ok := c.clusters[cluster]
	if !ok {
		return nil, false
	}
	if found.GetType() == clusterv3.Cluster_EDS {
		a, ok := c.assignments[AssignmentName(found)]
		return a, ok
	}
	return found.GetLoadAssignment(), found.GetLoadAssignment() != nil
}

// AssignmentName is what the endpoints of an EDS cluster are called.
func AssignmentName(cluster *clusterv3.Cluster) string {
	if name := cluster.GetEdsClusterConfig().GetServiceName(); name != "" {
		return name
	}
	return cluster.GetName()
}

// Extension finds a filter that came apart from its listener.
func (c *Config) Extension(name string) (*corev3.TypedExtensionConfig, bool) {
	e, ok := c.extensions[name]
	return e, ok
}
