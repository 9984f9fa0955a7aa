// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"cmp"
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/space"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Callers are the clients inside of the mesh that a port of a workload lets in, with
// some request at least. Where it is not known whether they are let in, they are here.
type Callers struct {
	// Port is the workload's own, where connections arrive.
	Port uint16
	// Named are the accounts that rules tell apart from any other and let in, as
	// namespace/account.
	Named []string
	// Any: a workload is let in that no rule tells apart from others.
	Any bool
	// Refused are the accounts that are not let in although Any is.
	Refused []string
	// Plaintext: clients without a certificate are let in.
	Plaintext bool
}

// Callers says of each port of a workload that a Service or a policy names who is let
// in. It is Who without requests and reasons, and much cheaper. Notes are why callers
// may be missing.
func (w *World) Callers(node xds.Node) (out []Callers, notes []string) {
	all := accounts(w.Nodes)
	identities := w.identities()
	for _, d := range w.workloadDoors(node) {
		if captured, _ := node.Inbound(d.To.Port()); captured == xds.Past || d.To.Port() == anyOtherPort {
			continue
		}
		if len(out) == 0 || out[len(out)-1].Port != d.To.Port() {
			out = append(out, Callers{Port: d.To.Port()})
		}
		found := &callersAt{World: w, door: d, let: map[string]bool{}, Callers: &out[len(out)-1]}
		e := &space.Explorer{Sides: []*space.Side{w.side(d)}, Identities: identities, Passing: true}
		_, missed := e.Explore(found.add)
		notes = mergeText(notes, missed)
		if found.Any && d.Mutual {
			found.Refused = slices.DeleteFunc(slices.Clone(all), func(account string) bool { return found.let[account] })
		}
	}
	for i := range out {
		slices.Sort(out[i].Named)
	}
	return out, notes
}

// callersAt collects who comes in by one door.
type callersAt struct {
	*World
	*Callers
	door *door
	// let are the accounts that are let in, whether rules tell them apart or not.
	let map[string]bool
}

func (c *callersAt) add(p *class.Point) {
	if !c.door.Mutual && c.Plaintext {
		return
	}
	verdict := c.decide(c.door, c.door.Witness(p))
	if !verdict.passes() && verdict.outcome != decide.Unknown {
		return
	}
	if !c.door.Mutual {
		c.Plaintext = true
		return
	}
	members, _ := c.members(p)
	for _, account := range members {
		c.let[account] = true
	}
	if ofStrangers(p) {
		c.Any = true
	} else {
		c.Named = mergeText(c.Named, members)
	}
}

// nobody is a workload that no rule has heard of.
var nobody = model.Identity{TrustDomain: "nobody.invalid", Namespace: "nobody", ServiceAccount: "nobody"}

// ofStrangers reports whether a class has clients that no rule tells apart from others.
func ofStrangers(p *class.Point) bool {
	identity, named := p.Value(class.Dimension{Kind: class.Identity})
	address, placed := p.Value(class.Dimension{Kind: class.Address})
	return (!named || identity.Has(false, nobody.SPIFFE())) && (!placed || address.Has(false, stranger.String()))
}

// accounts are those of proxies, each once, as members names them.
func accounts(nodes []xds.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Namespace+"/"+cmp.Or(n.ServiceAccount, n.Name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
