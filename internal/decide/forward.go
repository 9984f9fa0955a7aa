// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"net/netip"
	"slices"
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
	u := p.upstream(name)
	if u == nil {
		why := fmt.Sprintf("cluster %q does not exist", name)
		w.add(Step{Proxy: p.name, Stage: StageCluster, Rule: name, Says: why, Stops: true})
		return w.fails(f.failure("cluster_not_found", "NC"), why)
	}
	w.add(Step{Proxy: p.name, Stage: StageCluster, Rule: name, Object: u.object, Says: u.sends})
	switch {
	case u.local && f.load.inner != nil && f.load.inner.Trusts == listener.MeshRoots:
		why := "the handshake goes through to the application, which has no certificate of the mesh"
		w.add(Step{Proxy: p.name, Stage: StageTLS, Says: why, Stops: true})
		return w.fails(nil, why)
	case u.local:
		key := p.node.Key()
		return w.reached(&Destination{Workload: &key, Address: f.connection.Local, Cluster: name}, "reaches the application "+p.node.Namespace+"/"+p.node.Name)
	case u.proto.GetType() == clusterv3.Cluster_ORIGINAL_DST:
		if !f.connection.Redirected {
			return w.unhealthy(p, f, name, "cluster "+name+" sends where a connection meant to go, and this one was not redirected")
		}
		to := cluster.Endpoint{Address: f.connection.Local, Port: uint32(f.connection.Local.Port())}
		return w.send(p, u, &endpoint{to, endpointName(to), u.original}, f)
	case u.proto.GetClusterType() != nil:
		return w.unknown(p.name, "cluster %s finds its endpoints by the extension %s", name, u.proto.GetClusterType().GetName())
	case !u.known:
		return w.unknown(p.name, "the endpoints of cluster %s are not known", name)
	case len(u.endpoints) == 0:
		return w.unhealthy(p, f, name, "cluster "+name+" has no healthy endpoint")
	}
	return w.branch(len(u.endpoints), func(own *walk, i int) Branch {
		return Branch{u.endpoints[i].Share, own.send(p, u, &u.endpoints[i], f)}
	})
}

// unhealthy ends where a cluster has nobody to send to.
func (w *walk) unhealthy(p *proxy, f forwarding, cluster, why string) Verdict {
	w.add(Step{Proxy: p.name, Stage: StageEndpoint, Rule: cluster, Says: why, Stops: true})
	return w.fails(f.noEndpoint(), why)
}

func (f forwarding) noEndpoint() *stream.Reply { return f.failure("no_healthy_upstream", "UH") }

// send opens a connection to one endpoint.
func (w *walk) send(p *proxy, u *upstream, e *endpoint, f forwarding) Verdict {
	if e.Unknown != "" {
		return w.unknown(p.name, "cluster %s: %s", u.name, e.Unknown)
	}
	if e.security.Unknown != "" {
		return w.unknown(p.name, "%s", e.security.Unknown)
	}
	load, err := u.load(f.load)
	if err != nil {
		return w.unknown(p.name, "%v", err)
	}
	out := &stream.Connection{Local: e.Address}
	if len(p.node.Addresses) > 0 {
		out.DirectRemote = netip.AddrPortFrom(p.node.Addresses[0], 0)
	}
	by := " in plaintext"
	if load.inner != nil && e.security.TLS == nil {
		out.TLS, load.inner = load.inner, nil
		by = " with the client's own TLS"
	}
	if e.security.TLS != nil {
		out.TLS = p.offer(u, &e.security, f)
		by = " by TLS"
		if out.TLS.Peer != nil {
			by = " by mutual TLS"
		}
	}
	w.add(Step{Proxy: p.name, Stage: StageEndpoint, Rule: e.security.Match, Says: "to " + e.name + by})
	if !e.Address.IsValid() {
		return w.reached(&Destination{Host: e.Host, Cluster: u.name}, "reaches "+e.name+", which is found by DNS")
	}
	if why := w.mistrust(e); why.Truth != match.True {
		return w.untrusted(p, f, why)
	}
	return upstreamFailure(w.arrive(out, load, u.name), out, f)
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
	// By TLS 1.3 the client's handshake is over before the server has looked at its
	// certificate (RFC 8446 §2): to the client the connection is up, and then it ends.
	refused := !nothing && slices.Contains(v.Reply.Flags, handshakeFailed)
	v.Reply = f.failure("upstream_reset_before_response_started{connection_termination}", "UC")
	if c.TLS != nil && !refused || nothing {
		v.Reply = f.failure("upstream_reset_before_response_started{remote_connection_failure}", "UF")
	}
	return v
}

// load is a request in the version of HTTP that the cluster speaks.
func (u *upstream) load(load payload) (payload, error) {
	if load.request == nil {
		return load, nil
	}
	if u.wrong != nil {
		return load, u.wrong
	}
	own := *load.request
	switch u.protocol {
	case cluster.HTTP1, cluster.Negotiated:
		own.Version = hcm.HTTP11
	case cluster.HTTP2:
		own.Version = hcm.HTTP2
	case cluster.HTTP3:
		return load, fmt.Errorf("cluster %s speaks HTTP/3, which is not decided here", u.name)
	case cluster.Same:
		if own.Version != hcm.HTTP2 {
			own.Version = hcm.HTTP11
		}
	}
	load.request = &own
	return load, nil
}

// offer is the TLS handshake that a proxy begins.
func (p *proxy) offer(u *upstream, s *security, f forwarding) *stream.TLS {
	common := s.TLS.GetCommonTlsContext()
	out := &stream.TLS{ServerName: s.TLS.GetSni(), Offered: common.GetAlpnProtocols(), Trusts: s.roots}
	if f.load.request != nil && f.alpn != nil && takesALPN(u.proto) {
		if override, ok := f.alpn[u.version(f)]; ok {
			out.Offered = override
		}
	}
	for _, secret := range common.GetTlsCertificateSdsSecretConfigs() {
		if secret.GetName() == listener.WorkloadCertificate {
			out.Peer = p.certificate
		}
	}
	if out.Peer == nil && (len(common.GetTlsCertificateSdsSecretConfigs()) > 0 || len(common.GetTlsCertificates()) > 0) {
		// Some certificate, of which no name is known.
		out.Peer = &stream.Certificate{}
	}
	return out
}

// versionTo is the version of HTTP that a request is sent on in.
func (u *upstream) version(f forwarding) hcm.Version {
	if u.protocol == cluster.HTTP2 || u.protocol == cluster.Same && f.load.request != nil && f.load.request.Version == hcm.HTTP2 {
		return hcm.HTTP2
	}
	return hcm.HTTP11
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
func (w *walk) mistrust(e *endpoint) match.Answer {
	if e.security.TLS == nil || e.security.roots != listener.MeshRoots {
		return match.Yes
	}
	nodes, why := w.takers(e.Address)
	if why != "" {
		// It is the application that takes them, whatever istiod says of the workload.
		return match.No
	}
	if len(nodes) == 0 && e.Metadata.GetFields()["tlsMode"].GetStringValue() != "istio" {
		return match.No
	}
	return match.And(nodes, func(node xds.Node) match.Answer {
		if node.ServiceAccount == "" || e.security.accepted.All() {
			return match.Yes
		}
		return e.security.accepted.Verify(certificateOf(node))
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
