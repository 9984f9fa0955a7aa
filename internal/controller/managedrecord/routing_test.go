// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/route53"
	fake "github.com/trellis-mesh/trellis/test/fake/route53"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// account is one account of Route 53 that several clusters write to.
type account struct {
	*testing.T
	fake *fake.Server
	url  string
	// client trusts the fake's certificate.
	client *http.Client
	zone   dns.Zone
	// all sees what is there, past the clusters.
	all *route53.Provider
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{T: t, fake: fake.New()}
	a.zone = dns.Zone{ID: a.fake.AddZone(zone, false), Name: zone}
	a.fake.AddKey("AKIAOURS", fake.Key{Secret: "good-secret"})
	h := httptest.NewTLSServer(a.fake)
	t.Cleanup(h.Close)
	a.url, a.client = h.URL, h.Client()
	var err error
	if a.all, err = route53.New(t.Context(), route53.Config{AccessKeyID: "AKIAOURS", SecretAccessKey: "good-secret", Endpoint: a.url, HTTPClient: a.client}); err != nil {
		t.Fatal(err)
	}
	return a
}

// cluster is one with a DNSProvider for the account.
func (a *account) cluster(uid types.UID) *world {
	a.Helper()
	w := newWorld(a.T)
	w.cluster, w.vendors.Transport = uid, a.client.Transport
	w.restart()
	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "good-secret"})
	w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53Provider{
		CredentialsSecretRef: &v1alpha1.SecretReference{Name: "aws"}, Endpoint: a.url,
	}}})
	return w
}

// has checks what is at names, marks left out.
func (a *account) has(names []dns.Name, want ...string) {
	a.Helper()
	sets, err := a.all.Read(a.Context(), a.zone, names)
	if err != nil {
		a.Fatal(err)
	}
	var got []string
	for _, s := range sets {
		got = append(got, s.Text())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		a.Fatalf("the zone has %q, want %q", got, want)
	}
}

func weighted(weight int32, list ...string) func(*v1alpha1.ManagedRecordSpec) {
	return func(s *v1alpha1.ManagedRecordSpec) {
		s.Addresses, s.Routing = list, &v1alpha1.DNSRouting{Weighted: &v1alpha1.WeightedRouting{Weight: weight}}
	}
}

func located(g v1alpha1.GeographicRouting, list ...string) func(*v1alpha1.ManagedRecordSpec) {
	return func(s *v1alpha1.ManagedRecordSpec) {
		s.Addresses, s.Routing = list, &v1alpha1.DNSRouting{Geographic: &g}
	}
}

const shop dns.Name = "shop." + zone

// shopMarks are where the marks of all members can be.
func shopMarks(identifiers ...string) []dns.Name {
	out := []dns.Name{shop}
	for _, id := range identifiers {
		for _, t := range dns.Types() {
			if n, err := dns.MarkName(dns.Key{Name: shop, Type: t, Identifier: id}); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

func TestTwoClustersShareANameByWeightAndEachDeletesOnlyItsOwn(t *testing.T) {
	a := newAccount(t)
	one, two := a.cluster("cluster-one"), a.cluster("cluster-two")
	one.want("shop", string(shop), weighted(70, "192.0.2.1", "2001:db8::1"))
	two.want("shop", string(shop), weighted(30, "192.0.2.2"))
	one.reconcile()
	two.reconcile()
	first, six, second := "shop.example.test A (cluster-one) → 192.0.2.1, weight 70", "shop.example.test AAAA (cluster-one) → 2001:db8::1, weight 70", "shop.example.test A (cluster-two) → 192.0.2.2, weight 30"
	a.has([]dns.Name{shop}, first, six, second)
	one.is("shop", dns.PhaseDone, "Done", "weight 70")
	r := two.is("shop", dns.PhaseDone, "Done", "weight 30")
	if len(r.Status.Owned) != 1 || r.Status.Owned[0].SetIdentifier != "cluster-two" || r.Status.Owned[0].Routing.Weighted.Weight != 30 {
		t.Errorf("the second owns %+v", r.Status.Owned)
	}
	// Neither looks at it again, nor writes, while nothing changes; nor does a new
	// process, but for looking.
	writes := a.fake.Calls("ChangeResourceRecordSets")
	one.reconcile()
	one.restart()
	one.reconcile()
	two.restart()
	two.reconcile()
	if n := a.fake.Calls("ChangeResourceRecordSets") - writes; n != 0 {
		t.Errorf("nothing changed, and %d changes were made", n)
	}
	// A cluster is drained.
	one.news()
	one.change("shop", weighted(0, "192.0.2.1"))
	one.reconcile()
	drained := strings.Replace(first, "70", "0", 1)
	a.has([]dns.Name{shop}, drained, second)
	one.tells("EntryUpdated", "weight 0")
	// Deleting one leaves the other, with its mark.
	one.remove(one.record("shop"))
	one.reconcile()
	marks := shopMarks("cluster-one", "cluster-two")
	mark := "_trellis.a-cluster-two.shop.example.test TXT → \"heritage=trellis,trellis/owner=cluster-two,trellis/resource=" + two.namespace + "/shop\""
	a.has(marks, second, mark)
	two.remove(two.record("shop"))
	two.reconcile()
	a.has(marks)
}

func TestPlacesShareANameAndTheSamePlaceTwiceIsAConflict(t *testing.T) {
	a := newAccount(t)
	one, two := a.cluster("cluster-one"), a.cluster("cluster-two")
	one.want("shop", string(shop), located(v1alpha1.GeographicRouting{Continent: "EU"}, "192.0.2.1"))
	one.reconcile()
	two.want("shop", string(shop), located(v1alpha1.GeographicRouting{Continent: "EU"}, "192.0.2.2"))
	two.reconcile()
	two.is("shop", dns.PhaseBlocked, "Conflict", "in the continent EU", "cluster-one", one.namespace+"/shop")
	two.change("shop", weighted(1, "192.0.2.2"))
	two.reconcile()
	two.is("shop", dns.PhaseBlocked, "Conflict", "cluster-one")
	two.change("shop", addresses("192.0.2.2"))
	two.change("shop", func(s *v1alpha1.ManagedRecordSpec) { s.Routing = nil })
	two.reconcile()
	two.is("shop", dns.PhaseBlocked, "Conflict", "cluster-one")
	two.change("shop", located(v1alpha1.GeographicRouting{Default: true}, "192.0.2.2"))
	two.reconcile()
	two.is("shop", dns.PhaseDone, "Done", "everywhere else")
	a.has([]dns.Name{shop}, "shop.example.test A (cluster-one) → 192.0.2.1, for clients in the continent EU", "shop.example.test A (cluster-two) → 192.0.2.2, for clients of everywhere else")
}

func TestARecordBecomesOneOfSeveralAndAloneAgain(t *testing.T) {
	a := newAccount(t)
	w := a.cluster("cluster-one")
	w.want("shop", string(shop), addresses("192.0.2.1"))
	w.reconcile()
	marks := shopMarks("", "cluster-one", "blue")
	mark := "_trellis.a.shop.example.test TXT → \"heritage=trellis,trellis/owner=cluster-one,trellis/resource=" + w.namespace + "/shop\""
	a.has(marks, "shop.example.test A → 192.0.2.1", mark)
	calls := a.fake.Calls("ChangeResourceRecordSets")
	w.change("shop", weighted(10, "192.0.2.1"))
	w.reconcile()
	w.is("shop", dns.PhaseDone, "Done", "weight 10")
	if n := a.fake.Calls("ChangeResourceRecordSets") - calls; n != 1 {
		t.Errorf("it took %d changes, so that the name was gone or there twice", n)
	}
	a.has(marks, "shop.example.test A (cluster-one) → 192.0.2.1, weight 10", strings.Replace(mark, ".a.", ".a-cluster-one.", 1))
	// Its identifier changes, and nobody remembers the old one.
	r := w.record("shop")
	r.Status.Owned = nil
	if err := w.client.Status().Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.change("shop", func(s *v1alpha1.ManagedRecordSpec) { s.Routing.SetIdentifier = "blue" })
	w.restart()
	w.reconcile()
	a.has(marks, "shop.example.test A (blue) → 192.0.2.1, weight 10", strings.Replace(mark, ".a.", ".a-blue.", 1))
	w.change("shop", func(s *v1alpha1.ManagedRecordSpec) { s.Routing = nil })
	w.reconcile()
	a.has(marks, "shop.example.test A → 192.0.2.1", mark)
}

func TestAProviderThatCannotRouteSaysSoAndWritesNothing(t *testing.T) {
	everywhere(t, func(w *world) {
		w.want("shop", string(shop), weighted(10, "192.0.2.1"))
		w.want("place", "place."+zone, located(v1alpha1.GeographicRouting{Country: "CH"}, "192.0.2.1"))
		w.want("blog", "blog."+zone, addresses("192.0.2.1"))
		w.reconcile()
		w.is("shop", dns.PhaseBlocked, "Unsupported", "routing by weight", "a name server with RFC 2136 answers all clients alike", "take spec.routing out", "Route 53")
		w.is("place", dns.PhaseBlocked, "Unsupported", "routing by the place of clients")
		w.has("blog.example.test A → 192.0.2.1")
		// What was there stays while somebody thinks about it.
		w.change("blog", weighted(10, "192.0.2.1"))
		w.reconcile()
		w.is("blog", dns.PhaseBlocked, "Unsupported")
		w.has("blog.example.test A → 192.0.2.1")
		w.remove(w.record("blog"))
		w.reconcile()
		w.has()
	})
}

func TestRoutingThatSaysTooMuchOrTooLittleIsRefused(t *testing.T) {
	w := withZone(t, nameserver.Process)
	for name, routing := range map[string]v1alpha1.DNSRouting{
		"neither":                      {},
		"both":                         {Weighted: &v1alpha1.WeightedRouting{Weight: 1}, Geographic: &v1alpha1.GeographicRouting{Default: true}},
		"a weight of 256":              {Weighted: &v1alpha1.WeightedRouting{Weight: 256}},
		"no place":                     {Geographic: &v1alpha1.GeographicRouting{}},
		"two places":                   {Geographic: &v1alpha1.GeographicRouting{Continent: "EU", Country: "CH"}},
		"a place and everywhere":       {Geographic: &v1alpha1.GeographicRouting{Default: true, Country: "CH"}},
		"a subdivision of a continent": {Geographic: &v1alpha1.GeographicRouting{Continent: "NA", Subdivision: "CA"}},
		"a continent that is none":     {Geographic: &v1alpha1.GeographicRouting{Continent: "XX"}},
		"an identifier in capitals":    {SetIdentifier: "Blue", Weighted: &v1alpha1.WeightedRouting{Weight: 1}},
	} {
		r := &v1alpha1.ManagedRecord{ObjectMeta: w.meta("shop"), Spec: v1alpha1.ManagedRecordSpec{
			ProviderRef: v1alpha1.DNSProviderReference{Name: "dns"}, Name: string(shop), Routing: &routing,
		}}
		if err := w.client.Create(t.Context(), r); err == nil || !strings.Contains(err.Error(), "spec.routing") {
			t.Errorf("%s: the API server says %v", name, err)
		}
	}
	texts := &v1alpha1.ManagedRecord{ObjectMeta: w.meta("shop"), Spec: v1alpha1.ManagedRecordSpec{
		ProviderRef: v1alpha1.DNSProviderReference{Name: "dns"}, Name: string(shop), Texts: []string{"a"}, Routing: &v1alpha1.DNSRouting{Weighted: &v1alpha1.WeightedRouting{Weight: 1}},
	}}
	if err := w.client.Create(t.Context(), texts); err == nil || !strings.Contains(err.Error(), "texts are answered to everybody") {
		t.Errorf("texts with a routing: the API server says %v", err)
	}
}
