// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"net/netip"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// forwarding is what a proxy sends on.
type forwarding struct {
	// connection is the one that it came on: clusters of the original destination
	// go where that meant to go.
	connection *stream.Connection
	load       payload
	// alpn replaces the cluster's application protocols; nil: it does not.
	alpn map[hcm.Version][]string
	// bytes are sent on, not a request: failures have no status.
	bytes bool
}

// failure is what the client gets of a proxy that cannot send on.
func (f forwarding) failure(details, flag string) *stream.Reply {
	if f.bytes {
		return &stream.Reply{Details: details, Flags: []string{flag}}
	}
	return &stream.Reply{Code: 503, Details: details, Flags: []string{flag}}
}

// local are the clusters of Istio's sidecars that lead into the application
// beside them (pilot/pkg/model/push_context.go, BuildSubsetKey; InboundPassthroughCluster).
func local(node xds.Node, name string) bool {
	return node.Type == xds.Sidecar && (strings.HasPrefix(name, "inbound|") || strings.HasPrefix(name, "InboundPassthroughCluster"))
}

// forward sends a request, or the bytes of a connection, to a cluster.
func (w *walk) forward(p *proxy, name string, f forwarding) Verdict {
	c, ok := p.config.Cluster(name)
	if !ok {
		why := fmt.Sprintf("cluster %q does not exist", name)
		w.add(Step{Proxy: p.name, Stage: StageCluster, Rule: name, Says: why, Stops: true})
		return w.fails(f.failure("cluster_not_found", "NC"), why)
	}
	w.add(Step{Proxy: p.name, Stage: StageCluster, Rule: name, Object: objectOf(c.GetMetadata()), Says: "sends it to " + name})
	if local(p.node, name) && f.load.inner != nil && f.load.inner.Trusts == listener.MeshRoots {
		why := "the handshake goes through to the application, which has no certificate of the mesh"
		w.add(Step{Proxy: p.name, Stage: StageTLS, Says: why, Stops: true})
		return w.fails(nil, why)
	}
	if local(p.node, name) {
		key := p.node.Key()
		return w.reached(&Destination{Workload: &key, Address: f.connection.Local, Cluster: name}, "reaches the application %s/%s", p.node.Namespace, p.node.Name)
	}
	if c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		if !f.connection.Redirected {
			return w.unhealthy(p, f, name, fmt.Sprintf("cluster %s sends where a connection meant to go, and this one was not redirected", name))
		}
		return w.send(p, c, cluster.Endpoint{Address: f.connection.Local, Port: uint32(f.connection.Local.Port()), Share: 1}, f)
	}
	if c.GetClusterType() != nil {
		return w.unknown(p.name, "cluster %s finds its endpoints by the extension %s", name, c.GetClusterType().GetName())
	}
	assignment, ok := p.config.Endpoints(name)
	if !ok && c.GetType() == clusterv3.Cluster_EDS {
		return w.unknown(p.name, "the endpoints of cluster %s are not known", name)
	}
	endpoints := cluster.Endpoints(assignment)
	if len(endpoints) == 0 {
		return w.unhealthy(p, f, name, fmt.Sprintf("cluster %s has no healthy endpoint", name))
	}
	total := 0.0
	for _, e := range endpoints {
		total += e.Share
	}
	var branches []Branch
	for _, e := range endpoints {
		own := w.fork()
		branches = append(branches, Branch{e.Share / total, own.send(p, c, e, f)})
	}
	return join(branches)
}

// unhealthy ends where a cluster has nobody to send to.
func (w *walk) unhealthy(p *proxy, f forwarding, cluster, why string) Verdict {
	w.add(Step{Proxy: p.name, Stage: StageEndpoint, Rule: cluster, Says: why, Stops: true})
	return w.fails(f.failure("no_healthy_upstream", "UH"), why)
}

// send opens a connection to one endpoint.
func (w *walk) send(p *proxy, c *clusterv3.Cluster, e cluster.Endpoint, f forwarding) Verdict {
	if e.Unknown != "" {
		return w.unknown(p.name, "cluster %s: %s", c.GetName(), e.Unknown)
	}
	security := p.security(c, e.Metadata)
	if security.Unknown != "" {
		return w.unknown(p.name, "%s", security.Unknown)
	}
	load, protocol, err := upstreamLoad(c, f.load)
	if err != nil {
		return w.unknown(p.name, "%v", err)
	}
	out := &stream.Connection{Local: e.Address}
	if len(p.node.Addresses) > 0 {
		out.DirectRemote = netip.AddrPortFrom(p.node.Addresses[0], 0)
	}
	step := Step{Proxy: p.name, Stage: StageEndpoint, Rule: security.Match, Says: fmt.Sprintf("to %s in plaintext", endpointName(e))}
	if load.inner != nil && security.TLS == nil {
		out.TLS, load.inner = load.inner, nil
		step.Says = fmt.Sprintf("to %s with the client's own TLS", endpointName(e))
	}
	if security.TLS != nil {
		out.TLS = w.offer(p, c, security, f, protocol)
		step.Says = fmt.Sprintf("to %s by TLS", endpointName(e))
		if out.TLS.Peer != nil {
			step.Says = fmt.Sprintf("to %s by mutual TLS", endpointName(e))
		}
	}
	w.add(step)
	if !e.Address.IsValid() {
		return w.reached(&Destination{Host: e.Host, Cluster: c.GetName()}, "reaches %s, which is found by DNS", endpointName(e))
	}
	if why := w.mistrust(security, e); why.Truth != match.True {
		return w.untrusted(p, f, why)
	}
	return upstreamFailure(w.arrive(out, load, c.GetName()), out, f)
}

// upstreamFailure is what a proxy answers where the connection that it opened
// comes to nothing: the other end says nothing to the client.
func upstreamFailure(v Verdict, c *stream.Connection, f forwarding) Verdict {
	for i := range v.Branches {
		v.Branches[i].Verdict = upstreamFailure(v.Branches[i].Verdict, c, f)
	}
	// An answer in plaintext to a handshake is no answer.
	garbled := c.TLS != nil && v.Reply != nil && v.Reply.Details == codecError
	answered := v.Reply != nil && v.Reply.Code != 0 && !garbled
	if answered || v.Outcome != Fails && (v.Outcome != Deny || v.Reply == nil) {
		return v
	}
	nothing := v.Reply == nil
	v.Reply = f.failure("upstream_reset_before_response_started{connection_termination}", "UC")
	if c.TLS != nil || nothing {
		v.Reply = f.failure("upstream_reset_before_response_started{remote_connection_failure}", "UF")
	}
	return v
}

func endpointName(e cluster.Endpoint) string {
	if e.Address.IsValid() {
		return e.Address.String()
	}
	return fmt.Sprintf("%s:%d", e.Host, e.Port)
}

// upstreamLoad is the request in the version of HTTP that the cluster speaks.
func upstreamLoad(c *clusterv3.Cluster, load payload) (payload, cluster.Protocol, error) {
	if load.request == nil {
		return load, cluster.HTTP1, nil
	}
	protocol, err := cluster.ProtocolOf(c)
	if err != nil {
		return load, protocol, err
	}
	own := *load.request
	switch protocol {
	case cluster.HTTP1, cluster.Negotiated:
		own.Version = hcm.HTTP11
	case cluster.HTTP2:
		own.Version = hcm.HTTP2
	case cluster.HTTP3:
		return load, protocol, fmt.Errorf("cluster %s speaks HTTP/3, which is not decided here", c.GetName())
	case cluster.Same:
		if own.Version != hcm.HTTP2 {
			own.Version = hcm.HTTP11
		}
	}
	load.request = &own
	return load, protocol, nil
}

// offer is the TLS handshake that a proxy begins.
func (w *walk) offer(p *proxy, c *clusterv3.Cluster, s cluster.Security, f forwarding, protocol cluster.Protocol) *stream.TLS {
	common := s.TLS.GetCommonTlsContext()
	out := &stream.TLS{ServerName: s.TLS.GetSni(), Offered: common.GetAlpnProtocols()}
	out.Trusts, _ = listener.Roots(common)
	if f.load.request != nil && f.alpn != nil && takesALPN(c) {
		version := hcm.HTTP11
		if protocol == cluster.HTTP2 || protocol == cluster.Same && f.load.request.Version == hcm.HTTP2 {
			version = hcm.HTTP2
		}
		if override, ok := f.alpn[version]; ok {
			out.Offered = override
		}
	}
	for _, secret := range common.GetTlsCertificateSdsSecretConfigs() {
		if secret.GetName() == listener.WorkloadCertificate {
			out.Peer = certificateOf(p.node)
		}
	}
	if out.Peer == nil && (len(common.GetTlsCertificateSdsSecretConfigs()) > 0 || len(common.GetTlsCertificates()) > 0) {
		// Some certificate, of which no name is known.
		out.Peer = &stream.Certificate{}
	}
	return out
}

// takesALPN reports whether Istio's ALPN filter replaces what a cluster offers: it
// does unless the cluster says "istio.alpn_override": "false"
// (pilot/pkg/networking/core/cluster_tls.go).
func takesALPN(c *clusterv3.Cluster) bool {
	return c.GetMetadata().GetFilterMetadata()["istio"].GetFields()["alpn_override"].GetStringValue() != "false"
}

// mistrust is whether the client's proxy will accept the certificate of the
// workload that it talks to: yes where it does not look, or where all workloads at
// that address have a name that it accepts. Without a proxy nobody has a certificate
// of the mesh, unless istiod says of the endpoint that it has: then it is one that
// is not among those that are known here.
func (w *walk) mistrust(s cluster.Security, e cluster.Endpoint) match.Answer {
	if s.TLS == nil {
		return match.Yes
	}
	roots, settings := listener.Roots(s.TLS.GetCommonTlsContext())
	if roots != listener.MeshRoots {
		return match.Yes
	}
	nodes := w.proxies.At(e.Address.Addr())
	if len(nodes) == 0 && e.Metadata.GetFields()["tlsMode"].GetStringValue() != "istio" {
		return match.No
	}
	return match.And(nodes, func(node xds.Node) match.Answer {
		if node.ServiceAccount == "" {
			return match.Yes
		}
		return listener.Verify(settings, certificateOf(node))
	})
}

// untrusted ends where the server's certificate is not accepted.
func (w *walk) untrusted(p *proxy, f forwarding, a match.Answer) Verdict {
	if a.Truth == match.Unknown {
		return w.unknown(p.name, "%s", a.Why)
	}
	why := "the server has no certificate with a name that the client's proxy accepts"
	w.add(Step{Proxy: p.name, Stage: StageTLS, Says: why, Stops: true})
	return w.fails(f.failure("upstream_reset_before_response_started{remote_connection_failure|TLS_error:CERTIFICATE_VERIFY_FAILED}", "UF"), why)
}
