// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/memory"
)

var zone = dns.Zone{ID: "Z1", Name: "x.test"}

var atomicBatches = memory.Options{Capabilities: dns.Capabilities{Atomic: true, MaxChanges: 100, MaxRecords: 1000}}

// scene is an engine at a provider, and a clock.
type scene struct {
	*testing.T
	p       *memory.Provider
	e       *dns.Engine
	now     time.Time
	options dns.Options
}

func newScene(t *testing.T, o memory.Options, zones ...dns.Zone) *scene {
	if len(zones) == 0 {
		zones = []dns.Zone{zone}
	}
	s := &scene{T: t, p: memory.New(o, zones...), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	s.restart("us")
	return s
}

func (s *scene) restart(owner string) {
	s.e = &dns.Engine{Owner: owner, Clock: func() time.Time { return s.now }}
}

func (s *scene) reconcile(wanted ...dns.Wanted) []dns.Outcome {
	return s.e.Reconcile(s.Context(), s.p, wanted, s.options)
}

// settled reconciles, and each wish must have come true.
func (s *scene) settled(wanted ...dns.Wanted) []dns.Outcome {
	s.Helper()
	out := s.reconcile(wanted...)
	for i, o := range out {
		if o.Err != nil || o.Phase != dns.PhaseDone {
			s.Fatalf("%s is %s: %v", wanted[i].Name, o.Phase, o.Err)
		}
	}
	return out
}

// fails reconciles one wish, which must not come true.
func (s *scene) fails(class dns.Class, wanted ...dns.Wanted) dns.Outcome {
	s.Helper()
	out := s.reconcile(wanted...)
	for i, o := range out {
		if o.Class != class || o.Err == nil || !o.NextTry.After(s.now) {
			s.Fatalf("%s is %s, %s until %s: %v, want %s", wanted[i].Name, o.Phase, o.Class, o.NextTry, o.Err, class)
		}
	}
	return out[0]
}

func (s *scene) at(name string) []string {
	for _, set := range s.p.Dump("Z1") {
		if string(set.Name) == name {
			return set.Values
		}
	}
	return nil
}

func want(resource, name string, typ dns.Type, values ...string) dns.Wanted {
	n, err := dns.ParseName(name)
	if err != nil {
		panic(err)
	}
	w := dns.Wanted{Resource: "ns/" + resource, Name: n}
	if len(values) > 0 {
		set, err := dns.NewRecordSet(dns.Key{Name: n, Type: typ}, 60, values...)
		if err != nil {
			panic(err)
		}
		w.Sets = []dns.RecordSet{set}
	}
	return w
}

func many(n int, value string) []dns.Wanted {
	var out []dns.Wanted
	for i := range n {
		out = append(out, want(fmt.Sprintf("r%d", i), fmt.Sprintf("n%d.x.test", i), dns.TypeA, value))
	}
	return out
}

// none withdraws the first n wishes.
func none(wanted []dns.Wanted, n int) []dns.Wanted {
	out := slices.Clone(wanted)
	for i := range n {
		out[i].Sets = nil
	}
	return out
}

func TestUnchangedRecordsCostNothing(t *testing.T) {
	s := newScene(t, atomicBatches)
	wanted := many(10_000, "192.0.2.1")
	s.settled(wanted...)
	if c := s.p.Count(); c.Read != 1 || c.Zones != 1 || c.Apply != 100 || c.Writes != 20_000 {
		t.Errorf("making 10,000 records cost %+v", c)
	}
	before := s.p.Count()
	s.now = s.now.Add(30 * time.Minute)
	s.settled(wanted...)
	if c := s.p.Count(); c != before {
		t.Errorf("nothing changed, and it cost %+v after %+v", c, before)
	}
	wanted[4711] = want("r4711", "n4711.x.test", dns.TypeA, "192.0.2.2")
	s.settled(wanted...)
	if c := s.p.Count(); c.Read != before.Read+1 || c.Apply != before.Apply+1 || c.Names-before.Names != 5 || c.Writes-before.Writes != 1 {
		t.Errorf("one change cost %+v after %+v", c, before)
	}
	before = s.p.Count()
	s.now = s.now.Add(2 * time.Hour)
	s.settled(wanted...)
	if c := s.p.Count(); c.Apply != before.Apply || c.Read != before.Read+1 {
		t.Errorf("looking again cost %+v after %+v", c, before)
	}
}

func TestARestartedEngineWritesNothing(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.settled(many(50, "192.0.2.1")...)
	before := s.p.Count().Writes
	s.restart("us")
	s.settled(many(50, "192.0.2.1")...)
	if after := s.p.Count().Writes; after != before {
		t.Errorf("%d writes for nothing", after-before)
	}
}

func TestADryRunWritesNothing(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.options.DryRun = true
	o := s.reconcile(want("a", "a.x.test", dns.TypeA, "192.0.2.1"))[0]
	if o.Phase != dns.PhasePlanned || len(o.Steps) != 1 || o.Steps[0].Verb != "create" || s.p.Count().Apply != 0 {
		t.Errorf("the outcome is %+v after %+v", o, s.p.Count())
	}
	s.options.DryRun = false
	if o := s.settled(want("a", "a.x.test", dns.TypeA, "192.0.2.1"))[0]; !o.Written || o.Receipt == "" {
		t.Errorf("after the dry run the outcome is %+v", o)
	}
}

func TestAnotherToolsRecordIsUntouchedAndItsOwnerNamed(t *testing.T) {
	s := newScene(t, atomicBatches)
	theirs := want("", "www.x.test", dns.TypeA, "192.0.2.9").Sets[0]
	mark := want("", "a-www.x.test", dns.TypeTXT, "heritage=external-dns,external-dns/owner=prod,external-dns/resource=ingress/a/b").Sets[0]
	s.p.Put("Z1", theirs)
	s.p.Put("Z1", mark)
	o := s.fails(dns.ClassConflict, want("a", "www.x.test", dns.TypeA, "192.0.2.1"))
	if o.Phase != dns.PhaseBlocked || len(o.Conflicts) != 1 || o.Conflicts[0].Owner != "external-dns (owner id prod)" || s.p.Count().Apply != 0 {
		t.Errorf("the outcome is %+v", o)
	}
	if s.p.Count().Read != 2 {
		t.Errorf("finding the owner took %d reads, want 2", s.p.Count().Read)
	}
	s.fails(dns.ClassConflict, want("a", "www.x.test", dns.TypeA, "192.0.2.1"))
	if s.p.Count().Read != 2 {
		t.Error("a conflict that is not due was looked at again")
	}
	s.p.Remove("Z1", theirs.Key)
	s.now = o.NextTry
	s.settled(want("a", "www.x.test", dns.TypeA, "192.0.2.1"))
}

func TestTheLongestZoneIsChosen(t *testing.T) {
	inner, private := dns.Zone{ID: "Z2", Name: "in.x.test"}, dns.Zone{ID: "Z3", Name: "deep.in.x.test", Private: true}
	s := newScene(t, atomicBatches, zone, inner, private)
	for name, id := range map[string]string{"a.x.test": "Z1", "in.x.test": "Z2", "a.deep.in.x.test": "Z2", "*.in.x.test": "Z2", "bin.x.test": "Z1"} {
		if o := s.settled(want(name, name, dns.TypeA, "192.0.2.1"))[0]; o.Zone.ID != id {
			t.Errorf("%s is in %s, want %s", name, o.Zone.ID, id)
		}
	}
	o := s.fails(dns.ClassNoZone, want("o", "other.test", dns.TypeA, "192.0.2.1"))
	if !strings.Contains(o.Err.Error(), "x.test") {
		t.Errorf("the error does not say which zones there are: %v", o.Err)
	}
	s.options.Private = true
	if o := s.settled(want("p", "a.deep.in.x.test", dns.TypeA, "192.0.2.1"))[0]; o.Zone.ID != "Z3" {
		t.Errorf("asked for a private zone, the engine took %s", o.Zone.ID)
	}
	s.fails(dns.ClassNoZone, want("q", "a.x.test", dns.TypeA, "192.0.2.1"))
}

func TestTwoEqualZonesAreRefusedWithTheirIDs(t *testing.T) {
	s := newScene(t, atomicBatches, zone, dns.Zone{ID: "Z2", Name: "x.test"})
	o := s.fails(dns.ClassAmbiguousZone, want("a", "a.x.test", dns.TypeA, "192.0.2.1"))
	if !strings.Contains(o.Err.Error(), "Z1, Z2") || s.p.Count().Apply != 0 {
		t.Errorf("the error is %v", o.Err)
	}
	s.options.Zones = []string{"Z2"}
	if o := s.settled(want("a", "a.x.test", dns.TypeA, "192.0.2.1"))[0]; o.Zone.ID != "Z2" {
		t.Errorf("told which, the engine took %s", o.Zone.ID)
	}
}

func TestANewZoneIsFoundSoon(t *testing.T) {
	s := newScene(t, atomicBatches, dns.Zone{ID: "Z9", Name: "other.test"})
	o := s.fails(dns.ClassNoZone, want("a", "a.x.test", dns.TypeA, "192.0.2.1"))
	s.p = memory.New(atomicBatches, zone)
	for s.p.Count().Zones == 0 {
		s.now = o.NextTry
		o = s.reconcile(want("a", "a.x.test", dns.TypeA, "192.0.2.1"))[0]
	}
	if o.Phase != dns.PhaseDone {
		t.Errorf("with the zone there the outcome is %+v", o)
	}
}

func TestAZoneThatWentAwayIsSaidToBeMissing(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.settled(want("a", "a.x.test", dns.TypeA, "192.0.2.1"))
	s.p.Drop("Z1")
	o := s.fails(dns.ClassNoZone, want("a", "a.x.test", dns.TypeA, "192.0.2.2"))
	s.now = o.NextTry
	s.fails(dns.ClassNoZone, want("a", "a.x.test", dns.TypeA, "192.0.2.2"))
	if s.p.Count().Zones != 2 {
		t.Errorf("the zones were listed %d times, want again", s.p.Count().Zones)
	}
}

func TestTwoResourcesThatWantOneNameAreBothRefused(t *testing.T) {
	s := newScene(t, atomicBatches)
	a, b := want("a", "www.x.test", dns.TypeA, "192.0.2.1"), want("b", "www.x.test", dns.TypeA, "192.0.2.2")
	s.settled(a)
	for i, o := range s.reconcile(a, b, want("c", "c.x.test", dns.TypeA, "192.0.2.3")) {
		if i < 2 && (o.Class != dns.ClassDuplicate || !strings.Contains(o.Err.Error(), "ns/a") || !strings.Contains(o.Err.Error(), "ns/b")) || i == 2 && o.Err != nil {
			t.Errorf("outcome %d is %+v", i, o)
		}
	}
	if got := s.at("www.x.test"); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("what was there became %v", got)
	}
	s.fails(dns.ClassDuplicate, a, want("d", "www.x.test", dns.TypeCNAME, "lb.test"))
	s.settled(a, want("e", "www.x.test", dns.TypeTXT, "beside"))
}

func TestANameGoesToAnotherResourceWithoutAGap(t *testing.T) {
	s := newScene(t, atomicBatches)
	old := want("old", "www.x.test", dns.TypeA, "192.0.2.1")
	s.settled(old)
	s.p.Fail(func(c memory.Call) *memory.Fault {
		for _, change := range c.Changes {
			if len(change.Delete) > 0 && len(change.Create) == 0 {
				t.Errorf("a gap: %+v", change)
			}
		}
		return nil
	})
	old.Sets = nil
	s.settled(old, want("new", "www.x.test", dns.TypeA, "192.0.2.1"))
	if got := s.at("www.x.test"); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("there is %v", got)
	}
	s.p.Fail(nil)
	s.restart("us")
	s.settled(want("new", "www.x.test", dns.TypeA))
	if left := s.p.Dump("Z1"); len(left) != 0 {
		t.Errorf("of the new resource is left %v", left)
	}
}

func TestANameOfAnotherAccountsResourceIsTakenOverOnceThatIsGone(t *testing.T) {
	s := newScene(t, atomicBatches)
	a, b := want("a", "www.x.test", dns.TypeA, "192.0.2.1"), want("b", "www.x.test", dns.TypeA, "198.51.100.66")
	living := map[string]bool{a.Resource: true, b.Resource: true}
	s.options.Lives = func(resource string, name dns.Name) bool { return name == "www.x.test" && living[resource] }
	of := func(account string) { s.options.Account = account }
	there := func(value string) {
		t.Helper()
		if got := s.at("www.x.test"); !slices.Equal(got, []string{value}) {
			t.Fatalf("there is %v, want %s", got, value)
		}
	}
	of("a")
	a.Known = s.settled(a)[0].Owned
	of("b")
	o := s.fails(dns.ClassConflict, b)
	if len(o.Conflicts) != 1 || o.Conflicts[0].Rival != a.Resource || !strings.Contains(o.Err.Error(), "the ManagedRecord "+a.Resource+" of this cluster") {
		t.Errorf("the conflict is %+v: %v", o.Conflicts, o.Err)
	}
	there("192.0.2.1")
	// What is in the way for it is not its own to withdraw either.
	gone := b
	gone.Sets = nil
	s.settled(gone)
	there("192.0.2.1")
	s.fails(dns.ClassConflict, b)

	b.Adopt = true
	s.settled(b)
	there("198.51.100.66")
	of("a")
	s.now = s.now.Add(2 * time.Hour)
	s.fails(dns.ClassConflict, a)
	there("198.51.100.66")

	// No time passes: who waited does not wait longer than the other one lives.
	living[b.Resource] = false
	s.settled(a)
	there("192.0.2.1")
	of("b")
	b.Sets = nil
	s.settled(b)
	there("192.0.2.1")
}

func TestOneBadRecordBlocksNobody(t *testing.T) {
	o := atomicBatches
	o.Refuse = func(s dns.RecordSet) error {
		if slices.Contains(s.Values, "192.0.2.66") {
			return errors.New("no")
		}
		return nil
	}
	s := newScene(t, o)
	wanted := many(100, "192.0.2.1")
	wanted[17] = want("bad", "bad.x.test", dns.TypeA, "192.0.2.66")
	for i, o := range s.reconcile(wanted...) {
		if i == 17 && (o.Class != dns.ClassInvalid || o.Phase != dns.PhaseBlocked) || i != 17 && o.Err != nil {
			t.Errorf("outcome %d is %s: %v", i, o.Phase, o.Err)
		}
	}
	if c := s.p.Count(); c.Apply > 16 {
		t.Errorf("finding it took %d batches", c.Apply)
	}
}

func TestABatchTooLargeIsHalved(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.p.Fail(func(c memory.Call) *memory.Fault {
		if len(c.Changes) > 7 {
			return &memory.Fault{Err: dns.ErrTooLarge}
		}
		return nil
	})
	s.settled(many(100, "192.0.2.1")...)
}

func TestARaceIsRunAgainAndNotForEver(t *testing.T) {
	s := newScene(t, atomicBatches)
	wanted := many(8, "192.0.2.1")
	s.settled(wanted...)
	races := 1
	s.p.Fail(func(c memory.Call) *memory.Fault {
		if c.Method != memory.MethodApply || races == 0 {
			return nil
		}
		races--
		return &memory.Fault{Err: dns.ErrStale}
	})
	wanted[0] = want("r0", "n0.x.test", dns.TypeA, "192.0.2.2")
	s.settled(wanted...)
	races = -1
	wanted[0] = want("r0", "n0.x.test", dns.TypeA, "192.0.2.3")
	before := s.p.Count().Apply
	o := s.reconcile(wanted...)[0]
	if o.Class != dns.ClassStale || o.Phase != dns.PhaseWaiting || s.p.Count().Apply-before != 3 {
		t.Errorf("after %d attempts the outcome is %+v", s.p.Count().Apply-before, o)
	}
}

func TestThrottlingIsHonoured(t *testing.T) {
	s := newScene(t, atomicBatches)
	throttled := true
	s.p.Fail(func(c memory.Call) *memory.Fault {
		if throttled && c.Method == memory.MethodApply {
			return &memory.Fault{Err: &dns.ThrottledError{After: 90 * time.Second, Said: "slow down"}}
		}
		return nil
	})
	wanted := many(300, "192.0.2.1")
	o := s.fails(dns.ClassThrottled, wanted...)
	if o.Phase != dns.PhaseWaiting || o.NextTry.Sub(s.now) != 90*time.Second {
		t.Errorf("the outcome is %+v", o)
	}
	before := s.p.Count()
	if before.Apply != 1 {
		t.Errorf("after a refusal %d more batches were tried", before.Apply-1)
	}
	s.now = s.now.Add(89 * time.Second)
	s.fails(dns.ClassThrottled, append(wanted, want("new", "new.x.test", dns.TypeA, "192.0.2.1"))...)
	if s.p.Count() != before {
		t.Error("the provider was not left alone")
	}
	throttled = false
	s.now = s.now.Add(time.Second)
	s.settled(wanted...)
}

func TestRefusedCredentialsChangeNothingAndAreTriedLessAndLess(t *testing.T) {
	s := newScene(t, atomicBatches)
	wanted := want("a", "a.x.test", dns.TypeA, "192.0.2.1")
	s.p.Fail(func(memory.Call) *memory.Fault { return &memory.Fault{Err: dns.ErrCredentials} })
	var waits []time.Duration
	for range 10 {
		o := s.fails(dns.ClassCredentials, wanted)
		waits = append(waits, o.NextTry.Sub(s.now))
		s.now = o.NextTry
	}
	if waits[0] != 5*time.Second || waits[1] != 10*time.Second || waits[9] != 15*time.Minute || !slices.IsSorted(waits) {
		t.Errorf("the engine waits %v", waits)
	}
	s.fails(dns.ClassCredentials, wanted)
	s.p.Fail(nil)
	s.options.Account = "with the new Secret"
	s.settled(wanted)
}

func TestRequestsAreSharedOut(t *testing.T) {
	s := newScene(t, memory.Options{})
	s.options.Rate, s.options.Burst = 4, 10
	wanted := many(100, "192.0.2.1")
	rounds := 0
	for ; rounds < 100; rounds++ {
		before := s.p.Count()
		pending := time.Time{}
		for _, o := range s.reconcile(wanted...) {
			if o.Class == dns.ClassThrottled && (pending.IsZero() || o.NextTry.Before(pending)) {
				pending = o.NextTry
			} else if o.Err != nil && o.Class != dns.ClassThrottled {
				t.Fatal(o.Err)
			}
		}
		if c := s.p.Count(); c.Zones+c.Read+c.Apply-before.Zones-before.Read-before.Apply > 10 {
			t.Fatalf("one round cost %+v after %+v", c, before)
		}
		if pending.IsZero() {
			break
		}
		s.now = pending.Add(2 * time.Second)
	}
	if got := len(s.p.Dump("Z1")); got != 200 || rounds < 5 {
		t.Errorf("after %d rounds there are %d record sets", rounds, got)
	}
}

func TestAMassChangeStopsUntilItIsConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		had, gone int
		stops     bool
	}{
		"four of ten":           {10, 4, true},
		"three of ten":          {10, 3, false},
		"eight of nine":         {9, 8, false},
		"all of nine":           {9, 9, true},
		"all of three":          {3, 3, true},
		"both of two":           {2, 2, false},
		"one alone":             {1, 1, false},
		"thirty-one of hundred": {100, 31, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, atomicBatches)
			all := many(c.had, "192.0.2.1")
			s.settled(all...)
			s.restart("us")
			fewer := none(all, c.gone)
			before := s.p.Dump("Z1")
			out := s.reconcile(fewer...)
			stopped := out[0].Class == dns.ClassMassChange
			if stopped != c.stops || stopped && len(s.p.Dump("Z1")) != len(before) {
				t.Fatalf("the outcome is %+v, %d of %d record sets are left", out[0], len(s.p.Dump("Z1")), len(before))
			}
			if !stopped {
				return
			}
			if out[0].Confirm == "" || out[0].Confirm != out[1].Confirm || len(out[0].Steps) == 0 {
				t.Errorf("the outcome is %+v", out[0])
			}
			s.options.Confirmed = []string{"another", out[0].Confirm}
			s.settled(fewer...)
			if got := len(s.p.Dump("Z1")); got != 2*(c.had-c.gone) {
				t.Errorf("%d record sets are left", got)
			}
		})
	}
}

func TestAMassChangeIsOneTooWhereItComesInParts(t *testing.T) {
	s := newScene(t, atomicBatches)
	all := many(20, "192.0.2.1")
	s.settled(all...)
	s.fails(dns.ClassMassChange, none(all, 8)[:8]...)
	o := s.fails(dns.ClassMassChange, none(all, 10)[8:10]...)
	s.now = o.NextTry.Add(-time.Second)
	s.fails(dns.ClassMassChange, none(all, 8)[:2]...)
	s.now = o.NextTry
	s.fails(dns.ClassMassChange, none(all, 8)[:2]...)
	if got := len(s.p.Dump("Z1")); got != 40 {
		t.Errorf("%d record sets are left", got)
	}
}

func TestAConfirmedMassChangeGoesOnAfterAFault(t *testing.T) {
	s := newScene(t, memory.Options{})
	all := many(20, "192.0.2.1")
	s.settled(all...)
	gone := none(all, 20)
	s.options.Confirmed = []string{s.fails(dns.ClassMassChange, gone...).Confirm}
	left := 6
	s.p.Fail(func(c memory.Call) *memory.Fault {
		if c.Method != memory.MethodApply {
			return nil
		}
		if left--; left >= 0 {
			return nil
		}
		return &memory.Fault{Err: &dns.ThrottledError{}}
	})
	s.reconcile(gone...)
	if got := len(s.p.Dump("Z1")); got == 0 || got == 40 {
		t.Fatalf("%d record sets are left: the fault came too late or too early", got)
	}
	s.p.Fail(nil)
	s.now = s.now.Add(time.Hour)
	s.settled(gone...)
	if got := len(s.p.Dump("Z1")); got != 0 {
		t.Errorf("%d record sets are left", got)
	}
}

func TestNewRecordsAreNoMassChange(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.settled(many(10, "192.0.2.1")...)
	s.settled(many(500, "192.0.2.1")...)
}

func TestAMissingAddressKeepsTheOldRecords(t *testing.T) {
	s := newScene(t, atomicBatches)
	w := want("a", "www.x.test", dns.TypeA, "192.0.2.1")
	known := s.settled(w)[0].Owned
	before := s.p.Dump("Z1")
	w.Sets, w.Hold, w.Known = nil, true, known
	o := s.reconcile(w)[0]
	if o.Phase != dns.PhaseHeld || o.Err != nil || len(o.Owned) != 1 || len(s.p.Dump("Z1")) != len(before) {
		t.Errorf("the outcome is %+v, there is %v", o, s.p.Dump("Z1"))
	}
}

func TestADelegatedNameIsAConflict(t *testing.T) {
	s := newScene(t, atomicBatches)
	s.p.Put("Z1", dns.RecordSet{Key: dns.Key{Name: "sub.x.test", Type: "NS"}, TTL: 60, Values: []string{"ns.other.test."}})
	s.fails(dns.ClassConflict, want("a", "sub.x.test", dns.TypeA, "192.0.2.1"))
	s.p.Put("Z1", dns.RecordSet{Key: dns.Key{Name: "x.test", Type: "NS"}, TTL: 60, Values: []string{"ns.x.test."}})
	s.settled(want("b", "x.test", dns.TypeA, "192.0.2.1"))
}

func TestSharedTextsOfSeveralResourcesStandTogether(t *testing.T) {
	s := newScene(t, atomicBatches)
	name := "_acme-challenge.x.test"
	s.p.Put("Z1", want("", name, dns.TypeTXT, "somebody's").Sets[0])
	a, b := want("a", name, dns.TypeTXT, "one"), want("b", name, dns.TypeTXT, "two")
	a.Shared, b.Shared = true, true
	out := s.settled(a, b)
	if got := s.at(name); !slices.Equal(got, []string{"one", "somebody's", "two"}) {
		t.Errorf("there is %q", got)
	}
	a.Known, a.Sets = out[0].Owned, nil
	b.Known, b.Sets = out[1].Owned, nil
	s.settled(a, b)
	if got := s.at(name); !slices.Equal(got, []string{"somebody's"}) {
		t.Errorf("there is %q", got)
	}
}

func TestALostMarkIsRestored(t *testing.T) {
	s := newScene(t, atomicBatches)
	w := want("a", "www.x.test", dns.TypeA, "192.0.2.1")
	w.Known = s.settled(w)[0].Owned
	s.p.Remove("Z1", dns.Key{Name: "_trellis.a.www.x.test", Type: dns.TypeTXT})
	s.now = s.now.Add(2 * time.Hour)
	if o := s.settled(w)[0]; !o.Written || len(s.p.Dump("Z1")) != 2 {
		t.Errorf("the outcome is %+v, there is %v", o, s.p.Dump("Z1"))
	}
}

// TestAKilledEngineLeavesNothingBehind kills the engine at each of its calls and
// after each single write, and lets a new one go on.
func TestAKilledEngineLeavesNothingBehind(t *testing.T) {
	for name, o := range map[string]memory.Options{"atomic": atomicBatches, "one by one": {}} {
		t.Run(name, func(t *testing.T) {
			for kill := 1; ; kill++ {
				killed := false
				for writes := -1; writes <= 4; writes++ {
					killed = killAt(t, o, kill, writes) || killed
				}
				if !killed {
					if kill < 5 {
						t.Errorf("there were only %d calls", kill)
					}
					return
				}
			}
		})
	}
}

func killAt(t *testing.T, o memory.Options, kill, writes int) (killed bool) {
	s := newScene(t, o)
	foreign := want("", "www.x.test", dns.TypeTXT, "somebody's").Sets[0]
	s.p.Put("Z1", foreign)
	calls, dead := 0, false
	s.p.Fail(func(memory.Call) *memory.Fault {
		if calls++; dead {
			return &memory.Fault{Err: context.Canceled}
		}
		if calls != kill {
			return nil
		}
		dead, killed = true, true
		return &memory.Fault{Writes: writes}
	})
	var known []dns.RecordSet
	for _, w := range []dns.Wanted{
		want("a", "www.x.test", dns.TypeA, "192.0.2.1"), want("a", "www.x.test", dns.TypeA, "192.0.2.2"),
		want("a", "www.x.test", dns.TypeAAAA, "2001:db8::1"), want("a", "www.x.test", dns.TypeA),
	} {
		w.Known = known
		for range 3 {
			if out := s.reconcile(w)[0]; out.Err == nil {
				known = out.Owned
				break
			}
			dead = false
			s.restart("us")
		}
		var data []string
		for _, set := range s.p.Dump("Z1") {
			if !dns.IsMark(set.Key) && !set.Equal(foreign) {
				data = append(data, set.Text())
			}
		}
		var wanted []string
		for _, set := range w.Sets {
			wanted = append(wanted, set.Text())
		}
		if !slices.Equal(data, wanted) {
			t.Fatalf("killed at call %d after %d writes, there is %q, want %q", kill, writes, data, wanted)
		}
	}
	if left := s.p.Dump("Z1"); len(left) != 1 || !left[0].Equal(foreign) {
		t.Fatalf("killed at call %d after %d writes, there is left %v", kill, writes, left)
	}
	return killed
}

func TestOfTwoClustersOneGetsTheName(t *testing.T) {
	for name, o := range map[string]memory.Options{"atomic": atomicBatches, "one by one": {}} {
		t.Run(name, func(t *testing.T) {
			p := memory.New(o, zone)
			wanted := [2][]dns.Wanted{many(40, "192.0.2.1"), many(40, "192.0.2.2")}
			var out [2][]dns.Outcome
			var both sync.WaitGroup
			for i, owner := range []string{"us", "them"} {
				both.Go(func() {
					e := &dns.Engine{Owner: owner, Clock: time.Now}
					out[i] = e.Reconcile(t.Context(), p, wanted[i], dns.Options{})
				})
			}
			both.Wait()
			there := map[string]string{}
			for _, s := range p.Dump("Z1") {
				there[string(s.Name)] = s.Values[0]
			}
			for i := range 40 {
				a, b := out[0][i], out[1][i]
				if (a.Err == nil) == (b.Err == nil) {
					t.Errorf("name %d: %v and %v", i, a.Err, b.Err)
					continue
				}
				winner, loser := 0, b
				if a.Err != nil {
					winner, loser = 1, a
				}
				if loser.Class != dns.ClassConflict {
					t.Errorf("name %d: the loser got %v", i, loser.Err)
				}
				n := string(wanted[0][i].Name)
				owner := [2]string{"us", "them"}[winner]
				if there[n] != wanted[winner][i].Sets[0].Values[0] || !strings.Contains(there["_trellis.a."+n], "owner="+owner) {
					t.Errorf("name %d: %s won, and there is %s by %s", i, owner, there[n], there["_trellis.a."+n])
				}
			}
		})
	}
}

func TestTwoOperatorsOfOneClusterSettle(t *testing.T) {
	p := memory.New(atomicBatches, zone)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			e := &dns.Engine{Owner: "us", Clock: time.Now}
			for i, o := range e.Reconcile(t.Context(), p, many(200, "192.0.2.1"), dns.Options{}) {
				if o.Err != nil {
					t.Errorf("name %d: %v", i, o.Err)
				}
			}
		})
	}
	both.Wait()
	names := map[dns.Key]bool{}
	for _, s := range p.Dump("Z1") {
		names[s.Key] = true
	}
	if len(slices.Collect(maps.Keys(names))) != 400 {
		t.Errorf("there are %d record sets, want 400", len(names))
	}
}

func TestAnEndedContextSettlesNothing(t *testing.T) {
	s := newScene(t, atomicBatches)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := s.e.Reconcile(ctx, s.p, many(1, "192.0.2.1"), dns.Options{})[0]
	if !errors.Is(o.Err, context.Canceled) || o.Phase != dns.PhaseWaiting {
		t.Errorf("the outcome is %+v", o)
	}
}
