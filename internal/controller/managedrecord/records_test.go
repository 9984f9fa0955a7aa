// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedrecord"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

func TestAnEntryIsMadeWithItsMarkAndFollowsItsTarget(t *testing.T) {
	everywhere(t, func(w *world) {
		w.want("shop", "shop."+zone, addresses("192.0.2.1", "2001:db8::1"))
		w.want("apex", zone, addresses("192.0.2.1"))
		w.want("www", "*.www."+zone, func(s *v1alpha1.ManagedRecordSpec) { s.Host, s.TTL = "LB.example.net.", 60 })
		w.reconcile()
		w.has("*.www.example.test CNAME → lb.example.net.", "example.test A → 192.0.2.1", "shop.example.test A → 192.0.2.1", "shop.example.test AAAA → 2001:db8::1")
		system := &corev1.Namespace{}
		if err := w.client.Get(t.Context(), types.NamespacedName{Name: "kube-system"}, system); err != nil {
			t.Fatal(err)
		}
		mark := fmt.Sprintf("_trellis.aaaa.shop.example.test TXT → \"heritage=trellis,trellis/owner=%s,trellis/resource=%s/shop\"", system.UID, w.namespace)
		// Text is cut after 80 octets.
		if !slices.ContainsFunc(w.entries(), func(s string) bool { return strings.HasPrefix(s, mark[:100]) }) {
			t.Errorf("there is no mark %q in %q", mark, w.entries())
		}
		r := w.is("shop", dns.PhaseDone, "Done", "shop.example.test A → 192.0.2.1", "AAAA")
		want := []v1alpha1.OwnedRecordSet{{Type: "A", TTL: 300, Values: []string{"192.0.2.1"}}, {Type: "AAAA", TTL: 300, Values: []string{"2001:db8::1"}}}
		if !slices.EqualFunc(r.Status.Owned, want, func(a, b v1alpha1.OwnedRecordSet) bool {
			return a.Type == b.Type && a.TTL == b.TTL && slices.Equal(a.Values, b.Values)
		}) {
			t.Errorf("it owns %+v", r.Status.Owned)
		}
		if r.Status.Zone == nil || r.Status.Zone.Name != zone || !r.Status.Spread || r.Status.Receipt == "" || r.Status.NextTry != nil || len(r.Status.Plan) != 0 {
			t.Errorf("its status is %+v", r.Status)
		}
		if !slices.Equal(r.Finalizers, []string{managedrecord.Finalizer}) {
			t.Errorf("its finalizers are %q", r.Finalizers)
		}
		if p := w.providerIs("Ready", "1 zone"); len(p.Status.Zones) != 1 || p.Status.Zones[0].Name != zone {
			t.Errorf("the provider has the zones %+v", p.Status.Zones)
		}
		if news := w.news(); len(news) != 3 || !strings.Contains(news[0], "EntryCreated") {
			t.Errorf("the events are %q", news)
		}
		w.quiet()

		w.change("shop", addresses("192.0.2.9"))
		w.reconcile()
		w.has("*.www.example.test CNAME → lb.example.net.", "example.test A → 192.0.2.1", "shop.example.test A → 192.0.2.9")
		w.is("shop", dns.PhaseDone, "Done", "192.0.2.9")
		w.tells("EntryUpdated", "192.0.2.1 becomes 192.0.2.9", "delete shop.example.test AAAA")
		w.quiet()
	})
}

func TestWithoutAnAddressTheEntryStays(t *testing.T) {
	everywhere(t, func(w *world) {
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.want("new", "new."+zone, addresses())
		w.reconcile()
		r := w.is("new", dns.PhaseHeld, "Held", "nowhere to lead")
		if len(r.Finalizers) != 0 {
			t.Errorf("nothing was written, and there are the finalizers %q", r.Finalizers)
		}
		w.change("shop", addresses())
		w.reconcile()
		w.is("shop", dns.PhaseHeld, "Held", "what is there stays: shop.example.test A → 192.0.2.1")
		w.has("shop.example.test A → 192.0.2.1")
		w.news()
		w.quiet()
		w.change("shop", addresses("192.0.2.2"))
		w.reconcile()
		w.has("shop.example.test A → 192.0.2.2")
		w.is("shop", dns.PhaseDone, "Done")
		// What was held is still ours to take back.
		w.change("shop", addresses())
		w.reconcile()
		w.remove(w.record("shop"))
		w.reconcile()
		w.has()
	})
}

func TestDeletingTakesBackWhatIsOursAndNothingElse(t *testing.T) {
	everywhere(t, func(w *world) {
		w.put("shop."+zone, "MX", "10 mail.example.net.")
		w.put("other."+zone, dns.TypeA, "192.0.2.7")
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.want("stays", "stays."+zone, addresses("192.0.2.1"))
		w.reconcile()
		w.news()
		shop := w.record("shop")
		w.remove(shop)
		if !w.there(shop) {
			t.Fatal("it is gone before its entry is")
		}
		w.reconcile()
		if w.there(shop) {
			t.Errorf("it is still there: %+v", shop)
		}
		w.tells("EntryDeleted", "delete shop.example.test A")
		for _, line := range w.entries() {
			if strings.Contains(line, "shop.") && !strings.Contains(line, "MX") {
				t.Errorf("there still is %q", line)
			}
		}
		if got := len(w.data()); got != 3 {
			t.Errorf("the zone has %q", w.data())
		}
		w.quiet()
	})
}

func TestRetainedEntriesStayWithoutTheirMark(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("shop", "shop."+zone, func(s *v1alpha1.ManagedRecordSpec) {
		s.Addresses, s.DeletionPolicy = []string{"192.0.2.1"}, v1alpha1.DeletionPolicyRetain
	})
	w.reconcile()
	shop := w.record("shop")
	w.remove(shop)
	w.reconcile()
	if got := w.entries(); !slices.Equal(got, []string{"shop.example.test A → 192.0.2.1"}) || w.there(shop) {
		t.Errorf("the zone has %q, and the record is there: %t", got, w.there(shop))
	}
}

func TestAPolicyThatForbidsToDeleteLetsTheRecordGo(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("shop", "shop."+zone, func(s *v1alpha1.ManagedRecordSpec) {
		s.Addresses, s.Policy = []string{"192.0.2.1"}, v1alpha1.DNSPolicyUpsertOnly
	})
	w.reconcile()
	shop := w.record("shop")
	w.remove(shop)
	w.reconcile()
	if w.there(shop) {
		t.Errorf("it is still there: %+v", shop.Status)
	}
	w.has("shop.example.test A → 192.0.2.1")
}

func TestAConflictNamesTheOwnerAndAdoptTakesOver(t *testing.T) {
	everywhere(t, func(w *world) {
		w.put("shop."+zone, dns.TypeA, "192.0.2.7")
		w.put("a-shop."+zone, dns.TypeTXT, "heritage=external-dns,external-dns/owner=blue,external-dns/resource=ingress/x/y")
		w.put("free."+zone, dns.TypeA, "192.0.2.7")
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.want("free", "free."+zone, addresses("192.0.2.1"))
		before := w.entries()
		w.reconcile()
		if after := w.entries(); !slices.Equal(before, after) {
			t.Errorf("the zone has %q after %q", after, before)
		}
		r := w.is("shop", dns.PhaseBlocked, "Conflict", "external-dns (owner id blue)", "192.0.2.7", "spec.adopt")
		if r.Status.NextTry == nil || len(r.Finalizers) != 0 || len(r.Status.Owned) != 0 {
			t.Errorf("it is %+v with the finalizers %q", r.Status, r.Finalizers)
		}
		w.is("free", dns.PhaseBlocked, "Conflict", "nobody that Trellis knows")
		if news := w.news(); len(news) != 2 || !strings.Contains(news[1], "Warning Conflict") {
			t.Errorf("the events are %q", news)
		}
		w.quiet()
		// What was never ours is let go at once, and stays.
		w.remove(w.record("free"))
		w.change("shop", func(s *v1alpha1.ManagedRecordSpec) { s.Adopt = true })
		w.reconcile()
		w.is("shop", dns.PhaseDone, "Done")
		w.tells("EntryAdopted")
		if got := w.data(); !slices.Contains(got, "shop.example.test A → 192.0.2.1") || !slices.Contains(got, "free.example.test A → 192.0.2.7") {
			t.Errorf("the zone has %q", got)
		}
	})
}

func TestADryRunWritesNothingAndShowsThePlan(t *testing.T) {
	w := withZone(t, nameserver.Process)
	dry := func(on bool) func(*v1alpha1.ManagedRecordSpec) {
		return func(s *v1alpha1.ManagedRecordSpec) { s.Addresses, s.DryRun = []string{"192.0.2.1"}, on }
	}
	w.want("shop", "shop."+zone, dry(true))
	w.want("real", "real."+zone, addresses("192.0.2.1"))
	w.reconcile()
	w.has("real.example.test A → 192.0.2.1")
	r := w.is("shop", dns.PhasePlanned, "Planned", "dryRun", "create shop.example.test A → 192.0.2.1")
	if !slices.Equal(r.Status.Plan, []string{"create shop.example.test A → 192.0.2.1"}) || len(r.Status.Owned) != 0 || len(r.Finalizers) != 0 {
		t.Errorf("it is %+v with the finalizers %q", r.Status, r.Finalizers)
	}
	w.news()
	w.quiet()
	w.change("shop", dry(false))
	w.reconcile()
	if r := w.is("shop", dns.PhaseDone, "Done"); len(r.Status.Plan) != 0 {
		t.Errorf("it is done, and plans %q", r.Status.Plan)
	}
	// Dry again, its deletion is planned, and waits.
	w.change("shop", dry(true))
	w.reconcile()
	w.remove(w.record("shop"))
	w.reconcile()
	w.is("shop", dns.PhasePlanned, "Planned", "delete shop.example.test A", "unset spec.dryRun")
	w.has("real.example.test A → 192.0.2.1", "shop.example.test A → 192.0.2.1")
	w.change("shop", dry(false))
	w.reconcile()
	w.has("real.example.test A → 192.0.2.1")
}

func TestAMassChangeWaitsForItsToken(t *testing.T) {
	everywhere(t, func(w *world) {
		const n = 12
		var before []string
		for i := range n {
			w.want(fmt.Sprintf("r%02d", i), fmt.Sprintf("r%02d.%s", i, zone), addresses("192.0.2.1"))
			before = append(before, fmt.Sprintf("r%02d.%s A → 192.0.2.1", i, zone))
		}
		w.reconcile()
		w.has(before...)
		w.news()
		for i := range n {
			w.change(fmt.Sprintf("r%02d", i), addresses("192.0.2.2"))
		}
		w.reconcile()
		w.has(before...)
		r := w.is("r00", dns.PhaseBlocked, "MassChange", "kubectl -n "+w.namespace+" patch dnsprovider dns --type=merge -p", "12 of 12")
		if len(r.Status.Plan) == 0 || r.Status.NextTry == nil {
			t.Errorf("it is %+v", r.Status)
		}
		if news := w.news(); len(news) != n || !strings.Contains(news[0], "MassChange") {
			t.Errorf("the events are %q", news)
		}
		w.quiet()
		w.confirm(r.Status.Conditions[0].Message)
		if got := w.dns().Spec.Confirmed; !slices.Equal(got, []string{r.Status.Confirm}) || r.Status.Confirm == "" {
			t.Errorf("the command in the message confirms %q, and the token is %q", got, r.Status.Confirm)
		}
		w.reconcile()
		if done := w.is("r11", dns.PhaseDone, "Done", "192.0.2.2"); done.Status.Confirm != "" {
			t.Errorf("it is done, and asks to confirm %s", done.Status.Confirm)
		}
		for i := range before {
			before[i] = strings.Replace(before[i], "192.0.2.1", "192.0.2.2", 1)
		}
		w.has(before...)
	})
}

func TestTextsShareANameAndLeaveOneByOne(t *testing.T) {
	everywhere(t, func(w *world) {
		const at = "_acme-challenge." + zone
		w.put(at, dns.TypeTXT, "theirs")
		w.want("one", at, values("one", "both"))
		w.want("two", at, values("two", "both"))
		w.reconcile()
		w.has(at + ` TXT → "both", "one", "theirs", "two"`)
		if r := w.is("one", dns.PhaseDone, "Done"); len(r.Status.Owned) != 1 || !slices.Equal(r.Status.Owned[0].Values, []string{"both", "one"}) || !r.Status.Spread {
			t.Errorf("it is %+v", r.Status)
		}
		w.news()
		w.reconcile()
		w.quiet()
		w.change("one", values("uno", "both"))
		w.reconcile()
		w.has(at + ` TXT → "both", "theirs", "two", "uno"`)
		w.remove(w.record("one"))
		w.reconcile()
		w.has(at + ` TXT → "both", "theirs", "two"`)
		w.remove(w.record("two"))
		w.reconcile()
		w.has(at + ` TXT → "theirs"`)
		list := &v1alpha1.ManagedRecordList{}
		if err := w.client.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Items {
			if r.Namespace == w.namespace {
				t.Errorf("%s is still there", r.Name)
			}
		}
	})
}

func TestARecordThatTurnsFromTextsToAddressesLeavesNoTexts(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("r", "r."+zone, values("a"))
	w.reconcile()
	w.has(`r.example.test TXT → "a"`)
	w.change("r", func(s *v1alpha1.ManagedRecordSpec) { s.Texts, s.Addresses = nil, []string{"192.0.2.1"} })
	w.reconcile()
	w.has("r.example.test A → 192.0.2.1")
	w.change("r", func(s *v1alpha1.ManagedRecordSpec) { s.Texts, s.Addresses = []string{"b"}, nil })
	w.reconcile()
	w.has(`r.example.test TXT → "b"`)
	w.is("r", dns.PhaseDone, "Done")
	w.change("r", func(s *v1alpha1.ManagedRecordSpec) { s.Texts = nil })
	w.reconcile()
	w.has(`r.example.test TXT → "b"`)
	w.is("r", dns.PhaseHeld, "Held", `"b"`)
	w.remove(w.record("r"))
	w.reconcile()
	w.has()
}

func TestWhatCannotBeIsSaidAndHurtsNobodyElse(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("good", "good."+zone, addresses("192.0.2.1"))
	w.want("address", "address."+zone, addresses("192.0.2.999"))
	w.want("name", "two..dots."+zone, addresses("192.0.2.1"))
	w.want("zone", "shop.example.org", addresses("192.0.2.1"))
	w.want("apex", zone, func(s *v1alpha1.ManagedRecordSpec) { s.Host = "lb.example.net" })
	w.want("twin-a", "twin."+zone, addresses("192.0.2.1"))
	w.want("twin-b", "twin."+zone, addresses("192.0.2.2"))
	w.want("twin-text", "twin."+zone, values("t"))
	w.reconcile()
	w.has("good.example.test A → 192.0.2.1", `twin.example.test TXT → "t"`)
	w.is("good", dns.PhaseDone, "Done")
	w.is("address", dns.PhaseBlocked, "Invalid", "192.0.2.999")
	w.is("name", dns.PhaseBlocked, "Invalid", "two..dots")
	w.is("zone", dns.PhaseBlocked, "ZoneNotFound", "shop.example.org", "the account has example.test", "make the zone")
	w.is("apex", dns.PhaseBlocked, "Invalid", "CNAME")
	w.is("twin-a", dns.PhaseBlocked, "DuplicateName", w.namespace+"/twin-b", "delete one")
	w.news()
	w.quiet()
	for _, name := range []string{"address", "name", "zone", "apex", "twin-a"} {
		r := w.record(name)
		w.remove(r)
		if w.there(r) {
			t.Errorf("%s has no entry, and is kept", name)
		}
	}
	w.reconcile()
	w.is("twin-b", dns.PhaseDone, "Done")
	if err := w.tryChange("good", func(s *v1alpha1.ManagedRecordSpec) { s.Name = "other." + zone }); err == nil {
		t.Error("its name was changed, and its entry would be left behind")
	}
	if err := w.tryChange("good", func(s *v1alpha1.ManagedRecordSpec) { s.ProviderRef.Name = "other" }); err == nil {
		t.Error("its provider was changed, and its entry would be left behind")
	}
}

func TestItLooksAgainEveryMinute(t *testing.T) {
	w := withZone(t, nameserver.Process)
	if got := w.reconcile(); got != time.Minute {
		t.Errorf("without records it looks again after %s", got)
	}
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	if got := w.reconcile(); got != time.Minute {
		t.Errorf("with a record it looks again after %s", got)
	}
	// A mark that is lost is found within two hours, and put back.
	w.put("_trellis.a.shop."+zone, dns.TypeTXT)
	w.clock.Step(2 * time.Hour)
	w.reconcile()
	if n := len(w.entries()); n != 2 {
		t.Errorf("the zone has %q", w.entries())
	}
}

// confirm does what the command in a message does.
func (w *world) confirm(message string) {
	w.Helper()
	_, rest, _ := strings.Cut(message, "kubectl -n "+w.namespace+" patch dnsprovider dns --type=merge -p '")
	patch, _, found := strings.Cut(rest, "'")
	if !found {
		w.Fatalf("there is no command in %q", message)
	}
	if err := w.client.Patch(w.Context(), w.dns(), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		w.Fatal(err)
	}
}
