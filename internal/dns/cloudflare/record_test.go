// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/cloudflare"
	fake "github.com/trellis-mesh/trellis/test/fake/cloudflare"
)

// proxy turns the setting on as the user does in the dashboard.
func (w *world) proxy(t *testing.T, r fake.Record) {
	t.Helper()
	r.Proxied, r.Settings = true, map[string]any{"ipv4_only": true}
	if _, wrong := w.server.Put(w.zone.ID, r); wrong != "" {
		t.Fatal(wrong)
	}
}

func TestNewRecordsAreNotProxied(t *testing.T) {
	w := newWorld(t)
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1")))
	if got := w.records("A"); len(got) != 1 || got[0].Proxied || got[0].TTL != 600 {
		t.Errorf("there is %+v, want one record that is not proxied", got)
	}
}

// Whatever is written to a record of ours, that its user had it proxied stays, and
// so do other settings; and the engine is at rest although the TTL is 1 then.
func TestAProxiedRecordStaysProxiedThroughEveryChange(t *testing.T) {
	w := newWorld(t)
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1")))
	w.proxy(t, w.records("A")[0])
	if plan, err := w.plan(t.Context(), "cluster-a", wanted(set(t, dns.TypeA, "192.0.2.1"))); err != nil || plan.Change != nil {
		t.Errorf("turning the proxy on leaves something to do: %+v, %v", plan, err)
	}
	longer := set(t, dns.TypeA, "192.0.2.1")
	longer.TTL = 3600
	for _, c := range []struct {
		what string
		want dns.Wanted
	}{
		{"another TTL", wanted(longer)},
		{"another address", wanted(set(t, dns.TypeA, "192.0.2.2"))},
		{"one address more", wanted(set(t, dns.TypeA, "192.0.2.2", "192.0.2.3"))},
		{"another family", wanted(set(t, dns.TypeA, "192.0.2.2"), set(t, dns.TypeAAAA, "2001:db8::1"))},
		{"a host name", wanted(set(t, dns.TypeCNAME, "lb.example.net"))},
		{"addresses again", wanted(set(t, dns.TypeA, "192.0.2.2"))},
	} {
		w.must(t, c.want)
		for _, typ := range []string{"A", "AAAA", "CNAME"} {
			for _, r := range w.records(typ) {
				if !r.Proxied {
					t.Errorf("%s: %s %s is not proxied any more", c.what, r.Type, r.Content)
				}
			}
		}
		if c.what == "another address" && w.records("A")[0].Settings["ipv4_only"] != true {
			t.Error("another address took away the settings of the user")
		}
		if plan, err := w.plan(t.Context(), "cluster-a", c.want); err != nil || plan.Change != nil {
			t.Errorf("%s: there is more to do: %+v, %v", c.what, plan, err)
		}
	}
}

// The comment says the TTL that is wanted. Without it there is one write more, and
// no end of the proxying.
func TestAProxiedRecordWhoseCommentWasEditedIsAtRestAfterOneWrite(t *testing.T) {
	w := newWorld(t)
	want := wanted(set(t, dns.TypeA, "192.0.2.1"))
	w.must(t, want)
	r, empty := w.records("A")[0], ""
	r.Comment = &empty
	w.proxy(t, r)
	w.must(t, want)
	if got := w.records("A"); len(got) != 1 || !got[0].Proxied || got[0].ID != r.ID {
		t.Errorf("there is %+v, want the same record, proxied", got)
	}
	if plan, err := w.plan(t.Context(), "cluster-a", want); err != nil || plan.Change != nil {
		t.Errorf("there is more to do: %+v, %v", plan, err)
	}
}

// Resolvers must not see a name without an answer while records spread one by one.
func TestAReplacedValueKeepsItsRecord(t *testing.T) {
	w := newWorld(t)
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1", "192.0.2.2")))
	before := w.records("A")
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.2", "192.0.2.9")))
	after := w.records("A")
	if len(after) != 2 || after[0].ID != before[0].ID || after[1].ID != before[1].ID || after[0].Content != "192.0.2.9" || after[1].ModifiedOn != before[1].ModifiedOn {
		t.Errorf("%+v became %+v, want one record changed in place and the other untouched", before, after)
	}
}

func TestTheOwnerIsRepeatedInComments(t *testing.T) {
	w := newWorld(t)
	want := wanted(set(t, dns.TypeA, "192.0.2.1"))
	want.Resource = "a-rather-long-namespace/" + strings.Repeat("long", 20)
	owner := "0d9a4f5e-3f3c-4d6c-9a55-8b6f0c1d2e3f"
	if _, err := w.reconcile(t.Context(), owner, want); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.server.Dump(w.zone.ID) {
		if r.Comment == nil || !strings.HasPrefix(*r.Comment, "Trellis ttl=") || !strings.Contains(*r.Comment, "owner="+owner+" resource=a-rather-long-") {
			t.Errorf("the comment of %s %s does not say whose it is", r.Name, r.Type)
		}
	}
}

func TestAutomaticTTLsAreSeenAsWhatTheyAre(t *testing.T) {
	w := newWorld(t)
	if _, wrong := w.server.Put(w.zone.ID, fake.Record{Name: string(name), Type: "A", Content: "192.0.2.1", TTL: 1}); wrong != "" {
		t.Fatal(wrong)
	}
	seen, err := w.provider.Read(t.Context(), w.zone, []dns.Name{name})
	if err != nil || len(seen) != 1 || seen[0].TTL != 300 {
		t.Errorf("there is %+v, %v, want a TTL of 300", seen, err)
	}
}

func TestTextsWithoutQuotesAreReadWhole(t *testing.T) {
	w := newWorld(t)
	if _, wrong := w.server.Put(w.zone.ID, fake.Record{Name: string(name), Type: "TXT", Content: `v=spf1 "a" -all`, TTL: 300}); wrong != "" {
		t.Fatal(wrong)
	}
	seen, err := w.provider.Read(t.Context(), w.zone, []dns.Name{name})
	if err != nil || len(seen) != 1 || seen[0].Values[0] != `v=spf1 "a" -all` {
		t.Errorf("there is %+v, %v", seen, err)
	}
}

func TestRecordsOfOneSetWithSeveralTTLsAreMended(t *testing.T) {
	w := newWorld(t)
	want := wanted(set(t, dns.TypeA, "192.0.2.1", "192.0.2.2"))
	w.must(t, want)
	r := w.records("A")[1]
	r.TTL = 120
	if _, wrong := w.server.Put(w.zone.ID, r); wrong != "" {
		t.Fatal(wrong)
	}
	w.must(t, want)
	w.settled(t, want)
}

// A CNAME at the apex is flattened, and mail goes on beside it.
func TestACNAMEAtTheApexStandsBesideMail(t *testing.T) {
	w := newWorld(t)
	w.put(t, dns.RecordSet{Key: dns.Key{Name: w.zone.Name, Type: "MX"}, TTL: 300, Values: []string{"mail.example.net"}})
	sets, err := w.provider.Point(w.zone, w.zone.Name, "", 300, dns.Target{Host: "lb.example.net"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: w.zone.Name, Create: sets}}); err != nil {
		t.Error(err)
	}
}

func TestAChangeHasSpreadWhenItsTimeIsOver(t *testing.T) {
	w := newWorld(t)
	now := time.Unix(1_800_000_000, 0)
	p, err := cloudflare.New(cloudflare.Options{Token: goodToken, Endpoint: w.base, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := p.Apply(t.Context(), w.zone, []dns.Change{{Name: name, Create: []dns.RecordSet{set(t, dns.TypeA, "192.0.2.1")}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if done, err := p.Spread(t.Context(), w.zone, receipt); err != nil || done != want {
			t.Errorf("at %s it is %t, %v, want %t", now, done, err, want)
		}
		now = now.Add(5 * time.Second)
	}
}

// Any write to a record of ours since it was read is noticed, also one that
// resolvers would not.
func TestAnEditedCommentMakesAWriteStale(t *testing.T) {
	w := newWorld(t)
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1")))
	seen, err := w.provider.Read(t.Context(), w.zone, []dns.Name{name})
	if err != nil || len(seen) != 1 {
		t.Fatalf("there is %v, %v", seen, err)
	}
	r, note := w.records("A")[0], "do not delete before Monday"
	r.Comment = &note
	if _, wrong := w.server.Put(w.zone.ID, r); wrong != "" {
		t.Fatal(wrong)
	}
	if _, err := w.provider.Apply(t.Context(), w.zone, []dns.Change{{Name: name, Delete: seen}}); !errors.Is(err, dns.ErrStale) {
		t.Errorf("the error is %v, want ErrStale", err)
	}
}

// Without marks nothing at the service tells two creates apart.
func TestWritersOfOneProviderComeOneAfterAnother(t *testing.T) {
	w := newWorld(t)
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		change := []dns.Change{{Name: name, Create: []dns.RecordSet{set(t, dns.TypeA, fmt.Sprintf("192.0.2.%d", i))}}}
		all.Go(func() {
			if _, err := w.provider.Apply(t.Context(), w.zone, change); err == nil {
				won.Add(1)
			} else if !errors.Is(err, dns.ErrStale) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || len(w.records("A")) != 1 {
		t.Errorf("%d writers won, and there are %d records, want one and one", won.Load(), len(w.records("A")))
	}
}

// meanwhile lets somebody else act right before the batch of the next Apply.
func (w *world) meanwhile(act func()) {
	done := false
	w.server.Fail(func(_ int, r *http.Request) fake.Fault {
		if r.Method == http.MethodPost && !done {
			done = true
			act()
		}
		return fake.Serve
	})
}

// Two operators with a Provider each have both compared before either writes.
func TestOfTwoClustersThatComparedTheSecondFindsTheMarkGone(t *testing.T) {
	for name, next := range map[string]dns.Wanted{
		"an update": wanted(set(t, dns.TypeA, "192.0.2.3")), "a type change": wanted(set(t, dns.TypeCNAME, "b.example.net")), "a withdrawal": wanted(),
	} {
		w := newWorld(t)
		w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1")))
		other := *w
		other.provider = w.as(t, goodToken)
		theirs := wanted(set(t, dns.TypeA, "192.0.2.2"))
		w.meanwhile(func() {
			if _, err := other.reconcile(t.Context(), "cluster-a", theirs); err != nil {
				t.Errorf("%s: the first writer: %v", name, err)
			}
		})
		_, err := w.reconcile(t.Context(), "cluster-a", next)
		if !errors.Is(err, dns.ErrStale) {
			t.Errorf("%s: the second writer got %v, want ErrStale", name, err)
		}
		w.settled(t, theirs)
	}
}

// The window that is left: both create where nothing was. The second sees it, and
// whichever of the clusters looks next, there is one owner and no orphan.
func TestTwoClustersThatCreateAtOnceAreFoundAndAgreeOnOneOwner(t *testing.T) {
	w := newWorld(t)
	other := *w
	other.provider = w.as(t, goodToken)
	ours, theirs := wanted(set(t, dns.TypeA, "192.0.2.1")), wanted(set(t, dns.TypeA, "192.0.2.2"))
	w.meanwhile(func() {
		if _, err := other.reconcile(t.Context(), "cluster-b", theirs); err != nil {
			t.Error(err)
		}
	})
	if _, err := w.reconcile(t.Context(), "cluster-a", ours); !errors.Is(err, dns.ErrStale) || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("the error is %v, want ErrStale that says why", err)
	}
	if plan, err := other.plan(t.Context(), "cluster-b", theirs); err != nil || plan.Change != nil || len(plan.Conflicts) == 0 {
		t.Errorf("the other cluster plans %+v, %v, want a conflict", plan, err)
	}
	w.must(t, ours)
	w.settled(t, ours)
	if plan, err := other.plan(t.Context(), "cluster-b", theirs); err != nil || plan.Change != nil || len(plan.Conflicts) == 0 {
		t.Errorf("the other cluster plans %+v, %v, want a conflict", plan, err)
	}
}

func TestWhatWasEditedInTheMomentOfADeleteIsReported(t *testing.T) {
	w := newWorld(t)
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1")))
	w.meanwhile(func() {
		r := w.records("A")[0]
		r.Content = "192.0.2.77"
		if _, wrong := w.server.Put(w.zone.ID, r); wrong != "" {
			t.Error(wrong)
		}
	})
	if _, err := w.reconcile(t.Context(), "cluster-a", wanted()); !errors.Is(err, dns.ErrStale) || !strings.Contains(err.Error(), "192.0.2.77") {
		t.Errorf("the error is %v, want ErrStale that says what was deleted", err)
	}
}

func TestWhatWasAddedInTheMomentOfAWriteIsReportedAndStays(t *testing.T) {
	w := newWorld(t)
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1")))
	w.meanwhile(func() {
		if _, wrong := w.server.Put(w.zone.ID, fake.Record{Name: string(name), Type: "A", Content: "192.0.2.77", TTL: 300}); wrong != "" {
			t.Error(wrong)
		}
	})
	if _, err := w.reconcile(t.Context(), "cluster-a", wanted(set(t, dns.TypeA, "192.0.2.2"))); !errors.Is(err, dns.ErrStale) || !strings.Contains(err.Error(), "192.0.2.77") {
		t.Errorf("the error is %v, want ErrStale that says what was added", err)
	}
	if got := w.records("A"); len(got) != 2 {
		t.Errorf("there is %+v, want both records", got)
	}
}

// Whatever is turned on in the moment of an update is not among what is sent.
func TestAProxyTurnedOnInTheMomentOfAWriteStaysOn(t *testing.T) {
	w := newWorld(t)
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.1")))
	w.meanwhile(func() { w.proxy(t, w.records("A")[0]) })
	w.must(t, wanted(set(t, dns.TypeA, "192.0.2.2")))
	if got := w.records("A"); len(got) != 1 || !got[0].Proxied || got[0].Content != "192.0.2.2" {
		t.Errorf("there is %+v, want the new address, proxied", got)
	}
}
