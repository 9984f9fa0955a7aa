// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	fake "github.com/trellis-mesh/trellis/test/fake/route53"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// withRoute53 makes a DNSProvider at a stand-in for Route 53, without its Secret.
func withRoute53(t *testing.T) (*world, *fake.Server) {
	t.Helper()
	w, s := newWorld(t), fake.New()
	s.AddZone(zone, false)
	s.AddKey("AKIAOURS", fake.Key{Secret: "good-secret"})
	h := httptest.NewTLSServer(s)
	t.Cleanup(h.Close)
	w.vendors.Transport = h.Client().Transport
	w.restart()
	w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53Provider{
		CredentialsSecretRef: &v1alpha1.SecretReference{Name: "aws"}, Endpoint: h.URL,
	}}})
	return w, s
}

func TestCredentialsAreReadAgainOnceTheSecretIsMended(t *testing.T) {
	w, s := withRoute53(t)
	const write = "ChangeResourceRecordSets"
	w.want("shop", "shop."+zone, func(s *v1alpha1.ManagedRecordSpec) { s.Host = "lb.example.net" })
	at := w.namespace + "/aws"
	if again := w.reconcile(); again > time.Minute || again == 0 {
		t.Errorf("without a Secret it looks again after %s", again)
	}
	w.is("shop", dns.PhaseBlocked, "SecretNotFound", at)
	w.providerIs("SecretNotFound", at)
	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS"})
	w.reconcile()
	w.providerIs("SecretInvalid", at, "secretAccessKey")
	if n := s.Calls(""); n != 0 {
		t.Errorf("without credentials there were %d calls", n)
	}
	w.news()

	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "bad-secret"})
	if again := w.reconcile(); again > time.Minute || again == 0 {
		t.Errorf("with bad credentials it looks again after %s", again)
	}
	r := w.is("shop", dns.PhaseBlocked, "CredentialsInvalid", "into the Secret "+at)
	w.providerIs("CredentialsInvalid", "into the Secret "+at)
	if strings.Contains(fmt.Sprint(r.Status, w.dns().Status), "bad-secret") {
		t.Errorf("the secret is told: %+v", r.Status)
	}
	w.tells("Warning CredentialsInvalid")
	calls := s.Calls("")
	w.reconcile()
	if n := s.Calls("") - calls; n != 0 {
		t.Errorf("credentials that were refused are tried %d times at once", n)
	}

	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "good-secret\n"})
	w.reconcile()
	w.is("shop", dns.PhaseDone, "Done", "lb.example.net")
	if p := w.providerIs("Ready"); len(p.Status.Zones) != 1 {
		t.Errorf("it has the zones %+v", p.Status.Zones)
	}
	w.tells("EntryCreated")

	// They expire while a change is on its way.
	s.AddKey("AKIAOURS", fake.Key{Secret: "good-secret", Expires: time.Now().Add(-time.Hour)})
	writes := s.Calls(write)
	w.change("shop", func(s *v1alpha1.ManagedRecordSpec) { s.Host = "other.example.net" })
	w.reconcile()
	r = w.is("shop", dns.PhaseBlocked, "CredentialsInvalid")
	if s.Calls(write) != writes || len(r.Status.Owned) != 1 || r.Status.Owned[0].Values[0] != "lb.example.net" {
		t.Errorf("with expired credentials there were %d writes, and it owns %+v", s.Calls(write)-writes, r.Status.Owned)
	}
	w.providerIs("CredentialsInvalid")
	s.AddKey("AKIANEXT", fake.Key{Secret: "next-secret"})
	w.secret("aws", map[string]string{"accessKeyID": "AKIANEXT", "secretAccessKey": "next-secret"})
	w.reconcile()
	w.is("shop", dns.PhaseDone, "Done", "other.example.net")
	w.providerIs("Ready")
}

func TestAChangeIsSpreadWhenTheProviderSaysSo(t *testing.T) {
	w, s := withRoute53(t)
	s.Polls = 2
	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "good-secret"})
	w.want("text", "_acme-challenge."+zone, values("a"))
	w.want("text-b", "_acme-challenge.b."+zone, values("a"))
	again := w.reconcile()
	r := w.is("text", dns.PhaseDone, "Done")
	if r.Status.Spread || r.Status.Receipt == "" || again > 5*time.Second {
		t.Errorf("it is %+v, and is looked at again after %s", r.Status, again)
	}
	w.reconcile()
	w.reconcile()
	if r := w.is("text", dns.PhaseDone, "Done"); !r.Status.Spread {
		t.Errorf("it is %+v", r.Status)
	}
	// Two records of one change are asked for once.
	if n := s.Calls("GetChange"); n != 3 {
		t.Errorf("it was asked %d times", n)
	}
	writes := w.writes.Load()
	if again := w.reconcile(); again != time.Minute || w.writes.Load() != writes {
		t.Errorf("it is looked at again after %s, with %d writes", again, w.writes.Load()-writes)
	}
	w.change("text", values("b"))
	w.reconcile()
	if r := w.is("text", dns.PhaseDone, "Done"); r.Status.Spread {
		t.Errorf("a new change is %+v", r.Status)
	}
}

func TestAWrongTSIGKeyIsSaidAndMended(t *testing.T) {
	everywhere(t, func(w *world) {
		good := map[string]string{"name": string(w.zone.KeyName), "algorithm": w.zone.Algorithm, "secret": w.zone.Secret}
		w.want("shop", "shop."+zone, addresses("192.0.2.1"))
		w.secret("tsig", map[string]string{"name": "trellis-key", "algorithm": "hmac-sha256", "secret": "not base64!"})
		w.reconcile()
		w.providerIs("SecretInvalid", w.namespace+"/tsig", "base64")
		w.secret("tsig", map[string]string{"name": "trellis-key", "algorithm": "hmac-sha256", "secret": "AAAAAAAAAAAAAAAAAAAAAA=="})
		w.reconcile()
		w.providerIs("CredentialsInvalid", w.namespace+"/tsig")
		w.is("shop", dns.PhaseBlocked, "CredentialsInvalid")
		w.secret("tsig", good)
		w.reconcile()
		w.has("shop.example.test A → 192.0.2.1")
		w.is("shop", dns.PhaseDone, "Done")
	})
}

func TestARecordWithoutItsProviderWaitsForIt(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.reconcile()
	// Somebody takes the provider away by force.
	p := w.dns()
	w.remove(p)
	before := w.dns()
	forced := before.DeepCopy()
	forced.Finalizers = nil
	if err := w.client.Patch(t.Context(), forced, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	if again := w.reconcile(); again != 0 {
		t.Errorf("it looks again after %s", again)
	}
	r := w.is("shop", dns.PhaseBlocked, "ProviderNotFound", w.namespace+"/dns")
	if len(r.Status.Owned) != 1 {
		t.Errorf("it owns %+v", r.Status.Owned)
	}
	w.news()
	w.quiet()
	w.remove(w.record("shop"))
	w.want("new", "new."+zone, addresses("192.0.2.1"))
	w.reconcile()
	w.is("shop", dns.PhaseBlocked, "ProviderNotFound", "deletionPolicy to Retain")
	w.has("shop.example.test A → 192.0.2.1")
	p.ObjectMeta = w.meta("dns")
	w.create(p)
	w.reconcile()
	w.has("new.example.test A → 192.0.2.1")
}

func TestWithoutASecretARecordIsNotLetGo(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.reconcile()
	w.remove(&corev1.Secret{ObjectMeta: w.meta("tsig")})
	shop := w.record("shop")
	w.remove(shop)
	// Another process has never read it.
	w.restart()
	w.reconcile()
	r := w.is("shop", dns.PhaseBlocked, "SecretNotFound", w.namespace+"/tsig", "deletionPolicy to Retain")
	if len(r.Status.Owned) != 1 {
		t.Errorf("it owns %+v", r.Status.Owned)
	}
	w.change("shop", func(s *v1alpha1.ManagedRecordSpec) { s.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	w.reconcile()
	if w.there(shop) {
		t.Errorf("its entry may stay, and it is still there: %+v", shop.Status)
	}
	w.has("shop.example.test A → 192.0.2.1")
}

func TestAProviderStaysWhileEntriesDependOnIt(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.put("taken."+zone, dns.TypeA, "192.0.2.7")
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.want("taken", "taken."+zone, addresses("192.0.2.1"))
	w.reconcile()
	w.remove(w.dns())
	w.want("late", "late."+zone, addresses("192.0.2.1"))
	w.reconcile()
	w.providerIs("InUse", "1 does: shop")
	w.is("late", dns.PhaseBlocked, "ProviderNotFound", "being deleted")
	// Until then it goes on.
	w.change("shop", addresses("192.0.2.2"))
	w.reconcile()
	w.has("shop.example.test A → 192.0.2.2", "taken.example.test A → 192.0.2.7")
	w.news()
	w.quiet()
	w.remove(w.record("shop"))
	w.reconcile()
	p := &v1alpha1.DNSProvider{ObjectMeta: w.meta("dns")}
	if w.there(p) {
		t.Errorf("nothing depends on it, and it is still there: %+v", p.Status)
	}
	w.has("taken.example.test A → 192.0.2.7")
	w.reconcile()
	w.is("taken", dns.PhaseBlocked, "ProviderNotFound")
}

func TestACrashAtEachCallConverges(t *testing.T) {
	w := withZone(t, nameserver.Process)
	const at = "_acme-challenge." + zone
	w.put(at, dns.TypeTXT, "theirs")
	theirs := at + ` TXT → "theirs"`
	killed := true
	for k := int64(1); killed; k++ {
		if k > 60 {
			t.Fatal("a reconcile has no end")
		}
		killed = false
		shop, text := fmt.Sprintf("shop-%d", k), fmt.Sprintf("text-%d", k)
		// crash works until the k-th call, checks what a crash leaves, and goes on as
		// another process.
		crash := func(want ...string) {
			t.Helper()
			w.kill.Store(w.calls.Load() + k)
			_, err := w.once()
			killed = killed || w.calls.Load() >= w.kill.Load()
			w.kill.Store(0)
			if err != nil && !strings.Contains(err.Error(), errKilled.Error()) {
				t.Fatal(err)
			}
			w.remembered(k)
			w.restart()
			w.reconcile()
			w.has(append(want, slices.Repeat([]string{theirs}, min(1, 1-strings.Count(strings.Join(want, ""), "theirs")))...)...)
		}
		w.want(shop, shop+"."+zone, addresses("192.0.2.1"))
		w.want(text, at, values("a"))
		crash(shop+".example.test A → 192.0.2.1", at+` TXT → "a", "theirs"`)
		w.is(shop, dns.PhaseDone, "Done")
		w.is(text, dns.PhaseDone, "Done")
		w.change(shop, addresses("192.0.2.2", "2001:db8::2"))
		w.change(text, values("b"))
		crash(shop+".example.test A → 192.0.2.2", shop+".example.test AAAA → 2001:db8::2", at+` TXT → "b", "theirs"`)
		w.is(shop, dns.PhaseDone, "Done")
		w.is(text, dns.PhaseDone, "Done")
		w.remove(w.record(shop))
		w.remove(w.record(text))
		crash()
		if w.there(&v1alpha1.ManagedRecord{ObjectMeta: w.meta(shop)}) || w.there(&v1alpha1.ManagedRecord{ObjectMeta: w.meta(text)}) {
			t.Fatalf("killed at call %d, a record is still there", k)
		}
	}
}

// remembered checks that whatever is in the zone is known to the API server.
func (w *world) remembered(k int64) {
	w.Helper()
	list := &v1alpha1.ManagedRecordList{}
	if err := w.client.List(w.Context(), list, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	data := strings.Join(w.data(), "\n")
	for _, value := range []string{`"a"`, `"b"`} {
		if strings.Contains(data, value) && !slices.ContainsFunc(list.Items, func(r v1alpha1.ManagedRecord) bool {
			return len(r.Finalizers) == 1 && len(r.Status.Owned) == 1 && slices.Contains(r.Status.Owned[0].Values, strings.Trim(value, `"`))
		}) {
			w.Errorf("killed at call %d, nobody remembers the text %s", k, value)
		}
	}
	if strings.Contains(data, " A →") && (len(w.dns().Finalizers) != 1 || !slices.ContainsFunc(list.Items, func(r v1alpha1.ManagedRecord) bool {
		return len(r.Spec.Addresses) > 0 && len(r.Finalizers) == 1
	})) {
		w.Errorf("killed at call %d, an entry is there, and what it is for can go", k)
	}
}

// laggard is a cache that does not hear of changes.
type laggard struct {
	client.Reader
	records  *v1alpha1.ManagedRecordList
	provider *v1alpha1.DNSProvider
}

func (l *laggard) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if p, ok := o.(*v1alpha1.DNSProvider); ok {
		l.provider.DeepCopyInto(p)
	}
	return nil
}

func (l *laggard) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if r, ok := list.(*v1alpha1.ManagedRecordList); ok {
		l.records.DeepCopyInto(r)
	}
	return nil
}

func TestACacheThatLagsBehindLosesNothing(t *testing.T) {
	w := withZone(t, nameserver.Process)
	const at = "_acme-challenge." + zone
	w.want("text", at, values("a"))
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	old := &laggard{records: &v1alpha1.ManagedRecordList{}, provider: w.dns()}
	if err := w.client.List(t.Context(), old.records, client.InNamespace(w.namespace)); err != nil {
		t.Fatal(err)
	}
	w.cache = old
	w.restart()
	w.reconcile()
	w.is("text", dns.PhaseDone, "Done")
	// What was written is known although the cache does not show it.
	w.news()
	w.quiet()
	// Another process knows nothing, and is believed no more.
	w.cache = nil
	w.restart()
	w.change("text", values("b"))
	w.reconcile()
	w.cache = old
	w.restart()
	for range 3 {
		if again := w.reconcile(); again != time.Second {
			t.Errorf("with an old cache it looks again after %s", again)
		}
	}
	if r := w.record("text"); len(r.Status.Owned) != 1 || r.Status.Owned[0].Values[0] != "b" {
		t.Errorf("it owns %+v", r.Status.Owned)
	}
	w.cache = nil
	w.restart()
	w.reconcile()
	w.has(at+` TXT → "b"`, "shop.example.test A → 192.0.2.1")
	w.is("text", dns.PhaseDone, "Done")
}

func TestAServerOutOfReachIsWaitedFor(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.zone.Stop()
	w.reconcile()
	r := w.is("shop", dns.PhaseWaiting, "Unavailable")
	if r.Status.NextTry == nil || len(r.Finalizers) != 0 {
		t.Errorf("it is %+v", r.Status)
	}
	w.providerIs("Unavailable")
	// It is told again once a minute, not each time.
	writes := w.writes.Load()
	for range 5 {
		w.clock.Step(10 * time.Second)
		w.reconcile()
	}
	if n := w.writes.Load() - writes; n > 1 {
		t.Errorf("in a minute it was told %d times", n)
	}
}

func TestPhasesAndErrorsAreCounted(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.put("taken."+zone, dns.TypeA, "192.0.2.7")
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.want("taken", "taken."+zone, addresses("192.0.2.1"))
	w.want("held", "held."+zone, addresses())
	w.reconcile()
	w.reconcile()
	for label, want := range map[string]float64{"Done": 1, "Blocked": 1, "Held": 1, "Waiting": 0, "Planned": 0, "Conflict": 1} {
		if got := metric(t, w.registry, label); got != want {
			t.Errorf("%s is %v, want %v", label, got, want)
		}
	}
	w.remove(w.record("shop"))
	w.reconcile()
	if got := metric(t, w.registry, "Done"); got != 1 {
		// The one that goes is counted a last time.
		t.Errorf("Done is %v", got)
	}
	w.reconcile()
	if got := metric(t, w.registry, "Done"); got != 0 {
		t.Errorf("Done is %v once it is gone", got)
	}
}

// metric is the value with a label, of whichever of our metrics has it.
func metric(t *testing.T, registry *prometheus.Registry, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	t.Fatalf("there is no metric with %s", label)
	return 0
}

func TestSecretsOfEachVendorAreChecked(t *testing.T) {
	ref := &v1alpha1.SecretReference{Name: "credentials"}
	for name, c := range map[string]struct {
		spec v1alpha1.DNSProviderSpec
		key  string
	}{
		"route53":    {v1alpha1.DNSProviderSpec{Route53: &v1alpha1.Route53Provider{CredentialsSecretRef: ref}}, "accessKeyID"},
		"rfc2136":    {v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136Provider{Server: "127.0.0.1:1", Zones: []string{zone}, TSIGSecretRef: ref}}, "name"},
		"azure":      {v1alpha1.DNSProviderSpec{Azure: &v1alpha1.AzureProvider{SubscriptionID: "s", TenantID: "t", ClientID: "c", CredentialsSecretRef: ref}}, "clientSecret"},
		"google":     {v1alpha1.DNSProviderSpec{Google: &v1alpha1.GoogleProvider{Project: "p", CredentialsSecretRef: ref}}, "key.json"},
		"cloudflare": {v1alpha1.DNSProviderSpec{Cloudflare: &v1alpha1.CloudflareProvider{TokenSecretRef: *ref}}, "token"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: c.spec})
			w.secret("credentials", map[string]string{"other": "x"})
			w.want("shop", "shop."+zone, addresses("192.0.2.1"))
			w.reconcile()
			w.providerIs("SecretInvalid", w.namespace+"/credentials", "has no key "+c.key)
			w.is("shop", dns.PhaseBlocked, "SecretInvalid")
			w.secret("credentials", map[string]string{c.key: ""})
			w.reconcile()
			w.providerIs("SecretInvalid", "its key "+c.key+" is empty")
		})
	}
	w := newWorld(t)
	w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: v1alpha1.DNSProviderSpec{Google: &v1alpha1.GoogleProvider{CredentialsSecretRef: ref}}})
	w.secret("credentials", map[string]string{"key.json": "not json at all"})
	w.reconcile()
	if p := w.providerIs("SecretInvalid"); strings.Contains(fmt.Sprint(p.Status), "not json") {
		t.Errorf("the key is told: %+v", p.Status)
	}
}
