// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme/limit"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/leftover"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

func TestAPlaceholderIsServedUntilTheCertificateIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com", "b.example.com")
	w.ca.Inject(pebble.Fault{Path: pebble.PathDirectory, Status: 503, Type: "serverInternal", Detail: "away", Times: 1})
	if _, err := w.look(); err != nil {
		t.Fatal(err)
	}
	_, info := w.served()
	if !info.Placeholder || !slices.Equal(info.Names, []string{"a.example.com", "b.example.com"}) {
		t.Errorf("served is %+v, want a placeholder", info)
	}
	w.ready(metav1.ConditionFalse, "Failed", "away", "serverInternal", "next try at")
	if w.cert().Status.Fingerprint == "" || w.cert().Status.NextTry == nil {
		t.Errorf("the status is %+v", w.cert().Status)
	}
	cert := w.issue()
	pair, info := w.served()
	if _, err := certificate.Check(pair, []string{"a.example.com", "b.example.com"}, w.clock.Now()); err != nil || info.Placeholder {
		t.Errorf("served is %+v: %v", info, err)
	}
	w.trusted(pair)
	s := cert.Status
	if s.Serial != info.Serial || !s.NotAfter.Time.Equal(info.NotAfter) || s.RenewAt == nil || len(s.Challenges) != 0 || s.NextTry != nil {
		t.Errorf("the status is %+v", s)
	}
	if w.ca.Orders() != 1 || w.events.count("Issued") != 1 || w.events.count("Renewed") != 0 {
		t.Errorf("%d orders, events %q", w.ca.Orders(), w.events.notes)
	}
	if w.secret(w.shop, "web-tls-order") != nil || w.secret(w.shop, "web-tls-last") == nil {
		t.Error("the order's key is still there, or there is no copy")
	}
	orders := map[string]float64{}
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			// Others begin at zero.
			if n := m.GetCounter().GetValue(); family.GetName() == "trellis_acme_orders_total" && n > 0 {
				orders[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	if !maps.Equal(orders, map[string]float64{"issued ": 1, "repeated serverInternal": 1}) {
		t.Errorf("orders are counted as %v", orders)
	}
	expected := fmt.Sprintf("# HELP trellis_certificate_expiry_timestamp_seconds When the certificate that was issued last expires.\n"+
		"# TYPE trellis_certificate_expiry_timestamp_seconds gauge\n"+
		"trellis_certificate_expiry_timestamp_seconds{name=\"web\",namespace=%q} %v\n", w.shop, float64(info.NotAfter.Unix()))
	if err := testutil.GatherAndCompare(w.registry, strings.NewReader(expected), "trellis_certificate_expiry_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}

// trusted requires that a client who trusts the CA accepts a pair.
func (w *world) trusted(pair certificate.Pair) {
	w.t.Helper()
	chain, err := certificate.ParseChain(pair.Chain)
	if err != nil {
		w.t.Fatal(err)
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: w.ca.Roots(0), Intermediates: between, CurrentTime: w.clock.Now()}); err != nil {
		w.t.Error(err)
	}
}

func TestASecondLookWritesNothing(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"HTTP01", "DNS01", "DNSPersist01"} {
		w := newWorld(t, pebble.New(t, pebble.Options{}), challenge, "a.example.com")
		w.issue()
		if _, err := w.look(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			before, requests, calls := w.writes.Load(), len(w.ca.Requests("/")), w.calls.Load()
			result, err := w.look()
			if err != nil {
				t.Fatal(err)
			}
			if n := w.writes.Load() - before; n != 0 {
				t.Errorf("%s: %d writes", challenge, n)
			}
			if n := w.calls.Load() - calls; n > 2 {
				t.Errorf("%s: %d calls for a look at which nothing has changed", challenge, n)
			}
			if n := len(w.ca.Requests("/")) - requests; n != 0 {
				t.Errorf("%s: %d requests to the CA", challenge, n)
			}
			if result.RequeueAfter <= 0 || result.RequeueAfter > time.Minute {
				t.Errorf("the next look is in %s", result.RequeueAfter)
			}
			w.clock.ahead.Add(int64(result.RequeueAfter))
		}
	}
}

func TestAWildcardIsProvenByOneEntryWithTwoValues(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNS01", "example.com", "*.example.com")
	w.noKeeper = true
	w.until("the entry", func(*v1alpha1.ManagedCertificate) bool { return len(w.records()) > 0 })
	for range 5 {
		if _, err := w.look(); err != nil {
			t.Fatal(err)
		}
	}
	records := w.records()
	if len(records) != 1 || records[0].Spec.Name != "_acme-challenge.example.com" || len(records[0].Spec.Texts) != 2 || records[0].Spec.ProviderRef.Name != "zone" {
		t.Fatalf("the entries are %+v", records)
	}
	if cert := w.cert(); !metav1.IsControlledBy(&records[0], cert) || cert.Status.Phase != "Presenting" {
		t.Errorf("owners %+v, phase %s", records[0].OwnerReferences, cert.Status.Phase)
	}
	w.ready(metav1.ConditionFalse, "Pending", "_acme-challenge.example.com", records[0].Name)
	// Done is not enough.
	for _, spread := range []bool{false, true} {
		r := w.records()[0]
		r.Status.Phase, r.Status.Spread, r.Status.ObservedGeneration = "Done", spread, r.Generation-1
		if !spread {
			r.Status.ObservedGeneration = r.Generation
		}
		if err := w.client.Status().Update(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		if _, err := w.look(); err != nil {
			t.Fatal(err)
		}
		if phase := w.cert().Status.Phase; phase != "Presenting" {
			t.Errorf("the phase is %s while the entry has not spread", phase)
		}
	}
	w.noKeeper = false
	w.issue()
	if n := len(w.records()); n != 0 || w.ca.Orders() != 1 {
		t.Errorf("%d entries are left, %d orders", n, w.ca.Orders())
	}
	pair, _ := w.served()
	w.trusted(pair)
}

func TestAnEntryThatIsRemovedByHandComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNS01", "a.example.com")
	w.noKeeper = true
	w.until("the entry", func(*v1alpha1.ManagedCertificate) bool { return len(w.records()) > 0 })
	if err := w.client.Delete(t.Context(), &w.records()[0]); err != nil {
		t.Fatal(err)
	}
	w.until("the entry again", func(*v1alpha1.ManagedCertificate) bool { return len(w.records()) > 0 })
	w.noKeeper = false
	w.issue()
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

func TestAPersistentEntryStandsUntilTheCertificateIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNSPersist01", "example.com", "*.example.com")
	w.issue()
	first := w.records()
	if len(first) != 1 || first[0].Spec.Name != "_validation-persist.example.com" {
		t.Fatalf("the entries are %+v", first)
	}
	w.annotate(v1alpha1.RenewAnnotation, "now")
	w.until("another certificate", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) && w.ca.Orders() == 2 })
	if again := w.records(); len(again) != 1 || again[0].UID != first[0].UID || again[0].Generation != first[0].Generation {
		t.Errorf("the entries are %+v", again)
	}
	w.change(func(c *v1alpha1.ManagedCertificate) { c.Spec.DNSNames = []string{"other.example.com"} })
	w.until("the other name", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) && w.ca.Orders() == 3 })
	if again := w.records(); len(again) != 1 || again[0].Spec.Name != "_validation-persist.other.example.com" {
		t.Errorf("an entry stands that lets us have certificates for a name that nobody wants: %+v", again)
	}
}

func TestARenewalServesTheOldPairUntilTheNewOneIsThere(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"ARI", "annotation"} {
		w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
		w.issue()
		old, before := w.served()
		if how == "ARI" {
			now := w.clock.Now()
			if err := w.ca.SetRenewalInfo(old.Chain, pebble.Window(now.Add(-2*time.Hour), now.Add(-time.Hour))); err != nil {
				t.Fatal(err)
			}
			// The CA is asked again within a day.
			w.clock.ahead.Add(int64(25 * time.Hour))
		} else {
			w.annotate(v1alpha1.RenewAnnotation, "because the key was seen")
		}
		phases := map[string]bool{}
		w.until("another certificate", func(c *v1alpha1.ManagedCertificate) bool {
			phases[c.Status.Phase] = true
			pair, info := w.served()
			if c.Status.Phase != "Issued" && !bytes.Equal(pair.Chain, old.Chain) {
				t.Errorf("%s: another pair is served in the phase %s", how, c.Status.Phase)
			}
			ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Status != metav1.ConditionTrue {
				t.Errorf("%s: Ready is %+v while the old certificate is good", how, ready)
			}
			return isIssued(c) && info.Serial != before.Serial
		})
		pair, after := w.served()
		if bytes.Equal(pair.Key, old.Key) || after.Serial == before.Serial {
			t.Errorf("%s: key or certificate are the old ones", how)
		}
		w.trusted(pair)
		if n := w.events.count("Renewed"); n != 1 || w.ca.Orders() != 2 {
			t.Errorf("%s: %d events, %d orders", how, n, w.ca.Orders())
		}
		last := certificate.FromData(w.secret(w.shop, "web-tls-last").Data)
		if !bytes.Equal(last.Chain, pair.Chain) {
			t.Errorf("%s: the copy is of another certificate", how)
		}
		if _, err := w.look(); err != nil || w.ca.Orders() != 2 {
			t.Errorf("%s: %d orders after another look: %v", how, w.ca.Orders(), err)
		}
	}
}

func TestASecretDeletedTenTimesCostsNoOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	pair, _ := w.served()
	for i := range 10 {
		w.remove("web-tls")
		if i == 5 {
			w.restart()
		}
		if _, err := w.look(); err != nil {
			t.Fatal(err)
		}
		if again, _ := w.served(); !bytes.Equal(again.Key, pair.Key) || !bytes.Equal(again.Chain, pair.Chain) {
			t.Fatalf("time %d: another pair came back", i+1)
		}
		w.ready(metav1.ConditionTrue, "Issued")
	}
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

func TestASecretDeletedTenTimesWithItsCopyCostsFiveOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	limited := func(c *v1alpha1.ManagedCertificate) bool {
		ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
		return ready.Reason == "RateLimited"
	}
	for range 10 {
		w.remove("web-tls")
		w.remove("web-tls-last")
		w.restart()
		w.until("what can be had", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) || limited(c) })
		w.served()
	}
	if n := w.ca.Orders(); n != 5 {
		t.Errorf("%d orders, want the five of a week", n)
	}
	w.ready(metav1.ConditionFalse, "RateLimited", "limits", "next try at")
	w.clock.ahead.Add(int64(34 * time.Hour))
	w.issue()
	if n := w.ca.Orders(); n != 6 {
		t.Errorf("%d orders after a day and a half", n)
	}
}

func TestACertificateDeletedAndMadeAgainTakesItsPairFromABackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	kept := w.secret(w.shop, "web-tls")
	w.delete()
	w.remove("web-tls-last")
	kept.ResourceVersion, kept.UID = "", ""
	w.create(kept)
	w.create(w.wanted("HTTP01", "a.example.com"))
	w.issue()
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

func TestAPairThatAUserBrokeIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	pair, _ := w.served()
	foreign, err := certificate.NewPlaceholder([]string{"evil.example.com"}, w.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, breaks := range map[string]func(map[string][]byte){
		"another key":   func(d map[string][]byte) { d[corev1.TLSPrivateKeyKey] = foreign.Key },
		"another chain": func(d map[string][]byte) { d[corev1.TLSCertKey] = foreign.Chain },
		"no PEM":        func(d map[string][]byte) { d[corev1.TLSCertKey] = []byte("x") },
		"empty":         func(d map[string][]byte) { d[corev1.TLSCertKey], d[corev1.TLSPrivateKeyKey] = nil, nil },
		"another pair, ours": func(d map[string][]byte) {
			d[corev1.TLSCertKey], d[corev1.TLSPrivateKeyKey] = foreign.Chain, foreign.Key
		},
	} {
		s := w.secret(w.shop, "web-tls")
		breaks(s.Data)
		s.Data["ca.crt"] = []byte("of the user")
		if err := w.client.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if _, err := w.look(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if again, _ := w.served(); !bytes.Equal(again.Key, pair.Key) || !bytes.Equal(again.Chain, pair.Chain) {
			t.Errorf("%s: it is not the pair that was issued", name)
		}
		if got := w.secret(w.shop, "web-tls").Data["ca.crt"]; string(got) != "of the user" {
			t.Errorf("%s: what the user added is %q", name, got)
		}
	}
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

// once fails one call, before it is made or after.
func (w *world) once(at int64, after bool) {
	failed := false
	w.fault = func(n int64, done bool) error {
		if n == at && done == after && !failed {
			failed = true
			return errors.New("the API server was away")
		}
		return nil
	}
}

// dead fails all calls from one on.
func (w *world) dead(at int64, after bool) {
	w.fault = func(n int64, done bool) error {
		if n > at || n == at && done == after {
			return errors.New("the process was killed")
		}
		return nil
	}
}

// converge looks on after a fault, with another process, until there is a
// certificate.
func (w *world) converge() {
	w.t.Helper()
	for range 300 {
		result, err := w.look()
		if err != nil {
			w.fault = nil
			w.restart()
			continue
		}
		if isIssued(w.cert()) {
			w.fault = nil
			return
		}
		w.clock.ahead.Add(int64(max(result.RequeueAfter, time.Second)))
	}
	w.t.Fatalf("no end: %+v", w.cert().Status)
}

func TestACallThatFailsCostsNoOrder(t *testing.T) {
	t.Parallel()
	for challenge, after := range everyFault {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			everyCall(t, challenge, func(t *testing.T, w *world, at int64) {
				w.once(at, after)
				w.converge()
				if n := w.ca.Orders(); n != 1 {
					t.Errorf("call %d: %d orders", at, n)
				}
			})
		})
	}
}

// everyFault is when calls fail, by challenge: after the API server has heard them,
// or before.
var everyFault = map[string]bool{"HTTP01": false, "DNS01": true}

// everyCall runs a test for each of the calls that one certificate needs.
func everyCall(t *testing.T, challenge string, test func(*testing.T, *world, int64)) {
	t.Helper()
	ca := pebble.New(t, pebble.Options{})
	reference := newWorld(t, ca, challenge, "a.example.com")
	reference.issue()
	for at := int64(1); at <= reference.calls.Load(); at++ {
		ca := pebble.New(t, pebble.Options{})
		w := newWorld(t, ca, challenge, "a.example.com")
		test(t, w, at)
		w.clean(at)
	}
}

// clean requires that one more look leaves nothing of the order.
func (w *world) clean(at int64) {
	w.t.Helper()
	if _, err := w.look(); err != nil {
		w.t.Fatal(err)
	}
	pair, info := w.served()
	if info.Placeholder {
		w.t.Errorf("call %d: a placeholder is served", at)
	}
	w.trusted(pair)
	if w.secret(w.shop, "web-tls-order") != nil || len(w.records()) != 0 {
		w.t.Errorf("call %d: the order's key or its entries are left", at)
	}
	if w.secret(w.shop, "web-tls-last") == nil {
		w.t.Errorf("call %d: there is no copy", at)
	}
}

func TestAProcessKilledAtAnyCallGoesOnWithOneOrder(t *testing.T) {
	t.Parallel()
	for challenge, after := range everyFault {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			everyCall(t, challenge, func(t *testing.T, w *world, at int64) {
				w.dead(at, after)
				for w.ca.Orders() < 1 {
					result, err := w.look()
					if err != nil {
						break
					}
					w.clock.ahead.Add(int64(result.RequeueAfter))
				}
				// Also where the CA has made an order, and the process died before it
				// could store its URL.
				w.converge()
				if n := w.ca.Orders(); n != 1 {
					t.Errorf("call %d: %d orders", at, n)
				}
			})
		})
	}
}

func TestAnAPIServerThatIsAwayForLongCostsNoOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	// It goes away as soon as the CA has made the order, and the process lives on.
	w.fault = func(int64, bool) error {
		if w.ca.Orders() > 0 {
			return errors.New("away")
		}
		return nil
	}
	for range 5 {
		if _, err := w.look(); err == nil {
			t.Fatal("nothing went wrong")
		}
	}
	w.fault = nil
	w.issue()
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

func TestAnExternalAccountIsAwaitedAndBound(t *testing.T) {
	t.Parallel()
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	w := newWorld(t, pebble.New(t, pebble.Options{ExternalAccounts: map[string]string{"kid-1": key}}), "HTTP01")
	cert := w.wanted("HTTP01", "a.example.com")
	cert.Spec.ExternalAccount = &v1alpha1.ExternalAccount{KeyID: "kid-1", KeySecretRef: v1alpha1.SecretReference{Name: "eab"}}
	w.create(cert)
	for range 3 {
		if _, err := w.look(); err != nil {
			t.Fatal(err)
		}
	}
	w.ready(metav1.ConditionFalse, "Pending", "eab", "secret")
	if n := len(w.ca.Requests(pebble.PathNewAccount)); n != 0 {
		t.Errorf("the CA was asked %d times without the key", n)
	}
	eab := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: "eab"}, Data: map[string][]byte{"secret": []byte("d3Jvbmcga2V5IG9mIGFuIGFjY291bnQ")}}
	w.create(eab)
	w.until("the refusal", func(c *v1alpha1.ManagedCertificate) bool { return c.Status.Phase == "Failed" })
	w.ready(metav1.ConditionFalse, "Failed", v1alpha1.RetryAnnotation)
	eab.Data["secret"] = []byte(key)
	if err := w.client.Update(t.Context(), eab); err != nil {
		t.Fatal(err)
	}
	w.annotate(v1alpha1.RetryAnnotation, "1")
	w.issue()
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
	if s := w.secret(w.shop, "eab"); s == nil || len(s.Data) != 1 || s.Labels != nil {
		t.Errorf("the user's Secret was touched: %v", s.ObjectMeta)
	}
}

func TestAFailingValidationIsToldWithTheWordsOfTheCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.deaf = true
	w.until("the failure", func(c *v1alpha1.ManagedCertificate) bool {
		return c.Status.Phase == "Waiting" && c.Status.NextTry != nil
	})
	w.ready(metav1.ConditionFalse, "Failed", "a.example.com", "unauthorized", "404", "next try at")
	if _, info := w.served(); !info.Placeholder {
		t.Error("what is served is no placeholder")
	}
	if w.events.count("IssueFailed") != 1 || w.events.count("SelfCheckFailed") != 0 {
		t.Errorf("events %q", w.events.notes)
	}
	for end := w.clock.Now().Add(48 * time.Hour); w.clock.Now().Before(end); {
		result, err := w.look()
		if err != nil {
			t.Fatal(err)
		}
		wait := max(result.RequeueAfter, time.Second)
		if next := w.cert().Status.NextTry; next != nil {
			// The looks before it would do nothing.
			wait = max(wait, next.Sub(w.clock.Now()))
		}
		w.clock.ahead.Add(int64(wait))
	}
	// The first, and after one minute, ten, a hundred and a day.
	if n := w.ca.Orders(); n < 4 || n > 6 {
		t.Errorf("%d orders in two days", n)
	}
	w.deaf = false
	w.annotate(v1alpha1.RetryAnnotation, "now")
	w.issue()
}

func TestAForeignSecretIsNeverTouched(t *testing.T) {
	t.Parallel()
	pair, err := certificate.NewPlaceholder([]string{"a.example.com"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{"app.kubernetes.io/managed-by": "trellis"}
	tls := certificate.Secret("", "", pair, false)
	for name, foreign := range map[string]*corev1.Secret{
		"without a label":        {ObjectMeta: metav1.ObjectMeta{Name: "web-tls"}, Type: tls.Type, Data: tls.Data},
		"of another manager":     {ObjectMeta: metav1.ObjectMeta{Name: "web-tls", Labels: map[string]string{"app.kubernetes.io/managed-by": "cert-manager"}}, Type: tls.Type, Data: tls.Data},
		"of ours, not a pair":    {ObjectMeta: metav1.ObjectMeta{Name: "web-tls", Labels: ours}, Data: map[string][]byte{"key": []byte("the key of the probes, say")}},
		"of another certificate": {ObjectMeta: metav1.ObjectMeta{Name: "web-tls", Labels: ours, Annotations: map[string]string{managedcertificate.CertificateAnnotation: "other"}}, Type: tls.Type, Data: tls.Data},
		"at the order's name":    {ObjectMeta: metav1.ObjectMeta{Name: "web-tls-order"}, Data: map[string][]byte{"x": []byte("y")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
			foreign.Namespace = w.shop
			w.create(foreign)
			before := w.secret(w.shop, foreign.Name)
			w.until("the conflict", func(c *v1alpha1.ManagedCertificate) bool {
				ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
				return ready != nil && ready.Reason == "SecretConflict"
			})
			w.ready(metav1.ConditionFalse, "SecretConflict", foreign.Name)
			if _, err := w.look(); err != nil {
				t.Fatal(err)
			}
			writes := w.writes.Load()
			if _, err := w.look(); err != nil || w.writes.Load() != writes {
				t.Errorf("%d writes in a conflict that lasts: %v", w.writes.Load()-writes, err)
			}
			w.delete()
			if after := w.secret(w.shop, foreign.Name); after == nil || after.ResourceVersion != before.ResourceVersion {
				t.Errorf("the Secret is now %v", after)
			}
			if n := w.ca.Orders(); foreign.Name == "web-tls" && n != 0 {
				t.Errorf("%d orders", n)
			}
		})
	}
}

func TestAConflictThatIsResolvedIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	for _, name := range []string{"web-tls", "web-tls-order"} {
		w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: name}})
		w.until("the conflict", func(c *v1alpha1.ManagedCertificate) bool {
			ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
			return ready != nil && ready.Reason == "SecretConflict"
		})
		w.remove(name)
	}
	w.issue()
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

// delete deletes the certificate and waits until it is gone.
func (w *world) delete() {
	w.t.Helper()
	if err := w.client.Delete(w.t.Context(), w.cert()); err != nil {
		w.t.Fatal(err)
	}
	for range 5 {
		if _, err := w.look(); err != nil {
			w.t.Fatal(err)
		}
		if err := w.client.Get(w.t.Context(), w.name, &v1alpha1.ManagedCertificate{}); apierrors.IsNotFound(err) {
			return
		}
	}
	w.t.Fatal("the certificate is still there")
}

func TestADeletedCertificateTakesWhatIsItsAndLeavesTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNSPersist01", "a.example.com")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: "unrelated"}})
	w.issue()
	// In the middle of an order there is more to take away.
	w.annotate(v1alpha1.RenewAnnotation, "now")
	w.noKeeper = true
	w.delete()
	secrets := &corev1.SecretList{}
	if err := w.client.List(t.Context(), secrets, client.InNamespace(w.shop)); err != nil {
		t.Fatal(err)
	}
	if len(secrets.Items) != 2 || secrets.Items[0].Name != "unrelated" || !leftover.Is(&secrets.Items[1]) {
		t.Errorf("%d Secrets are left", len(secrets.Items))
	}
	if n := len(w.records()); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	if n := len(w.accounts().Data); n != 1 {
		t.Errorf("%d accounts, want the one", n)
	}
	if n, err := testutil.GatherAndCount(w.registry, "trellis_certificate_expiry_timestamp_seconds"); err != nil || n != 0 {
		t.Errorf("%d metrics are left: %v", n, err)
	}
}

func TestOurOwnLookComesBeforeTheCAs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.noGateway = true
	w.until("the challenge", func(c *v1alpha1.ManagedCertificate) bool { return len(c.Status.Challenges) > 0 })
	begin := w.clock.Now()
	w.ready(metav1.ConditionFalse, "Pending", "http://a.example.com/.well-known/acme-challenge/", "answers HTTP 404")
	writes := w.writes.Load()
	w.until("the CA to look", func(c *v1alpha1.ManagedCertificate) bool {
		if c.Status.Phase == "Presenting" && w.writes.Load() != writes {
			t.Errorf("%d writes while nothing has changed", w.writes.Load()-writes)
		}
		return c.Status.Phase != "Presenting"
	})
	if waited := w.clock.Now().Sub(begin); waited < 110*time.Second || waited > 150*time.Second {
		t.Errorf("the CA was asked after %s", waited)
	}
	if w.events.count("SelfCheckFailed") != 1 {
		t.Errorf("events %q", w.events.notes)
	}
}

func TestOurOwnLookCanBeLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	looked := false
	w.options.Check = func(context.Context, string, string, string) error {
		looked = true
		return errors.New("cannot see it from here")
	}
	w.restart()
	w.annotate(v1alpha1.SkipSelfCheckAnnotation, "true")
	// Steps count in whole seconds.
	begin := w.clock.Now().Truncate(time.Second)
	w.issue()
	if looked {
		t.Error("we have looked")
	}
	if waited := w.clock.Now().Sub(begin); waited < 10*time.Second || waited > time.Minute {
		t.Errorf("the gateways got %s", waited)
	}
}

func TestACertificateThatIsNotRenewedIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	w.ca.Inject(pebble.Fault{Path: pebble.PathNewOrder, Status: 503, Type: "serverInternal", Detail: "for maintenance", Times: -1})
	end := w.cert().Status.NotAfter.Add(-24 * time.Hour)
	expiring := time.Time{}
	for w.clock.Now().Before(end) {
		if _, err := w.look(); err != nil {
			t.Fatal(err)
		}
		if c := meta.FindStatusCondition(w.cert().Status.Conditions, managedcertificate.ConditionExpiring); c != nil && expiring.IsZero() {
			expiring = w.clock.Now()
			if !strings.Contains(c.Message, "for maintenance") {
				t.Errorf("the message is %q", c.Message)
			}
		}
		w.clock.ahead.Add(int64(24 * time.Hour))
	}
	if left := w.cert().Status.NotAfter.Sub(expiring); left < 13*24*time.Hour || left > 15*24*time.Hour+time.Hour {
		t.Errorf("a person was told with %s left", left)
	}
	if w.events.count("Expiring") != 1 {
		t.Errorf("events %q", w.events.notes)
	}
	w.ready(metav1.ConditionTrue, "Issued", "the next one could not be had", "for maintenance")
	w.ca.Heal()
	// The CA's clock is the real one, and what it issues has to be in time.
	w.clock.ahead.Store(0)
	w.annotate(v1alpha1.RenewAnnotation, "now")
	w.until("the renewal", func(c *v1alpha1.ManagedCertificate) bool { return isIssued(c) && w.ca.Orders() == 2 })
	if c := meta.FindStatusCondition(w.cert().Status.Conditions, managedcertificate.ConditionExpiring); c != nil {
		t.Errorf("still %+v", c)
	}
}

func TestALostAccountKeyInTheMiddleOfAnOrderIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNS01", "a.example.com")
	w.noKeeper = true
	w.until("the entry", func(*v1alpha1.ManagedCertificate) bool { return len(w.records()) > 0 })
	if err := w.client.Delete(t.Context(), w.accounts()); err != nil {
		t.Fatal(err)
	}
	w.noKeeper = false
	w.issue()
	if w.ca.Orders() != 2 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

// accounts is the Secret with the keys of accounts; other Secrets of the operator
// may not be read.
func (w *world) accounts() *corev1.Secret {
	w.t.Helper()
	list := &corev1.SecretList{}
	if err := w.client.List(w.t.Context(), list, client.InNamespace(w.options.Namespace)); err != nil {
		w.t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Name != managedcertificate.AccountsName {
		w.t.Fatalf("there are %d Secrets", len(list.Items))
	}
	return &list.Items[0]
}

func TestAnAccountKeyThatCannotBeReadIsKeptAndTold(t *testing.T) {
	t.Parallel()
	for _, garbage := range []string{"", "-----BEGIN nothing"} {
		w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
		w.until("an account", func(*v1alpha1.ManagedCertificate) bool { return w.ca.Count(pebble.PathNewAccount, 201) > 0 })
		account, entry := w.accounts(), ""
		for k := range account.Data {
			entry = k
			account.Data[k] = []byte(garbage)
		}
		if err := w.client.Update(t.Context(), account); err != nil {
			t.Fatal(err)
		}
		w.annotate(v1alpha1.RenewAnnotation, "now")
		w.restart()
		for range 3 {
			if _, err := w.look(); err != nil {
				t.Fatal(err)
			}
		}
		message := meta.FindStatusCondition(w.cert().Status.Conditions, v1alpha1.ConditionReady).Message
		if !strings.Contains(message, entry) || !strings.Contains(message, "cannot be read") {
			t.Errorf("the message is %q", message)
		}
		if got := w.accounts().Data; len(got) != 1 || string(got[entry]) != garbage {
			t.Error("the Secret was changed")
		}
	}
}

func TestAccountsOfSeveralAuthoritiesAreKeptSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	first := w.accounts().Data
	w.ca = pebble.New(t, pebble.Options{})
	w.options.Transport = w.ca.Transport
	w.restart()
	w.change(func(c *v1alpha1.ManagedCertificate) { c.Spec.Directory = w.ca.Directory })
	w.issue()
	both := w.accounts().Data
	for k, v := range first {
		if !bytes.Equal(both[k], v) || len(both) != 2 || !strings.HasPrefix(k, "127.0.0.1-") {
			t.Errorf("the key %s is not there any more, or there are not two", k)
		}
	}
	pair, _ := w.served()
	w.trusted(pair)
}

func TestCertificatesOfOneAuthorityShareAnAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	other := w.wanted("HTTP01", "b.example.com")
	other.Name, other.Spec.SecretName = "other", "other-tls"
	w.create(other)
	w.name.Name = "other"
	w.issue()
	if n := w.ca.Count(pebble.PathNewAccount, 201); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

func TestANonsensicalStateOrBudgetBeginsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	cert := w.cert()
	cert.Status.State = `{"phase":"Validating"}`
	if err := w.client.Status().Update(t.Context(), cert); err != nil {
		t.Fatal(err)
	}
	budget := &corev1.ConfigMap{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.options.Namespace, Name: managedcertificate.LedgerName}, budget); err != nil {
		t.Fatal(err)
	}
	for k, v := range budget.Data {
		if _, err := limit.Decode(limit.LetsEncrypt, []byte(v)); err != nil || v == "" {
			t.Errorf("the budget is %s", v)
		}
		budget.Data[k] = "{{"
	}
	if err := w.client.Update(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.issue()
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders, and the certificate was good", w.ca.Orders())
	}
}

func TestADNSChallengeWithoutAProviderIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "DNS01")
	cert := w.wanted("DNS01", "a.example.com")
	cert.Spec.ProviderRef = nil
	w.create(cert)
	if _, err := w.look(); err != nil {
		t.Fatal(err)
	}
	w.ready(metav1.ConditionFalse, "Pending", "providerRef")
	if _, info := w.served(); !info.Placeholder || len(w.ca.Requests("/")) != 0 {
		t.Errorf("served is %+v, requests %v", info, w.ca.Requests("/"))
	}
}

func TestNamesThatNoAuthorityTakesAreTold(t *testing.T) {
	t.Parallel()
	for name, names := range map[string][]string{"a wildcard by HTTP": {"*.example.com"}, "no name": {"-.example..com"}} {
		w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", names...)
		w.keyless = name == "no name"
		if _, err := w.look(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.ready(metav1.ConditionFalse, "Failed")
		if n := len(w.ca.Requests("/")); n != 0 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}
