// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// original is the connection through a cluster that sends where a connection meant to
// go. A listener for exactly that address may lead through another cluster: of two
// headless Services before one pod that have the same TCP port Istio gives the listener
// to the older one (pilot/pkg/networking/core/listener.go, buildSidecarOutboundListeners).
func (w *walk) original(p *proxy, u *upstream, at netip.AddrPort, c Conversation, f forwarding) Link {
	share := 1 / float64(len(c.Originals))
	if c.Headless && slices.Contains(p.node.Addresses, at.Addr()) {
		// What a workload sends to its own address is not redirected
		// (tools/istio-iptables/pkg/capture/run.go).
		own := w.fork()
		own.add(Step{Proxy: p.name, Stage: StageEndpoint, Says: "is the workload itself, past its proxy"})
		return Link{Share: share, Address: at, Sends: Plaintext, Verdict: own.reached(&Destination{Address: at}, "reaches the workload itself")}
	}
	to := cluster.Endpoint{Address: at, Port: uint32(at.Port()), Share: share}
	name := p.tunnel(at)
	if name == "" || sameService(name, u.name) {
		return w.link(p, u, &endpoint{to, endpointName(to), u.original}, f)
	}
	other := p.upstream(name)
	if other == nil || other.proto.GetType() != clusterv3.Cluster_ORIGINAL_DST || !f.bytes {
		return Link{Share: share, Address: at, Cluster: name, Verdict: w.fork().unknown(p.name, "its listener for %s leads to %s, which is not followed from here", at, name)}
	}
	out := w.link(p, other, &endpoint{to, endpointName(to), other.original}, f)
	out.Cluster = name
	return out
}

// tunnel is the cluster to which a listener for exactly an address leads bytes; empty:
// there is none, or it leads to several.
func (p *proxy) tunnel(at netip.AddrPort) string {
	l, ok := p.config.ListenerAt(at)
	if !ok || !slices.Contains(xds.Addresses(l), at) {
		return ""
	}
	name := ""
	for _, proto := range l.GetFilterChains() {
		switch own := p.chain(proto).tcp.GetCluster(); {
		case own == "":
		case name != "" && own != name:
			return ""
		default:
			name = own
		}
	}
	return name
}

// sameService reports whether two clusters are of one port of a service.
func sameService(a, b string) bool {
	portA, _, hostA, okA := xds.ParseOutbound(a)
	portB, _, hostB, okB := xds.ParseOutbound(b)
	return okA && okB && portA == portB && hostA == hostB
}
