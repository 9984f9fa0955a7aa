// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/leftover"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

func (w *world) looks(times int) {
	w.t.Helper()
	for range times {
		if _, err := w.look(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) is(want certificate.Pair) {
	w.t.Helper()
	if got, _ := w.served(); !bytes.Equal(got.Chain, want.Chain) || !bytes.Equal(got.Key, want.Key) {
		w.t.Error("another pair is served")
	}
}

func TestACertificateDeletedTenTimesCostsOneOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	pair, _ := w.served()
	for i := range 10 {
		w.delete()
		if i == 5 {
			w.restart()
		}
		w.create(w.wanted("HTTP01", "a.example.com"))
		w.looks(1)
		w.is(pair)
		w.issue()
		if s := w.secret(w.shop, "web-tls-last"); s == nil || leftover.Is(s) {
			t.Fatal("the copy that is in use counts as left over")
		}
	}
	w.is(pair)
	if n := w.ca.Orders(); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func TestACopyOfWhatIsNotWantedAnyMoreIsServedUntilThereIsAnother(t *testing.T) {
	for name, edit := range map[string]func(*v1alpha1.ManagedCertificate, string){
		"names":     func(c *v1alpha1.ManagedCertificate, _ string) { c.Spec.DNSNames = []string{"b.example.com"} },
		"key":       func(c *v1alpha1.ManagedCertificate, _ string) { c.Spec.Key = "ECDSA-P384" },
		"directory": func(c *v1alpha1.ManagedCertificate, other string) { c.Spec.Directory = other },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
			w.issue()
			pair, _ := w.served()
			w.delete()
			orders := w.ca.Orders()
			if name == "directory" {
				w.ca = pebble.New(t, pebble.Options{})
				w.options.Transport, orders = w.ca.Transport, 0
				w.restart()
			}
			cert := w.wanted("HTTP01", "a.example.com")
			edit(cert, w.ca.Directory)
			w.create(cert)
			w.noGateway = true
			w.looks(1)
			w.is(pair)
			w.noGateway = false
			w.issue()
			if now, _ := w.served(); bytes.Equal(now.Chain, pair.Chain) || w.ca.Orders() != orders+1 {
				t.Errorf("%d orders, and the old certificate is served: %t", w.ca.Orders()-orders, bytes.Equal(now.Chain, pair.Chain))
			}
		})
	}
}

func TestWhatACertificateLeftBehindEndsAfterAWeekOrWithItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.options.Namespaces = []string{w.shop}
	w.restart()
	w.issue()
	sweep := func() {
		t.Helper()
		if err := w.r.Sweeper().Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if w.secret(w.shop, "web-tls") == nil || w.secret(w.shop, "web-tls-last") == nil {
		t.Fatal("what is in use was swept")
	}
	w.delete()
	if w.secret(w.shop, "web-tls") != nil {
		t.Error("the Secret that nobody needs is there")
	}
	kept := w.secret(w.shop, "web-tls-last")
	w.clock.ahead.Add(int64(leftover.Life - time.Minute))
	sweep()
	if w.secret(w.shop, "web-tls-last") == nil {
		t.Fatal("it ended too early")
	}
	w.clock.ahead.Add(int64(time.Minute))
	w.create(w.wanted("HTTP01", "a.example.com"))
	sweep()
	if w.secret(w.shop, "web-tls-last") == nil {
		t.Fatal("it ended while there is a certificate")
	}
	w.delete()
	sweep()
	if w.secret(w.shop, "web-tls-last") != nil {
		t.Fatal("it has no end")
	}
	kept.ResourceVersion, kept.UID = "", ""
	leftover.Mark(kept, w.clock.Now())
	kept.Annotations[leftover.NotAfterAnnotation] = w.clock.Now().Format(time.RFC3339)
	w.create(kept)
	sweep()
	if w.secret(w.shop, "web-tls-last") != nil {
		t.Error("one that has expired stays")
	}
}

// handmade is a pair for a name, signed by itself or by an authority of nobody.
func (w *world) handmade(name string, self bool) certificate.Pair {
	w.t.Helper()
	sign := func(template, parent *x509.Certificate, public, private any) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, private)
		if err != nil {
			w.t.Fatal(err)
		}
		return der
	}
	key, err := certificate.NewKey(certificate.P256)
	if err != nil {
		w.t.Fatal(err)
	}
	now := w.clock.Now()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "by hand"}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10 * 365 * 24 * time.Hour),
	}
	parent, signer := leaf, key
	if !self {
		if signer, err = certificate.NewKey(certificate.P256); err != nil {
			w.t.Fatal(err)
		}
		parent = &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, SubjectKeyId: []byte{1}}
	}
	text, err := certificate.EncodeKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	der := sign(leaf, parent, key.Public(), signer)
	return certificate.Pair{Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: text}
}

// overwrite edits the Secret by hand.
func (w *world) overwrite(pair certificate.Pair) {
	w.t.Helper()
	s := w.secret(w.shop, "web-tls")
	s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = pair.Chain, pair.Key
	w.note(s)
	if err := w.client.Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

func TestAPairPutInByHandGivesWayToTheOneThatWasIssued(t *testing.T) {
	for name, self := range map[string]bool{"self-signed": true, "of another authority": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
			w.issue()
			pair, info := w.served()
			w.overwrite(w.handmade("a.example.com", self))
			w.looks(1)
			w.is(pair)
			if n := w.events.count("SecretReplaced"); n != 1 {
				t.Errorf("%d events", n)
			}
			if copied := certificate.FromData(w.secret(w.shop, "web-tls-last").Data); !bytes.Equal(copied.Chain, pair.Chain) {
				t.Error("the copy is another pair")
			}
			w.looks(3)
			if got := w.cert().Status.Serial; got != info.Serial || w.ca.Orders() != 1 || w.events.count("SecretReplaced") != 1 {
				t.Errorf("the serial number is %s, %d orders", got, w.ca.Orders())
			}
		})
	}
}

func TestAPairPutInByHandWithoutACopyOfOursIsServedUntilThereIsOne(t *testing.T) {
	for name, forgotten := range map[string]bool{"known": false, "forgotten": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
			w.issue()
			w.remove("web-tls-last")
			byHand := w.handmade("a.example.com", true)
			w.overwrite(byHand)
			if forgotten {
				s := w.secret(w.shop, "web-tls")
				w.delete()
				s.ResourceVersion, s.UID = "", ""
				w.create(s)
				w.create(w.wanted("HTTP01", "a.example.com"))
			}
			w.restart()
			w.deaf = true
			w.looks(2)
			w.is(byHand)
			if w.secret(w.shop, "web-tls-last") != nil {
				t.Error("there is a copy of it")
			}
			if meta.IsStatusConditionTrue(w.cert().Status.Conditions, v1alpha1.ConditionReady) {
				t.Error("it counts as issued")
			}
			w.deaf = false
			w.until("an order", func(*v1alpha1.ManagedCertificate) bool { return w.ca.Orders() == 2 })
			w.issue()
			pair, info := w.served()
			w.trusted(pair)
			if info.SelfSigned {
				t.Error("it is still the one by hand")
			}
		})
	}
}

func TestAChangeOfTheAuthorityAndBackCostsOneOrderOfEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	production, staging := w.ca, pebble.New(t, pebble.Options{})
	first, _ := w.served()
	pairs := map[*pebble.Server]certificate.Pair{production: first}
	for i := range 6 {
		w.ca = staging
		if i%2 == 1 {
			w.ca = production
		}
		w.options.Transport = w.ca.Transport
		w.restart()
		w.change(func(c *v1alpha1.ManagedCertificate) { c.Spec.Directory = w.ca.Directory })
		if pair, ok := pairs[w.ca]; ok {
			w.looks(1)
			w.is(pair)
		}
		w.issue()
		pair, info := w.served()
		w.trusted(pair)
		pairs[w.ca] = pair
		if s := w.state(); s.Issued.Directory != w.ca.Directory || w.cert().Status.Serial != info.Serial {
			t.Errorf("the state says %s, and the serial number %s", s.Issued.Directory, w.cert().Status.Serial)
		}
	}
	if p, s := production.Orders(), staging.Orders(); p != 1 || s != 1 {
		t.Errorf("%d and %d orders", p, s)
	}
	if n := w.events.count("SecretReplaced"); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestASecretStaysWhileItsIngressWantsTheCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	pair, _ := w.served()
	w.owned(v1alpha1.IngressTLS{Email: "ops@example.com"})
	w.delete()
	w.is(pair)
	if s := w.secret(w.shop, "web-tls"); !leftover.Is(s) {
		t.Error("it has no end")
	}
	w.create(w.wanted("HTTP01", "a.example.com"))
	w.issue()
	w.is(pair)
	if s := w.secret(w.shop, "web-tls"); leftover.Is(s) || w.ca.Orders() != 1 {
		t.Errorf("%d orders, and it counts as left over: %t", w.ca.Orders(), leftover.Is(s))
	}
	ingress := &v1alpha1.SecureIngress{ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: "public"}}
	if err := w.client.Delete(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	w.change(func(c *v1alpha1.ManagedCertificate) {
		c.Labels = map[string]string{
			"trellis.dev/owner-kind": "SecureIngress", "trellis.dev/owner-namespace": w.shop, "trellis.dev/owner-name": "public",
		}
	})
	w.delete()
	if w.secret(w.shop, "web-tls") != nil {
		t.Error("the Secret of an ingress that is gone is there")
	}
}
