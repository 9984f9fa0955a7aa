// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// Issuer is an identity provider with one ES256 key. It serves its keys at
// /keys and its OpenID configuration. Its methods may be called concurrently.
type Issuer struct {
	// URL is the issuer that its tokens name.
	URL string
	// KeysURL is where its keys are served; empty unless a stack serves it.
	KeysURL string

	signer jose.Signer
	keys   []byte
}

// Claims are the claims of a token besides iss, sub, iat and exp; they may
// replace those, and a nil value removes one.
type Claims map[string]any

// NewIssuer makes a provider with a fresh key that calls itself url.
func NewIssuer(url string) (*Issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of %s: %w", url, err)
	}
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	digest, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("naming the key of %s: %w", url, err)
	}
	public.KeyID = fmt.Sprintf("%x", digest[:8])
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}})
	if err != nil {
		return nil, fmt.Errorf("encoding the key of %s: %w", url, err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return nil, fmt.Errorf("making the signer of %s: %w", url, err)
	}
	return &Issuer{URL: url, signer: signer, keys: keys}, nil
}

// Issuer makes a provider that calls itself url and serves its keys over plain
// HTTP on loopback until Stop.
func (s *Stack) Issuer(url string) (*Issuer, error) {
	issuer, err := NewIssuer(url)
	if err != nil {
		return nil, err
	}
	address, err := s.network.NextAddress()
	if err != nil {
		return nil, err
	}
	port, err := s.network.PortOn(address, 8080)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", loopback.Endpoint(address, port))
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", url, err)
	}
	s.own(listener)
	issuer.KeysURL = "http://" + listener.Addr().String() + "/keys"
	go Port{Handler: issuer}.answer(listener)
	return issuer, nil
}

// JWKS returns the public key set as JSON.
func (i *Issuer) JWKS() string { return string(i.keys) }

// Token returns a signed token that is valid for an hour, for subject "user"
// unless claims say otherwise.
func (i *Issuer) Token(claims Claims) (string, error) {
	now := time.Now()
	return i.sign(claims, now, now.Add(time.Hour))
}

// ExpiredToken returns a token like Token's that ended an hour ago.
func (i *Issuer) ExpiredToken(claims Claims) (string, error) {
	now := time.Now()
	return i.sign(claims, now.Add(-2*time.Hour), now.Add(-time.Hour))
}

func (i *Issuer) sign(claims Claims, from, to time.Time) (string, error) {
	all := map[string]any{"iss": i.URL, "sub": "user", "iat": from.Unix(), "exp": to.Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	token, err := jwt.Signed(i.signer).Claims(all).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a token of %s: %w", i.URL, err)
	}
	return token, nil
}

// ServeHTTP answers with the keys or the OpenID configuration.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/keys":
		_, _ = w.Write(i.keys)
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.KeysURL})
	default:
		http.NotFound(w, r)
	}
}
