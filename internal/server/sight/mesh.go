// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sight

import (
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/graph"
)

// Check is what is seen of a comparison: lines from or to the viewer's own workloads.
func (s *Sight) Check(of *answer.MutualTLS) *answer.MutualTLS {
	if s.Everywhere {
		return of
	}
	out := *of
	out.Notes, out.Redacted = nil, len(of.Notes) > 0
	var less bool
	out.Rows, less = kept(of.Rows, func(r *mtls.Row) bool {
		return s.host(r.Host) || strings.Contains(r.Client, "/") && s.workload(r.Client)
	})
	out.Redacted = out.Redacted || less
	for i := range out.Rows {
		r := &out.Rows[i]
		if !s.host(r.Host) || !s.workload(r.Client) {
			// Why, and each kind of endpoint, are of two sides of which one is not seen.
			r.PeerAuthentications, _ = kept(r.PeerAuthentications, func(name *string) bool { return s.backwards(*name) })
			rule := s.backwards(r.DestinationRule)
			if !rule {
				r.DestinationRule = ""
			}
			r.Why, r.Past, r.Endpoints = "", "", nil
			out.Redacted = true
		}
	}
	return &out
}

// backwards is of a name that is written as NAME/NAMESPACE.
func (s *Sight) backwards(name string) bool {
	_, namespace, ok := strings.Cut(name, "/")
	return !ok || s.Namespace(namespace)
}

// Graph is what is seen of a graph: the edges from and to the viewer's own workloads.
func (s *Sight) Graph(of *answer.Graph) *answer.Graph {
	if s.Everywhere {
		return of
	}
	out := *of
	out.Notes, out.Redacted = nil, true
	own := map[string]bool{}
	for i := range of.Nodes {
		own[of.Nodes[i].ID] = of.Nodes[i].Namespace != "" && s.Namespace(of.Nodes[i].Namespace)
	}
	seen := &graph.Graph{}
	ends := map[string]bool{}
	seen.Edges, _ = kept(of.Edges, func(e *graph.Edge) bool { return own[e.From] || own[e.To] })
	for i := range seen.Edges {
		e := &seen.Edges[i]
		ends[e.From], ends[e.To] = true, true
		if own[e.From] && own[e.To] {
			continue
		}
		ports := make([]graph.Port, len(e.Ports))
		for j, p := range e.Ports {
			p.Why = ""
			p.PeerAuthentications, _ = kept(p.PeerAuthentications, func(name *string) bool { return s.backwards(*name) })
			if !s.backwards(p.DestinationRule) {
				p.DestinationRule = ""
			}
			ports[j] = p
		}
		e.Ports = ports
		if !own[e.To] {
			// Who else calls a service of others is theirs.
			e.Clients, _ = kept(e.Clients, func(name *string) bool { return strings.Contains(*name, "/") && s.workload(*name) })
		}
	}
	seen.Nodes, _ = kept(of.Nodes, func(n *graph.Node) bool { return ends[n.ID] || own[n.ID] })
	out.Graph = seen
	return &out
}
