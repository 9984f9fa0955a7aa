// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// What ztunnels do is computed by Istio's rules, since no configuration of theirs is
// looked at, and none runs in the tests that hold the rest to what Envoys do.
const unproven = "a ztunnel, or HBONE, has part in it: computed by Istio's rules, and not proven with real proxies"

// ambientClient reports whether a ztunnel stands behind the client.
func (p *pair) ambientClient() bool {
	pod := p.world.Directory.Ambient(p.client.Address)
	return p.client.Node == nil && pod != nil && pod.Captured
}

// ambient is what becomes of a connection in which a ztunnel or HBONE has part; ok is
// false for others.
func (p *pair) ambient(l *decide.Link) (out Endpoint, ok bool) {
	pod := p.world.Directory.Ambient(l.Address.Addr())
	if l.Server != nil && pod != nil && pod.Captured {
		// A proxy of its own leaves no place for a ztunnel.
		pod = nil
	}
	server := pod != nil && pod.Captured
	if !server && !p.ambientClient() && l.Sends != decide.HBONE {
		return Endpoint{}, false
	}
	out = Endpoint{Addresses: []string{addressOf(l)}, Unproven: unproven}
	switch {
	case l.Server != nil:
		out.Workloads = []string{l.Server.Namespace + "/" + l.Server.Name}
	case pod != nil:
		out.Workloads = []string{pod.Namespace + "/" + pod.Name}
	}
	if why := p.world.Directory.Waypoint(l.Address.Addr()); why != "" {
		out.Status, out.Why, out.Unproven = Unknown, why, ""
		return out, true
	}
	sends, why := p.sends(l, pod)
	if sends != decide.HBONE && !server {
		// It comes as that of a client without a proxy would.
		out = p.followed(l)
		if out.Status != Unknown {
			out.Unproven = unproven
		}
		return out, true
	}
	out.Sends = sends
	out.Accepts, out.Why = p.takes(l, pod)
	out.settle(p, why)
	return out, true
}

// settle compares the two. Why says what is not known of what is sent.
func (e *Endpoint) settle(p *pair, why string) {
	row := p.row("")
	switch {
	case e.Sends == "":
		e.Status, e.Why, e.Unproven = Unknown, why, ""
	case slices.Contains(e.Accepts, e.Sends):
		e.Status, e.Why = OK, ""
	case e.Why != "":
		e.Status, e.Unproven = Unknown, ""
	default:
		e.Status = Conflict
		e.Why = fmt.Sprintf("%s is sent, and only %s is taken: the server's ztunnel ends the connection", row.words([]decide.Transport{e.Sends}), row.words(e.Accepts))
		if slices.Contains(e.Accepts, decide.Plaintext) {
			e.Why = fmt.Sprintf("%s is sent, and a ztunnel takes none but HBONE's: it hands it to the application as it is", row.words([]decide.Transport{e.Sends}))
		}
	}
}

// sends is what the client's end makes of a connection to a pod; empty where that is not
// known, with the reason.
func (p *pair) sends(l *decide.Link, pod *directory.AmbientPod) (decide.Transport, string) {
	switch {
	case p.ambientClient() && pod != nil && pod.Tunnels:
		return decide.HBONE, ""
	case p.client.Node == nil:
		return decide.Plaintext, ""
	case l.Sends == decide.HBONE || !p.wouldTunnel(l):
		return l.Sends, "how the client's proxy reaches it is not known: " + l.Verdict.Why
	case l.Sends == decide.OtherTLS || l.Sends == "":
		return "", "the client's proxy would send TLS of a DestinationRule's own inside of HBONE, and what the application makes of that is not known"
	}
	return decide.HBONE, ""
}

// wouldTunnel reports whether the client's istiod would have it send HBONE, where its
// configuration is of Istio's generator in this process. That runs as an istiod without
// ambient mode does, and nobody has pods in ambient mode with one of these: with
// PILOT_ENABLE_AMBIENT istiod marks all endpoints that a ztunnel stands before, whatever
// a DestinationRule says of TLS (pilot/pkg/networking/core/cluster_tls.go,
// applyHBONETransportSocketMatches). Clusters of headless Services have no endpoints to be
// marked.
func (p *pair) wouldTunnel(l *decide.Link) bool {
	config, err := p.world.Proxies.Config(*p.client.Node)
	if err != nil || config.Provenance().Source != xds.FromGenerator {
		return false
	}
	name := l.Cluster
	if name == "" {
		name = xds.OutboundCluster(p.port.Number, "", p.service.Host)
	}
	c, ok := config.Cluster(name)
	if !ok || c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		return false
	}
	return !slices.ContainsFunc(c.GetTransportSocketMatches(), func(m *clusterv3.Cluster_TransportSocketMatch) bool { return m.GetName() == "hbone" })
}

// takes is what an end with HBONE takes; where it is not known whether it takes
// plaintext, too, it says why.
func (p *pair) takes(l *decide.Link, pod *directory.AmbientPod) ([]decide.Transport, string) {
	out := []decide.Transport{decide.HBONE}
	switch {
	case l.Server != nil:
		for _, t := range l.Takes {
			out = with(out, t)
		}
		return out, ""
	case pod == nil:
		return out, ""
	case p.policies == nil:
		return out, "whether a ztunnel takes plaintext is said by PeerAuthentications, which are not known"
	}
	if p.policies.PeerAuthentication(resolve.Workload{Namespace: pod.Namespace, Labels: pod.Labels}, l.Address.Port()).Ztunnel() == resolve.Strict {
		return out, ""
	}
	return append(out, decide.Plaintext), ""
}

// Mark is the status, with a star where it is not proven.
func (r *Row) Mark() string { return mark(r.Status, r.Unproven) }

// Mark is as that of a Row.
func (e *Endpoint) Mark() string { return mark(e.Status, e.Unproven) }

func mark(s Status, unproven string) string {
	if unproven != "" {
		return string(s) + Star
	}
	return string(s)
}

// Star marks what is not proven, and Starred says so below a table.
const (
	Star    = "*"
	Starred = Star + " " + unproven
)

// AnyUnproven reports whether one of the rows has a Mark.
func AnyUnproven(rows []Row) bool {
	return slices.ContainsFunc(rows, func(r Row) bool { return r.Unproven != "" })
}
