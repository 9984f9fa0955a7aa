// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package envoy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Authority is a certificate authority for one test.
type Authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// Identity is what a certificate says of its holder.
type Identity struct {
	Subject  pkix.Name
	URIs     []string // such as spiffe://cluster.local/ns/a/sa/b
	DNSNames []string
	// Ended: the certificate was good until a minute ago.
	Ended bool
}

// NewAuthority makes an authority with a key of its own.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t}
	template := a.template(Identity{Subject: pkix.Name{CommonName: "test authority"}})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, key := a.sign(template)
	a.key = key
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatalf("making a certificate authority: %v", err)
	}
	return a
}

func (a *Authority) template(i Identity) *x509.Certificate {
	a.next++
	now := time.Now()
	out := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: i.Subject, DNSNames: i.DNSNames,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if i.Ended {
		out.NotAfter = now.Add(-time.Minute)
	}
	for _, text := range i.URIs {
		uri, err := url.Parse(text)
		if err != nil {
			a.t.Fatalf("making a certificate: %v", err)
		}
		out.URIs = append(out.URIs, uri)
	}
	return out
}

// sign makes a key and a certificate for it, of the authority itself while that
// has none.
func (a *Authority) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatalf("making a key: %v", err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatalf("signing a certificate: %v", err)
	}
	return der, key
}

// Client is a client's side of TLS: with a certificate for the identity, or
// without one for nil. It trusts every server.
func (a *Authority) Client(serverName string, i *Identity) *tls.Config {
	a.t.Helper()
	out := &tls.Config{ServerName: serverName, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if i != nil {
		der, key := a.sign(a.template(*i))
		out.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	}
	return out
}

// Server is the context of a listener that asks clients for a certificate of
// this authority, and takes those without one unless require is set.
func (a *Authority) Server(require bool, alpn ...string) *tlsv3.DownstreamTlsContext {
	a.t.Helper()
	return &tlsv3.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(require),
		CommonTlsContext: &tlsv3.CommonTlsContext{
			AlpnProtocols:         alpn,
			TlsCertificates:       []*tlsv3.TlsCertificate{a.Certificate(Identity{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"server"}})},
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: a.Trust()},
		},
	}
}

// Certificate is a new certificate with its key, as a TLS context holds them.
func (a *Authority) Certificate(i Identity) *tlsv3.TlsCertificate {
	a.t.Helper()
	der, key := a.sign(a.template(i))
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatalf("encoding a key: %v", err)
	}
	return &tlsv3.TlsCertificate{CertificateChain: inline(encode("CERTIFICATE", der)), PrivateKey: inline(encode("PRIVATE KEY", private))}
}

// Trust takes the certificates of this authority, whatever their names.
func (a *Authority) Trust() *tlsv3.CertificateValidationContext {
	return &tlsv3.CertificateValidationContext{TrustedCa: inline(encode("CERTIFICATE", a.cert.Raw))}
}

// TransportSocket wraps a TLS context for a filter chain or a cluster.
func TransportSocket(c proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: Any(c)},
	}
}

func inline(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
