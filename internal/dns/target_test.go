// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/memory"
)

// lead is a wish that knows where its name leads, and not its zone.
func lead(resource, name, host string, addresses ...string) dns.Wanted {
	w := want(resource, name, dns.TypeA)
	w.Target, w.TTL = &dns.Target{Host: dns.Name(host)}, 60
	for _, a := range addresses {
		w.Target.Addresses = append(w.Target.Addresses, netip.MustParseAddr(a))
	}
	return w
}

func TestATargetBecomesWhatTheProviderMakesOfIt(t *testing.T) {
	aliases := atomicBatches
	aliases.Aliases = true
	for name, c := range map[string]struct {
		options memory.Options
		want    string
	}{
		"a CNAME":  {atomicBatches, "www.x.test CNAME → lb.y.test"},
		"an alias": {aliases, "www.x.test A → alias of lb.y.test"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.options)
			wanted := []dns.Wanted{lead("host", "www.x.test", "lb.y.test"), lead("both", "n.x.test", "", "192.0.2.1", "2001:db8::1")}
			s.settled(wanted...)
			var there []string
			for _, set := range s.p.Dump("Z1") {
				there = append(there, set.Text())
			}
			for _, line := range []string{c.want, "n.x.test A → 192.0.2.1", "n.x.test AAAA → 2001:db8::1"} {
				if !slices.Contains(there, line) {
					t.Errorf("there is %q, and not %q", there, line)
				}
			}
			before := s.p.Count()
			s.settled(wanted...)
			if after := s.p.Count(); after != before {
				t.Errorf("nothing changed, and it cost %+v after %+v", after, before)
			}
			if wanted[0].Sets != nil {
				t.Error("the caller's wish was changed")
			}
			s.settled(lead("host", "www.x.test", "other.y.test"), wanted[1])
			if after := s.p.Count(); after.Apply != before.Apply+1 {
				t.Errorf("another host cost %+v after %+v", after, before)
			}
		})
	}
}

func TestATargetThatLeadsNowhereWithdrawsNothing(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.settled(lead("a", "n.x.test", "", "192.0.2.1"))
	if o := s.fails(dns.ClassInvalid, lead("a", "n.x.test", "")); o.Zone != zone {
		t.Errorf("its zone is %+v", o.Zone)
	}
	if got := s.at("n.x.test"); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("the name leads to %v", got)
	}
	// Without the engine nobody asks the provider.
	if _, err := dns.MakePlan("us", lead("a", "n.x.test", "", "192.0.2.1"), nil); dns.ClassOf(err) != dns.ClassInvalid {
		t.Errorf("a plan without sets gives %v", err)
	}
}

func TestATargetThatCannotBeAtAnApexIsRefused(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.fails(dns.ClassInvalid, lead("a", "x.test", "lb.y.test"))
	s.settled(lead("a", "x.test", "", "192.0.2.1"))
}

func TestTwoTargetsOfOneNameAreDuplicates(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b dns.Wanted
	}{
		{"two hosts", lead("a", "n.x.test", "lb.y.test"), lead("b", "n.x.test", "other.y.test")},
		{"a host and an address", lead("a", "n.x.test", "lb.y.test"), lead("b", "n.x.test", "", "192.0.2.1")},
		{"two addresses", lead("a", "n.x.test", "", "192.0.2.2"), lead("b", "n.x.test", "", "192.0.2.1")},
		{"an address and a set", lead("a", "n.x.test", "", "192.0.2.2"), want("b", "n.x.test", dns.TypeA, "192.0.2.1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, atomicBatches)
			o := s.fails(dns.ClassDuplicate, c.a, c.b)
			if again := s.fails(dns.ClassDuplicate, c.a, c.b); again.NextTry != o.NextTry {
				t.Errorf("nothing changed, and it is due at %s after %s", again.NextTry, o.NextTry)
			}
			if n := s.p.Count().Writes; n != 0 {
				t.Errorf("%d writes were made", n)
			}
			// What is only planned is in nobody's way, and is told who is in its.
			c.b.DryRun = true
			out := s.reconcile(c.a, c.b)
			if out[0].Phase != dns.PhaseDone || out[1].Class != dns.ClassDuplicate {
				t.Errorf("they are %s (%v) and %s (%v)", out[0].Phase, out[0].Err, out[1].Phase, out[1].Err)
			}
		})
	}
}

func TestADryWishAmongOthersWritesNothingAndIsRemembered(t *testing.T) {
	s := newScene(t, atomicBatches)
	dry, real := lead("dry", "d.x.test", "", "192.0.2.1"), lead("real", "r.x.test", "", "192.0.2.1")
	dry.DryRun = true
	for range 2 {
		out := s.reconcile(dry, real)
		if out[0].Phase != dns.PhasePlanned || len(out[0].Steps) != 1 || !strings.Contains(out[0].Steps[0].Text, "192.0.2.1") || len(out[0].Owned) != 0 {
			t.Errorf("the dry wish is %+v", out[0])
		}
		if out[1].Phase != dns.PhaseDone {
			t.Errorf("the other is %+v", out[1])
		}
	}
	if c := s.p.Count(); c.Writes != 2 || c.Read != 1 {
		t.Errorf("it cost %+v", c)
	}
	// Planning to change what is ours says so, and does not forget whose it is.
	real.Known, real.DryRun = s.reconcile(dry, real)[1].Owned, true
	real.Target.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
	o := s.reconcile(dry, real)[1]
	if o.Phase != dns.PhasePlanned || len(o.Owned) != 1 || o.Owned[0].Values[0] != "192.0.2.1" {
		t.Errorf("the planned change is %+v", o)
	}
}

func TestAPlannedMassChangeStopsNobody(t *testing.T) {
	s := newScene(t, atomicBatches)
	wanted := many(20, "192.0.2.1")
	s.settled(wanted...)
	changed := many(20, "192.0.2.2")
	for i := range changed {
		changed[i].DryRun = true
	}
	for i, o := range s.reconcile(changed...) {
		if o.Phase != dns.PhasePlanned {
			t.Fatalf("%s is %s: %v", changed[i].Name, o.Phase, o.Err)
		}
	}
}

func TestZonesAreListedOnceInTenMinutes(t *testing.T) {
	s := newScene(t, atomicBatches, zone, dns.Zone{ID: "Z0", Name: "a.test"}, dns.Zone{ID: "Z2", Name: "p.test", Private: true}, dns.Zone{ID: "Z3", Name: "o.test"})
	s.options.Zones = []string{"Z1", "Z0", "Z2"}
	for range 2 {
		got, err := s.e.Zones(t.Context(), s.p, s.options)
		if err != nil || !slices.Equal(got, []dns.Zone{{ID: "Z0", Name: "a.test"}, zone}) {
			t.Fatalf("the zones are %v (%v)", got, err)
		}
	}
	s.settled(want("a", "n.x.test", dns.TypeA, "192.0.2.1"))
	if n := s.p.Count().Zones; n != 1 {
		t.Errorf("they were listed %d times", n)
	}
	s.restart("us")
	s.p.Fail(func(memory.Call) *memory.Fault { return &memory.Fault{Err: dns.ErrCredentials} })
	for range 2 {
		if _, err := s.e.Zones(t.Context(), s.p, s.options); dns.ClassOf(err) != dns.ClassCredentials {
			t.Errorf("bad credentials give %v", err)
		}
	}
	if n := s.p.Count().Zones; n != 2 {
		t.Errorf("credentials that were refused were tried %d times", n-1)
	}
}
