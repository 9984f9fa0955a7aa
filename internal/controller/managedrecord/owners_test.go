// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	fake "github.com/trellis-mesh/trellis/test/fake/route53"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// later lets what was seen be forgotten: the zone is looked at again.
func (w *world) later() {
	w.clock.Step(2 * time.Hour)
	w.reconcile()
}

// mark is where the mark of an address is.
func mark(name string) string { return "_trellis.a." + name }

func TestAMarkDeletedByHandIsPutBackWhereTheEntryIsAsWeWroteIt(t *testing.T) {
	everywhere(t, func(w *world) {
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.want("blog", "blog."+zone, addresses("192.0.2.1"))
		w.reconcile()
		before := w.entries()
		w.put(mark("shop."+zone), dns.TypeTXT)
		w.put(mark("blog."+zone), dns.TypeTXT)
		w.put("blog."+zone, dns.TypeA, "192.0.2.66")
		w.news()
		w.later()
		w.is("shop", dns.PhaseDone, "Done")
		if news := w.news(); len(news) != 2 || !strings.Contains(news[0], "EntryMarked") {
			w.Errorf("the events are %q", news)
		}
		// Another entry without a mark is somebody else's.
		w.is("blog", dns.PhaseBlocked, "Conflict", "192.0.2.66", "nobody that Trellis knows")
		got := slices.DeleteFunc(w.entries(), func(s string) bool { return strings.Contains(s, "blog.") })
		want := slices.DeleteFunc(before, func(s string) bool { return strings.Contains(s, "blog.") })
		if !slices.Equal(got, want) {
			w.Errorf("the zone has %q, want %q", got, want)
		}
		w.remove(w.record("blog"))
		w.reconcile()
		if got := w.data(); !slices.Contains(got, "blog.example.test A → 192.0.2.66") {
			w.Errorf("what is somebody else's was deleted: %q", got)
		}
	})
}

func TestAnEntryAsWeWroteItWithAnotherToolsMarkIsTheirs(t *testing.T) {
	everywhere(t, func(w *world) {
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.reconcile()
		// ExternalDNS has taken it over: the address is the same.
		w.put(mark("shop."+zone), dns.TypeTXT)
		w.put("a-shop."+zone, dns.TypeTXT, "heritage=external-dns,external-dns/owner=blue,external-dns/resource=ingress/x/y")
		before := w.entries()
		w.later()
		w.is("shop", dns.PhaseBlocked, "Conflict", "external-dns (owner id blue)", "spec.adopt")
		w.change("shop", addresses("192.0.2.2"))
		w.reconcile()
		w.is("shop", dns.PhaseBlocked, "Conflict", "external-dns (owner id blue)")
		shop := w.record("shop")
		w.remove(shop)
		w.reconcile()
		if w.there(shop) {
			w.Errorf("nothing is ours, and it is kept: %+v", shop.Status)
		}
		if after := w.entries(); !slices.Equal(after, before) {
			w.Errorf("the zone has %q after %q", after, before)
		}
	})
}

func TestAWildcardOfAnotherToolIsTheirsUntilItIsAdopted(t *testing.T) {
	everywhere(t, func(w *world) {
		w.put("*.shop."+zone, dns.TypeA, "192.0.2.7")
		w.put("a-*.shop."+zone, dns.TypeTXT, "heritage=external-dns,external-dns/owner=blue,external-dns/resource=ingress/x/y")
		w.want("shop", "*.shop."+zone, addresses("192.0.2.1"))
		w.reconcile()
		w.is("shop", dns.PhaseBlocked, "Conflict", "external-dns (owner id blue)")
		w.change("shop", func(s *v1alpha1.ManagedRecordSpec) { s.Adopt = true })
		w.reconcile()
		w.is("shop", dns.PhaseDone, "Done")
		w.has("*.shop.example.test A → 192.0.2.1")
		w.want("odd", "a-*.odd."+zone, addresses("192.0.2.1"))
		w.reconcile()
		w.is("odd", dns.PhaseBlocked, "Invalid", "no wildcard")
	})
}

func TestWhatKuadrantMarkedIsLeftAlone(t *testing.T) {
	everywhere(t, func(w *world) {
		const theirs = "kuadrant-2bx7ak-a-shop." + zone
		w.put("shop."+zone, dns.TypeA, "192.0.2.7")
		w.put(theirs, dns.TypeTXT, "heritage=kuadrant-dns-operator,kuadrant-dns-operator/owner=2bx7ak,kuadrant-dns-operator/version=1")
		before := w.entries()
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.reconcile()
		w.is("shop", dns.PhaseBlocked, "Conflict", "192.0.2.7")
		w.want("other", theirs, addresses("192.0.2.1"))
		w.reconcile()
		w.is("other", dns.PhaseDone, "Done")
		w.remove(w.record("other"))
		w.reconcile()
		if after := w.entries(); !slices.Equal(after, before) {
			w.Errorf("the zone has %q after %q", after, before)
		}
	})
}

// beside is another cluster that writes to the same zone.
func (w *world) beside(uid types.UID) *world {
	w.Helper()
	out := newWorld(w.T)
	out.cluster, out.zone = uid, w.zone
	out.restart()
	out.secret("tsig", map[string]string{"name": string(w.zone.KeyName), "algorithm": w.zone.Algorithm, "secret": w.zone.Secret})
	out.create(&v1alpha1.DNSProvider{ObjectMeta: out.meta("dns"), Spec: *w.dns().Spec.DeepCopy()})
	return out
}

func TestTwoOperatorsThatRaceOnOneZoneHaveOneWinnerForEachName(t *testing.T) {
	for kind, start := range map[string]func(t *testing.T) [2]*world{
		"Route 53": func(t *testing.T) [2]*world {
			a := newAccount(t)
			return [2]*world{a.cluster("cluster-one"), a.cluster("cluster-two")}
		},
		"BIND": func(t *testing.T) [2]*world {
			w := withZone(t, nameserver.BIND)
			return [2]*world{w, w.beside("cluster-two")}
		},
		"in-process": func(t *testing.T) [2]*world {
			w := withZone(t, nameserver.Process)
			return [2]*world{w, w.beside("cluster-two")}
		},
	} {
		t.Run(kind, func(t *testing.T) {
			const n = 12
			clusters := start(t)
			for i := range n {
				for j, w := range clusters {
					w.want(fmt.Sprintf("r%02d", i), fmt.Sprintf("r%02d.%s", i, zone), addresses(fmt.Sprintf("192.0.2.%d", j+1)))
				}
			}
			for range 4 {
				var race sync.WaitGroup
				errs := [2]error{}
				for j, w := range clusters {
					race.Go(func() { _, errs[j] = w.once() })
				}
				race.Wait()
				if err := errors.Join(errs[:]...); err != nil {
					t.Fatal(err)
				}
				for _, w := range clusters {
					w.clock.Step(20 * time.Minute)
				}
			}
			for i := range n {
				name := fmt.Sprintf("r%02d", i)
				winner, loser := clusters[0], clusters[1]
				if winner.record(name).Status.Phase != string(dns.PhaseDone) {
					winner, loser = loser, winner
				}
				winner.is(name, dns.PhaseDone, "Done")
				loser.is(name, dns.PhaseBlocked, "Conflict", "another cluster", winner.namespace+"/"+name)
			}
		})
	}
}

func TestOfTwoZonesOfOneNameOneMustBeSaid(t *testing.T) {
	a := newAccount(t)
	other := a.fake.AddZone(zone, false)
	w := a.cluster("cluster-one")
	w.want("shop", string(shop), addresses("192.0.2.1"))
	w.reconcile()
	w.is("shop", dns.PhaseBlocked, "ZoneAmbiguous", a.zone.ID, other, "spec.zones of the DNSProvider")
	if n := a.fake.Calls("ChangeResourceRecordSets"); n != 0 {
		t.Errorf("it was written %d times", n)
	}
	w.provider(func(s *v1alpha1.DNSProviderSpec) { s.Zones = []string{a.zone.ID} })
	w.reconcile()
	if r := w.is("shop", dns.PhaseDone, "Done"); r.Status.Zone.ID != a.zone.ID {
		t.Errorf("it is in the zone %+v", r.Status.Zone)
	}
	a.has([]dns.Name{shop}, "shop.example.test A → 192.0.2.1")
}

func TestPrivateZonesAreUsedWhereTheyAreAskedForAndElseNot(t *testing.T) {
	a := newAccount(t)
	private := a.fake.AddZone("private.test", true)
	inside := a.fake.AddZone(zone, true)
	w := a.cluster("cluster-one")
	w.want("shop", string(shop), addresses("192.0.2.1"))
	w.want("inner", "inner.private.test", addresses("192.0.2.1"))
	w.reconcile()
	if r := w.is("shop", dns.PhaseDone, "Done"); r.Status.Zone.ID != a.zone.ID {
		t.Errorf("it is in the zone %+v", r.Status.Zone)
	}
	w.is("inner", dns.PhaseBlocked, "ZoneNotFound", "private.test (private)")
	// Two DNSProviders give a name to both: split-horizon.
	spec := *w.dns().Spec.DeepCopy()
	spec.Private = true
	w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("inside"), Spec: spec})
	for name, at := range map[string]string{"shop-inside": string(shop), "inner-inside": "inner.private.test"} {
		w.want(name, at, func(s *v1alpha1.ManagedRecordSpec) { s.Addresses, s.ProviderRef.Name = []string{"10.0.0.1"}, "inside" })
	}
	w.onceAt("inside")
	if r := w.is("shop-inside", dns.PhaseDone, "Done"); r.Status.Zone.ID != inside {
		t.Errorf("it is in the zone %+v", r.Status.Zone)
	}
	if r := w.is("inner-inside", dns.PhaseDone, "Done"); r.Status.Zone.ID != private {
		t.Errorf("it is in the zone %+v", r.Status.Zone)
	}
}

// onceAt works once on a DNSProvider.
func (w *world) onceAt(provider string) {
	w.Helper()
	if _, err := w.r.Reconcile(w.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: w.namespace, Name: provider}}); err != nil {
		w.Fatal(err)
	}
}

func TestAZoneThatIsDeletedIsSaidAndFoundAgain(t *testing.T) {
	a := newAccount(t)
	w := a.cluster("cluster-one")
	w.want("shop", string(shop), addresses("192.0.2.1"))
	w.reconcile()
	a.fake.RemoveZone(a.zone.ID)
	w.change("shop", addresses("192.0.2.2"))
	w.reconcile()
	w.is("shop", dns.PhaseBlocked, "ZoneNotFound", "make the zone")
	id := a.fake.AddZone(zone, false)
	w.clock.Step(20 * time.Minute)
	w.reconcile()
	if r := w.is("shop", dns.PhaseDone, "Done", "192.0.2.2"); r.Status.Zone.ID != id {
		t.Errorf("it is in the zone %+v", r.Status.Zone)
	}
}

func TestOneThatTheServiceRefusesDoesNotHoldUpItsBatch(t *testing.T) {
	a := newAccount(t)
	w := a.cluster("cluster-one")
	for i := range 7 {
		w.want(fmt.Sprintf("r%d", i), fmt.Sprintf("r%d.%s", i, zone), addresses("192.0.2.1"))
	}
	// The service alone knows which places there are.
	w.want("bad", "bad."+zone, located(v1alpha1.GeographicRouting{Country: "LI", Subdivision: "X"}, "192.0.2.1"))
	w.reconcile()
	for i := range 7 {
		w.is(fmt.Sprintf("r%d", i), dns.PhaseDone, "Done")
	}
	w.is("bad", dns.PhaseBlocked, "Invalid", "geolocation")
	if n := a.fake.Calls("ChangeResourceRecordSets"); n > 8 {
		t.Errorf("it took %d changes to find one of 8", n)
	}
}

// leads checks that there is an address.
func (a *account) leads(name dns.Name) {
	a.Helper()
	sets, err := a.all.Read(a.Context(), a.zone, []dns.Name{name})
	if err != nil || len(sets) != 1 {
		a.Fatalf("%s has %v, %v", name, sets, err)
	}
}

// A SecureIngress whose providerRef changes gets another ManagedRecord for each
// host, and the old one is deleted, in either order.
func TestANameGoesFromOneAccountOfAZoneToAnotherWithoutAGap(t *testing.T) {
	for _, order := range []string{"the new one first", "the old one first"} {
		t.Run(order, func(t *testing.T) {
			a := newAccount(t)
			a.fake.AddKey("AKIANEXT", fake.Key{Secret: "next-secret"})
			w := a.cluster("cluster-one")
			w.secret("next", map[string]string{"accessKeyID": "AKIANEXT", "secretAccessKey": "next-secret"})
			spec := *w.dns().Spec.DeepCopy()
			spec.Route53.CredentialsSecretRef.Name = "next"
			w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("next"), Spec: spec})
			w.want("shop", string(shop), addresses("192.0.2.1"))
			w.reconcile()
			// Both lead to the same place.
			w.want("shop-next", string(shop), func(s *v1alpha1.ManagedRecordSpec) { s.Addresses, s.ProviderRef.Name = []string{"192.0.2.1"}, "next" })
			old := w.record("shop")
			w.remove(old)
			providers := []string{"next", "dns"}
			if order == "the old one first" {
				slices.Reverse(providers)
			}
			for round := range 3 {
				for _, p := range providers {
					w.onceAt(p)
					a.leads(shop)
				}
				if round == 0 && order == "the old one first" {
					w.is("shop", dns.PhaseWaiting, "AwaitingSuccessor", w.namespace+"/shop-next")
				}
				w.clock.Step(20 * time.Minute)
			}
			if w.there(old) {
				t.Errorf("the old one is still there: %+v", old.Status)
			}
			w.is("shop-next", dns.PhaseDone, "Done", "192.0.2.1")
			a.has(shopMarks("", "cluster-one"), "shop.example.test A → 192.0.2.1",
				"_trellis.a.shop.example.test TXT → \"heritage=trellis,trellis/owner=cluster-one,trellis/resource="+w.namespace+"/shop-next\"")
		})
	}
}

func TestANameGoesFromOneZoneToAnother(t *testing.T) {
	a := newAccount(t)
	w := a.cluster("cluster-one")
	w.want("shop", string(shop), addresses("192.0.2.1"))
	w.reconcile()
	// Another account has a zone of the same name: where the domain moves to.
	b := newAccount(t)
	spec := *w.dns().Spec.DeepCopy()
	spec.Route53.Endpoint = b.url
	w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("next"), Spec: spec})
	w.want("shop-next", string(shop), func(s *v1alpha1.ManagedRecordSpec) { s.Addresses, s.ProviderRef.Name = []string{"192.0.2.1"}, "next" })
	w.onceAt("next")
	w.is("shop-next", dns.PhaseDone, "Done")
	a.has([]dns.Name{shop}, "shop.example.test A → 192.0.2.1")
	b.has([]dns.Name{shop}, "shop.example.test A → 192.0.2.1")
	old := w.record("shop")
	w.remove(old)
	w.reconcile()
	if w.there(old) {
		t.Errorf("the old one is still there: %+v", old.Status)
	}
	a.has(shopMarks("", "cluster-one"))
	b.has([]dns.Name{shop}, "shop.example.test A → 192.0.2.1")
	w.onceAt("next")
	w.is("shop-next", dns.PhaseDone, "Done")
}
