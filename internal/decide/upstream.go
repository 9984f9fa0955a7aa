// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
)

// upstream is a cluster, compiled.
type upstream struct {
	name   string
	proto  *clusterv3.Cluster
	object *Object
	// sends says that a request is sent to it.
	sends string
	// local: it leads into the application beside the proxy.
	local bool
	// protocol is the version of HTTP that it speaks, or wrong why that cannot be
	// read.
	protocol cluster.Protocol
	wrong    error
	// endpoints are the healthy ones; known is false where nobody has said which
	// there are.
	endpoints []endpoint
	known     bool
	// original is how it talks to where a connection meant to go.
	original security
}

// endpoint is one of an upstream. Its share is of all requests.
type endpoint struct {
	cluster.Endpoint
	name     string
	security security
}

// security is how connections to an endpoint are secured, and what the certificate of
// its workload must be: one of roots with an accepted name.
type security struct {
	cluster.Security
	roots    string
	accepted listener.Accepted
}

// compileUpstream is called with the lock held.
func (p *proxy) compileUpstream(name string) *upstream {
	c, ok := p.config.Cluster(name)
	if !ok {
		return nil
	}
	out := &upstream{name: name, proto: c, object: objectOf(c.GetMetadata()), sends: "sends it to " + name, local: local(p.node, name)}
	out.protocol, out.wrong = cluster.ProtocolOf(c)
	if c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		out.original = p.security(c, nil)
		return out
	}
	assignment, ok := p.config.Endpoints(name)
	out.known = ok || c.GetType() != clusterv3.Cluster_EDS
	total := 0.0
	for _, e := range cluster.Endpoints(assignment) {
		total += e.Share
		out.endpoints = append(out.endpoints, endpoint{e, endpointName(e), p.security(c, e.Metadata)})
	}
	for i := range out.endpoints {
		out.endpoints[i].Share /= total
	}
	return out
}

// security is how a cluster talks to an endpoint; it is called with the lock held.
func (p *proxy) security(c *clusterv3.Cluster, metadata *structpb.Struct) security {
	socket, chosen := cluster.SocketTo(c, metadata)
	if chosen.Unknown != "" || socket == nil {
		return security{Security: chosen}
	}
	out, ok := p.sockets[socket]
	if !ok {
		out.Security = cluster.ReadSocket(c, socket)
		roots, settings := listener.Roots(out.TLS.GetCommonTlsContext())
		out.roots, out.accepted = roots, listener.NewAccepted(settings)
		p.sockets[socket] = out
	}
	out.Match = chosen.Match
	return out
}

func endpointName(e cluster.Endpoint) string {
	if e.Address.IsValid() {
		return e.Address.String()
	}
	return fmt.Sprintf("%s:%d", e.Host, e.Port)
}
