// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"testing"

	"github.com/trellis-mesh/trellis/internal/dns"
)

func typeChange(t *testing.T, z *zone) {
	address, host := z.set(t, "www", dns.TypeA, "192.0.2.1"), z.set(t, "www", dns.TypeCNAME, "lb.example.net")
	z.create(t, address)
	z.apply(t, dns.Change{Name: host.Name, Delete: []dns.Observed{z.one(t, address.Key)}, Create: []dns.RecordSet{host}})
	z.holds(t, host)
	z.apply(t, dns.Change{Name: host.Name, Delete: []dns.Observed{z.one(t, host.Key)}, Create: []dns.RecordSet{address}})
	z.holds(t, address)
}

// plansSettle carries out what package dns plans for every kind of name, and
// plans again: the engine is at rest only where a zone says back what was put in.
func plansSettle(t *testing.T, z *zone) {
	for _, relative := range []string{"@", "*", "www", "bücher"} {
		name := z.name(t, relative)
		first := dns.Wanted{Resource: "shop/web", Name: name, Sets: []dns.RecordSet{
			z.set(t, relative, dns.TypeA, "192.0.2.1", "192.0.2.2"), z.set(t, relative, dns.TypeAAAA, "2001:db8::1")}}
		steps := []dns.Wanted{first, first, first, {Resource: "shop/web", Name: name}}
		steps[1].Sets = first.Sets[:1]
		if relative != "@" {
			steps[2].Sets = []dns.RecordSet{z.set(t, relative, dns.TypeCNAME, "lb.example.net")}
		}
		for i, w := range steps {
			if change := z.plan(t, w).Change; change == nil {
				t.Fatalf("step %d at %s has nothing to do", i, name)
			} else {
				z.apply(t, *change)
			}
			if again := z.plan(t, w); again.Change != nil || len(again.Conflicts) != 0 {
				t.Fatalf("step %d at %s is not settled: %+v", i, name, again)
			}
		}
	}
	z.holds(t)
}

func (z *zone) plan(t *testing.T, w dns.Wanted) *dns.Plan {
	t.Helper()
	names, err := w.Lookup()
	if err != nil {
		t.Fatal(err)
	}
	there, err := z.Provider.Read(t.Context(), z.Zone, names)
	if err != nil {
		t.Fatal(err)
	}
	p, err := dns.MakePlan("cluster-a", w, there)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func staleDelete(t *testing.T, z *zone) {
	for i, typ := range dns.Types() {
		relative := fmt.Sprintf("d%d", i)
		was, is := z.set(t, relative, typ, sample(typ, 1)), z.set(t, relative, typ, sample(typ, 2))
		z.create(t, was)
		seen := z.one(t, was.Key)
		z.Put(t, is)
		z.refused(t, []dns.Change{{Name: was.Name, Delete: []dns.Observed{seen}}}, dns.ErrStale)
	}
	gone := z.set(t, "gone", dns.TypeA, "192.0.2.1")
	z.create(t, gone)
	seen := z.one(t, gone.Key)
	z.apply(t, dns.Change{Name: gone.Name, Delete: []dns.Observed{seen}})
	z.refused(t, []dns.Change{{Name: gone.Name, Delete: []dns.Observed{seen}}}, dns.ErrStale)
}

func staleReplace(t *testing.T, z *zone) {
	for i, typ := range dns.Types() {
		relative := fmt.Sprintf("r%d", i)
		was, is, next := z.set(t, relative, typ, sample(typ, 1)), z.set(t, relative, typ, sample(typ, 2)), z.set(t, relative, typ, sample(typ, 3))
		z.create(t, was)
		seen := z.one(t, was.Key)
		z.Put(t, is)
		z.refused(t, []dns.Change{{Name: was.Name, Delete: []dns.Observed{seen}, Create: []dns.RecordSet{next}}}, dns.ErrStale)
	}
	// One value more than was seen is a change too.
	was, more := z.set(t, "more", dns.TypeA, "192.0.2.1"), z.set(t, "more", dns.TypeA, "192.0.2.1", "192.0.2.2")
	z.create(t, was)
	seen := z.one(t, was.Key)
	z.Put(t, more)
	z.refused(t, []dns.Change{{Name: was.Name, Delete: []dns.Observed{seen}, Create: []dns.RecordSet{z.set(t, "more", dns.TypeA, "192.0.2.3")}}}, dns.ErrStale)
}

func staleCreate(t *testing.T, z *zone) {
	for i, typ := range dns.Types() {
		relative := fmt.Sprintf("c%d", i)
		z.Put(t, z.set(t, relative, typ, sample(typ, 2)))
		next := z.set(t, relative, typ, sample(typ, 1))
		z.refused(t, []dns.Change{{Name: next.Name, Create: []dns.RecordSet{next}}}, dns.ErrStale)
	}
}

// sample is a value of a type, another one for each number.
func sample(typ dns.Type, n int) string {
	switch typ {
	case dns.TypeA:
		return fmt.Sprintf("192.0.2.%d", n)
	case dns.TypeAAAA:
		return fmt.Sprintf("2001:db8::%d", n)
	case dns.TypeCNAME:
		return fmt.Sprintf("lb%d.example.net", n)
	}
	return fmt.Sprintf("text %d", n)
}

// atomicChange: the second half of a change is stale. Where the provider cannot
// write both at once, the mark is there and the data is not; never the other way
// round.
func atomicChange(t *testing.T, z *zone) {
	data := z.set(t, "www", dns.TypeA, "192.0.2.1")
	mark, err := dns.Mark{Owner: "cluster-a", Resource: "shop/web"}.Set(data.Key)
	if err != nil {
		t.Fatal(err)
	}
	theirs := z.set(t, "www", dns.TypeA, "192.0.2.9")
	z.Put(t, theirs)
	change := []dns.Change{{Name: data.Name, Create: []dns.RecordSet{data, mark}}}
	if z.Provider.Capabilities().Atomic {
		z.refused(t, change, dns.ErrStale)
		return
	}
	if _, err := z.Provider.Apply(t.Context(), z.Zone, change); err == nil {
		t.Error("a stale create was accepted")
	}
	z.holds(t, theirs, mark)
}

func atomicBatch(t *testing.T, z *zone) {
	good, bad := z.set(t, "good", dns.TypeA, "192.0.2.1"), z.set(t, "bad", dns.TypeA, "192.0.2.1")
	z.Put(t, z.set(t, "bad", dns.TypeA, "192.0.2.9"))
	changes := []dns.Change{{Name: good.Name, Create: []dns.RecordSet{good}}, {Name: bad.Name, Create: []dns.RecordSet{bad}}}
	if c := z.Provider.Capabilities(); !c.Atomic || c.MaxChanges == 1 {
		t.Skip("this provider carries out one change at a time")
	}
	z.refused(t, changes, dns.ErrStale)
	changes[0], changes[1] = changes[1], changes[0]
	z.refused(t, changes, dns.ErrStale)
}

func limits(t *testing.T, z *zone) {
	c := z.Provider.Capabilities()
	if c.Atomic && c.MaxChanges == 0 {
		t.Skip("this provider has no limit of changes")
	}
	var changes []dns.Change
	for i := range max(c.MaxChanges, 1) + 1 {
		s := z.set(t, fmt.Sprintf("l%d", i), dns.TypeA, "192.0.2.1")
		changes = append(changes, dns.Change{Name: s.Name, Create: []dns.RecordSet{s}})
	}
	z.refused(t, changes, dns.ErrTooLarge)
	if n := z.batch(); n > 1 {
		z.apply(t, changes[:n]...)
	}
}

func cnameAlone(t *testing.T, z *zone) {
	host := z.set(t, "host", dns.TypeCNAME, "lb.example.net")
	z.create(t, host)
	for _, typ := range []dns.Type{dns.TypeA, dns.TypeAAAA, dns.TypeTXT} {
		s := z.set(t, "host", typ, sample(typ, 1))
		z.refused(t, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}, dns.ErrStale, dns.ErrInvalid)
	}
	for i, beside := range []dns.RecordSet{
		z.set(t, "b0", dns.TypeA, "192.0.2.1"), z.set(t, "b1", dns.TypeTXT, "text"),
		z.foreign(t, "b2", "MX", "10 mail.example.net."),
	} {
		z.Put(t, beside)
		s := z.set(t, fmt.Sprintf("b%d", i), dns.TypeCNAME, "lb.example.net")
		z.refused(t, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}, dns.ErrStale, dns.ErrInvalid)
	}
}

// cnameAtApex: some vendors flatten it, and then it must read back as it is.
func cnameAtApex(t *testing.T, z *zone) {
	s := z.set(t, "@", dns.TypeCNAME, "lb.example.net")
	if _, err := z.Provider.Point(z.Zone, s.Name, "", ttl, dns.Target{Host: "lb.example.net"}); err == nil {
		t.Skip("this provider points an apex to a host")
	}
	z.refused(t, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}, dns.ErrInvalid)
}

func outsideTheZone(t *testing.T, z *zone) {
	s, err := dns.NewRecordSet(dns.Key{Name: "www.elsewhere.invalid", Type: dns.TypeA}, ttl, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	z.refused(t, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}, dns.ErrInvalid)
}
