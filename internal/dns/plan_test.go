// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const at Name = "www.x.test"

// a record set at the name of these tests.
func rs(typ Type, values ...string) RecordSet {
	s, err := NewRecordSet(Key{Name: at, Type: typ}, 60, values...)
	if err != nil {
		panic(err)
	}
	return s
}

// marked is the mark of a type at the name of these tests.
func marked(typ Type, owner, resource string) RecordSet {
	s, err := Mark{Owner: owner, Resource: resource}.Set(Key{Name: at, Type: typ})
	if err != nil {
		panic(err)
	}
	return s
}

func text(key Key, values ...string) RecordSet {
	s, err := NewRecordSet(key, 60, values...)
	if err != nil {
		panic(err)
	}
	return s
}

func TestPlans(t *testing.T) {
	a1, a2, host := rs(TypeA, "192.0.2.1"), rs(TypeA, "192.0.2.2"), rs(TypeCNAME, "lb.test")
	ours, moved, theirs := marked(TypeA, "us", "ns/r"), marked(TypeA, "us", "ns/other"), marked(TypeA, "them", "ns/r")
	oursHost := marked(TypeCNAME, "us", "ns/r")
	mx := RecordSet{Key: Key{Name: at, Type: "MX"}}
	garbled := text(ours.Key, "hello")
	external := text(Key{Name: "a-" + at, Type: TypeTXT}, "heritage=external-dns,external-dns/owner=x")
	spf := text(Key{Name: "a-" + at, Type: TypeTXT}, "v=spf1 -all")
	for _, c := range []struct {
		name     string
		w        Wanted
		there    []RecordSet
		after    []RecordSet // nil: nothing is done
		verbs    string
		conflict string // owner
	}{
		{name: "a new name", w: Wanted{Sets: []RecordSet{a1}}, after: []RecordSet{a1, ours}, verbs: "create"},
		{name: "at rest", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{a1, ours}},
		{name: "other values", w: Wanted{Sets: []RecordSet{a2}}, there: []RecordSet{a1, ours}, after: []RecordSet{a2, ours}, verbs: "update"},
		{name: "a type change", w: Wanted{Sets: []RecordSet{host}}, there: []RecordSet{a1, ours}, after: []RecordSet{host, oursHost}, verbs: "delete create"},
		{name: "withdrawn", there: []RecordSet{a1, ours}, after: []RecordSet{}, verbs: "delete"},
		{name: "withdrawn and retained", w: Wanted{Retain: true}, there: []RecordSet{a1, ours}, after: []RecordSet{a1}, verbs: "unmark"},
		{name: "retained already", w: Wanted{Retain: true, Known: []RecordSet{a1}}, there: []RecordSet{a1}},
		{name: "withdrawn by hand before", there: []RecordSet{ours}, after: []RecordSet{}, verbs: "unmark"},
		{name: "data deleted by hand", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{ours}, after: []RecordSet{a1, ours}, verbs: "create"},
		{name: "mark deleted by hand", w: Wanted{Sets: []RecordSet{a2}, Known: []RecordSet{a1}}, there: []RecordSet{a1}, after: []RecordSet{a2, ours}, verbs: "mark update"},
		{name: "mark deleted and data edited by hand", w: Wanted{Sets: []RecordSet{a1}, Known: []RecordSet{a1}}, there: []RecordSet{a2}, conflict: nobody},
		{name: "mark deleted by hand, then withdrawn", w: Wanted{Known: []RecordSet{a1}}, there: []RecordSet{a1}, after: []RecordSet{}, verbs: "delete"},
		{name: "mark garbled by hand", w: Wanted{Sets: []RecordSet{a1}, Known: []RecordSet{a1}}, there: []RecordSet{a1, garbled}, after: []RecordSet{a1, ours}, verbs: "mark"},
		{name: "something at the mark's name", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{garbled}, conflict: nobody},
		{name: "unowned", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{a2}, conflict: nobody},
		{name: "unowned and equal", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{a1}, conflict: nobody},
		{name: "unowned and adopted", w: Wanted{Sets: []RecordSet{a1}, Adopt: true}, there: []RecordSet{a2}, after: []RecordSet{a1, ours}, verbs: "adopt update"},
		{name: "another tool's, and adopted with its mark", w: Wanted{Sets: []RecordSet{a1}, Adopt: true}, there: []RecordSet{a2, external}, after: []RecordSet{a1, ours}, verbs: "adopt unmark update"},
		{name: "another tool's mark left over", w: Wanted{Sets: []RecordSet{a1}, Adopt: true}, there: []RecordSet{a1, ours, external}, after: []RecordSet{a1, ours}, verbs: "unmark"},
		{name: "adopted beside a text that is no mark", w: Wanted{Sets: []RecordSet{a1}, Adopt: true}, there: []RecordSet{a2, spf}, after: []RecordSet{a1, ours, spf}, verbs: "adopt update"},
		{name: "owned by another cluster", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{a2, theirs}, conflict: "Trellis in another cluster (owner id them, ManagedRecord ns/r)"},
		{name: "promised to another cluster", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{theirs}, conflict: "Trellis in another cluster (owner id them, ManagedRecord ns/r)"},
		{name: "remembered, but another cluster's now", w: Wanted{Sets: []RecordSet{a2}, Known: []RecordSet{a1}}, there: []RecordSet{a1, theirs},
			conflict: "Trellis in another cluster (owner id them, ManagedRecord ns/r)"},
		{name: "adopted from another cluster", w: Wanted{Sets: []RecordSet{a1}, Adopt: true}, there: []RecordSet{a2, theirs}, after: []RecordSet{a1, ours}, verbs: "adopt update"},
		{name: "withdrawn by another cluster's neighbour", there: []RecordSet{a1, theirs}},
		{name: "taken over by another resource", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{a1, moved}, after: []RecordSet{a1, ours}, verbs: "mark"},
		{name: "withdrawn after another resource took it over", w: Wanted{Known: []RecordSet{a1}}, there: []RecordSet{a1, moved}},
		{name: "a host beside an address", w: Wanted{Sets: []RecordSet{host}}, there: []RecordSet{a1}, conflict: nobody},
		{name: "a host beside another resource's address", w: Wanted{Sets: []RecordSet{host}}, there: []RecordSet{a1, moved}, conflict: "the ManagedRecord ns/other of this cluster"},
		{name: "a host in place of an adopted address", w: Wanted{Sets: []RecordSet{host}, Adopt: true}, there: []RecordSet{a1, theirs}, after: []RecordSet{host, oursHost}, verbs: "create adopt"},
		{name: "an address in place of an adopted host", w: Wanted{Sets: []RecordSet{a1}, Adopt: true}, there: []RecordSet{host}, after: []RecordSet{a1, ours}, verbs: "create adopt"},
		{name: "a host beside mail, adopted or not", w: Wanted{Sets: []RecordSet{host}, Adopt: true}, there: []RecordSet{mx}, conflict: nobody},
		{name: "an address beside mail", w: Wanted{Sets: []RecordSet{a1}}, there: []RecordSet{mx}, after: []RecordSet{mx, a1, ours}, verbs: "create"},
		{name: "create only, edited by hand", w: Wanted{Sets: []RecordSet{a1}, Policy: PolicyCreateOnly}, there: []RecordSet{a2, ours}, verbs: "keep"},
		{name: "upsert only, changed", w: Wanted{Sets: []RecordSet{a1}, Policy: PolicyUpsertOnly}, there: []RecordSet{a2, ours}, after: []RecordSet{a1, ours}, verbs: "update"},
		{name: "upsert only, withdrawn", w: Wanted{Policy: PolicyUpsertOnly}, there: []RecordSet{a2, ours}, verbs: "keep"},
		{name: "upsert only, type changed", w: Wanted{Sets: []RecordSet{host}, Policy: PolicyUpsertOnly}, there: []RecordSet{a2, ours},
			conflict: "this ManagedRecord, which its policy keeps from deleting it"},
		{name: "held", w: Wanted{Hold: true}, there: []RecordSet{a1, ours}, verbs: "keep"},
		{name: "held, with something wanted", w: Wanted{Hold: true, Sets: []RecordSet{host}}, there: []RecordSet{a1, ours}, verbs: "keep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.w
			w.Name, w.Resource = at, "ns/r"
			before := world{}
			for _, s := range c.there {
				before[s.Key] = s
			}
			p, err := MakePlan("us", w, before.observed())
			if err != nil {
				t.Fatal(err)
			}
			var verbs []string
			for _, s := range p.Steps {
				verbs = append(verbs, s.Verb)
			}
			if got := strings.Join(verbs, " "); c.conflict == "" && got != c.verbs {
				t.Errorf("the steps are %q, want %q: %+v", got, c.verbs, p.Steps)
			}
			if c.conflict != "" && (len(p.Conflicts) != 1 || p.Conflicts[0].Owner != c.conflict) || c.conflict == "" && len(p.Conflicts) > 0 {
				t.Errorf("the conflicts are %+v, want %q", p.Conflicts, c.conflict)
			}
			want := before
			if c.after != nil {
				want = world{}
				for _, s := range c.after {
					want[s.Key] = s
				}
			} else if p.Change != nil {
				t.Errorf("there is something to do: %+v", p.Change)
			}
			if got := before.after(t, p); !maps.EqualFunc(got, want, RecordSet.Equal) {
				t.Errorf("after it there is\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

func TestWhatContradictsItselfIsRefused(t *testing.T) {
	a := rs(TypeA, "192.0.2.1")
	other := a
	other.Name = "other.test"
	for name, w := range map[string]Wanted{
		"a host beside an address":  {Name: at, Sets: []RecordSet{a, rs(TypeCNAME, "lb.test")}},
		"two sets at one key":       {Name: at, Sets: []RecordSet{a, a}},
		"a set of another name":     {Name: at, Sets: []RecordSet{other}},
		"a set without values":      {Name: at, Sets: []RecordSet{{Key: a.Key}}},
		"a type not written":        {Name: at, Sets: []RecordSet{{Key: Key{Name: at, Type: "MX"}, Values: []string{"10 a.test."}}}},
		"a name not canonical":      {Name: "WWW.x.test"},
		"no name":                   {},
		"an identifier in capitals": {Name: at, Identifier: "EU"},
		"an identifier of labels":   {Name: at, Identifier: "a.b"},
		"a shared address":          {Name: at, Shared: true, Sets: []RecordSet{a}},
		"a name kept for marks":     {Name: "_trellis.a.x.test"},
	} {
		if p, err := MakePlan("us", w, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: the plan is %+v, %v, want ErrInvalid", name, p, err)
		}
	}
}

func TestSharedTextsComeAndGoOneByOne(t *testing.T) {
	w := world{}
	step := func(change Wanted) {
		t.Helper()
		change.Name, change.Shared = at, true
		p, err := MakePlan("us", change, w.observed())
		if err != nil {
			t.Fatal(err)
		}
		w = w.after(t, p)
	}
	key := Key{Name: at, Type: TypeTXT}
	w[key] = rs(TypeTXT, "somebody's")
	step(Wanted{Sets: []RecordSet{rs(TypeTXT, "one")}})
	step(Wanted{Sets: []RecordSet{rs(TypeTXT, "two")}})
	step(Wanted{Sets: []RecordSet{rs(TypeTXT, "three")}, Known: []RecordSet{rs(TypeTXT, "one")}})
	if got := w[key].Values; !slices.Equal(got, []string{"somebody's", "three", "two"}) {
		t.Errorf("the values are %q", got)
	}
	step(Wanted{Known: []RecordSet{rs(TypeTXT, "two")}})
	step(Wanted{Known: []RecordSet{rs(TypeTXT, "three")}})
	if got := w[key].Values; !slices.Equal(got, []string{"somebody's"}) {
		t.Errorf("the values are %q", got)
	}
}

func TestAHostKeepsSharedTextsAway(t *testing.T) {
	host := rs(TypeCNAME, "elsewhere.test")
	p, err := MakePlan("us", Wanted{Name: at, Shared: true, Sets: []RecordSet{rs(TypeTXT, "one")}}, world{host.Key: host}.observed())
	if err != nil || p.Change != nil || len(p.Conflicts) != 1 {
		t.Errorf("the plan is %+v, %v, want a conflict", p, err)
	}
}

// world is what is in a zone.
type world map[Key]RecordSet

func (w world) observed() []Observed {
	var out []Observed
	for _, s := range w {
		out = append(out, Observed{RecordSet: s})
	}
	return out
}

// after is the zone after a plan, as a strict provider would have it.
func (w world) after(t *testing.T, p *Plan) world {
	t.Helper()
	next := maps.Clone(w)
	if p.Change == nil {
		return next
	}
	for _, d := range p.Change.Delete {
		if is, ok := next[d.Key]; !ok || !is.Equal(d.RecordSet) {
			t.Fatalf("the plan deletes %s, which is not there", d.Text())
		}
		delete(next, d.Key)
	}
	for _, c := range p.Change.Create {
		if is, ok := next[c.Key]; ok {
			t.Fatalf("the plan creates %s, and %s is there", c.Text(), is.Text())
		}
		next[c.Key] = c
	}
	for key := range next {
		if _, host := next[Key{Name: key.Name, Type: TypeCNAME}]; host && key.Type != TypeCNAME && key.Name == at {
			t.Fatalf("the plan leaves %s beside a CNAME", key)
		}
	}
	return next
}

// dice makes zones and wishes of few enough values that they meet.
type dice struct{ *rand.Rand }

func (d dice) one(typ Type) RecordSet {
	v := fmt.Sprint(1 + d.IntN(2))
	switch typ {
	case TypeA:
		v = "192.0.2." + v
	case TypeAAAA:
		v = "2001:db8::" + v
	case TypeCNAME:
		v = "lb" + v + ".test"
	}
	s := rs(typ, v)
	s.TTL = uint32(60 + d.IntN(2))
	return s
}

func (d dice) sets() []RecordSet {
	switch d.IntN(4) {
	case 0:
		return nil
	case 1:
		return []RecordSet{d.one(TypeCNAME)}
	}
	var out []RecordSet
	for _, typ := range []Type{TypeA, TypeAAAA, TypeTXT} {
		if d.IntN(2) == 0 {
			out = append(out, d.one(typ))
		}
	}
	return out
}

func (d dice) world() world {
	w := world{}
	for _, s := range d.sets() {
		w[s.Key] = s
	}
	if _, host := w[Key{Name: at, Type: TypeCNAME}]; !host && d.IntN(4) == 0 {
		w[Key{Name: at, Type: "MX"}] = RecordSet{Key: Key{Name: at, Type: "MX"}}
	}
	for _, typ := range Types() {
		switch d.IntN(5) {
		case 0, 1:
			m := marked(typ, [2]string{"us", "them"}[d.IntN(2)], [2]string{"ns/r", "ns/q"}[d.IntN(2)])
			w[m.Key] = m
		case 2:
			m := text(marked(typ, "us", "ns/r").Key, "garbled")
			w[m.Key] = m
		}
	}
	return w
}

func (d dice) wanted() Wanted {
	policies := []Policy{PolicySync, PolicyUpsertOnly, PolicyCreateOnly, ""}
	return Wanted{Name: at, Resource: "ns/r", Sets: d.sets(), Known: d.sets(), Policy: policies[d.IntN(4)],
		Adopt: d.IntN(4) == 0, Retain: d.IntN(4) == 0, Hold: d.IntN(8) == 0}
}

func TestPlansOfAnyZoneAreSafeAndSettle(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(1, 2))}
	done, refused := 0, 0
	for range 60_000 {
		w, before := d.wanted(), d.world()
		p, err := MakePlan("us", w, before.observed())
		if err != nil {
			t.Fatal(err)
		}
		if p.Change == nil {
			refused++
			continue
		}
		done++
		touchesOnlyOurs(t, w, before, p)
		after := before.after(t, p)
		w.Known = p.Owned
		again, err := MakePlan("us", w, after.observed())
		if err != nil || again.Change != nil || len(again.Conflicts) > 0 {
			t.Fatalf("of %+v\nwanted in %+v\nis left\n%+v, %v", w, before, again, err)
		}
		if len(again.Owned) != len(p.Owned) {
			t.Fatalf("of %+v\nwanted in %+v\nthe cluster owns %v and then %v", w, before, p.Owned, again.Owned)
		}
	}
	if done < 10_000 || refused < 10_000 {
		t.Errorf("of the plans %d did something and %d nothing: the dice are loaded", done, refused)
	}
}

// touchesOnlyOurs checks each key that a plan writes against what was there.
func touchesOnlyOurs(t *testing.T, w Wanted, before world, p *Plan) {
	t.Helper()
	if w.Adopt {
		return
	}
	for _, key := range append(keysOf(p.Change.Create), observedKeys(p.Change.Delete)...) {
		if IsMark(key) {
			continue
		}
		mark, err := MarkName(key)
		if err != nil {
			t.Fatal(err)
		}
		data, exists := before[key]
		m, isMark := Mark{}, false
		if s, ok := before[Key{Name: mark, Type: TypeTXT}]; ok {
			m, isMark = parseMark(s.Values[0])
		}
		ours := isMark && m.Owner == "us" || !isMark && slices.ContainsFunc(w.Known, data.Equal)
		if exists && !ours || isMark && m.Owner != "us" {
			t.Fatalf("%s is touched, which is not ours:\nwanted %+v\nthere %+v", key, w, before)
		}
	}
}

func keysOf(sets []RecordSet) (out []Key) {
	for _, s := range sets {
		out = append(out, s.Key)
	}
	return out
}

func observedKeys(sets []Observed) (out []Key) {
	for _, s := range sets {
		out = append(out, s.Key)
	}
	return out
}

func TestSharedTextsOfOthersAreNeverLost(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(3, 4))}
	some := func(prefix string) (out []string) {
		for i := range 4 {
			if d.IntN(2) == 0 {
				out = append(out, fmt.Sprint(prefix, i))
			}
		}
		return out
	}
	sets := func(values []string) []RecordSet {
		if len(values) == 0 {
			return nil
		}
		return []RecordSet{rs(TypeTXT, values...)}
	}
	for range 10_000 {
		others, mine := some("other"), some("mine")
		before := world{}
		for _, s := range sets(append(slices.Clone(others), mine...)) {
			before[s.Key] = s
		}
		w := Wanted{Name: at, Shared: true, Sets: sets(some("mine")), Known: sets(some("mine"))}
		p, err := MakePlan("us", w, before.observed())
		if err != nil {
			t.Fatal(err)
		}
		after := before.after(t, p)[Key{Name: at, Type: TypeTXT}].Values
		for _, v := range others {
			if !slices.Contains(after, v) {
				t.Fatalf("%q of somebody else was lost: %+v in %v", v, w, before)
			}
		}
		for _, s := range w.Sets {
			for _, v := range s.Values {
				if !slices.Contains(after, v) {
					t.Fatalf("%q is wanted and not there", v)
				}
			}
		}
	}
}
