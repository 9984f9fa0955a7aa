// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// Endpoint is one host that a cluster may send a request to.
type Endpoint struct {
	// Address is invalid where the endpoint is known by name only.
	Address netip.AddrPort
	// Host is the name of an endpoint that is found by DNS; empty otherwise.
	Host string
	Port uint32
	// Share is how likely it is to get a request, of all shares that Endpoints
	// returned.
	Share float64
	// Metadata is what transport sockets are matched by
	// (envoy.transport_socket_match).
	Metadata *structpb.Struct
	// Tunnel: it is reached by HBONE, through an internal listener of the proxy's. Address is
	// the workload's, and Unknown says that no more is followed of it.
	Tunnel bool
	// Unknown says why nobody can tell where this endpoint is, such as an internal
	// listener.
	Unknown string
}

const (
	transportMatch = "envoy.transport_socket_match"
	// originalDst has in "local" where a tunnel leads to
	// (pilot/pkg/networking/util/util.go, BuildTunnelMetadataStruct).
	originalDst = "envoy.filters.listener.original_dst"
)

// Endpoints are those of the best priority that has a healthy one, with the
// shares that localities and endpoints are weighted by, in order of their addresses.
// Which of several equal ones a client takes is chance.
func Endpoints(assignment *endpointv3.ClusterLoadAssignment) []Endpoint {
	best := uint32(0)
	found := false
	for _, group := range assignment.GetEndpoints() {
		if len(healthy(group)) > 0 && (!found || group.GetPriority() < best) {
			best, found = group.GetPriority(), true
		}
	}
	var out []Endpoint
	for _, group := range assignment.GetEndpoints() {
		if !found || group.GetPriority() != best {
			continue
		}
		hosts := healthy(group)
		total := 0.0
		for _, h := range hosts {
			total += weight(h.GetLoadBalancingWeight().GetValue())
		}
		for _, h := range hosts {
			e := read(h)
			e.Share = groupWeight(group, len(hosts)) * weight(h.GetLoadBalancingWeight().GetValue()) / total
			out = append(out, e)
		}
	}
	// istiod gives those of several EndpointSlices in any order.
	slices.SortStableFunc(out, func(a, b Endpoint) int { return a.Address.Compare(b.Address) })
	return out
}

// groupWeight is the locality's; without one it counts by its endpoints.
func groupWeight(group *endpointv3.LocalityLbEndpoints, hosts int) float64 {
	if w := group.GetLoadBalancingWeight().GetValue(); w > 0 {
		return float64(w)
	}
	return float64(hosts)
}

func weight(w uint32) float64 {
	if w == 0 {
		return 1
	}
	return float64(w)
}

func healthy(group *endpointv3.LocalityLbEndpoints) []*endpointv3.LbEndpoint {
	var out []*endpointv3.LbEndpoint
	for _, h := range group.GetLbEndpoints() {
		switch h.GetHealthStatus() {
		case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT:
		default:
			out = append(out, h)
		}
	}
	return out
}

func read(h *endpointv3.LbEndpoint) Endpoint {
	out := Endpoint{Metadata: h.GetMetadata().GetFilterMetadata()[transportMatch]}
	address := h.GetEndpoint().GetAddress()
	if at, ok := xds.AddrPort(address); ok {
		out.Address, out.Port = at, uint32(at.Port())
		return out
	}
	socket := address.GetSocketAddress()
	tunnel := h.GetMetadata().GetFilterMetadata()[originalDst].GetFields()
	if at, err := netip.ParseAddrPort(tunnel["local"].GetStringValue()); err == nil && socket == nil && tunnel["waypoint"] == nil {
		out.Address, out.Port, out.Tunnel = at, uint32(at.Port()), true
		out.Unknown = "an endpoint that is reached by HBONE, which is not followed"
		return out
	}
	if socket == nil {
		out.Unknown = "an endpoint that is no IP address and port: an internal listener or a pipe"
		return out
	}
	out.Host, out.Port = socket.GetAddress(), socket.GetPortValue()
	return out
}
