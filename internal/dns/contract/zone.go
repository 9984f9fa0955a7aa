// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"errors"
	"slices"
	"testing"

	"github.com/trellis-mesh/trellis/internal/dns"
)

const ttl = 300

// zone is a fixture with what tests do to it.
type zone struct {
	Fixture
	subject Subject
}

// name is a name in the zone: "@" for the apex, otherwise labels below it.
func (z *zone) name(t *testing.T, relative string) dns.Name {
	t.Helper()
	if relative == "@" {
		return z.Zone.Name
	}
	n, err := dns.ParseName(relative + "." + string(z.Zone.Name))
	if err != nil {
		t.Fatalf("naming %q: %v", relative, err)
	}
	return n
}

// set is a record set in the zone.
func (z *zone) set(t *testing.T, relative string, typ dns.Type, values ...string) dns.RecordSet {
	t.Helper()
	s, err := dns.NewRecordSet(dns.Key{Name: z.name(t, relative), Type: typ}, ttl, values...)
	if err != nil {
		t.Fatalf("making %s %s: %v", relative, typ, err)
	}
	return s
}

// foreign is a record set of a type that Trellis does not write.
func (z *zone) foreign(t *testing.T, relative string, typ dns.Type, values ...string) dns.RecordSet {
	t.Helper()
	return dns.RecordSet{Key: dns.Key{Name: z.name(t, relative), Type: typ}, TTL: ttl, Values: values}
}

// read is what the provider sees at names, by key.
func (z *zone) read(t *testing.T, names ...dns.Name) map[dns.Key]dns.Observed {
	t.Helper()
	list, err := z.Provider.Read(t.Context(), z.Zone, names)
	if err != nil {
		t.Fatalf("reading %v: %v", names, err)
	}
	out := map[dns.Key]dns.Observed{}
	for _, o := range list {
		if _, twice := out[o.Key]; twice {
			t.Errorf("%s was read twice", o.Key)
		}
		out[o.Key] = o
	}
	return out
}

// one is the record set at a key, which must be there.
func (z *zone) one(t *testing.T, key dns.Key) dns.Observed {
	t.Helper()
	o, ok := z.read(t, key.Name)[key]
	if !ok {
		t.Fatalf("%s is not there", key)
	}
	return o
}

// apply carries changes out: together where the provider can, else one by one.
func (z *zone) apply(t *testing.T, changes ...dns.Change) dns.Receipt {
	t.Helper()
	var last dns.Receipt
	for batch := range slices.Chunk(changes, z.batch()) {
		r, err := z.Provider.Apply(t.Context(), z.Zone, batch)
		if err != nil {
			t.Fatalf("applying %d changes, the first at %s: %v", len(batch), batch[0].Name, err)
		}
		last = r
	}
	return last
}

// batch is how many small changes are safely within the limits.
func (z *zone) batch() int {
	c := z.Provider.Capabilities()
	if !c.Atomic {
		return 1
	}
	n := cmp.Or(c.MaxChanges, 100)
	return max(1, min(n, cmp.Or(c.MaxRecords, 400)/4))
}

// create writes record sets of one name that are not there.
func (z *zone) create(t *testing.T, sets ...dns.RecordSet) dns.Receipt {
	t.Helper()
	return z.apply(t, dns.Change{Name: sets[0].Name, Create: sets})
}

// refused carries a change out that must fail with one of the errors, and checks
// that the zone is as it was.
func (z *zone) refused(t *testing.T, changes []dns.Change, want ...error) {
	t.Helper()
	before := z.Dump(t)
	_, err := z.Provider.Apply(t.Context(), z.Zone, changes)
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.Errorf("the error is %v, want one of %v", err, want)
	}
	z.same(t, before)
}

// same checks that the zone is as it was.
func (z *zone) same(t *testing.T, before []dns.RecordSet) {
	t.Helper()
	if is, was := texts(z.Dump(t)), texts(before); !slices.Equal(is, was) {
		t.Errorf("the zone has changed from\n%q\nto\n%q", was, is)
	}
}

// holds checks that the zone holds exactly these, seen by the provider and by
// somebody else.
func (z *zone) holds(t *testing.T, want ...dns.RecordSet) {
	t.Helper()
	var names []dns.Name
	for _, s := range want {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	seen := z.read(t, slices.Compact(names)...)
	for _, s := range want {
		if o, ok := seen[s.Key]; !ok {
			t.Errorf("%s is not there", s.Key)
		} else if !o.Equal(s) {
			t.Errorf("there is %+v, want %+v", o.RecordSet, s)
		}
	}
	var keys, dumped []string
	for _, s := range want {
		keys = append(keys, s.String())
	}
	for _, s := range z.Dump(t) {
		dumped = append(dumped, s.String())
	}
	slices.Sort(keys)
	slices.Sort(dumped)
	if !slices.Equal(slices.Compact(keys), slices.Compact(dumped)) {
		t.Errorf("somebody else sees %q, want %q", dumped, keys)
	}
}

// texts are record sets as text with TTL, sorted, to compare zones.
func texts(sets []dns.RecordSet) []string {
	var out []string
	for _, s := range sets {
		s.Values = slices.Sorted(slices.Values(s.Values))
		out = append(out, s.Text())
	}
	slices.Sort(out)
	return out
}
