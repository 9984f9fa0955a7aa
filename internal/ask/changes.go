// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/grid"
	"github.com/trellis-mesh/trellis/internal/ask/space"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Effect is what a change does to a class of requests.
type Effect string

// The effects, the gravest first.
const (
	NewlyAllowed Effect = "NewlyAllowed"
	NewlyDenied  Effect = "NewlyDenied"
	// NotKnown: before or after the change it is not known what becomes of it, and
	// it is not the same.
	NotKnown Effect = "Unknown"
	// ByAnotherRule: it passes as before, by another statement.
	ByAnotherRule Effect = "ByAnotherRule"
)

// Moment is one side of a Change.
type Moment struct {
	Outcome decide.Outcome `json:"outcome"`
	Why     string         `json:"why,omitempty"`
	Because []Origin       `json:"because,omitempty"`
	Rules   []string       `json:"rules,omitempty"`
}

// Change is a kind of requests to which a change makes a difference.
type Change struct {
	Effect Effect `json:"effect"`
	// Clients, From, To, Methods, Paths, token and conditions as in Reach; for the
	// internet From is the host.
	Reach
	Before Moment `json:"before"`
	After  Moment `json:"after"`
}

// Changes is what a change does to access.
type Changes struct {
	Changes []Change `json:"changes"`
	// Notes say why something may be missing; none: all was computed.
	Notes []string `json:"notes,omitempty"`
	// Compared is how many classes were decided on both sides; what is the same in
	// both configurations was not decided, nor what both refuse for certain.
	Compared int `json:"compared"`
}

// Complete reports whether all was computed.
func (c *Changes) Complete() bool { return len(c.Notes) == 0 }

// Has reports whether there is a change with one of the effects.
func (c *Changes) Has(effects ...Effect) bool {
	return slices.ContainsFunc(c.Changes, func(one Change) bool { return slices.Contains(effects, one.Effect) })
}

// comparison is a Diff that is being made.
type comparison struct {
	sides [2]*World
	// alike as in Diff; never nil.
	alike     func(xds.Node) bool
	each      func(*Compared) // nil: differences alone are of interest
	unchanged []xds.Node
	mu        sync.Mutex
	out       *Changes
	grid      *grid.Grid[Change]
	ids       []string
}

func newComparison(before, after *World, alike func(xds.Node) bool) *comparison {
	if alike == nil {
		alike = func(xds.Node) bool { return false }
	}
	c := &comparison{sides: [2]*World{before, after.sharing(before, alike)}, alike: alike, out: &Changes{Changes: []Change{}}, grid: grid.New[Change]()}
	c.ids = mergeText(before.identities(), after.identities())
	return c
}

// Diff finds all requests to which the change from one World to another makes a
// difference. What proxies are sent alike on both sides is not asked. Alike tells of
// which proxies that is known beforehand, so that nobody has to compare what they are
// sent: a sidecar takes the same connections on both sides, a gateway is sent the
// same. Nil: of none.
func Diff(before, after *World, alike func(xds.Node) bool) *Changes {
	c := newComparison(before, after, alike)
	c.gateways()
	c.workloads()
	c.grid.Each(func(row Change, methods, paths []string) {
		row.Methods, row.Paths = methods, paths
		c.out.Changes = append(c.out.Changes, row)
	})
	order := map[Effect]int{NewlyAllowed: 0, NewlyDenied: 1, NotKnown: 2, ByAnotherRule: 3}
	slices.SortStableFunc(c.out.Changes, func(a, b Change) int {
		return cmp.Or(order[a.Effect]-order[b.Effect], strings.Compare(string(a.Clients), string(b.Clients)), strings.Compare(strings.Join(a.From, " "), strings.Join(b.From, " ")))
	})
	slices.Sort(c.out.Notes)
	return c.out
}

// gateways compares the doors from the internet.
func (c *comparison) gateways() {
	before, problems := c.sides[0].gateways()
	after, more := c.sides[1].gateways()
	c.note(append(problems, more...))
	for _, pair := range pairs(before, after) {
		if c.each == nil && c.spared(pair) {
			continue
		}
		e := c.explorer(pair)
		hosts := e.Hosts()
		c.inOrder(len(hosts), func(i int) []difference {
			own := [2]*door{pair[0].clone(), pair[1].clone()}
			e := c.explorer(own)
			e.Within = hosts[i]
			if c.each == nil && e.Alike() {
				return nil
			}
			return c.explore(e, own, false)
		})
	}
}

// spared reports whether a gateway takes the same requests at a pair of doors on both
// sides, and hands them to workloads that do.
func (c *comparison) spared(pair [2]*door) bool {
	if pair[0] == nil || pair[1] == nil || !c.alike(pair[0].node) || !c.alike(pair[1].node) {
		return false
	}
	return !c.explorer(pair).Leads(func(n xds.Node) bool { return !c.alike(n) })
}

// sharing is the same World, but proxies that are alike in another one have what they
// have there: it is read once.
func (w *World) sharing(with *World, alike func(xds.Node) bool) *World {
	return &World{
		Evaluator: w.Evaluator, Proxies: w.Proxies, Servers: shared{w.servers(), with.servers(), alike}, Nodes: w.Nodes,
		Directory: w.Directory, Origins: w.Origins, Applications: w.Applications, At: w.At,
	}
}

// shared are proxies of which some are taken from others.
type shared struct {
	decide.Proxies
	with  decide.Proxies
	alike func(xds.Node) bool
}

// Config implements decide.Proxies.
func (s shared) Config(node xds.Node) (*xds.Config, error) {
	if s.alike(node) {
		return s.with.Config(node)
	}
	return s.Proxies.Config(node)
}

// inOrder looks for differences in n places at the same time, and takes them in the
// order of the places: the answer does not depend on who is done first.
func (c *comparison) inOrder(n int, look func(int) []difference) {
	found := make([][]difference, n)
	parallel.Each(n, workers, func(i int) { found[i] = look(i) })
	for _, differences := range found {
		for _, d := range differences {
			c.add(d)
		}
	}
}

// clone is a door of its own for one exploration.
func (d *door) clone() *door {
	if d == nil {
		return nil
	}
	out := *d
	out.Places = nil
	return &out
}

// pairs finds for each door the one in the other World: the same, or the one at the
// same port that takes some of its names. One of a pair may be nil.
func pairs(before, after []*door) [][2]*door {
	var out [][2]*door
	taken := map[*door]bool{}
	match := func(d *door, same func(a, b *door) bool) *door {
		at := slices.IndexFunc(after, func(o *door) bool { return !taken[o] && same(d, o) })
		if at < 0 {
			return nil
		}
		taken[after[at]] = true
		return after[at]
	}
	found := map[*door]*door{}
	for _, d := range before {
		found[d] = match(d, func(a, b *door) bool { return a.key == b.key })
	}
	for _, d := range before {
		if found[d] == nil {
			found[d] = match(d, func(a, b *door) bool {
				return a.service != nil && b.service != nil && a.service.Host == b.service.Host && a.port == b.port && a.TLS == b.TLS &&
					slices.ContainsFunc(a.Names, func(n string) bool { return slices.Contains(b.Names, n) })
			})
		}
		out = append(out, [2]*door{d, found[d]})
	}
	for _, d := range after {
		if !taken[d] {
			out = append(out, [2]*door{nil, d})
		}
	}
	return out
}

func (c *comparison) explorer(pair [2]*door) *space.Explorer {
	e := &space.Explorer{Identities: c.ids, Same: c.alike, Passing: c.each == nil}
	for i, w := range c.sides {
		e.Sides = append(e.Sides, w.side(pair[i]))
	}
	return e
}

func (c *comparison) note(notes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Notes = mergeText(c.out.Notes, notes)
}

// explore decides every class of a pair of doors on both sides, and gives those of
// which the sides say different things.
func (c *comparison) explore(e *space.Explorer, pair [2]*door, inside bool) []difference {
	named := pair[1]
	if named == nil {
		named = pair[0]
	}
	var found []difference
	compared := 0
	_, notes := e.Explore(func(p *class.Point) {
		compared++
		var at [2]*decided
		for i, w := range c.sides {
			at[i] = &decided{outcome: decide.NoRoute}
			if pair[i] != nil {
				r := pair[i].Witness(p)
				at[i] = w.decide(pair[i], r)
			}
		}
		effect, differs := effectOf(at[0], at[1])
		if c.each == nil && !differs {
			return
		}
		one := difference{outsideLeaf{named, p, named.Witness(p), at[1]}, effect, at, inside}
		if c.each != nil {
			c.tell(one)
			return
		}
		found = append(found, one)
	})
	c.note(notes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Compared += compared
	var out []difference
	for _, d := range found {
		if !slices.ContainsFunc(found, func(o difference) bool { return o.covers(d) }) {
			out = append(out, d)
		}
	}
	return out
}

// difference is one class of which the two sides say different things.
type difference struct {
	outsideLeaf
	effect Effect
	at     [2]*decided
	// inside: the requests come from the mesh.
	inside bool
}

// covers reports whether nothing is to be said of another difference, because the
// same requests with less of a token have the same one.
func (d difference) covers(o difference) bool {
	return d.effect == o.effect && d.at[0].outcome == o.at[0].outcome && d.at[1].outcome == o.at[1].outcome &&
		d.requestKey(false) == o.requestKey(false) && tokenLess(d.point, o.point)
}

func effectOf(before, after *decided) (Effect, bool) {
	switch {
	case before.outcome == decide.Unknown || after.outcome == decide.Unknown:
		return NotKnown, before.outcome != after.outcome || before.why != after.why
	case !before.passes() && after.passes():
		return NewlyAllowed, true
	case before.passes() && !after.passes():
		return NewlyDenied, true
	case before.passes() && !before.same(after):
		return ByAnotherRule, true
	case before.passes() && !slices.EqualFunc(before.because, after.because, sameStatement):
		return ByAnotherRule, true
	case before.passes() && len(before.because) == 0 && !slices.Equal(before.objects(), after.objects()):
		return ByAnotherRule, true
	}
	return "", false
}

// sameStatement leaves out where it is kept.
func sameStatement(a, b Origin) bool {
	return a.Object == b.Object && a.Field == b.Field && a.Reason == b.Reason
}

func (c *comparison) add(one difference) {
	d, p, effect, at, inside := one.door, one.point, one.effect, one.at, one.inside
	r := d.Witness(p)
	shown, w := at[1], c.sides[1]
	if !shown.passes() {
		shown, w = at[0], c.sides[0]
	}
	row := Change{
		Effect: effect, Before: momentOf(at[0]), After: momentOf(at[1]),
	}
	if inside {
		row.Reach = w.insideRow(d, p, r, shown)
	} else {
		e := exposureOf(outsideLeaf{d, p, r, shown})
		row.Reach = Reach{
			Clients: FromInternet, From: []string{e.Scheme + "://" + e.Host}, To: e.Reaches, Methods: e.Methods, Paths: e.Paths,
			Needs: e.Needs, Token: e.Token, Only: e.Only, Witness: e.Witness,
		}
	}
	row.Because, row.Rules, row.Why = nil, nil, ""
	key := fmt.Sprint(effect, row.key(), row.Before, row.After)
	c.grid.Add(key, row, row.Methods, row.Paths)
}

func momentOf(d *decided) Moment {
	return Moment{Outcome: d.outcome, Why: d.why, Because: d.because, Rules: d.objects()}
}

// workloads compares what each workload's own proxy lets in.
func (c *comparison) workloads() {
	all := c.proxies()
	c.inOrder(len(all), func(i int) (found []difference) {
		nodes := all[i]
		if c.same(nodes) || slices.ContainsFunc(nodes[:], func(n *xds.Node) bool { return n != nil && n.Type == xds.Router }) {
			return nil
		}
		var doors [2][]*door
		for side, w := range c.sides {
			if nodes[side] != nil {
				doors[side] = w.workloadDoors(*nodes[side])
			}
		}
		for _, p := range pairs(doors[0], doors[1]) {
			found = append(found, c.explore(c.explorer(p), p, true)...)
		}
		return found
	})
}

// proxies are those of both sides, each with itself on the other; nil where it is not
// there.
func (c *comparison) proxies() [][2]*xds.Node {
	after := map[string]xds.Node{}
	for _, n := range c.sides[1].Nodes {
		after[nameOf(n)] = n
	}
	var all [][2]*xds.Node
	for _, n := range c.sides[0].Nodes {
		other, ok := after[nameOf(n)]
		delete(after, nameOf(n))
		if !ok {
			all = append(all, [2]*xds.Node{&n, nil})
			continue
		}
		all = append(all, [2]*xds.Node{&n, &other})
	}
	for _, n := range c.sides[1].Nodes {
		if _, left := after[nameOf(n)]; left {
			all = append(all, [2]*xds.Node{nil, &n})
		}
	}
	return all
}

func nameOf(n xds.Node) string { return fmt.Sprint(n.Type, n.Cluster, " ", n.Namespace, "/", n.Name) }

// same reports whether a proxy takes connections on both sides alike, and notes those that
// do. A gateway has listeners of many names: it does where that is known beforehand.
func (c *comparison) same(nodes [2]*xds.Node) bool {
	if nodes[0] == nil || nodes[1] == nil || !c.takesAlike(nodes) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unchanged = append(c.unchanged, *nodes[0])
	return true
}

func (c *comparison) takesAlike(nodes [2]*xds.Node) bool {
	if c.alike(*nodes[0]) && c.alike(*nodes[1]) {
		return true
	}
	if nodes[0].Type == xds.Router {
		return false
	}
	var configs [2]*xds.Config
	for i, w := range c.sides {
		config, err := w.servers().Config(*nodes[i])
		if err != nil {
			c.note([]string{fmt.Sprintf("the configuration of %s is not known: %v", nodes[i], err)})
			return false
		}
		configs[i] = config
	}
	a, there := configs[0].Listener(xds.VirtualInbound)
	b, too := configs[1].Listener(xds.VirtualInbound)
	return there && too && proto.Equal(a, b)
}
