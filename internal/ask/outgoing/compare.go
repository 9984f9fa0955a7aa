// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// workers is how many callers are asked about at the same time: each holds two
// configurations.
const workers = 2

// Compare finds the calls that callers' own proxies let out on one side alone. Notes are why
// some may be missing.
func Compare(before, after Side, differing Differing) (calls []Call, notes []string) {
	if !differing.Everywhere && !differing.Scopes && len(differing.Hosts) == 0 && !newcomers(before, after) {
		return nil, nil
	}
	c := &comparison{before: before, after: after, differing: differing}
	all := callers(before, after)
	groups := c.groups(all)
	parallel.Each(len(groups), workers, func(i int) { c.ask(groups[i]) })
	rows := newRows()
	for _, one := range all {
		rows.add(one.name, one.found)
	}
	for _, g := range groups {
		notes = append(notes, g.notes...)
	}
	slices.Sort(notes)
	return rows.list(), slices.Compact(notes)
}

// newcomers reports whether there are workloads unlike all that were there.
func newcomers(before, after Side) bool {
	was := map[string]bool{}
	for _, n := range before.Nodes {
		was[n.Likeness()] = true
	}
	return slices.ContainsFunc(after.Nodes, func(n xds.Node) bool { return n.Type == xds.Sidecar && !was[n.Likeness()] })
}

type comparison struct {
	before, after Side
	differing     Differing
}

// change is a destination of which the sides make something else.
type change struct {
	to      destination
	effect  ask.Effect
	witness ask.Witness
	at      [2]ask.Moment
}

// group are callers of which all calls end alike on either side. The first is asked about for
// all.
type group struct {
	members []*caller
	// hosts are to be asked about, or all.
	hosts []string
	all   bool
	notes []string
}

// groups are those of whom something may be different, in the order of their first.
func (c *comparison) groups(callers []*caller) []*group {
	known := map[string]*group{}
	var out []*group
	for _, one := range callers {
		one.sides = [2]*asking{newAsking(c.before, one.before), newAsking(c.after, &one.after)}
		if !one.sides[0].scope.Registry && !one.sides[1].scope.Registry {
			continue
		}
		hosts, all := c.concerned(one.sides)
		if !all && len(hosts) == 0 {
			continue
		}
		key := one.sides[0].likeness() + "\n\n" + one.sides[1].likeness()
		if known[key] == nil {
			known[key] = &group{hosts: hosts, all: all}
			out = append(out, known[key])
		}
		known[key].members = append(known[key].members, one)
	}
	return out
}

// concerned are the hosts that are to be asked about, or all.
func (c *comparison) concerned(sides [2]*asking) (hosts []string, all bool) {
	if sides[0].node == nil || c.differing.Everywhere || !sides[0].scope.Same(sides[1].scope) {
		return nil, true
	}
	for _, host := range c.differing.Hosts {
		if slices.ContainsFunc(sides[:], func(a *asking) bool { return a.sees(host) }) {
			hosts = append(hosts, host)
		}
	}
	return hosts, false
}

// ask asks about every call of a group.
func (c *comparison) ask(g *group) {
	sides := g.members[0].sides
	for _, own := range sides {
		defer own.close()
		if err := own.open(); err != nil {
			g.notes = append(g.notes, err.Error())
			return
		}
	}
	for _, d := range destinations(sides, g.hosts, g.all) {
		if d.scheme == "" {
			if sides[0].has(d) != sides[1].has(d) {
				g.notes = append(g.notes, fmt.Sprintf("whether %s may call %s is not known: nothing says where that leads", sides[1].node, d))
			}
			continue
		}
		at := [2]fate{sides[0].ask(d), sides[1].ask(d)}
		effect, differs := effectOf(at)
		if at[0] == at[1] && at[0].outcome == decide.Unknown {
			// The same keeps both from being known, and what is behind it is not the same.
			differs = sides[0].has(d) != sides[1].has(d) || sides[0].scope.Registry != sides[1].scope.Registry
		}
		if !differs || appears(sides, at) {
			continue
		}
		for _, one := range g.members {
			found := change{to: d, effect: effect, witness: one.sides[1].witness(d)}
			for i, own := range one.sides {
				found.at[i] = own.moment(d, at[i])
			}
			one.found = append(one.found, found)
		}
	}
}

// destination is a port of a host.
type destination struct {
	host string
	port uint16
	// service knows the host; nil: nothing does.
	service *directory.Service
	scheme  string
}

// anyOther is a host that nobody has named.
var anyOther = destination{host: witness.AnyHost, port: 443, scheme: "https"}

func (d destination) String() string {
	switch {
	case d == anyOther:
		return AnyOther
	case d.service != nil && !d.service.External:
		return fmt.Sprintf("%s:%d", text(d.service.Name), d.port)
	}
	return fmt.Sprintf("%s:%d", d.host, d.port)
}

func text(n model.Name) string { return n.Namespace + "/" + n.Name }

// destinations are all that either side's configuration has a name for, in order, with a
// host that none has; or only those of some hosts.
func destinations(sides [2]*asking, hosts []string, all bool) []destination {
	seen := map[place]bool{}
	var out []destination
	for _, own := range sides {
		for _, at := range own.clusters() {
			if !seen[at] && (all || slices.Contains(hosts, at.host)) {
				seen[at] = true
				out = append(out, destination{host: at.host, port: at.port})
			}
		}
	}
	for i := range out {
		d := &out[i]
		for _, own := range sides {
			if s, p, ok := own.port(d.host, d.port); ok {
				d.service, d.scheme = s, p.Scheme()
			}
		}
	}
	slices.SortFunc(out, func(a, b destination) int { return strings.Compare(a.String(), b.String()) })
	if all {
		out = append(out, anyOther)
	}
	return out
}

// appears reports whether a host is all that has come or gone, and nobody said that it may
// be called.
func appears(sides [2]*asking, at [2]fate) bool {
	for i, own := range sides {
		if at[1-i].outcome == decide.NoRoute && at[i].outcome == decide.Allow && !own.scope.Registry {
			return true
		}
	}
	return false
}

func effectOf(at [2]fate) (ask.Effect, bool) {
	before, after := at[0].outcome, at[1].outcome
	switch {
	case before == decide.Unknown || after == decide.Unknown:
		return ask.NotKnown, at[0] != at[1]
	case before != decide.Allow && after == decide.Allow:
		return ask.NewlyAllowed, true
	case before == decide.Allow && after != decide.Allow:
		return ask.NewlyDenied, true
	}
	return "", false
}
