// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// proxy is one proxy's configuration, compiled as far as it was needed.
type proxy struct {
	node   xds.Node
	name   string
	config *xds.Config

	mu        sync.Mutex
	listeners map[*listenerv3.Listener]*listener.Chains
	chains    map[*listenerv3.FilterChain]*filterChain
	routes    routeTables
	filters   httpFilters
	sockets   map[*corev3.TransportSocket]cluster.Security
}

func newProxy(node xds.Node, config *xds.Config) *proxy {
	return &proxy{
		node: node, name: node.String(), config: config,
		listeners: map[*listenerv3.Listener]*listener.Chains{},
		chains:    map[*listenerv3.FilterChain]*filterChain{},
		routes:    routeTables{},
		filters:   httpFilters{},
		sockets:   map[*corev3.TransportSocket]cluster.Security{},
	}
}

func (p *proxy) listener(l *listenerv3.Listener) *listener.Chains {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, ok := p.listeners[l]
	if !ok {
		out = listener.Compile(l)
		p.listeners[l] = out
	}
	return out
}

func (p *proxy) chain(proto *listenerv3.FilterChain) *filterChain {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, ok := p.chains[proto]
	if !ok {
		out = p.compileChain(proto)
		p.chains[proto] = out
	}
	return out
}

// security is how a cluster talks to an endpoint.
func (p *proxy) security(c *clusterv3.Cluster, metadata *structpb.Struct) cluster.Security {
	socket, chosen := cluster.SocketTo(c, metadata)
	if chosen.Unknown != "" || socket == nil {
		return chosen
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out, ok := p.sockets[socket]
	if !ok {
		out = cluster.ReadSocket(c, socket)
		p.sockets[socket] = out
	}
	out.Match = chosen.Match
	return out
}

// certificateOf is the one that Istio gives a workload: with one SPIFFE ID
// (security/pkg/pki/util/san.go).
func certificateOf(node xds.Node) *stream.Certificate {
	return &stream.Certificate{URIs: []string{node.Identity().SPIFFE()}}
}
