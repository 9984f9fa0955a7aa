// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package load_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
)

// pair makes a self-signed certificate and its key, in PEM form.
func pair(t *testing.T, commonName string, names ...string) (crt, key, der []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName}, DNSNames: names,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	crt = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return crt, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), der
}

func tlsSecret(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-ingress", Name: "wildcard"},
		Type:       corev1.SecretTypeTLS, Data: data,
	}
}

func TestACertificateIsKnownByItsLeaf(t *testing.T) {
	crt, key, der := pair(t, "ignored.example.com", "*.Example.com", "example.com", "example.com")
	b := load.NewBuilder(model.DefaultMesh())
	b.Add(tlsSecret(map[string][]byte{"tls.crt": crt, "tls.key": key}))
	got := b.Input().Certificates
	sum := sha256.Sum256(der)
	if len(got) != 1 || got[0].Problem != "" || got[0].Fingerprint != hex.EncodeToString(sum[:]) {
		t.Fatalf("certificates = %+v", got)
	}
	if names := strings.Join(got[0].Names, " "); names != "*.example.com example.com" {
		t.Errorf("names = %q: they are the subject alternative names, in lower case, once", names)
	}
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "PRIVATE") || strings.Contains(string(raw), string(key[30:60])) {
		t.Error("the private key is in the input")
	}
}

func TestAPairThatCannotBeUsedSaysWhy(t *testing.T) {
	crt, key, _ := pair(t, "", "example.com")
	_, other, _ := pair(t, "", "example.com")
	cases := []struct {
		name string
		data map[string][]byte
		want string
	}{
		{"no certificate", map[string][]byte{"tls.key": key}, "it has no tls.crt"},
		{"no key", map[string][]byte{"tls.crt": crt}, "it has no tls.key"},
		{"a certificate that is not PEM", map[string][]byte{"tls.crt": []byte("x"), "tls.key": key}, "tls.crt holds no certificate in PEM form"},
		{"a key where the certificate should be", map[string][]byte{"tls.crt": key, "tls.key": key}, "tls.crt holds no certificate in PEM form"},
		{"a certificate that is not DER", map[string][]byte{"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "tls.key": key}, "tls.crt holds a certificate that cannot be read"},
		{"another certificate's key", map[string][]byte{"tls.crt": crt, "tls.key": other}, "tls.crt and tls.key do not belong together"},
		{"a key that is not PEM", map[string][]byte{"tls.crt": crt, "tls.key": []byte("hunter2")}, "tls.key cannot be used"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := load.NewBuilder(model.DefaultMesh())
			b.Add(tlsSecret(c.data))
			got := b.Input().Certificates
			if len(got) != 1 || !strings.HasPrefix(got[0].Problem, c.want) {
				t.Fatalf("certificates = %+v, want the problem %q", got, c.want)
			}
			if strings.Contains(got[0].Problem, "hunter2") {
				t.Error("the problem quotes the Secret")
			}
		})
	}
}

func TestASecretOfAnotherKindIsDropped(t *testing.T) {
	b := load.NewBuilder(model.DefaultMesh())
	b.Add(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "password"}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"password": []byte("x")}})
	if got := b.Input().Certificates; len(got) != 0 {
		t.Errorf("certificates = %+v", got)
	}
}

func TestTheProbeKeyIsBelievedOnlyFromItsNamespace(t *testing.T) {
	probe := func(namespace, key, by string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "trellis-probe", Labels: map[string]string{"app.kubernetes.io/managed-by": by}},
			Data:       map[string][]byte{"key": []byte(key)},
		}
	}
	cases := []struct {
		name, namespace string
		secrets         []*corev1.Secret
		want            string
	}{
		{"an operator reads its own namespace", "trellis-system", []*corev1.Secret{probe("attacker", "a", "trellis"), probe("trellis-system", "b", "trellis")}, "b"},
		{"files are read whatever the namespace", "", []*corev1.Secret{probe("trellis-system", "b", "trellis")}, "b"},
		{"of several in files the first namespace's is taken", "", []*corev1.Secret{probe("two", "2", "trellis"), probe("one", "1", "trellis")}, "1"},
		{"without the label it is somebody else's", "", []*corev1.Secret{probe("trellis-system", "b", "someone")}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := load.NewBuilder(model.DefaultMesh())
			b.ProbeNamespace = c.namespace
			for _, s := range c.secrets {
				b.Add(s)
			}
			if got := b.Input().ProbeKey; got != c.want {
				t.Errorf("probe key = %q, want %q", got, c.want)
			}
		})
	}
}
