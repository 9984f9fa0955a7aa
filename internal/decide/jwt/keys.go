// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that algorithms name
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// key is one JSON Web Key (RFC 7517).
type key struct {
	id, algorithm string
	public        any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
}

// maximumKeys bounds a key set in bytes.
const maximumKeys = 1 << 20

// errNoKeys is why Envoy refuses a provider.
var errNoKeys = errors.New("its local key set has no key, and Envoy refuses that")

// readKeys reads a JSON Web Key Set. It counts the keys that cannot be read here,
// which Envoy may know.
func readKeys(text string) (keys []key, unread int, err error) {
	if len(text) > maximumKeys {
		return nil, 0, fmt.Errorf("its local key set has more than %d bytes", maximumKeys)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal([]byte(text), &set) != nil || len(set.Keys) == 0 {
		return nil, 0, errNoKeys
	}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil || !fits(k) {
			var kind struct{ Kty string }
			if json.Unmarshal(raw, &kind) == nil && slices.Contains(kinds, kind.Kty) {
				unread++
			}
			continue
		}
		public := k.Public().Key
		if secret, symmetric := k.Key.([]byte); symmetric {
			public = secret
		}
		keys = append(keys, key{id: k.KeyID, algorithm: k.Algorithm, public: public})
	}
	if len(keys)+unread == 0 {
		return nil, 0, errNoKeys
	}
	return keys, unread, nil
}

// kinds are the types of keys that Envoy reads.
var kinds = []string{"RSA", "EC", "oct", "OKP"}

// fits reports whether the algorithm that a key names is one for such keys.
func fits(k jose.JSONWebKey) bool {
	if k.Algorithm == "" {
		return true
	}
	begins := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(k.Algorithm, p) {
				return true
			}
		}
		return false
	}
	switch k.Key.(type) {
	case *rsa.PublicKey, *rsa.PrivateKey:
		return begins("RS", "PS")
	case *ecdsa.PublicKey, *ecdsa.PrivateKey:
		return begins("ES")
	case []byte:
		return begins("HS")
	}
	return k.Algorithm == "EdDSA"
}

// verify looks for a key that the signature is of.
func (t *token) verify(keys []key) status {
	if t.abstract != nil {
		if t.abstract.Forged {
			return notVerified
		}
		return ok
	}
	candidate := false
	for _, k := range keys {
		if t.key != "" && k.id != "" && k.id != t.key || k.algorithm != "" && k.algorithm != t.algorithm {
			continue
		}
		candidate = true
		if public, edwards := k.public.(ed25519.PublicKey); edwards {
			if len(t.signature) != ed25519.SignatureSize {
				return badEd25519
			}
			if ed25519.Verify(public, []byte(t.signed), t.signature) {
				return ok
			}
		} else if t.signedBy(k) {
			return ok
		}
	}
	if candidate {
		return notVerified
	}
	return noMatchingKey
}

// signedBy verifies with a key that is not of Edwards curves.
func (t *token) signedBy(k key) bool {
	hash := crypto.SHA256
	switch {
	case strings.HasSuffix(t.algorithm, "384"):
		hash = crypto.SHA384
	case strings.HasSuffix(t.algorithm, "512"):
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write([]byte(t.signed))
	digest := h.Sum(nil)
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		switch {
		case strings.HasPrefix(t.algorithm, "RS"):
			return rsa.VerifyPKCS1v15(public, hash, digest, t.signature) == nil
		case strings.HasPrefix(t.algorithm, "PS"):
			return rsa.VerifyPSS(public, hash, digest, t.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case *ecdsa.PublicKey:
		half := len(t.signature) / 2
		r, s := new(big.Int).SetBytes(t.signature[:half]), new(big.Int).SetBytes(t.signature[half:2*half])
		return ecdsa.Verify(public, digest, r, s)
	case []byte:
		mac := hmac.New(hash.New, public)
		mac.Write([]byte(t.signed))
		return hmac.Equal(mac.Sum(nil), t.signature)
	}
	return false
}
