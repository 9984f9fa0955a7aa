// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
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
	// protocols as applicationProtocols finds them, alpn when it did.
	alpn      sync.Once
	protocols map[hcm.Version][]string
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

// remember is the value of a key in one of a proxy's tables, made the first time. Make
// is called with the lock held.
func remember[K comparable, V any](p *proxy, known map[K]V, key K, make func(K) V) V {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, ok := known[key]
	if !ok {
		out = make(key)
		known[key] = out
	}
	return out
}

func (p *proxy) listener(l *listenerv3.Listener) *listener.Chains {
	return remember(p, p.listeners, l, listener.Compile)
}

func (p *proxy) chain(c *listenerv3.FilterChain) *filterChain {
	return remember(p, p.chains, c, p.compileChain)
}

// object is the Istio object that a part of the configuration was made from.
func (p *proxy) object(of *corev3.Metadata) *Object {
	if of == nil {
		return nil
	}
	return remember(p, p.objects, of, objectOf)
}

// upstream is a cluster by its name; nil where there is none.
func (p *proxy) upstream(name string) *upstream {
	return remember(p, p.upstreams, name, p.compileUpstream)
}

// certificateOf is the one that Istio gives a workload: with one SPIFFE ID
// (security/pkg/pki/util/san.go).
func certificateOf(node xds.Node) *stream.Certificate {
	return &stream.Certificate{URIs: []string{node.Identity().SPIFFE()}}
}
