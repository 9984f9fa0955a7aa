// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	// certificateLife is the life of an authority and of the one certificate that
	// it signs; a third of it before the end, both are replaced.
	certificateLife = 90 * 24 * time.Hour
	renewBefore     = certificateLife / 3
	// clockSkew is by how much an API server's clock may be behind.
	clockSkew = time.Hour
)

// bundle is what the Secret holds, as PEM. The authority's key is thrown away
// when it has signed: nobody can ever sign with it again.
type bundle struct {
	// authorities begins with the one that signed; the one before it stays until
	// the next renewal, for replicas that still serve its certificate.
	authorities, certificate, key []byte
}

// newBundle makes an authority and a certificate for the names, which may be
// addresses. The authority of what was there stays trusted, and its names stay in
// the certificate: replicas of two configurations, as during an upgrade, would
// otherwise replace each other's for ever.
func newBundle(names []string, previous bundle, now time.Time, random io.Reader) (bundle, error) {
	names = union(names, previous.names())
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return bundle{}, fmt.Errorf("generating a key: %w", err)
	}
	authority, err := template("trellis-webhook-authority", now, random)
	if err != nil {
		return bundle{}, err
	}
	authority.IsCA, authority.BasicConstraintsValid, authority.MaxPathLenZero = true, true, true
	authority.KeyUsage = x509.KeyUsageCertSign
	authorityDER, err := x509.CreateCertificate(random, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return bundle{}, fmt.Errorf("signing the authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return bundle{}, fmt.Errorf("generating a key: %w", err)
	}
	leaf, err := template("trellis-webhook", now, random)
	if err != nil {
		return bundle{}, err
	}
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	leafDER, err := x509.CreateCertificate(random, leaf, authority, key.Public(), authorityKey)
	if err != nil {
		return bundle{}, fmt.Errorf("signing the certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return bundle{}, fmt.Errorf("writing the key: %w", err)
	}
	return bundle{
		authorities: append(pemOf("CERTIFICATE", authorityDER), firstBlock(previous.authorities)...),
		certificate: pemOf("CERTIFICATE", leafDER),
		key:         pemOf("PRIVATE KEY", keyDER),
	}, nil
}

// maximumNames bounds what can gather in a certificate.
const maximumNames = 32

func union(names, more []string) []string {
	out := slices.Clone(names)
	for _, name := range more {
		if len(out) < maximumNames && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// names are those of the certificate, if there is one.
func (b bundle) names() []string {
	block, _ := pem.Decode(b.certificate)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	out := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

func template(name string, now time.Time, random io.Reader) (*x509.Certificate, error) {
	raw := make([]byte, 16)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(raw),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSkew), NotAfter: now.Add(certificateLife),
	}, nil
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func firstBlock(text []byte) []byte {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	return pem.EncodeToMemory(block)
}

// usable returns the certificate if it is good for the names for long enough.
func (b bundle) usable(names []string, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(b.certificate, b.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(firstBlock(b.authorities)) {
		return nil, errors.New("reading the authority: no certificate")
	}
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			return nil, fmt.Errorf("checking the certificate: %w", err)
		}
	}
	if left := pair.Leaf.NotAfter.Sub(now); left < renewBefore {
		return nil, fmt.Errorf("the certificate ends in %s", left)
	}
	return &pair, nil
}
