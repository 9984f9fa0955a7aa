// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Transport is how a connection is secured.
type Transport string

const (
	// Plaintext is no TLS.
	Plaintext Transport = "Plaintext"
	// MutualTLS is TLS with the workload's certificate of the mesh.
	MutualTLS Transport = "MutualTLS"
	// OtherTLS is TLS without a certificate of the client, or with one that is not of the
	// mesh.
	OtherTLS Transport = "TLS"
	// HBONE is HTTP/2 over mutual TLS with workloads' certificates of the mesh, through which
	// connections are tunnelled (https://istio.io/latest/docs/ambient/architecture/hbone/).
	// What takes it is not followed: Direct and Ways say no more than that it is sent.
	HBONE Transport = "HBONE"
)

// Link is the connection of a client's proxy to one endpoint of a cluster, as far as
// its transport goes: routes, filters and policies have no say in it.
type Link struct {
	// Share is for which part of the requests the cluster takes this endpoint.
	Share float64
	// Address is the endpoint's; invalid where it is known by name only.
	Address netip.AddrPort
	// Host is the name of an endpoint that is found by DNS.
	Host string
	// Cluster is the one that the connection goes through where that is not the one that
	// was asked about; else empty.
	Cluster string
	// Server is the proxy that takes the connection; nil where none is known.
	Server *xds.Key
	// Past says why connections to this address go past the proxy of the workload there,
	// into the application; empty: they do not.
	Past string
	// Sends is what the client's proxy does; empty where nobody can tell.
	Sends Transport
	// Takes is what the server's end would get on with: MutualTLS, Plaintext, both in
	// this order, or nothing. An end without a proxy takes what its application does,
	// which is not known: nil.
	Takes []Transport
	// Verdict is what becomes of the connection: Allow, Fails or Unknown. Its steps begin
	// at the client's cluster.
	Verdict Verdict
}

// Ways is what a client's proxy makes of a cluster.
type Ways struct {
	// Object is the Istio object that the cluster was shaped by (a DestinationRule);
	// nil: none.
	Object *Object
	// Links are the connections to its endpoints. None: Why says why not, and Reply what
	// the client gets instead, if that is known.
	Links []Link
	Why   string
	Reply *stream.Reply
}

// Conversation is what is to be sent by a Link.
type Conversation struct {
	// HTTP is false for bytes that are none.
	HTTP bool
	// TLS: what the client's application sends is TLS already.
	TLS bool
	// Version is the one that the client speaks.
	Version hcm.Version
	// Originals are the addresses that clients may mean where the cluster sends
	// connections to where they meant to go (ORIGINAL_DST).
	Originals []netip.AddrPort
	// Headless: these are what clients find by the service's name, and connect to.
	Headless bool
}

// Ways finds the connections that a client's proxy makes for one of its clusters. An
// error is about the client: nothing is known of it.
func (e *Evaluator) Ways(client xds.Node, name string, c Conversation) (*Ways, error) {
	w := &walk{Evaluator: e, transport: true}
	p, why := w.proxy(w.proxies, client)
	if p == nil {
		return nil, fmt.Errorf("asking about %s: %s", client, why)
	}
	u := p.upstream(name)
	if u == nil {
		return &Ways{Why: "there is no cluster " + name}, nil
	}
	out := &Ways{Object: u.object}
	f := forwarding{connection: &stream.Connection{}, load: c.load(), bytes: !c.HTTP, alpn: p.applicationProtocols()}
	switch {
	case u.proto.GetType() == clusterv3.Cluster_ORIGINAL_DST && !p.redirected():
		out.Why, out.Reply = "it sends where a connection meant to go, and those of "+p.name+" are not redirected", f.noEndpoint()
	case u.proto.GetType() == clusterv3.Cluster_ORIGINAL_DST && len(c.Originals) == 0:
		out.Why = "it sends where a connection meant to go, and nobody says where that may be"
	case u.proto.GetType() == clusterv3.Cluster_ORIGINAL_DST:
		for _, at := range c.Originals {
			out.Links = append(out.Links, w.original(p, u, at, c, f))
		}
	case u.proto.GetClusterType() != nil:
		out.Why = "its endpoints are found by the extension " + u.proto.GetClusterType().GetName()
	case !u.known:
		out.Why = "its endpoints are not known"
	default:
		for i := range u.endpoints {
			out.Links = append(out.Links, w.link(p, u, &u.endpoints[i], f))
		}
	}
	if len(out.Links) == 0 && out.Why == "" {
		out.Why, out.Reply = "it has no healthy endpoint", f.noEndpoint()
	}
	return out, nil
}

// redirected reports whether the workload's connections are.
func (p *proxy) redirected() bool {
	_, ok := p.config.Listener(xds.VirtualOutbound)
	return ok
}

func (c Conversation) load() payload {
	out := payload{}
	if c.HTTP {
		out.request = &hcm.Request{Version: c.Version}
	}
	if c.TLS {
		out.inner = &stream.TLS{}
	}
	return out
}

// Direct is the connection of a client without a proxy to an endpoint.
func (e *Evaluator) Direct(from, to netip.AddrPort, c Conversation) Link {
	w := &walk{Evaluator: e, transport: true}
	connection := &stream.Connection{DirectRemote: from, Local: to}
	load := c.load()
	connection.TLS, load.inner = load.inner, nil
	out := Link{Share: 1, Address: to, Sends: Plaintext, Verdict: w.fork().arrive(connection, load, "")}
	nodes, why := e.takers(to)
	out.Past = why
	if len(nodes) > 0 {
		key := nodes[0].Key()
		out.Server = &key
		stranger := &proxy{node: xds.Node{}, certificate: certificateOf(nodes[0])}
		f := forwarding{connection: &stream.Connection{}, load: c.load(), bytes: !c.HTTP}
		out.Takes = w.takes(stranger, &upstream{}, &endpoint{Endpoint: cluster.Endpoint{Address: to}}, f)
	}
	return out
}

// link is the connection to one endpoint.
func (w *walk) link(p *proxy, u *upstream, e *endpoint, f forwarding) Link {
	out := Link{Share: e.Share, Address: e.Address, Host: e.Host, Sends: sends(&e.security)}
	if e.Tunnel && cluster.Tunnels(u.proto, e.Metadata) {
		out.Sends = HBONE
	}
	out.Verdict = w.fork().send(p, u, e, f)
	nodes, why := w.takers(e.Address)
	out.Past = why
	if len(nodes) > 0 {
		key := nodes[0].Key()
		out.Server = &key
		out.Takes = w.takes(p, u, e, f)
	}
	return out
}

// sends is how a connection by these settings is secured.
func sends(s *security) Transport {
	switch {
	case s.Unknown != "":
		return ""
	case s.TLS == nil:
		return Plaintext
	}
	for _, secret := range s.TLS.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
		if secret.GetName() == listener.WorkloadCertificate {
			return MutualTLS
		}
	}
	return OtherTLS
}

// takes tries both: the same in plaintext, and as proxies of the mesh secure it.
func (w *walk) takes(p *proxy, u *upstream, e *endpoint, f forwarding) []Transport {
	load, err := u.load(f.load)
	if err != nil {
		return nil
	}
	var out []Transport
	for _, way := range []Transport{MutualTLS, Plaintext} {
		c := &stream.Connection{Local: e.Address}
		if len(p.node.Addresses) > 0 {
			c.DirectRemote = netip.AddrPortFrom(p.node.Addresses[0], 0)
		}
		own := load
		if way == MutualTLS {
			c.TLS = &stream.TLS{Offered: p.offered(u, f), Peer: p.certificate, Trusts: listener.MeshRoots}
		}
		if way == Plaintext {
			c.TLS, own.inner = load.inner, nil
		}
		if w.fork().arrive(c, own, u.name).Outcome == Allow {
			out = append(out, way)
		}
	}
	return out
}

// offered are the application protocols of proxies of the mesh, where these settings
// have none of their own (pilot/pkg/networking/util/util.go, ALPNInMesh).
func (p *proxy) offered(u *upstream, f forwarding) []string {
	version := u.version(f)
	if override, ok := f.alpn[version]; ok && f.load.request != nil {
		return override
	}
	switch {
	case f.load.request == nil:
		return []string{"istio-peer-exchange", "istio"}
	case version == hcm.HTTP2:
		return []string{"istio", "h2"}
	}
	return []string{"istio"}
}

// applicationProtocols is what the proxy's HTTP filters make of those towards upstream,
// in the first of its listeners that has such a filter: Istio writes the same one
// into all. Nil: none does.
func (p *proxy) applicationProtocols() map[hcm.Version][]string {
	p.alpn.Do(func() {
		for _, l := range p.config.Resources().Listeners {
			for _, proto := range l.GetFilterChains() {
				if l.GetName() == xds.VirtualInbound {
					break
				}
				if chain := p.chain(proto); chain.http != nil && chain.http.alpn != nil {
					p.protocols = chain.http.alpn
					return
				}
			}
		}
	})
	return p.protocols
}
