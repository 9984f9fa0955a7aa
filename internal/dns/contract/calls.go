// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
)

func weightedGroup(t *testing.T, z *zone) {
	if !z.Provider.Capabilities().Weights {
		t.Skip("this provider has no weights")
	}
	weight := func(n uint8) *dns.Routing { return &dns.Routing{Weight: &n} }
	z.group(t, weight(10), weight(0), weight(255))
}

func locatedGroup(t *testing.T, z *zone) {
	if !z.Provider.Capabilities().Locations {
		t.Skip("this provider has no locations")
	}
	at := func(l dns.Location) *dns.Routing { return &dns.Routing{Location: &l} }
	z.group(t, at(dns.Location{Default: true}), at(dns.Location{Continent: "EU"}), at(dns.Location{Country: "US", Subdivision: "CA"}))
}

// group creates members one by one, changes one and takes all away again.
func (z *zone) group(t *testing.T, routings ...*dns.Routing) {
	t.Helper()
	var members []dns.RecordSet
	for i, r := range routings {
		s := z.set(t, "group", dns.TypeA, fmt.Sprintf("192.0.2.%d", i+1))
		s.Identifier, s.Routing = fmt.Sprintf("member-%d", i), r
		z.create(t, s)
		members = append(members, s)
		z.holds(t, members...)
	}
	z.refused(t, []dns.Change{{Name: members[0].Name, Create: members[:1]}}, dns.ErrStale)
	seen := z.one(t, members[1].Key)
	members[1].Values = []string{"192.0.2.99"}
	replace := dns.Change{Name: seen.Name, Delete: []dns.Observed{seen}, Create: members[1:2]}
	z.apply(t, replace)
	z.holds(t, members...)
	z.refused(t, []dns.Change{replace}, dns.ErrStale)
	alone := z.set(t, "group", dns.TypeA, "192.0.2.1")
	z.refused(t, []dns.Change{{Name: alone.Name, Create: []dns.RecordSet{alone}}}, dns.ErrStale, dns.ErrInvalid)
	for len(members) > 0 {
		z.apply(t, dns.Change{Name: members[0].Name, Delete: []dns.Observed{z.one(t, members[0].Key)}})
		members = members[1:]
		z.holds(t, members...)
	}
}

func targets(t *testing.T, z *zone) {
	name := z.name(t, "www")
	addresses := dns.Target{Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")}}
	sets, err := z.Provider.Point(z.Zone, name, "", ttl, addresses)
	if err != nil || len(sets) != 2 {
		t.Fatalf("addresses of both families gave %v, %v", sets, err)
	}
	z.create(t, sets...)
	z.holds(t, sets...)
	host, err := z.Provider.Point(z.Zone, z.name(t, "host"), "", ttl, dns.Target{Host: "lb.example.net"})
	if err != nil || len(host) == 0 {
		t.Fatalf("a host name gave %v, %v", host, err)
	}
	z.create(t, host...)
	z.holds(t, append(sets, host...)...)
	apex, err := z.Provider.Point(z.Zone, z.Zone.Name, "", ttl, dns.Target{Host: "lb.example.net"})
	if err != nil {
		if !errors.Is(err, dns.ErrInvalid) {
			t.Errorf("a host name at the apex was refused with %v, want ErrInvalid", err)
		}
		return
	}
	z.create(t, apex...)
	z.holds(t, append(append(sets, host...), apex...)...)
}

func unknownZone(t *testing.T, z *zone) {
	if z.Unknown != (dns.Zone{}) {
		z.Zone = z.Unknown
	} else {
		z.Zone.ID += "0"
	}
	s := z.set(t, "www", dns.TypeA, "192.0.2.1")
	if _, err := z.Provider.Read(t.Context(), z.Zone, []dns.Name{s.Name}); !errors.Is(err, dns.ErrNoZone) {
		t.Errorf("reading gave %v, want ErrNoZone", err)
	}
	if _, err := z.Provider.Apply(t.Context(), z.Zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}); !errors.Is(err, dns.ErrNoZone) {
		t.Errorf("writing gave %v, want ErrNoZone", err)
	}
}

// twoWriters race for one name, again and again: each round has one winner, and
// what is there is what the winner wrote, mark and data.
func twoWriters(t *testing.T, z *zone) {
	name := z.name(t, "www")
	for round := range 8 {
		plans := [2]*dns.Plan{}
		for i := range plans {
			s := z.set(t, "www", dns.TypeA, fmt.Sprintf("192.0.2.%d", 10*round+i+1))
			plans[i] = z.plan(t, dns.Wanted{Resource: fmt.Sprintf("shop/writer-%d-%d", round, i), Name: name, Sets: []dns.RecordSet{s}})
		}
		var errs [2]error
		var both sync.WaitGroup
		for i := range plans {
			both.Go(func() {
				_, errs[i] = z.Provider.Apply(t.Context(), z.Zone, []dns.Change{*plans[i].Change})
			})
		}
		both.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil || !errors.Is(errs[1-winner], dns.ErrStale) {
			t.Fatalf("round %d: the writers got %v and %v, want one of them ErrStale", round, errs[0], errs[1])
		}
		if again := z.plan(t, plans[winner].Wanted); again.Change != nil {
			t.Fatalf("round %d: what is there is not what the winner wrote: %+v", round, again.Steps)
		}
	}
}

func spreads(t *testing.T, z *zone) {
	receipt := z.create(t, z.set(t, "www", dns.TypeA, "192.0.2.1"))
	ctx, cancel := context.WithTimeout(t.Context(), z.subject.WaitSpread)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := z.Provider.Spread(ctx, z.Zone, receipt)
		if err != nil {
			t.Fatal(err)
		}
		if done {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the change has not spread within %s", z.subject.WaitSpread)
		case <-tick.C:
		}
	}
}

func endedContext(t *testing.T, z *zone) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := z.Dump(t)
	s := z.set(t, "www", dns.TypeA, "192.0.2.1")
	if _, err := z.Provider.Apply(ctx, z.Zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("writing gave %v, want context.Canceled", err)
	}
	if _, err := z.Provider.Read(ctx, z.Zone, []dns.Name{s.Name}); !errors.Is(err, context.Canceled) {
		t.Errorf("reading gave %v, want context.Canceled", err)
	}
	z.same(t, before)
}

func refusedCredentials(t *testing.T, z *zone) {
	if z.Unauthorised == nil {
		t.Skip("this provider has no credentials")
	}
	s := z.set(t, "www", dns.TypeA, "192.0.2.1")
	z.create(t, s)
	seen, before := z.one(t, s.Key), z.Dump(t)
	if _, err := z.Unauthorised.Read(t.Context(), z.Zone, []dns.Name{s.Name}); !errors.Is(err, dns.ErrCredentials) {
		t.Errorf("reading gave %v, want ErrCredentials", err)
	}
	_, first := z.Unauthorised.Apply(t.Context(), z.Zone, []dns.Change{{Name: s.Name, Delete: []dns.Observed{seen}}})
	_, second := z.Unauthorised.Apply(t.Context(), z.Zone, []dns.Change{{Name: s.Name, Delete: []dns.Observed{seen}}})
	if !errors.Is(first, dns.ErrCredentials) {
		t.Fatalf("writing gave %v, want ErrCredentials", first)
	}
	if second == nil || first.Error() != second.Error() {
		t.Errorf("the same refusal reads differently each time:\n%v\n%v", first, second)
	}
	z.same(t, before)
}

func throttling(t *testing.T, z *zone) {
	if z.Throttle == nil {
		t.Skip("this provider does not throttle")
	}
	s := z.set(t, "www", dns.TypeA, "192.0.2.1")
	before := z.Dump(t)
	for _, call := range []func() error{
		func() error { _, err := z.Provider.Read(t.Context(), z.Zone, []dns.Name{s.Name}); return err },
		func() error {
			_, err := z.Provider.Apply(t.Context(), z.Zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}})
			return err
		},
	} {
		z.Throttle()
		var throttled *dns.ThrottledError
		if err := call(); !errors.As(err, &throttled) {
			t.Errorf("the error is %v, want a ThrottledError", err)
		} else if throttled.After != 0 && throttled.After != 7*time.Second {
			t.Errorf("the time to wait is %s, want 7s or none", throttled.After)
		}
	}
	z.same(t, before)
}
