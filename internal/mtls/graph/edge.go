// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"cmp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
)

// drawing is a Graph that is being made.
type drawing struct {
	options Options
	nodes   map[string]Node
	edges   map[[2]string]*Edge
}

func (d *drawing) add(n Node) { d.nodes[n.ID] = n }

func (d *drawing) graph(all []use) *Graph {
	d.edges = map[[2]string]*Edge{}
	crowds := crowdsOf(all)
	for i := range all {
		u := &all[i]
		from := u.from
		crowd := crowds[u.crowd()]
		together := !d.options.All && u.faceless() && len(crowd) > 1
		if together {
			from = anybody(u.proxied, d.options.ClientNamespace)
		}
		d.add(from)
		d.add(u.to)
		e := d.edge(from, u.to)
		if together {
			e.Clients = crowd
		}
		e.take(u)
	}
	out := &Graph{Nodes: []Node{}, Edges: []Edge{}}
	for _, n := range d.nodes {
		out.Nodes = append(out.Nodes, n)
	}
	for _, e := range d.edges {
		e.settle()
		out.Edges = append(out.Edges, *e)
	}
	slices.SortFunc(out.Nodes, func(a, b Node) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	slices.SortFunc(out.Edges, func(a, b Edge) int { return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To)) })
	return out
}

// crowd is those that a service does not tell apart: all with a proxy, and all without.
type crowd struct {
	to      string
	proxied bool
}

func (u *use) crowd() crowd { return crowd{u.to.ID, u.proxied} }

// faceless reports whether there is nothing to say of the client itself.
func (u *use) faceless() bool { return u.reason == AsAnybody && !u.conflict() }

// crowdsOf are the names of who may be drawn as one.
func crowdsOf(all []use) map[crowd][]string {
	out := map[crowd][]string{}
	for i := range all {
		if u := &all[i]; u.faceless() {
			out[u.crowd()] = append(out[u.crowd()], u.from.String())
		}
	}
	for of, names := range out {
		slices.Sort(names)
		out[of] = slices.Compact(names)
	}
	return out
}

func (d *drawing) edge(from, to Node) *Edge {
	key := [2]string{from.ID, to.ID}
	if d.edges[key] == nil {
		d.edges[key] = &Edge{From: from.ID, To: to.ID, Reason: None}
	}
	return d.edges[key]
}

func (e *Edge) take(u *use) {
	if strength[u.reason] > strength[e.Reason] {
		e.Reason = u.reason
	}
	for i := range u.rows {
		r := &u.rows[i]
		at := slices.IndexFunc(e.Ports, func(p Port) bool {
			return p.Port == r.Port && p.Subset == r.Subset && p.DestinationRule == r.DestinationRule
		})
		if at < 0 {
			at = len(e.Ports)
			e.Ports = append(e.Ports, Port{
				Port: r.Port, Subset: r.Subset, DestinationRule: r.DestinationRule, Status: r.Status, Why: r.Why, wrapped: u.wrapped[r.Port],
				Accepts: []decide.Transport{}, Sends: []decide.Transport{},
			})
		}
		e.Ports[at].take(r)
	}
}

func (p *Port) take(r *mtls.Row) {
	if p.Why == "" || severity[r.Status] > severity[p.Status] {
		p.Why = r.Why
	}
	if severity[r.Status] > severity[p.Status] {
		p.Status = r.Status
	}
	p.fine = p.fine || r.Status == mtls.OK
	p.Unproven = cmp.Or(p.Unproven, r.Unproven)
	p.Accepts = union(p.Accepts, r.Accepts)
	p.Sends = union(p.Sends, r.Sends)
	for _, name := range r.PeerAuthentications {
		if !slices.Contains(p.PeerAuthentications, name) {
			p.PeerAuthentications = append(p.PeerAuthentications, name)
		}
	}
	slices.Sort(p.PeerAuthentications)
}

// severity orders states as edges show them, the worst last.
var severity = map[mtls.Status]int{mtls.OK: 0, mtls.Unknown: 1, mtls.Partial: 2, mtls.Conflict: 3}

func union(all, more []decide.Transport) []decide.Transport {
	for _, t := range more {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	order := []decide.Transport{decide.MutualTLS, decide.HBONE, decide.Plaintext, decide.OtherTLS}
	slices.SortFunc(all, func(a, b decide.Transport) int { return cmp.Compare(slices.Index(order, a), slices.Index(order, b)) })
	return all
}

// secured is what is on the wire.
func (p *Port) secured() []decide.Transport {
	out := slices.Clone(p.Sends)
	for i, t := range out {
		switch {
		case t == decide.Plaintext && p.wrapped:
			out[i] = decide.OtherTLS
		case t == decide.HBONE:
			out[i] = decide.MutualTLS
		}
	}
	return slices.Compact(out)
}

// settle says of an edge what follows from its ports.
func (e *Edge) settle() {
	slices.SortFunc(e.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Subset, b.Subset), strings.Compare(a.DestinationRule, b.DestinationRule))
	})
	e.Status, e.Security = mtls.OK, Unknown
	var sent []decide.Transport
	for i := range e.Ports {
		p := &e.Ports[i]
		if p.Status == mtls.Conflict && p.fine {
			// As with endpoints: some that fail among others that do not.
			p.Status = mtls.Partial
		}
		if severity[p.Status] > severity[e.Status] {
			e.Status = p.Status
		}
		sent = union(sent, p.secured())
	}
	switch len(sent) {
	case 0:
	case 1:
		e.Security = Security(sent[0])
	default:
		e.Security = Mixed
	}
}
