// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificate_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/internal/certificate"
)

var now = time.Date(2027, 2, 10, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// authority signs certificates for any time.
type authority struct {
	t    *testing.T
	key  crypto.Signer
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t, certificate.P256)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-10 * 365 * day), NotAfter: now.Add(10 * 365 * day), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.pem = a.sign(template, template, a.key.Public())
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, []byte) {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newKey(t *testing.T, kind certificate.KeyType) crypto.Signer {
	t.Helper()
	key, err := certificate.NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encode(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	text, err := certificate.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (a *authority) pair(from, to time.Time, names ...string) certificate.Pair {
	a.t.Helper()
	key := newKey(a.t, certificate.P256)
	_, leaf := a.sign(&x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, DNSNames: names}, a.cert, key.Public())
	return certificate.Pair{Chain: slices.Concat(leaf, a.pem), Key: encode(a.t, key)}
}

func TestAPairIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	a := newAuthority(t)
	good := a.pair(now.Add(-day), now.Add(day), "a.example.com", "*.b.example.com")
	other := newAuthority(t)
	leaf := bytes.TrimSuffix(good.Chain, a.pem)
	for name, test := range map[string]struct {
		pair  certificate.Pair
		names []string
		want  error
	}{
		"good":                        {good, []string{"a.example.com", "*.b.example.com", "x.b.example.com"}, nil},
		"nothing":                     {certificate.Pair{}, nil, certificate.ErrUnreadable},
		"no key":                      {certificate.Pair{Chain: good.Chain}, nil, certificate.ErrUnreadable},
		"no certificate":              {certificate.Pair{Chain: good.Key, Key: good.Key}, nil, certificate.ErrUnreadable},
		"a key that is none":          {certificate.Pair{Chain: good.Chain, Key: []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}, nil, certificate.ErrUnreadable},
		"the key of another":          {certificate.Pair{Chain: good.Chain, Key: encode(t, newKey(t, certificate.P256))}, nil, certificate.ErrMismatch},
		"another name":                {good, []string{"c.example.com"}, certificate.ErrNames},
		"a wildcard that covers less": {good, []string{"x.y.b.example.com"}, certificate.ErrNames},
		"a wildcard over a name":      {good, []string{"*.a.example.com"}, certificate.ErrNames},
		"expired":                     {a.pair(now.Add(-2*day), now.Add(-day), "a.example.com"), nil, certificate.ErrExpired},
		"from tomorrow on":            {a.pair(now.Add(day), now.Add(2*day), "a.example.com"), nil, certificate.ErrExpired},
		"a moment ahead of our clock": {a.pair(now.Add(time.Minute), now.Add(day), "a.example.com"), nil, nil},
		"the chain of another":        {certificate.Pair{Chain: slices.Concat(leaf, other.pem), Key: good.Key}, nil, certificate.ErrChain},
		"too much":                    {certificate.Pair{Chain: bytes.Repeat(good.Chain, 500), Key: good.Key}, nil, certificate.ErrUnreadable},
		"too many":                    {certificate.Pair{Chain: bytes.Repeat(a.pem, 17), Key: good.Key}, nil, certificate.ErrUnreadable},
	} {
		_, err := certificate.Check(test.pair, test.names, now)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	// All that is wrong is said at once.
	_, err := certificate.Check(certificate.Pair{Chain: a.pair(now.Add(-2*day), now.Add(-day), "a.example.com").Chain, Key: good.Key}, []string{"z.example.com"}, now)
	for _, want := range []error{certificate.ErrMismatch, certificate.ErrNames, certificate.ErrExpired} {
		if !errors.Is(err, want) {
			t.Errorf("%v does not say that %v", err, want)
		}
	}
}

func TestKeysAreReadInEverySpelling(t *testing.T) {
	ec := newKey(t, certificate.P384)
	ecKey, ok := ec.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("a key of type %s is a %T", certificate.P384, ec)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 5, 43, 129, 4, 0, 34}})
	for name, text := range map[string][]byte{
		"PKCS #8":               encode(t, ec),
		"SEC 1":                 pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}),
		"SEC 1 with parameters": append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...),
	} {
		key, err := certificate.ParseKey(text)
		if err != nil || certificate.TypeOf(key.Public()) != certificate.P384 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []certificate.KeyType{"", certificate.P256, certificate.P384, certificate.RSA2048, certificate.RSA3072} {
		if got := certificate.TypeOf(newKey(t, kind).Public()); got != kind.OrDefault() {
			t.Errorf("a key of type %q is of type %s", kind, got)
		}
	}
	if _, err := certificate.NewKey("DSA"); err == nil {
		t.Error("a key of an unknown type was made")
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got := certificate.TypeOf(public); got == certificate.P256 {
		t.Errorf("an Ed25519 key is of type %s", got)
	}
}

func TestAPlaceholderSaysWhatItIsAndIsNoCertificate(t *testing.T) {
	p, err := certificate.NewPlaceholder([]string{"a.example.com"}, now)
	if err != nil {
		t.Fatal(err)
	}
	info, err := certificate.Check(p, []string{"a.example.com"}, now)
	if err != nil || !info.Placeholder || !strings.Contains(info.Issuer, "placeholder") {
		t.Errorf("%+v, %v", info, err)
	}
	s := certificate.Secret("istio-ingress", "web", p, true)
	if s.Type != corev1.SecretTypeTLS || s.Labels[certificate.PlaceholderLabel] != "true" {
		t.Errorf("the Secret is of type %s with labels %v", s.Type, s.Labels)
	}
	if got := certificate.FromData(s.Data); !bytes.Equal(got.Chain, p.Chain) || !bytes.Equal(got.Key, p.Key) {
		t.Error("the Secret holds something else")
	}
	wanted := certificate.Wanted{Names: []string{"a.example.com"}}
	if cause, _, _ := certificate.Decide(wanted, certificate.Issued{}, p, now); cause != certificate.Missing {
		t.Errorf("the cause is %q, want %q", cause, certificate.Missing)
	}
}

func TestASecretIsReadInTheSpellingsOfIstio(t *testing.T) {
	for _, keys := range [][2]string{{"tls.crt", "tls.key"}, {"cert", "key"}} {
		got := certificate.FromData(map[string][]byte{keys[0]: []byte("c"), keys[1]: []byte("k")})
		if string(got.Chain) != "c" || string(got.Key) != "k" {
			t.Errorf("%v: %q, %q", keys, got.Chain, got.Key)
		}
	}
	if !certificate.FromData(map[string][]byte{"ca.crt": []byte("c")}).Empty() {
		t.Error("a CA's certificate was taken for a pair")
	}
}

func TestAPairDoesNotPrintItsKey(t *testing.T) {
	p := certificate.Pair{Chain: []byte("chain"), Key: []byte("secret")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, p); strings.Contains(text, "secret") || strings.Contains(text, "115 101") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestTimesOfRenewalAreFractionsOfTheLifetime(t *testing.T) {
	for _, test := range []struct{ lifetime, backstop, alert time.Duration }{
		{160 * time.Hour, 80 * time.Hour, 160 * time.Hour / 6},
		{45 * day, 15 * day, 180 * time.Hour},
		{64 * day, 512 * time.Hour, 256 * time.Hour},
		{90 * day, 30 * day, 15 * day},
		{10 * day, 80 * time.Hour, 40 * time.Hour},
	} {
		end := now.Add(test.lifetime)
		if got := end.Sub(certificate.Backstop(now, end)); got != test.backstop {
			t.Errorf("%s: the backstop is %s before the end, want %s", test.lifetime, got, test.backstop)
		}
		if got := end.Sub(certificate.AlertTime(now, end)); got != test.alert {
			t.Errorf("%s: the alert is %s before the end, want %s", test.lifetime, got, test.alert)
		}
	}
}

func TestAPointIsChosenWithinTheWindow(t *testing.T) {
	w := certificate.Window{Start: now, End: now.Add(day)}
	for _, random := range []float64{0, 0.5, 0.999999} {
		if at := w.Choose(random); at.Before(w.Start) || at.After(w.End) {
			t.Errorf("%f: %s is outside of the window", random, at)
		}
	}
	for name, w := range map[string]certificate.Window{
		"empty": {}, "backwards": {now, now.Add(-time.Second)}, "a point": {now, now}, "no start": {End: now},
	} {
		if w.Valid() {
			t.Errorf("the window %s is valid", name)
		}
	}
}

func TestACertificateIsReplacedForAReason(t *testing.T) {
	a := newAuthority(t)
	p := a.pair(now.Add(-10*day), now.Add(80*day), "a.example.com")
	wanted := certificate.Wanted{Names: []string{"a.example.com"}, Key: certificate.P256, Profile: "p", Directory: "d"}
	have := certificate.Issued{Profile: "p", Directory: "d"}
	for name, test := range map[string]struct {
		change func(*certificate.Wanted, *certificate.Issued, *certificate.Pair)
		want   certificate.Cause
		at     time.Time
	}{
		"nothing": {func(*certificate.Wanted, *certificate.Issued, *certificate.Pair) {}, certificate.NoCause, now.Add(50 * day)},
		"another name": {func(w *certificate.Wanted, _ *certificate.Issued, _ *certificate.Pair) {
			w.Names = []string{"b.example.com"}
		}, certificate.NamesChanged, now},
		"one name less": {func(_ *certificate.Wanted, _ *certificate.Issued, p *certificate.Pair) {
			*p = a.pair(now, now.Add(day), "a.example.com", "b.example.com")
		}, certificate.NamesChanged, now},
		"another key":     {func(w *certificate.Wanted, _ *certificate.Issued, _ *certificate.Pair) { w.Key = certificate.RSA2048 }, certificate.KeyChanged, now},
		"another profile": {func(w *certificate.Wanted, _ *certificate.Issued, _ *certificate.Pair) { w.Profile = "" }, certificate.ProfileChanged, now},
		"another CA":      {func(w *certificate.Wanted, _ *certificate.Issued, _ *certificate.Pair) { w.Directory = "e" }, certificate.IssuerChanged, now},
		"no Secret":       {func(_ *certificate.Wanted, _ *certificate.Issued, p *certificate.Pair) { *p = certificate.Pair{} }, certificate.Missing, now},
		"half a Secret":   {func(_ *certificate.Wanted, _ *certificate.Issued, p *certificate.Pair) { p.Key = nil }, certificate.Damaged, now},
		"rubbish":         {func(_ *certificate.Wanted, _ *certificate.Issued, p *certificate.Pair) { p.Chain = []byte("x") }, certificate.Damaged, now},
		"the CA's time is past": {func(_ *certificate.Wanted, h *certificate.Issued, _ *certificate.Pair) {
			h.RenewAt = now.Add(-time.Hour)
		}, certificate.RenewalDue, now.Add(-time.Hour)},
		"the CA's time to come": {func(_ *certificate.Wanted, h *certificate.Issued, _ *certificate.Pair) { h.RenewAt = now.Add(60 * day) }, certificate.NoCause, now.Add(60 * day)},
		"the CA's time is far": {func(_ *certificate.Wanted, h *certificate.Issued, _ *certificate.Pair) {
			h.RenewAt = now.Add(600 * day)
		}, certificate.NoCause, now.Add(65 * day)},
		"expired": {func(_ *certificate.Wanted, _ *certificate.Issued, p *certificate.Pair) {
			*p = a.pair(now.Add(-90*day), now.Add(-day), "a.example.com")
		}, certificate.RenewalDue, now.Add(-day - 89*day/3)},
	} {
		w, h, q := wanted, have, p
		test.change(&w, &h, &q)
		cause, at, err := certificate.Decide(w, h, q, now)
		if cause != test.want || !at.Equal(test.at) || (err != nil) != (cause == certificate.Damaged) {
			t.Errorf("%s: %q at %s, %v; want %q at %s", name, cause, at, err, test.want, test.at)
		}
	}
}

func TestNamesAreBroughtIntoOneForm(t *testing.T) {
	got, err := certificate.CanonicalNames([]string{"B.example.com.", "*.Example.com", "bücher.example", "b.example.com"})
	if want := []string{"*.example.com", "b.example.com", "xn--bcher-kva.example"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := certificate.CanonicalNames([]string{"a..b"}); err == nil {
		t.Error("an empty label was accepted")
	}
}

func FuzzPairsAreCheckedWithoutPanic(f *testing.F) {
	p, err := certificate.NewPlaceholder([]string{"a.example.com", "*.b.example.com"}, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Chain, p.Key)
	f.Add(p.Key, p.Chain)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), []byte("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		pair := certificate.Pair{Chain: chain, Key: key}
		info, err := certificate.Check(pair, []string{"a.example.com"}, now)
		if err == nil && !slices.Contains(info.Names, "a.example.com") && !slices.Contains(info.Names, "*.example.com") {
			t.Errorf("%v pass for a.example.com", info.Names)
		}
		cause, _, _ := certificate.Decide(certificate.Wanted{Names: []string{"a.example.com"}}, certificate.Issued{}, pair, now)
		if cause == certificate.NoCause && err != nil {
			t.Errorf("a pair is kept although %v", err)
		}
	})
}
