// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// workers is how many services and clients are looked at at the same time.
const workers = 4

// Of finds who may use whom. Notes say why edges may be missing.
func Of(c *mtls.Checker, o Options) (g *Graph, notes []string) {
	targets, clients := c.TargetsIn(o.Namespace), c.ClientsIn(o.ClientNamespace)
	callers := make([]*mtls.Callers, len(targets))
	parallel.Each(len(targets), workers, func(i int) { callers[i] = c.Callers(targets[i].Service) })
	found := make([][]use, len(clients))
	parallel.Each(len(clients), workers, func(i int) {
		for at, t := range targets {
			found[i] = append(found[i], uses(c, o, clients[i], t.Service, callers[at])...)
		}
	})
	for _, one := range callers {
		for _, note := range one.Notes {
			if !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	slices.Sort(notes)
	d := &drawing{options: o, nodes: map[string]Node{}}
	if !o.Conflicts {
		for _, t := range targets {
			d.add(serviceNode(c, t.Service))
		}
	}
	return d.graph(slices.Concat(found...)), notes
}

// use is a client and all that it sends to one service.
type use struct {
	from, to Node
	// proxied: the client has a proxy.
	proxied bool
	reason  Reason
	rows    []mtls.Row
	// wrapped are the ports whose applications bring TLS of their own.
	wrapped map[uint16]bool
}

// uses is the use that a client may make of a service; none, or one.
func uses(c *mtls.Checker, o Options, client mtls.Client, s *directory.Service, callers *mtls.Callers) []use {
	out := use{from: clientNode(c, client), to: serviceNode(c, s), proxied: client.Node != nil, reason: None, wrapped: map[uint16]bool{}}
	for i, port := range s.Ports {
		if slices.ContainsFunc(s.Ports[:i], func(p directory.Port) bool { return p.Number == port.Number }) {
			continue
		}
		reason := reasonOf(c, client, s, port, callers)
		if reason == None && !o.All {
			continue
		}
		out.wrapped[port.Number] = mtls.OwnTLS(port.Protocol)
		out.rows = append(out.rows, c.Check(client, mtls.Target{Service: s, Port: port.Number})...)
		if strength[reason] > strength[out.reason] {
			out.reason = reason
		}
	}
	if len(out.rows) == 0 || o.Conflicts && !out.conflict() || out.from.ID == out.to.ID && !o.All && !out.conflict() {
		return nil
	}
	return []use{out}
}

var strength = map[Reason]int{None: 0, AsAnybody: 1, ByName: 2, ByRoute: 3}

func reasonOf(c *mtls.Checker, client mtls.Client, s *directory.Service, port directory.Port, callers *mtls.Callers) Reason {
	admitted := callers.Admits(client, port)
	switch {
	case admitted == mtls.Refused || !c.Leads(client, s, port.Number):
		return None
	case client.Node != nil && client.Node.Type == xds.Router:
		return ByRoute
	case admitted == mtls.ByName:
		return ByName
	}
	return AsAnybody
}

func (u *use) conflict() bool {
	return slices.ContainsFunc(u.rows, func(r mtls.Row) bool { return r.Status.Fails() })
}

func serviceNode(c *mtls.Checker, s *directory.Service) Node {
	if s.External {
		return Node{ID: "outside:" + s.Name.Namespace + "/" + s.Host, Namespace: s.Name.Namespace, Name: s.Host, Kind: Outside}
	}
	return Node{ID: "service:" + s.Name.Namespace + "/" + s.Name.Name, Namespace: s.Name.Namespace, Name: s.Name.Name, Kind: Service, Unproxied: c.Unproxied(s)}
}

func clientNode(c *mtls.Checker, client mtls.Client) Node {
	out := Node{ID: "workload:" + client.String(), Namespace: client.Ref.Namespace, Name: client.Ref.Name, Kind: Workload}
	if s := c.ServiceOf(client); s != nil {
		out = serviceNode(c, s)
	}
	if client.Node != nil && client.Node.Type == xds.Router {
		out.Kind = Gateway
	}
	return out
}

// anybody is the node for clients of a sort.
func anybody(proxied bool, namespace string) Node {
	out := Node{ID: "anybody:proxied", Namespace: namespace, Name: "any workload", Kind: Anybody}
	if !proxied {
		out.ID, out.Name, out.Unproxied = "anybody:unproxied", "any workload without a proxy", true
	}
	return out
}

// String is the name of a node as people write it.
func (n Node) String() string {
	switch {
	case n.Namespace == "" || n.Kind == Outside:
		return n.Name
	case n.Kind == Anybody:
		return n.Name + " of " + n.Namespace
	}
	return n.Namespace + "/" + n.Name
}
