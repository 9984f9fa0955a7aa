// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// placeholderUnit is in the subject of a placeholder, where browsers show it.
const placeholderUnit = "Trellis placeholder: no certificate has been issued yet"

// PlaceholderLifetime is how long a placeholder is good. It is long, because an
// expired one would only hide why there is no other.
const PlaceholderLifetime = 365 * 24 * time.Hour

// NewPlaceholder makes a pair for names that nobody trusts, so that a listener
// comes up before a certificate is issued. Its subject says what it is.
func NewPlaceholder(names []string, now time.Time) (Pair, error) {
	key, err := NewKey(P256)
	if err != nil {
		return Pair{}, fmt.Errorf("making a placeholder: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, fmt.Errorf("making a placeholder: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Trellis placeholder", OrganizationalUnit: []string{placeholderUnit}},
		// Clocks differ a little.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(PlaceholderLifetime),
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Pair{}, fmt.Errorf("making a placeholder for %v: %w", names, err)
	}
	text, err := EncodeKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("making a placeholder: %w", err)
	}
	return Pair{Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: text}, nil
}

func isPlaceholder(c *x509.Certificate) bool {
	return slices.Contains(c.Subject.OrganizationalUnit, placeholderUnit)
}
