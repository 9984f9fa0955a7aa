// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"slices"
	"sync"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/space"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// outsideLeaf is what becomes of a class of requests.
type outsideLeaf struct {
	door    *door
	point   *class.Point
	request witness.Request
	decided *decided
}

// workers is how many classes are decided at the same time.
const workers = 4

// outsideHost is what the internet can send to one door for one class of hosts.
type outsideHost struct {
	door   *door
	within *class.Point

	once   sync.Once
	leaves []outsideLeaf
	notes  []string
}

// outsideHosts are all of a World, each with what becomes of its requests once
// somebody has asked.
type outsideHosts struct {
	once  sync.Once
	all   []*outsideHost
	notes []string
}

func (w *World) outsideHosts() *outsideHosts {
	out := &w.sets.outside
	out.once.Do(func() {
		doors, problems := w.gateways()
		out.notes = problems
		hosts := make([][]*class.Point, len(doors))
		parallel.Each(len(doors), workers, func(i int) {
			hosts[i] = (&space.Explorer{Sides: []*space.Side{w.side(doors[i])}}).Hosts()
		})
		for i, d := range doors {
			for _, host := range hosts[i] {
				out.all = append(out.all, &outsideHost{door: d, within: host})
			}
		}
	})
	return out
}

// fromInternet decides every class of requests from outside, each once for a World:
// of the hosts that are wanted, nil for all.
func (w *World) fromInternet(wanted func(*outsideHost) bool) (leaves []outsideLeaf, notes []string) {
	known := w.outsideHosts()
	var hosts []*outsideHost
	for _, h := range known.all {
		if wanted == nil || wanted(h) {
			hosts = append(hosts, h)
		}
	}
	parallel.Each(len(hosts), workers, func(i int) { hosts[i].once.Do(func() { w.explore(hosts[i]) }) })
	notes = slices.Clone(known.notes)
	for _, h := range hosts {
		leaves, notes = append(leaves, h.leaves...), append(notes, h.notes...)
	}
	slices.Sort(notes)
	return leaves, slices.Compact(notes)
}

func (w *World) explore(h *outsideHost) {
	// Each has a door of its own: exploring notes in it where tokens are sent.
	d := h.door.clone()
	e := &space.Explorer{Sides: []*space.Side{w.side(d)}, Within: h.within, Passing: true}
	_, h.notes = e.Explore(func(p *class.Point) {
		r := d.Witness(p)
		h.leaves = append(h.leaves, outsideLeaf{d, p, r, w.decide(d, r)})
	})
}

// leads reports whether a host's requests may come to a workload.
func (w *World) leads(h *outsideHost, node xds.Node) bool {
	e := &space.Explorer{Sides: []*space.Side{w.side(h.door)}, Within: h.within}
	return e.Leads(func(n xds.Node) bool { return w.alike(n.Key(), node) })
}
