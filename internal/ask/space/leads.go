// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Leads reports whether requests of Within may come to a workload, by where the
// routes and clusters of the door's proxy lead, whatever its rules are. It errs
// towards true.
func (e *Explorer) Leads(to func(xds.Node) bool) bool {
	e.begin()
	for _, s := range e.Sides {
		w := &walker{Explorer: e, side: s, add: func(class.Dimension, atom.Pattern) {}}
		for _, node := range s.Proxies.At(s.Door.To.Addr()) {
			if w.leads(node, to) {
				return true
			}
		}
	}
	return false
}

func (w *walker) leads(node xds.Node, to func(xds.Node) bool) bool {
	config, err := w.side.Proxies.Config(node)
	if err != nil {
		return true
	}
	l, ok := config.Inbound(w.side.Door.To)
	if !ok {
		return false
	}
	version := ""
	if w.side.Door.HTTP {
		version = "http/1.1"
	}
	choice := w.side.Reader.listener(l).Choose(w.side.Door.connection(w.Within), version)
	if choice.Chain == nil {
		return choice.Unknown != ""
	}
	ch := w.side.Reader.way(config, choice.Chain)
	clusters := ch.clusters
	if ch.http {
		if ch.table == nil {
			return true
		}
		for _, at := range w.open(ch.table) {
			for i := range at.routes {
				if at.routes[i].forwards() && !at.routes[i].named() {
					return true
				}
				clusters = append(clusters, at.routes[i].clusters...)
			}
		}
	}
	seen := map[string]bool{}
	for _, name := range clusters {
		if !seen[name] && w.clusterLeads(config, name, to) {
			return true
		}
		seen[name] = true
	}
	return false
}

// open are the virtual hosts that the hosts of Within may have: one or none where that
// is settled.
func (w *walker) open(t *table) []domain {
	at, known := w.domain(t, &view{point: w.Within, blind: func(string) {}})
	switch {
	case !known:
		return t.domains
	case at == nil:
		return nil
	}
	return []domain{*at}
}

// clusterLeads looks at the endpoints of a cluster. What is behind another gateway is
// not looked for.
func (w *walker) clusterLeads(config *xds.Config, name string, to func(xds.Node) bool) bool {
	c, ok := config.Cluster(name)
	if !ok {
		return false
	}
	if c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		return true
	}
	assignment, _ := config.Endpoints(name)
	for _, e := range cluster.Endpoints(assignment) {
		if !e.Address.IsValid() {
			return true
		}
		for _, n := range w.side.Proxies.At(e.Address.Addr()) {
			if n.Type != xds.Sidecar || to(n) {
				return true
			}
		}
	}
	return false
}
