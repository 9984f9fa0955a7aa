// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// clockSkew is how far a CA's clock may be ahead of ours: a certificate that was
// issued a moment ago is good.
const clockSkew = time.Hour

// maxChain is how many certificates a chain may have; public ones have two to four.
const maxChain = 16

// The ways in which a pair is no good, for errors.Is.
var (
	// ErrUnreadable: one of the two is missing or cannot be parsed.
	ErrUnreadable = errors.New("it cannot be read")
	// ErrMismatch: the certificate was issued for another key.
	ErrMismatch = errors.New("the certificate and the key are no pair")
	// ErrNames: a wanted name is not covered.
	ErrNames = errors.New("the certificate does not cover the names")
	// ErrExpired: its time is over, or has not begun.
	ErrExpired = errors.New("the certificate is not valid at this time")
	// ErrChain: one certificate of the chain did not sign the one before it.
	ErrChain = errors.New("the certificates are no chain")
)

// Pair is what a proxy needs to serve a host. The key is a secret: a Pair is not
// for logs, and prints as what it is only.
type Pair struct {
	// Chain is PEM, the host's own certificate first.
	Chain []byte
	// Key is PEM.
	Key []byte
}

func (Pair) String() string { return "a certificate with its key" }

// GoString keeps the key out of what %#v prints.
func (Pair) GoString() string { return "certificate.Pair{…}" }

// Empty reports whether there is nothing.
func (p Pair) Empty() bool { return len(p.Chain) == 0 && len(p.Key) == 0 }

// Info is what people ask about a certificate.
type Info struct {
	// Names are sorted and canonical.
	Names               []string
	NotBefore, NotAfter time.Time
	// Issuer is the common name of who signed it, Top that of who signed the last
	// certificate of the chain.
	Issuer, Top string
	// Serial is hexadecimal.
	Serial string
	Key    KeyType
	// KeyFingerprint is of the public key: see Fingerprint.
	KeyFingerprint string
	// Placeholder is true for what NewPlaceholder made.
	Placeholder bool
	// SelfSigned is true where the certificate's own key signed it: no authority did.
	SelfSigned bool
}

// Lifetime is how long the certificate is good in all.
func (i Info) Lifetime() time.Duration { return i.NotAfter.Sub(i.NotBefore) }

// ParseChain reads a PEM chain, the host's own certificate first.
func ParseChain(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("reading a certificate: %w: it has more than %d octets", ErrUnreadable, maxPEM)
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d of the chain: %w: %w", len(out)+1, ErrUnreadable, err)
		}
		if out = append(out, c); len(out) > maxChain {
			return nil, fmt.Errorf("reading a certificate: %w: the chain has more than %d", ErrUnreadable, maxChain)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading a certificate: %w: there is no PEM block of a certificate", ErrUnreadable)
	}
	return out, nil
}

// Describe says what a chain's own certificate is.
func Describe(chain []*x509.Certificate) (Info, error) {
	leaf := chain[0]
	fingerprint, err := Fingerprint(leaf.PublicKey)
	if err != nil {
		return Info{}, err
	}
	info := Info{
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		Issuer: leaf.Issuer.CommonName, Top: chain[len(chain)-1].Issuer.CommonName,
		Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		Key:    TypeOf(leaf.PublicKey), KeyFingerprint: fingerprint,
		Placeholder: isPlaceholder(leaf),
		SelfSigned:  leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil,
	}
	for _, name := range leaf.DNSNames {
		info.Names = append(info.Names, strings.ToLower(name))
	}
	slices.Sort(info.Names)
	info.Names = slices.Compact(info.Names)
	return info, nil
}

// Check reads a pair and says all that is wrong with it at a time for names, as
// errors of this package joined; istiod and Envoy check none of it. The Info is
// filled as far as the certificate could be read. Names are as CanonicalNames
// gives them.
func Check(p Pair, names []string, now time.Time) (Info, error) {
	chain, err := ParseChain(p.Chain)
	if err != nil {
		return Info{}, err
	}
	info, err := Describe(chain)
	if err != nil {
		return Info{}, fmt.Errorf("reading a certificate: %w: %w", ErrUnreadable, err)
	}
	var problems []error
	key, err := ParseKey(p.Key)
	switch {
	case err != nil:
		problems = append(problems, fmt.Errorf("%w: %w", ErrUnreadable, err))
	case !sameKey(key.Public(), chain[0].PublicKey):
		problems = append(problems, ErrMismatch)
	}
	if missing := uncovered(chain[0], names); len(missing) > 0 {
		problems = append(problems, fmt.Errorf("%w: missing are %s", ErrNames, strings.Join(missing, ", ")))
	}
	if now.Add(clockSkew).Before(info.NotBefore) || !now.Before(info.NotAfter) {
		problems = append(problems, fmt.Errorf("%w: it is good from %s to %s", ErrExpired,
			info.NotBefore.UTC().Format(time.RFC3339), info.NotAfter.UTC().Format(time.RFC3339)))
	}
	return info, errors.Join(append(problems, checkChain(chain))...)
}

func checkChain(chain []*x509.Certificate) error {
	for i := 1; i < len(chain); i++ {
		if err := chain[i-1].CheckSignatureFrom(chain[i]); err != nil {
			return fmt.Errorf("%w: certificate %d did not sign the one before it: %w", ErrChain, i+1, err)
		}
	}
	return nil
}

func sameKey(a, b crypto.PublicKey) bool {
	x, errX := x509.MarshalPKIXPublicKey(a)
	y, errY := x509.MarshalPKIXPublicKey(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// uncovered are the names that a client would not accept the certificate for. A
// wildcard is covered by itself only (RFC 6125 §6.4.3).
func uncovered(leaf *x509.Certificate, names []string) []string {
	var out []string
	for _, name := range names {
		covered := slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, name) })
		if !covered && (strings.HasPrefix(name, "*.") || leaf.VerifyHostname(name) != nil) {
			out = append(out, name)
		}
	}
	return out
}

// CanonicalNames reads the names of a certificate as people write them and gives
// them as certificates have them: A-labels in lower case, sorted, each once.
func CanonicalNames(names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, name := range names {
		n, err := dns.ParseName(name)
		if err != nil {
			return nil, err
		}
		out = append(out, string(n))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
