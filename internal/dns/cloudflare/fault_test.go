// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/cloudflare"
	fake "github.com/trellis-mesh/trellis/test/fake/cloudflare"
)

const name = dns.Name("www.example.test")

func set(t *testing.T, typ dns.Type, values ...string) dns.RecordSet {
	t.Helper()
	s, err := dns.NewRecordSet(dns.Key{Name: name, Type: typ}, 600, values...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wanted(sets ...dns.RecordSet) dns.Wanted {
	return dns.Wanted{Resource: "shop/web", Name: name, Sets: sets}
}

// plan is what there is to do for a cluster.
func (w *world) plan(ctx context.Context, cluster string, want dns.Wanted) (*dns.Plan, error) {
	names, err := want.Lookup()
	if err != nil {
		return nil, err
	}
	there, err := w.provider.Read(ctx, w.zone, names)
	if err != nil {
		return nil, err
	}
	return dns.MakePlan(cluster, want, there)
}

// reconcile is one round: read, plan, apply.
func (w *world) reconcile(ctx context.Context, cluster string, want dns.Wanted) (*dns.Plan, error) {
	plan, err := w.plan(ctx, cluster, want)
	if err != nil || plan.Change == nil {
		return plan, err
	}
	_, err = w.provider.Apply(ctx, w.zone, []dns.Change{*plan.Change})
	return plan, err
}

func (w *world) must(t *testing.T, want dns.Wanted) {
	t.Helper()
	if _, err := w.reconcile(t.Context(), "cluster-a", want); err != nil {
		t.Fatal(err)
	}
}

// settled checks that nothing is left to do, and that the zone holds what is
// wanted, one mark for each, and nothing else.
func (w *world) settled(t *testing.T, want dns.Wanted) {
	t.Helper()
	if plan, err := w.plan(t.Context(), "cluster-a", want); err != nil || plan.Change != nil || len(plan.Conflicts) != 0 {
		t.Errorf("there is more to do: %+v, %v", plan, err)
	}
	var expected []dns.RecordSet
	for _, s := range want.Sets {
		mark, err := dns.Mark{Owner: "cluster-a", Resource: want.Resource}.Set(s.Key)
		if err != nil {
			t.Fatal(err)
		}
		expected = append(expected, s, mark)
	}
	if got := texts(w.dump(t)); got != texts(expected) {
		t.Errorf("the zone holds\n%s\nwant\n%s", got, texts(expected))
	}
}

// records are those of a type at the name.
func (w *world) records(typ string) []fake.Record {
	return slices.DeleteFunc(w.server.Dump(w.zone.ID), func(r fake.Record) bool { return r.Type != typ || r.Name != string(name) })
}

func TestWrongAndExpiredTokensAreToldApart(t *testing.T) {
	w := newWorld(t)
	w.server.Token(otherToken, fake.Zoneless)
	for token, says := range map[string]string{
		oldToken: "Invalid API Token", "short": "Invalid format for Authorization header",
		"secret-secret-secret-secret-secret-secret-secret": "Invalid access token",
		otherToken: "Unauthorized to access requested resource",
	} {
		_, err := w.as(t, token).Read(t.Context(), w.zone, []dns.Name{name})
		if !errors.Is(err, dns.ErrCredentials) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s gave %v, want ErrCredentials that says %q", token, err, says)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("the token is quoted: %v", err)
		}
	}
}

func TestATokenThatMayOnlyReadChangesNothing(t *testing.T) {
	w := newWorld(t)
	p := w.as(t, readToken)
	if _, err := p.Read(t.Context(), w.zone, []dns.Name{name}); err != nil {
		t.Fatal(err)
	}
	change := []dns.Change{{Name: name, Create: []dns.RecordSet{set(t, dns.TypeA, "192.0.2.1")}}}
	if _, err := p.Apply(t.Context(), w.zone, change); !errors.Is(err, dns.ErrCredentials) {
		t.Errorf("the error is %v, want ErrCredentials", err)
	}
	if got := w.dump(t); len(got) != 0 {
		t.Errorf("there is %v", got)
	}
}

func TestATokenThatCanBeNoneIsRefusedAtOnce(t *testing.T) {
	for _, token := range []string{"", " \n", "two secrets", "secret\x00", "sécret"} {
		_, err := cloudflare.New(cloudflare.Options{Token: token})
		if !errors.Is(err, dns.ErrCredentials) || strings.Contains(err.Error(), "cret") {
			t.Errorf("%q gave %v, want ErrCredentials that does not quote it", token, err)
		}
	}
	w := newWorld(t)
	if _, err := w.as(t, goodToken+"\n").Zones(t.Context()); err != nil {
		t.Errorf("a line end after the token: %v", err)
	}
}

func TestATokenIsNotTakenElsewhere(t *testing.T) {
	var got atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	defer elsewhere.Close()
	redirect := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	p, err := cloudflare.New(cloudflare.Options{Token: goodToken, Endpoint: redirect.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Zones(t.Context()); err == nil || got.Load() != 0 {
		t.Errorf("the redirect was followed %d times: %v", got.Load(), err)
	}
}

func TestThrottlingSaysHowLong(t *testing.T) {
	w := newWorld(t)
	w.failOnce(fake.Throttled)
	_, err := w.provider.Zones(t.Context())
	var throttled *dns.ThrottledError
	if !errors.As(err, &throttled) || throttled.After != 7*time.Second || !strings.Contains(throttled.Said, "971") {
		t.Errorf("the error is %v, want a ThrottledError of 7s", err)
	}
}

func TestAnUnavailableServiceIsNoFaultOfTheToken(t *testing.T) {
	w := newWorld(t)
	for _, fault := range []fake.Fault{fake.Unavailable, fake.Garbled} {
		w.failOnce(fault)
		_, err := w.provider.Zones(t.Context())
		for _, not := range []error{dns.ErrCredentials, dns.ErrInvalid, dns.ErrNoZone, dns.ErrStale} {
			if err == nil || errors.Is(err, not) {
				t.Errorf("the error is %v, want one that may go away", err)
			}
		}
	}
}

func TestAFullZoneIsNoFaultOfTheRecord(t *testing.T) {
	w := newWorld(t)
	w.server.MaxRecords = 1
	_, err := w.reconcile(t.Context(), "cluster-a", wanted(set(t, dns.TypeA, "192.0.2.1")))
	if err == nil || errors.Is(err, dns.ErrInvalid) || !strings.Contains(err.Error(), "quota") {
		t.Errorf("the error is %v, want one that says quota", err)
	}
	if got := w.dump(t); len(got) != 0 {
		t.Errorf("half of the batch is there: %v", got)
	}
}

func TestZonesThatCannotBeWrittenAreLeftOut(t *testing.T) {
	w := newWorld(t)
	w.server.AddZone("second.test", "active", "secondary")
	w.server.AddZone("away.test", "moved", "full")
	pending := w.server.AddZone("new.test", "pending", "partial")
	inside := w.server.AddZone("inside.test", "active", "internal")
	w.server.PageSize = 2
	zones, err := w.provider.Zones(t.Context())
	want := []dns.Zone{w.zone, {ID: pending, Name: "new.test"}, {ID: inside, Name: "inside.test", Private: true}}
	if err != nil || !slices.Equal(zones, want) {
		t.Errorf("the zones are %v, %v, want %v", zones, err, want)
	}
}

func TestManyNamesCostPagesAndFewCostNames(t *testing.T) {
	w := newWorld(t)
	w.server.PageSize = 100
	var names []dns.Name
	for i := range 300 {
		n := dns.Name(fmt.Sprintf("n%03d.example.test", i))
		w.put(t, dns.RecordSet{Key: dns.Key{Name: n, Type: dns.TypeA}, TTL: 300, Values: []string{"192.0.2.1"}})
		names = append(names, n)
	}
	for count, calls := range map[int]int{0: 0, 1: 1, 10: 10, 11: 3, 300: 3} {
		w.server.Fail(nil)
		seen, err := w.provider.Read(t.Context(), w.zone, names[:count])
		if err != nil || len(seen) != count {
			t.Errorf("%d names have %d record sets, %v", count, len(seen), err)
		}
		if w.server.Calls() != calls {
			t.Errorf("%d names cost %d calls, want %d", count, w.server.Calls(), calls)
		}
	}
}

// Cloudflare takes any name that is not in the zone for one below it.
func TestANameOutsideTheZoneNeverReachesTheService(t *testing.T) {
	w := newWorld(t)
	s := set(t, dns.TypeA, "192.0.2.1")
	s.Name = "www.elsewhere.test"
	if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: s.Name, Create: []dns.RecordSet{s}}}); !errors.Is(err, dns.ErrInvalid) {
		t.Errorf("the error is %v, want ErrInvalid", err)
	}
	if w.server.Calls() != 0 || len(w.dump(t)) != 0 {
		t.Errorf("%d calls were made, and there is %v", w.server.Calls(), w.dump(t))
	}
}

func TestTTLsThatCloudflareHasNotAreRefusedAndNotChanged(t *testing.T) {
	w := newWorld(t)
	for _, ttl := range []uint32{0, 1, 59, 86_401} {
		s := set(t, dns.TypeA, "192.0.2.1")
		s.TTL = ttl
		if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: name, Create: []dns.RecordSet{s}}}); !errors.Is(err, dns.ErrInvalid) {
			t.Errorf("a TTL of %d gave %v, want ErrInvalid", ttl, err)
		}
	}
	for ttl, want := range map[uint32]uint32{1: 60, 60: 60, 100_000: 86_400} {
		sets, err := w.provider.Point(w.zone, name, "", ttl, dns.Target{Host: "lb.example.net"})
		if err != nil || sets[0].TTL != want {
			t.Errorf("pointing with a TTL of %d gave %v, %v, want %d", ttl, sets, err, want)
		}
	}
}

func TestASetOfMoreRecordsThanABatchIsRefused(t *testing.T) {
	w := newWorld(t)
	var values []string
	for i := range 201 {
		values = append(values, fmt.Sprintf("192.0.2.%d", i))
	}
	change := dns.Change{Name: name, Create: []dns.RecordSet{set(t, dns.TypeA, values...)}}
	if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{change}); !errors.Is(err, dns.ErrInvalid) {
		t.Errorf("the error is %v, want ErrInvalid", err)
	}
	change.Create[0].Values = values[:200]
	if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{change}); err != nil {
		t.Errorf("200 records: %v", err)
	}
}

// The service goes away for good at each call in turn, before or after it was
// served; then it comes back, and one more round makes things right.
func TestTheAPIKilledAtAnyCallLeavesNothingThatASecondRoundDoesNotMend(t *testing.T) {
	story := []dns.Wanted{
		wanted(set(t, dns.TypeA, "192.0.2.1"), set(t, dns.TypeAAAA, "2001:db8::1")),
		wanted(set(t, dns.TypeA, "192.0.2.2", "192.0.2.3")),
		wanted(set(t, dns.TypeCNAME, "lb.example.net")),
		wanted(),
	}
	for stage := range story {
		for _, fault := range []fake.Fault{fake.Cut, fake.Lose} {
			for killed := 1; ; killed++ {
				w := newWorld(t)
				for _, before := range story[:stage] {
					w.must(t, before)
				}
				w.server.Fail(func(call int, _ *http.Request) fake.Fault {
					switch {
					case call < killed:
						return fake.Serve
					case call == killed:
						return fault
					}
					return fake.Cut
				})
				_, err := w.reconcile(t.Context(), "cluster-a", story[stage])
				if calls := w.server.Calls(); calls < killed {
					if killed < 10 {
						t.Fatalf("stage %d has %d calls only: %v", stage, calls, err)
					}
					break // every call was killed once
				}
				if err == nil {
					t.Fatalf("stage %d: the API died at call %d, and nobody noticed", stage, killed)
				}
				w.server.Fail(nil)
				w.must(t, story[stage])
				w.settled(t, story[stage])
			}
		}
	}
}

// broken is a network that breaks every connection, each time from another port.
type broken struct{ port int }

func (b *broken) RoundTrip(*http.Request) (*http.Response, error) {
	b.port++
	here, there := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: b.port}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 443}
	return nil, &net.OpError{Op: "read", Net: "tcp", Source: here, Addr: there, Err: io.ErrUnexpectedEOF}
}

func TestTheSameFailureReadsTheSameEachTime(t *testing.T) {
	p, err := cloudflare.New(cloudflare.Options{Token: goodToken, Transport: &broken{}})
	if err != nil {
		t.Fatal(err)
	}
	_, first := p.Zones(t.Context())
	_, second := p.Zones(t.Context())
	if !errors.Is(first, io.ErrUnexpectedEOF) || first.Error() != second.Error() {
		t.Errorf("the errors are\n%v\n%v", first, second)
	}
}
