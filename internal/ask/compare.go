// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"net/netip"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Compared is one class of requests that come to a proxy, decided before and after a change.
type Compared struct {
	// Node is the proxy that takes them first, and To its address and port.
	Node xds.Node
	To   netip.AddrPort
	// Inside: from the mesh; Mutual: with a certificate of it; HTTP: not mere connections.
	Inside, Mutual, HTTP bool
	Point                *class.Point
	Request              witness.Request
	// Witness is the same request in words, to be asked about alone.
	Witness       Witness
	Before, After Ending
}

// Ending is what becomes of a class of requests.
type Ending struct {
	Moment
	// Code and Details are those of a proxy's answer.
	Code    int
	Details string
	// Last is the proxy that they came to, Route what the first one chose, by Envoy's names.
	Last, Route string
	// Taken are the rules that decided at Node, the last one first.
	Taken []string
}

// Compare decides every class of requests before and after a change, but at workloads whose
// proxies take connections alike on both sides. Those are unchanged, in no order, and with
// them are gateways that are sent the same. It tells of one class at a time, in no order, and
// of each once by a door: where a request passes a gateway and a workload, each of them has
// a class of its own. Alike is as for Diff. Notes say why something may be missing.
func Compare(before, after *World, alike func(xds.Node) bool, each func(*Compared)) (unchanged []xds.Node, notes []string) {
	c := newComparison(before, after, alike)
	c.each = each
	c.gateways()
	c.workloads()
	return c.unchanged, c.out.Notes
}

func (c *comparison) tell(one difference) {
	d := one.door
	out := &Compared{
		Node: d.node, To: d.To, Inside: one.inside, Mutual: d.Mutual, HTTP: d.HTTP, Point: one.point, Request: one.request,
		Before: endingOf(d.node, one.at[0]), After: endingOf(d.node, one.at[1]),
	}
	from := Internet
	if one.inside {
		from, _ = c.sides[1].sender(d, one.point, &out.Request)
	}
	out.Witness = d.witness(from, out.Request)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.each(out)
}

func endingOf(node xds.Node, d *decided) Ending {
	out := Ending{Moment: momentOf(d), Code: d.code, Details: d.details, Last: d.last, Route: d.route}
	for _, rule := range d.rules {
		if rule.proxy == node.String() && rule.name != "" {
			out.Taken = append(out.Taken, rule.name)
		}
	}
	return out
}
