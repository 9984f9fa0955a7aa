// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package externaldns_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/plan"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/rfc2136"
	"github.com/trellis-mesh/trellis/test/nameserver"
	"github.com/trellis-mesh/trellis/test/oracle/externaldns"
)

const (
	zone   = "example.test"
	theirs = "their-cluster"
	ours   = "our-cluster"
)

// world is one zone with both tools.
type world struct {
	*testing.T
	server   *nameserver.Server
	peer     *externaldns.Peer
	provider dns.Provider
	engine   *dns.Engine
	ahead    time.Duration
}

// inWorlds runs a test on every name server that there is.
func inWorlds(t *testing.T, test func(w *world)) {
	for _, kind := range []nameserver.Kind{nameserver.Process, nameserver.BIND} {
		t.Run(string(kind), func(t *testing.T) {
			s, err := nameserver.Start(t.Context(), kind, zone)
			var missing *nameserver.UnavailableError
			if errors.As(err, &missing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Stop)
			w := &world{T: t, server: s}
			w.provider, err = rfc2136.New(rfc2136.Options{Server: s.Address, Zones: []dns.Name{zone},
				Key: &rfc2136.Key{Name: s.KeyName, Algorithm: s.Algorithm, Secret: s.Secret}})
			if err != nil {
				t.Fatal(err)
			}
			w.peer = w.another(theirs)
			w.engine = &dns.Engine{Owner: ours, Clock: func() time.Time { return time.Now().Add(w.ahead) }}
			test(w)
		})
	}
}

// another is one more ExternalDNS on the same zone.
func (w *world) another(owner string, flags ...string) *externaldns.Peer {
	w.Helper()
	s := w.server
	p, err := externaldns.New(w.Context(), externaldns.Server{
		Address: s.Address, Zone: zone, KeyName: string(s.KeyName), Algorithm: s.Algorithm, Secret: s.Secret,
	}, owner, flags...)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// round is one of ExternalDNS'.
func (w *world) round(p *externaldns.Peer, desired ...*endpoint.Endpoint) *plan.Changes {
	w.Helper()
	changes, _, err := p.Round(w.Context(), desired)
	if err != nil {
		w.Fatal(err)
	}
	return changes
}

// reconcile is one of ours, by an engine that believes nothing it saw before.
func (w *world) reconcile(wanted ...dns.Wanted) []dns.Outcome {
	w.Helper()
	w.ahead += 24 * time.Hour
	return w.engine.Reconcile(w.Context(), w.provider, wanted, dns.Options{Account: "a"})
}

// own makes wishes come true, or ends the test.
func (w *world) own(wanted ...dns.Wanted) []dns.Outcome {
	w.Helper()
	out := w.reconcile(wanted...)
	for i, o := range out {
		if o.Phase != dns.PhaseDone {
			w.Fatalf("%s is %s: %v", wanted[i].Name, o.Phase, o.Err)
		}
	}
	return out
}

// dump is the zone as text by name and type, but its SOA and NS. It takes names
// that Trellis would not.
func (w *world) dump() map[string]string {
	w.Helper()
	s := w.server
	q := new(mdns.Msg).SetAxfr(s.Zone.FQDN())
	q.SetTsig(s.KeyName.FQDN(), mdns.HmacSHA256, 300, time.Now().Unix())
	transfer := mdns.Transfer{TsigSecret: map[string]string{s.KeyName.FQDN(): s.Secret}}
	envelopes, err := transfer.In(q, s.Address)
	if err != nil {
		w.Fatal(err)
	}
	texts := map[string][]string{}
	for e := range envelopes {
		if e.Error != nil {
			w.Fatal(e.Error)
		}
		for _, rr := range e.RR {
			h := rr.Header()
			if h.Rrtype == mdns.TypeSOA || h.Rrtype == mdns.TypeNS {
				continue
			}
			key := strings.TrimSuffix(strings.ToLower(h.Name), ".") + " " + mdns.TypeToString[h.Rrtype]
			texts[key] = append(texts[key], rr.String())
		}
	}
	out := map[string]string{}
	for key, lines := range texts {
		slices.Sort(lines)
		out[key] = strings.Join(lines, "; ")
	}
	return out
}

// kept fails where anything of before is not as it was, and returns what has come.
func (w *world) kept(what string, before map[string]string) []string {
	w.Helper()
	after := w.dump()
	for key, was := range before {
		if after[key] != was {
			w.Errorf("%s: %s was %s and is %s", what, key, was, cmp.Or(after[key], "no more"))
		}
		delete(after, key)
	}
	return slices.Sorted(maps.Keys(after))
}

func set(t *testing.T, name string, typ dns.Type, values ...string) dns.RecordSet {
	t.Helper()
	s, err := dns.NewRecordSet(dns.Key{Name: dns.Name(name), Type: typ}, 300, values...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func want(sets ...dns.RecordSet) dns.Wanted {
	return dns.Wanted{Resource: "shop/" + string(sets[0].Name), Name: sets[0].Name, Sets: sets}
}

func point(name, typ string, targets ...string) *endpoint.Endpoint {
	return endpoint.NewEndpointWithTTL(name, typ, 300, targets...)
}

// published is what ExternalDNS has in the tests that are about its records.
func published() []*endpoint.Endpoint {
	return []*endpoint.Endpoint{
		point("app."+zone, "A", "192.0.2.1"),
		point("six."+zone, "AAAA", "2001:db8::1"),
		point("web."+zone, "CNAME", "app."+zone),
		point("both."+zone, "A", "192.0.2.1", "192.0.2.2"),
		point("both."+zone, "AAAA", "2001:db8::1"),
	}
}

// rivals are wishes for those names: the same values and others, the same type and
// those that cannot stand beside it.
func rivals(t *testing.T) []dns.Wanted {
	return []dns.Wanted{
		want(set(t, "app."+zone, "A", "192.0.2.1")),
		want(set(t, "app."+zone, "A", "203.0.113.1")),
		want(set(t, "app."+zone, "CNAME", "elsewhere.test")),
		want(set(t, "six."+zone, "AAAA", "2001:db8::2")),
		want(set(t, "six."+zone, "CNAME", "elsewhere.test")),
		want(set(t, "web."+zone, "CNAME", "elsewhere.test")),
		want(set(t, "web."+zone, "A", "203.0.113.1")),
		want(set(t, "both."+zone, "A", "203.0.113.1"), set(t, "both."+zone, "AAAA", "2001:db8::2")),
	}
}

func TestNoRecordOfExternalDNSIsWrittenAndItsOwnerIsNamed(t *testing.T) {
	inWorlds(t, func(w *world) {
		w.round(w.peer, published()...)
		before := w.dump()
		if len(before) != 2*len(published()) {
			w.Fatalf("ExternalDNS wrote %v", before)
		}
		for _, policy := range []dns.Policy{dns.PolicySync, dns.PolicyUpsertOnly, dns.PolicyCreateOnly} {
			for _, wish := range rivals(w.T) {
				wish.Policy = policy
				o := w.reconcile(wish)[0]
				if o.Class != dns.ClassConflict || len(o.Conflicts) == 0 {
					w.Fatalf("%s under %s: %s, %v", wish.Sets[0].Text(), policy, o.Phase, o.Err)
				}
				for _, c := range o.Conflicts {
					if c.Owner != "external-dns (owner id "+theirs+")" {
						w.Errorf("%s under %s: the owner of %s is said to be %s", wish.Sets[0].Text(), policy, c.There, c.Owner)
					}
				}
				// It was never ours, so that there is nothing to withdraw.
				gone := wish
				gone.Sets = nil
				w.own(gone)
				if more := w.kept(wish.Sets[0].Text(), before); len(more) > 0 {
					w.Errorf("%s under %s: %v came", wish.Sets[0].Text(), policy, more)
				}
			}
		}
		if c := w.round(w.peer, published()...); c.HasChanges() {
			w.Errorf("ExternalDNS finds something to repair: %v", c)
		}
	})
}

// TestAWildcardOfExternalDNSIsNotTouched is apart from the other types: where its
// mark is depends on a flag, and by default it has a name that not all servers
// take, so that Trellis cannot say whose the wildcard is.
func TestAWildcardOfExternalDNSIsNotTouched(t *testing.T) {
	inWorlds(t, func(w *world) {
		for i, flags := range [][]string{{"--txt-wildcard-replacement=any"}, nil} {
			if flags == nil && w.server.Kind != nameserver.BIND {
				continue
			}
			name := fmt.Sprintf("*.w%d.%s", i, zone)
			w.round(w.another(fmt.Sprint(theirs, i), flags...), point(name, "A", "192.0.2.1"))
			before := w.dump()
			if before[name+" A"] == "" {
				w.Fatalf("ExternalDNS wrote %v", before)
			}
			for _, wish := range []dns.Wanted{want(set(w.T, name, "A", "203.0.113.1")), want(set(w.T, name, "CNAME", "elsewhere.test"))} {
				if o := w.reconcile(wish)[0]; o.Class != dns.ClassConflict {
					w.Errorf("%s: %s, %v", wish.Sets[0].Text(), o.Phase, o.Err)
				}
				if more := w.kept(wish.Sets[0].Text(), before); len(more) > 0 {
					w.Errorf("%v came", more)
				}
			}
		}
	})
}

// owned is what Trellis has in the tests that are about its records: all types,
// the apex, a wildcard, and a text that is shared.
func owned(t *testing.T) []dns.Wanted {
	challenge := want(set(t, "_acme-challenge.app."+zone, "TXT", "token"))
	challenge.Shared = true
	return []dns.Wanted{
		want(set(t, "app."+zone, "A", "192.0.2.1"), set(t, "app."+zone, "AAAA", "2001:db8::1")),
		want(set(t, "web."+zone, "CNAME", "app."+zone)),
		want(set(t, "*.wild."+zone, "A", "192.0.2.1")),
		want(set(t, zone, "A", "192.0.2.1")),
		// Where ExternalDNS would put its own mark for "new".
		want(set(t, "a-new."+zone, "CNAME", "app."+zone)),
		challenge,
	}
}

// overlapping is all that somebody could ask of ExternalDNS at the names of owned
// and at their marks, and two names that are free.
func overlapping() []*endpoint.Endpoint {
	out := []*endpoint.Endpoint{
		point("new."+zone, "A", "203.0.113.1"),
		point("free."+zone, "A", "203.0.113.1"),
		point("_acme-challenge.app."+zone, "TXT", `"another"`),
	}
	for _, name := range []string{"app." + zone, "*.wild." + zone, zone} {
		out = append(out, point(name, "A", "203.0.113.1"), point(name, "AAAA", "2001:db8::2"), point(name, "TXT", `"text"`))
	}
	for _, name := range []string{"web." + zone, "a-new." + zone} {
		out = append(out, point(name, "CNAME", "elsewhere.test"))
	}
	for _, mark := range []string{"_trellis.a.app." + zone, "_trellis.cname.web." + zone, "_trellis.a." + zone, "_trellis.a._wildcard.wild." + zone} {
		out = append(out, point(mark, "TXT", `"heritage=nobody"`))
	}
	return out
}

// crossing asks for the other type everywhere.
func crossing() []*endpoint.Endpoint {
	out := []*endpoint.Endpoint{point("free."+zone, "A", "203.0.113.1"), point("web."+zone, "A", "203.0.113.1"), point("a-new."+zone, "A", "203.0.113.1")}
	for _, name := range []string{"app." + zone, "*.wild." + zone, "_acme-challenge.app." + zone, "_trellis.a.app." + zone, "_trellis.a." + zone} {
		out = append(out, point(name, "CNAME", "elsewhere.test"))
	}
	return out
}

func TestNoRecordOfTrellisIsWrittenByExternalDNS(t *testing.T) {
	inWorlds(t, func(w *world) {
		wishes := owned(w.T)
		for i, o := range w.own(wishes...) {
			wishes[i].Known = o.Owned
		}
		before := w.dump()
		if len(before) != 7+6 {
			w.Fatalf("Trellis wrote %v", before)
		}
		for name, flags := range map[string][]string{
			"default types":  nil,
			"texts as well":  {"--managed-record-types=A", "--managed-record-types=AAAA", "--managed-record-types=CNAME", "--managed-record-types=TXT"},
			"the same owner": nil,
		} {
			owner := theirs
			if name == "the same owner" {
				// Owner ids of two tools are no names in common.
				owner = ours
			}
			peer := w.another(owner, flags...)
			for list, desired := range map[string]func() []*endpoint.Endpoint{"overlapping": overlapping, "crossing": crossing} {
				w.round(peer, desired()...)
				came := w.kept(name+", "+list, before)
				if !slices.Contains(came, "free."+zone+" A") {
					w.Errorf("%s: ExternalDNS wrote only %v: nothing was shown", name, came)
				}
				w.round(peer, desired()...)
				w.kept(name+", "+list+" again", before)
				// All that Trellis wants is still as it wants it.
				for i, o := range w.reconcile(wishes...) {
					if o.Phase != dns.PhaseDone || o.Written || len(o.Steps) > 0 {
						w.Errorf("%s, %s: Trellis finds %s %s: %v %v", name, list, wishes[i].Name, o.Phase, o.Steps, o.Err)
					}
				}
				w.round(peer)
				came = w.kept(name+", nothing desired", before)
				if slices.Contains(came, "free."+zone+" A") {
					w.Errorf("%s: ExternalDNS left %v: nothing was shown", name, came)
				}
			}
		}
	})
}

func TestARecordIsAdoptedFromExternalDNSOnlyWhenTold(t *testing.T) {
	inWorlds(t, func(w *world) {
		w.round(w.peer, published()...)
		before := w.dump()
		wish := want(set(w.T, "app."+zone, "A", "203.0.113.1"))
		if o := w.reconcile(wish)[0]; o.Class != dns.ClassConflict {
			w.Fatalf("%s: %v", o.Phase, o.Err)
		}
		w.kept("without adopt", before)
		wish.Adopt = true
		o := w.own(wish)[0]
		if !slices.ContainsFunc(o.Steps, func(s dns.Step) bool { return s.Verb == "adopt" }) {
			w.Errorf("the steps are %v", o.Steps)
		}
		// Its value is ours now, and ExternalDNS' mark may go or stay.
		delete(before, "app."+zone+" A")
		delete(before, "a-app."+zone+" TXT")
		more := slices.DeleteFunc(w.kept("with adopt", before), func(key string) bool { return key == "a-app."+zone+" TXT" })
		if !slices.Equal(more, []string{"_trellis.a.app." + zone + " TXT", "app." + zone + " A"}) {
			w.Errorf("written were %v", more)
		}
		if got := w.dump()["app."+zone+" A"]; !strings.Contains(got, "203.0.113.1") {
			w.Errorf("the record is %s", got)
		}
	})
}

// TestAnAdoptedRecordWithoutTheOldMarkIsLeftAloneByExternalDNS is the end of a
// hand-over. As long as its mark stands, ExternalDNS takes the record for its own.
func TestAnAdoptedRecordWithoutTheOldMarkIsLeftAloneByExternalDNS(t *testing.T) {
	inWorlds(t, func(w *world) {
		w.round(w.peer, published()...)
		wish := want(set(w.T, "app."+zone, "A", "203.0.113.1"))
		wish.Adopt = true
		wish.Known = w.own(wish)[0].Owned
		mark := dns.RecordSet{Key: dns.Key{Name: "a-app." + zone, Type: dns.TypeTXT}}
		if err := w.server.Put(w.Context(), mark); err != nil {
			w.Fatal(err)
		}
		wish.Adopt = false
		before := w.dump()
		for _, desired := range [][]*endpoint.Endpoint{published(), published()[1:]} {
			if c := w.round(w.peer, desired...); c.HasChanges() {
				w.Errorf("ExternalDNS finds something to do: %v", c)
			}
			if more := w.kept("after the hand-over", before); len(more) > 0 {
				w.Errorf("%v came", more)
			}
			if o := w.own(wish)[0]; o.Written {
				w.Errorf("Trellis finds something to do: %v", o.Steps)
			}
		}
	})
}
