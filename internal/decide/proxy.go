// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

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
	upstreams map[string]*upstream
	sockets   map[*corev3.TransportSocket]security
	objects   map[*corev3.Metadata]*Object
	// certificate is the workload's.
	certificate *stream.Certificate
}

func newProxy(node xds.Node, config *xds.Config) *proxy {
	return &proxy{
		node: node, name: node.String(), config: config,
		listeners: map[*listenerv3.Listener]*listener.Chains{},
		chains:    map[*listenerv3.FilterChain]*filterChain{},
		routes:    routeTables{},
		filters:   httpFilters{},
		upstreams: map[string]*upstream{},
		sockets:   map[*corev3.TransportSocket]security{},
		objects:   map[*corev3.Metadata]*Object{}, certificate: certificateOf(node),
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

// object is the Istio object that a part of the configuration was made from.
func (p *proxy) object(of *corev3.Metadata) *Object {
	if of == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out, ok := p.objects[of]
	if !ok {
		out = objectOf(of)
		p.objects[of] = out
	}
	return out
}

// upstream is a cluster by its name; nil where there is none.
func (p *proxy) upstream(name string) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, ok := p.upstreams[name]
	if !ok {
		out = p.compileUpstream(name)
		p.upstreams[name] = out
	}
	return out
}

// certificateOf is the one that Istio gives a workload: with one SPIFFE ID
// (security/pkg/pki/util/san.go).
func certificateOf(node xds.Node) *stream.Certificate {
	return &stream.Certificate{URIs: []string{node.Identity().SPIFFE()}}
}
