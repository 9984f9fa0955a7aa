// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// signer makes tokens and knows the key set that verifies them.
type signer struct {
	keys   []signingKey
	forger signingKey // in no key set
}

type signingKey struct {
	id, algorithm string
	key           any
	// silent: the key set says neither id nor algorithm.
	silent bool
	salt   int // of PS256
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{
		keys: []signingKey{
			{id: "rsa", algorithm: "RS256", key: rsaKey}, {id: "ec", algorithm: "ES256", key: ecKey, silent: true},
			{id: "hmac", algorithm: "HS256", key: []byte("0123456789abcdef0123456789abcdef")}, {id: "ed", algorithm: "EdDSA", key: edKey},
			{id: "pss", algorithm: "PS256", key: rsaKey, salt: sha256.Size},
		},
		forger: signingKey{id: "rsa", algorithm: "RS256", key: other},
	}
}

// set is the JSON Web Key Set of some of the keys.
func (s *signer) set(t testing.TB, count int) string {
	t.Helper()
	set := jose.JSONWebKeySet{}
	for _, k := range s.keys[:count] {
		public := jose.JSONWebKey{Key: k.key, KeyID: k.id, Algorithm: k.algorithm}
		if k.silent {
			public.KeyID, public.Algorithm = "", ""
		}
		if _, symmetric := k.key.([]byte); !symmetric {
			public = public.Public()
		}
		set.Keys = append(set.Keys, public)
	}
	out, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (k signingKey) token(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	if header == nil {
		header = map[string]any{"alg": k.algorithm, "kid": k.id}
	}
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	return text + "." + base64.RawURLEncoding.EncodeToString(k.sign(t, []byte(text)))
}

func (k signingKey) sign(t testing.TB, text []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(text)
	var out []byte
	var err error
	switch key := k.key.(type) {
	case *rsa.PrivateKey:
		if k.algorithm == "PS256" {
			// RFC 7518 §3.5 wants a salt as long as the hash; Envoy refuses others.
			out, err = rsa.SignPSS(cryptorand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: k.salt})
		} else {
			out, err = rsa.SignPKCS1v15(cryptorand.Reader, key, crypto.SHA256, digest[:])
		}
	case *ecdsa.PrivateKey:
		r, s, signError := ecdsa.Sign(cryptorand.Reader, key, digest[:])
		if err = signError; err == nil {
			out = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case ed25519.PrivateKey:
		out = ed25519.Sign(key, text)
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write(text)
		out = mac.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tokens are good ones and one of each way to be bad.
func (s *signer) tokens(t testing.TB) []string {
	now := time.Now().Unix()
	claims := func(more ...any) map[string]any {
		out := map[string]any{"iss": "https://a", "sub": "user", "aud": []any{"web", "api"}, "exp": now + 3600, "scope": "read  write", "n": 7, "f": 1.5, "yes": true, "nested": map[string]any{"k": "v"}, "list": []any{"a", 1}}
		for i := 0; i+1 < len(more); i += 2 {
			name, _ := more[i].(string)
			if more[i+1] == nil {
				delete(out, name)
			} else {
				out[name] = more[i+1]
			}
		}
		return out
	}
	var out []string
	for _, k := range s.keys {
		for _, issuer := range []any{"https://a", "https://a", "b", "c", nil} {
			out = append(out, k.token(t, nil, claims("iss", issuer)))
		}
	}
	k := s.keys[0]
	for _, c := range []map[string]any{
		claims("exp", now-30), claims("exp", now-3600), claims("nbf", now+3600), claims("nbf", now+30), claims("exp", nil),
		claims("exp", 0), claims("exp", "soon"), claims("exp", -1), claims("exp", 1.5e300), claims("nbf", "x"), claims("iat", "x"), claims("iat", -5),
		claims("aud", "web"), claims("aud", "https://web/"), claims("aud", "other"), claims("aud", nil), claims("aud", 7), claims("aud", []any{"web", 7}), claims("aud", []any{}),
		claims("iss", 7), claims("sub", 7), claims("jti", 7), claims("sub", nil), claims("sub", "admin"), claims("scope", 5), claims("scope", " "), claims("iss", ""),
	} {
		out = append(out, k.token(t, nil, c))
	}
	good := k.token(t, nil, claims())
	long := s.keys[len(s.keys)-1]
	long.salt = 64
	out = append(out, long.token(t, nil, claims()))
	for _, header := range []map[string]any{
		{"alg": "RS256"}, {"alg": "RS256", "kid": "other"}, {"alg": "RS384", "kid": "rsa"}, {"alg": "ES256"}, {"alg": "HS256", "kid": "rsa"}, {"alg": "EdDSA"}, {"alg": "none"}, {"alg": 7}, {}, {"alg": "RS256", "kid": 7}, {"alg": "RS256", "kid": ""},
	} {
		out = append(out, k.token(t, header, claims()))
	}
	return append(out, s.forger.token(t, nil, claims()), good+"x", good[:len(good)-8], "a.b", "a.b.c", "..", ".a.b.c.", "x", "!!.!!.!!",
		"e30.e30.e30", good+"==", "bm90anNvbg.e30.e30", good+".x", "."+good)
}
