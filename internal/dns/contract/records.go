// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/dns"
)

func listsTheZone(t *testing.T, z *zone) {
	zones, err := z.Provider.Zones(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(zones, z.Zone) {
		t.Errorf("the zones are %v, and %v is not among them", zones, z.Zone)
	}
}

func everyType(t *testing.T, z *zone) {
	for _, c := range []struct {
		typ    dns.Type
		values [][]string // one after the other
	}{
		{dns.TypeA, [][]string{{"192.0.2.1"}, {"192.0.2.2", "192.0.2.10"}, {"192.0.2.2"}}},
		{dns.TypeAAAA, [][]string{{"2001:db8::1"}, {"2001:db8::2", "2001:db8:0:1::"}, {"2001:db8::2"}}},
		{dns.TypeCNAME, [][]string{{"lb.example.net"}, {"other.example.net"}}},
		{dns.TypeTXT, [][]string{{"one"}, {"one", "two words"}, {"two words"}}},
	} {
		first := z.set(t, "www", c.typ, c.values[0]...)
		z.create(t, first)
		z.holds(t, first)
		for _, values := range c.values[1:] {
			next := z.set(t, "www", c.typ, values...)
			z.apply(t, dns.Change{Name: next.Name, Delete: []dns.Observed{z.one(t, next.Key)}, Create: []dns.RecordSet{next}})
			z.holds(t, next)
		}
		longer := z.one(t, first.Key)
		next := longer.RecordSet
		next.TTL = 3600
		z.apply(t, dns.Change{Name: next.Name, Delete: []dns.Observed{longer}, Create: []dns.RecordSet{next}})
		z.holds(t, next)
		z.apply(t, dns.Change{Name: next.Name, Delete: []dns.Observed{z.one(t, next.Key)}})
		z.holds(t)
	}
}

func everyName(t *testing.T, z *zone) {
	var want []dns.RecordSet
	for _, relative := range []string{"@", "*", "*.shop", "bücher", "_acme-challenge", "a.b.c.d.e", "UPPER", strings.Repeat("x", 63)} {
		sets := []dns.RecordSet{z.set(t, relative, dns.TypeTXT, "text")}
		// Hosts have no underscores (RFC 1123 §2.1), and some servers insist.
		if !strings.HasPrefix(relative, "_") {
			sets = append(sets, z.set(t, relative, dns.TypeA, "192.0.2.1"))
		}
		z.create(t, sets...)
		want = append(want, sets...)
	}
	z.holds(t, want...)
	for _, s := range want {
		z.apply(t, dns.Change{Name: s.Name, Delete: []dns.Observed{z.one(t, s.Key)}})
	}
	z.holds(t)
}

func everyText(t *testing.T, z *zone) {
	for i, text := range []string{
		"v=spf1 -all",
		strings.Repeat("0123456789", 60),
		strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("x", 510), strings.Repeat("x", 511),
		`a "quoted" word`, `back\slash`, `a\"b\\`, "semi;colon", "  spaces  ", "comma,equals=", "tab\tnew",
		"Ünïcode", `\065`, "$ORIGIN", "(parens)", "@",
	} {
		s := z.set(t, fmt.Sprintf("t%d", i), dns.TypeTXT, text)
		z.create(t, s)
		o := z.one(t, s.Key)
		if !slices.Equal(o.Values, []string{text}) {
			t.Errorf("%q was read as %q", text, o.Values)
		}
		z.apply(t, dns.Change{Name: s.Name, Delete: []dns.Observed{o}})
	}
	z.holds(t)
	several := z.set(t, "several", dns.TypeTXT, "one", strings.Repeat("long ", 60), `"`, "Case", "case")
	z.create(t, several)
	z.holds(t, several)
}

func readsWhatWasAsked(t *testing.T, z *zone) {
	for _, relative := range []string{"b", "a.b", "c", "*.b"} {
		z.create(t, z.set(t, relative, dns.TypeA, "192.0.2.1"))
	}
	seen := z.read(t, z.name(t, "b"), z.name(t, "missing"))
	if len(seen) != 1 || seen[dns.Key{Name: z.name(t, "b"), Type: dns.TypeA}].TTL != ttl {
		t.Errorf("there is %v, want what is at b alone", seen)
	}
	if seen := z.read(t, z.name(t, "x.b")); len(seen) != 0 {
		t.Errorf("a name that only a wildcard stands for has %v", seen)
	}
	if seen := z.read(t); len(seen) != 0 {
		t.Errorf("no names have %v", seen)
	}
}

func manyNames(t *testing.T, z *zone) {
	var changes []dns.Change
	var names []dns.Name
	for i := range z.subject.Names {
		s := z.set(t, fmt.Sprintf("n%04d", i), dns.TypeA, "192.0.2.1")
		changes = append(changes, dns.Change{Name: s.Name, Create: []dns.RecordSet{s}})
		names = append(names, s.Name)
	}
	z.apply(t, changes...)
	seen := z.read(t, names...)
	if len(seen) != len(names) {
		t.Errorf("%d record sets were read of %d", len(seen), len(names))
	}
	for _, relative := range []string{"n0000", fmt.Sprintf("n%04d", z.subject.Names-1)} {
		if key := (dns.Key{Name: z.name(t, relative), Type: dns.TypeA}); len(z.read(t, key.Name)) != 1 {
			t.Errorf("%s was not read alone", key)
		}
	}
	clear(changes)
	changes = changes[:0]
	for _, o := range seen {
		changes = append(changes, dns.Change{Name: o.Name, Delete: []dns.Observed{o}})
	}
	z.apply(t, changes...)
	z.holds(t)
}

// othersForms: what was written by hand is seen in canonical form, and can be
// replaced as it was seen.
func othersForms(t *testing.T, z *zone) {
	upper := z.set(t, "hand", dns.TypeCNAME, "lb.example.net")
	upper.Values = []string{"LB.Example.NET."}
	z.Put(t, upper)
	o := z.one(t, upper.Key)
	if !slices.Equal(o.Values, []string{"lb.example.net"}) {
		t.Errorf("a CNAME in capitals with a dot was read as %q", o.Values)
	}
	next := z.set(t, "hand", dns.TypeCNAME, "lb.example.net")
	next.TTL = 60
	z.apply(t, dns.Change{Name: next.Name, Delete: []dns.Observed{o}, Create: []dns.RecordSet{next}})
	z.holds(t, next)

	texts := z.set(t, "texts", dns.TypeTXT, "b", "a", strings.Repeat("long", 100))
	z.Put(t, texts)
	z.apply(t, dns.Change{Name: texts.Name, Delete: []dns.Observed{z.one(t, texts.Key)}})
	z.holds(t, next)
}

func foreignTypes(t *testing.T, z *zone) {
	mail := z.foreign(t, "www", "MX", "10 mail.example.net.")
	caa := z.foreign(t, "@", "CAA", `0 issue "ca.example.net"`)
	z.Put(t, mail)
	z.Put(t, caa)
	seen := z.read(t, mail.Name, caa.Name)
	for _, s := range []dns.RecordSet{mail, caa} {
		if _, ok := seen[s.Key]; !ok {
			t.Errorf("%s was not seen", s.Key)
		}
	}
	before := z.Dump(t)
	for _, relative := range []string{"www", "@"} {
		s := z.set(t, relative, dns.TypeA, "192.0.2.1")
		z.create(t, s)
		z.apply(t, dns.Change{Name: s.Name, Delete: []dns.Observed{z.one(t, s.Key)}})
	}
	z.same(t, before)
}

func foreignNeighbours(t *testing.T, z *zone) {
	text, other := z.set(t, "www", dns.TypeTXT, "somebody's"), z.set(t, "ww", dns.TypeA, "192.0.2.9")
	z.Put(t, text)
	z.Put(t, other)
	before := z.Dump(t)
	s := z.set(t, "www", dns.TypeA, "192.0.2.1")
	z.create(t, s)
	z.holds(t, s, text, other)
	z.apply(t, dns.Change{Name: s.Name, Delete: []dns.Observed{z.one(t, s.Key)}})
	z.same(t, before)
}
