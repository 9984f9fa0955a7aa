// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Side is one world that a door is in.
type Side struct {
	Reader  *Reader
	Proxies decide.Proxies
	Door    *Door
	// Evaluator decides requests at this side's proxies; nil: nobody tells which of
	// their filters are understood.
	Evaluator *decide.Evaluator
}

// DefaultLimit is how many classes of one door are looked at.
const DefaultLimit = 100_000

// Explorer splits the requests at a door. With two sides a class is one that
// neither world tells apart inside. It is used for one exploration, by one
// goroutine.
type Explorer struct {
	Sides []*Side
	// Within is what is settled before: only such requests are split.
	Within *class.Point
	// Identities are those of clients that exist.
	Identities []string
	// Same tells of which servers it is known that they take connections in the same way
	// on all sides; nil: of none.
	Same func(xds.Node) bool
	// Limit bounds the number of classes; zero is DefaultLimit.
	Limit int
	// Passing: classes are not visited whose requests no side lets pass for certain,
	// since the first proxy refuses or answers them.
	Passing bool
	// Met, if it is there, is told of each rule that a class meets, and whether its
	// requests take it, before the class is visited.
	Met func(proxy string, rule *Rule, taken bool)

	residuals map[residualKey][]*Rule
	domains   map[domainKey]*domain
	endpoints map[*endpointv3.ClusterLoadAssignment][]cluster.Endpoint
	// pending: something is still to be settled. stopped: no side lets the class pass.
	pending, stopped bool
	notes            map[string]bool
	classes          int
}

// Branching is how a door's requests were split: by one dimension, or not at all.
type Branching struct {
	Dimension class.Dimension
	Branches  []Branch
	// Point is the class, where nothing splits it (Leaf).
	Point *class.Point
	Leaf  bool
}

// Branch is one class of a dimension.
type Branch struct {
	Value class.Value
	Next  *Branching
}

// Explore visits every class. The answer says why classes may be missing, in order;
// none when all were visited.
func (e *Explorer) Explore(visit func(*class.Point)) (root *Branching, notes []string) {
	e.begin()
	root = e.descend(e.Within, visit)
	return root, slices.Sorted(maps.Keys(e.notes))
}

func (e *Explorer) begin() {
	e.residuals, e.domains, e.notes = map[residualKey][]*Rule{}, map[domainKey]*domain{}, map[string]bool{}
	e.endpoints = map[*endpointv3.ClusterLoadAssignment][]cluster.Endpoint{}
	e.Limit = cmp.Or(e.Limit, DefaultLimit)
	for _, s := range e.Sides {
		if s.Door.Places == nil {
			s.Door.Places = map[string]witness.Place{}
		}
	}
}

// Hosts are the classes of hosts, each of which may be explored on its own; one
// that is all where hosts make no difference.
func (e *Explorer) Hosts() []*class.Point {
	e.begin()
	d, patterns, found := e.next(e.Within)
	if !found || d.Kind != class.Host {
		return []*class.Point{e.Within}
	}
	var out []*class.Point
	values, _ := e.Sides[0].Reader.splits.Split(d, class.Value{}, false, patterns, nil)
	index := class.IndexOf(values)
	for _, v := range values {
		out = append(out, e.Within.With(d, v, index))
	}
	return out
}

func (e *Explorer) blind(what string) {
	e.notes["requests are not told apart by "+what] = true
}

// descend splits one class.
func (e *Explorer) descend(p *class.Point, visit func(*class.Point)) *Branching {
	if e.classes >= e.Limit {
		e.notes[fmt.Sprintf("only %d classes were looked at", e.Limit)] = true
		return &Branching{Point: p, Leaf: true}
	}
	d, patterns, found := e.next(p)
	if !found {
		e.classes++
		if e.Met != nil {
			e.meet(p)
		}
		if !e.Passing || !e.stopped {
			visit(p)
		}
		return &Branching{Point: p, Leaf: true}
	}
	was, has := p.Value(d)
	var preferred []string
	if d.Kind == class.Identity {
		preferred = e.Identities
	}
	values, complete := e.Sides[0].Reader.splits.Split(d, was, has, patterns, preferred)
	if !complete {
		e.notes["not every combination was looked at in "+d.String()] = true
	}
	out := &Branching{Dimension: d}
	index := class.IndexOf(values)
	for _, v := range values {
		out.Branches = append(out.Branches, Branch{v, e.descend(p.With(d, v, index), visit)})
	}
	return out
}

// next is the dimension that some world still depends on, and how.
func (e *Explorer) next(p *class.Point) (class.Dimension, []atom.Pattern, bool) {
	var first class.Dimension
	found := false
	var patterns []atom.Pattern
	seen := map[atom.Pattern]bool{}
	add := func(d class.Dimension, pattern atom.Pattern) {
		e.pending = true
		order := cmp.Or(cmp.Compare(d.Kind, first.Kind), strings.Compare(d.Name, first.Name))
		if !found || order < 0 {
			first, patterns, found = d, nil, true
			clear(seen)
			order = 0
		}
		if order == 0 && !seen[pattern] {
			seen[pattern] = true
			patterns = append(patterns, pattern)
		}
	}
	e.stopped = true
	for _, s := range e.Sides {
		if s.Door.To.IsValid() {
			e.pending = false
			w := &walker{Explorer: e, side: s, add: add}
			w.begin(p)
			e.stopped = e.stopped && w.ways > 0 && w.ways == w.stops
		}
	}
	return first, patterns, found
}

// meet says which rules a class takes.
func (e *Explorer) meet(p *class.Point) {
	for _, s := range e.Sides {
		if !s.Door.To.IsValid() {
			continue
		}
		w := &walker{Explorer: e, side: s, add: func(class.Dimension, atom.Pattern) {}}
		w.met = func(proxy string, r *Rule, t truth) {
			e.Met(proxy, r, t == yes)
		}
		w.begin(p)
	}
}

// Find is the class that a request belongs to; false where it is in none that was
// visited. The path is taken as it is: normalised.
func (b *Branching) Find(r witness.Request) (*class.Point, bool) {
	for !b.Leaf {
		absent, texts := r.Texts(b.Dimension)
		at := slices.IndexFunc(b.Branches, func(one Branch) bool { return one.Value.Has(absent, texts...) })
		if at < 0 {
			return nil, false
		}
		b = b.Branches[at].Next
	}
	return b.Point, true
}
