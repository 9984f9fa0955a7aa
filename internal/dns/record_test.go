// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestValuesAreReadInOneForm(t *testing.T) {
	for _, c := range []struct {
		typ      Type
		in, want []string
	}{
		{TypeA, []string{"192.0.2.10", "192.0.2.9", "192.0.2.10"}, []string{"192.0.2.10", "192.0.2.9"}},
		{TypeAAAA, []string{"2001:DB8:0:0:0:0:0:1", "2001:db8::1"}, []string{"2001:db8::1"}},
		{TypeCNAME, []string{"LB.Example.NET."}, []string{"lb.example.net"}},
		{TypeTXT, []string{"b", "A ", "b"}, []string{"A ", "b"}},
	} {
		s, err := NewRecordSet(Key{Name: "x.test", Type: c.typ}, 60, c.in...)
		if err != nil || !slices.Equal(s.Values, c.want) {
			t.Errorf("%s %q was read as %q, %v", c.typ, c.in, s.Values, err)
		}
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for _, c := range []struct {
		typ Type
		in  []string
	}{
		{TypeA, []string{"2001:db8::1"}}, {TypeA, []string{"192.0.2.256"}}, {TypeA, []string{""}}, {TypeA, []string{"lb.example.net"}},
		{TypeAAAA, []string{"192.0.2.1"}}, {TypeAAAA, []string{"fe80::1%eth0"}},
		{TypeCNAME, []string{"a.test", "b.test"}}, {TypeCNAME, []string{"a b"}}, {TypeTXT, []string{strings.Repeat("x", 1<<20)}},
	} {
		if s, err := NewRecordSet(Key{Name: "x.test", Type: c.typ}, 60, c.in...); err == nil {
			t.Errorf("%s %.80q was read as %+v", c.typ, c.in, s)
		}
	}
}

func TestAddressesAreSortedByFamily(t *testing.T) {
	sets := Addressed("x.test", "", 60, []netip.Addr{
		netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("192.0.2.2")})
	if len(sets) != 2 || !slices.Equal(sets[0].Values, []string{"192.0.2.1", "192.0.2.2"}) || !slices.Equal(sets[1].Values, []string{"2001:db8::2"}) {
		t.Errorf("the sets are %+v", sets)
	}
	if got := Addressed("x.test", "", 60, nil); got != nil {
		t.Errorf("no addresses gave %v", got)
	}
}

func TestWritesCanEndAnywhere(t *testing.T) {
	set := func(n Name, typ Type, v string) RecordSet {
		s, err := NewRecordSet(Key{Name: n, Type: typ}, 60, v)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	c := Change{
		Delete: []Observed{{RecordSet: set("_trellis.a.x.test", TypeTXT, "old")}, {RecordSet: set("x.test", TypeA, "192.0.2.1")}, {RecordSet: set("x.test", TypeTXT, "was")}},
		Create: []RecordSet{set("x.test", TypeCNAME, "lb.test"), set("x.test", TypeTXT, "is"), set("_trellis.cname.x.test", TypeTXT, "new")},
	}
	var got []string
	for _, w := range c.Writes() {
		verb := "replace "
		if w.Old == nil {
			verb = "create "
		} else if w.New == nil {
			verb = "delete "
		}
		got = append(got, verb+w.Key().String())
	}
	want := []string{"create _trellis.cname.x.test TXT", "delete x.test A", "create x.test CNAME", "replace x.test TXT", "delete _trellis.a.x.test TXT"}
	if !slices.Equal(got, want) {
		t.Errorf("the writes are %q, want %q", got, want)
	}
	if c.Records() != 6 {
		t.Errorf("the change has %d records, want 6", c.Records())
	}
}

func TestTextsForPeopleAreShortAndPrintable(t *testing.T) {
	s, err := NewRecordSet(Key{Name: "x.test", Type: TypeTXT}, 60, "\x1b[31m", strings.Repeat("long ", 100))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Text(); len(got) > 200 || strings.Contains(got, "\x1b") {
		t.Errorf("the text is %q", got)
	}
}
