// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/internal/certificate"
)

// ChallengeType is a way to prove control of a name.
type ChallengeType string

// The challenges. TLS-ALPN-01 is not among them: Istio ends TLS before anybody
// could answer it.
const (
	HTTP01       ChallengeType = "http-01"        // RFC 8555 §8.3
	DNS01        ChallengeType = "dns-01"         // RFC 8555 §8.4
	DNSPersist01 ChallengeType = "dns-persist-01" // draft-ietf-acme-dns-persist
)

// maxNames is what the largest profile of Let's Encrypt allows.
const maxNames = 100

// Spec is the certificate that is wanted. The zero values of optional fields mean
// that the CA, or the engine, chooses.
type Spec struct {
	// Directory is the CA's URL; https only (RFC 8555 §6.1).
	Directory string `json:"directory"`
	// Email is optional: Let's Encrypt keeps none.
	Email string `json:"email,omitempty"`
	// ExternalAccount is the key identifier of an external account binding
	// (RFC 8555 §7.3.4); its key is in Secrets.
	ExternalAccount string `json:"externalAccount,omitempty"`
	// Names are 1 to 100 domain names, in any spelling.
	Names []string `json:"names"`
	// Key is for the certificate; P256 where empty.
	Key certificate.KeyType `json:"key,omitempty"`
	// Profile is optional (draft-aaron-acme-profiles).
	Profile string `json:"profile,omitempty"`
	// Challenge is for all names. Wildcards cannot be proven by HTTP01.
	Challenge ChallengeType `json:"challenge"`
	// Preflight is the directory of a CA where the same is ordered first, to see
	// whether it can be had: the staging directory of the CA. Optional, https.
	Preflight string `json:"preflight,omitempty"`
	// PreferredChain is the common name of the issuer at the top of the chain to
	// take where the CA offers several; the CA's own choice where none matches.
	PreferredChain string `json:"preferredChain,omitempty"`
	// Retry is any text; another one lifts every wait but the CA's own.
	Retry string `json:"retry,omitempty"`
	// Renew is any text; one that differs from that of the last issue asks for
	// another certificate now.
	Renew string `json:"renew,omitempty"`
}

// canonical brings a Spec into the form that digests and comparisons are made of,
// or says why no CA would ever accept it.
func (s Spec) canonical() (Spec, error) {
	if !httpsURL(s.Directory) {
		return s, fmt.Errorf("the directory %q is no URL with https", s.Directory)
	}
	if s.Preflight != "" && (!httpsURL(s.Preflight) || s.Preflight == s.Directory) {
		return s, fmt.Errorf("the directory for a preflight %q is no URL with https of another directory", s.Preflight)
	}
	if len(s.Names) == 0 || len(s.Names) > maxNames {
		return s, fmt.Errorf("a certificate has 1 to %d names, and these are %d", maxNames, len(s.Names))
	}
	var err error
	if s.Names, err = certificate.CanonicalNames(s.Names); err != nil {
		return s, err
	}
	s.Key = s.Key.OrDefault()
	switch s.Key {
	case certificate.P256, certificate.P384, certificate.RSA2048, certificate.RSA3072, certificate.RSA4096:
	default:
		return s, fmt.Errorf("keys of the type %q are not known", s.Key)
	}
	switch s.Challenge {
	case DNS01, DNSPersist01:
	case HTTP01:
		for _, n := range s.Names {
			if strings.HasPrefix(n, "*.") {
				return s, fmt.Errorf("the wildcard %s needs a DNS challenge: RFC 8555 allows no other way", n)
			}
		}
	default:
		return s, fmt.Errorf("the challenge %q is none of %s, %s, %s", s.Challenge, HTTP01, DNS01, DNSPersist01)
	}
	return s, nil
}

func (s Spec) digest() string { return digest(s) }

// orderDigest is of what an open order is bound to. The key and what only says
// when to try are not: they can change under an order.
func (s Spec) orderDigest(account string) string {
	return digest([]any{s.Directory, account, s.Names, s.Profile, s.Challenge})
}

func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		// Strings only: there is nothing that could fail.
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Secrets are what a step may need and a State must not hold. All are PEM but
// ExternalAccountKey.
type Secrets struct {
	// AccountKey is of the account at this CA; empty before there is one. It is
	// never used for anything else, and outlives certificates.
	AccountKey []byte
	// NextAccountKey is for ChangeAccountKey only.
	NextAccountKey []byte
	// ExternalAccountKey is base64url, as CAs hand it out (RFC 8555 §7.3.4).
	ExternalAccountKey []byte
	// OrderKey is what Actions.StoreOrderKey last said.
	OrderKey []byte
	// Pair is what is being served, and PairFrom the directory that it is of, where
	// the caller knows that.
	Pair     certificate.Pair
	PairFrom string
}

func (Secrets) String() string { return "secrets" }

// GoString keeps keys out of what %#v prints.
func (Secrets) GoString() string { return "acme.Secrets{…}" }

var errNoAccountKey = errors.New("there is none")

var errNoExternalAccountKey = errors.New("there is a key identifier of an external account and no key for it")
