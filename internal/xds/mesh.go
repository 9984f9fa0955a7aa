// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Source gives the configuration of proxies. Implementations are safe for
// concurrent use and stop when ctx ends.
type Source interface {
	// Nodes are the proxies that it can give the configuration of.
	Nodes(ctx context.Context) ([]Node, error)
	// Config is what one of them is sent. An error means that nothing is known;
	// what is only partly known is among Config.Problems.
	Config(ctx context.Context, node Node) (*Config, error)
}

// Mesh is the proxies of a Source at one moment, and remembers each one's
// configuration from the first question on. It is safe for concurrent use. For a
// later moment make another.
type Mesh struct {
	source    Source
	nodes     []Node
	byAddress map[netip.Addr][]Node
	byKey     map[Key]int

	mu      sync.Mutex
	configs map[Key]*remembered
}

// remembered is a configuration, or that it is being fetched.
type remembered struct {
	done   chan struct{}
	config *Config
	err    error
}

// NewMesh asks the source for its nodes.
func NewMesh(ctx context.Context, source Source) (*Mesh, error) {
	nodes, err := source.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, compareNodes)
	m := &Mesh{
		source: source, nodes: nodes,
		byAddress: make(map[netip.Addr][]Node, len(nodes)),
		byKey:     make(map[Key]int, len(nodes)), configs: map[Key]*remembered{},
	}
	for i, n := range nodes {
		m.byKey[n.Key()] = i
		for _, address := range n.Addresses {
			m.byAddress[address] = append(m.byAddress[address], n)
		}
	}
	return m, nil
}

func compareNodes(a, b Node) int {
	return cmp.Or(strings.Compare(a.Cluster, b.Cluster), strings.Compare(a.Namespace, b.Namespace),
		strings.Compare(a.Name, b.Name), strings.Compare(string(a.Type), string(b.Type)))
}

// Nodes are in order of cluster, namespace and name. Read only.
func (m *Mesh) Nodes() []Node { return m.nodes }

// Node finds a proxy by its key.
func (m *Mesh) Node(key Key) (Node, bool) {
	i, ok := m.byKey[key]
	if !ok {
		return Node{}, false
	}
	return m.nodes[i], true
}

// At are the proxies of the workloads at an address, in order. There is none for
// an address outside of the mesh, and more than one where workloads share the
// address of their machine. Read only.
func (m *Mesh) At(address netip.Addr) []Node { return m.byAddress[address] }

// Selected are the proxies of a namespace with at least these labels, in order;
// no labels select all of the namespace.
func (m *Mesh) Selected(namespace string, labels map[string]string) []Node {
	var out []Node
	for _, n := range m.nodes {
		if n.Namespace == namespace && carries(n.Labels, labels) {
			out = append(out, n)
		}
	}
	return out
}

func carries(labels, wanted map[string]string) bool {
	for k, v := range wanted {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Config is what a proxy was sent. The source is asked once for each proxy, also
// when many ask at the same time; an error is not remembered.
func (m *Mesh) Config(ctx context.Context, node Node) (*Config, error) {
	key := node.Key()
	for {
		m.mu.Lock()
		r, asked := m.configs[key]
		if !asked {
			r = &remembered{done: make(chan struct{})}
			m.configs[key] = r
		}
		m.mu.Unlock()
		if !asked {
			return m.fetch(ctx, key, node, r)
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Whoever asked first may have given up: then it is this one's turn.
		if r.err == nil || !gaveUp(r.err) || ctx.Err() != nil {
			return r.config, r.err
		}
	}
}

// Forget lets go of what a proxy was sent: whoever asks again asks the source. It is for
// questions about all proxies of a large mesh, one after the other.
func (m *Mesh) Forget(node Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.configs, node.Key())
}

func (m *Mesh) fetch(ctx context.Context, key Key, node Node, r *remembered) (*Config, error) {
	defer close(r.done)
	r.config, r.err = m.source.Config(ctx, node)
	if r.err != nil {
		m.forget(key, r)
	}
	return r.config, r.err
}

func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (m *Mesh) forget(key Key, r *remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.configs[key] == r {
		delete(m.configs, key)
	}
}
