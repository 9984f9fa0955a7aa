// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package clouddns

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// lifetime is how long an access token is good.
const lifetime = time.Hour

// The grant types of RFC 7523 and RFC 8693.
const (
	grantAssertion = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantExchange  = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// Audience is the workload identity pool's.
const Audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/trellis/providers/cluster"

// account is a service account.
type account struct {
	key       *rsa.PrivateKey
	forbidden bool
}

// oneKey is for all accounts of all servers: making one takes long.
var oneKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// AccountKey makes a service account and returns its key as Google hands it out.
// Base is the server's address. A forbidden account is known and has no rights.
func (s *Server) AccountKey(base, name string, forbidden bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	email := name + "@" + Project + ".iam.gserviceaccount.com"
	s.accounts[email] = &account{key: oneKey(), forbidden: forbidden}
	private, err := x509.MarshalPKCS8PrivateKey(oneKey())
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": Project, "private_key_id": "1", "client_email": email,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"token_uri":   base + "/token",
	})
	if err != nil {
		panic(err)
	}
	return text
}

// Disable makes the key of an account invalid; what tokens it has stay good.
func (s *Server) Disable(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, name+"@"+Project+".iam.gserviceaccount.com")
}

// Trust accepts a token of the cluster at /sts.
func (s *Server) Trust(subjectToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subjects[subjectToken] = true
}

// Revoke ends all access tokens.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// authorise checks the access token of a request.
func (s *Server) authorise(r *http.Request) *refusal {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return refuse(http.StatusUnauthorized, "required", "Request is missing required authentication credential.")
	}
	g, known := s.tokens[token]
	if !known || !s.now().Before(g.until) {
		return refuse(http.StatusUnauthorized, "authError", "Request had invalid authentication credentials.")
	}
	if g.forbidden {
		return refuse(http.StatusForbidden, "forbidden", "Forbidden")
	}
	return nil
}

// serveTokens serves both token servers.
func (s *Server) serveTokens(w http.ResponseWriter, r *http.Request) {
	switch s.tokenless {
	case Cut, Lose:
		panic(http.ErrAbortHandler)
	case Unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case Throttled:
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	if r.URL.Path == "/sts" {
		s.serveExchange(w, r)
		return
	}
	s.serveToken(w, r)
}

// serveToken gives a token for an assertion that an account has signed.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("grant_type") != grantAssertion {
		noToken(w, "unsupported_grant_type", "Invalid grant_type: "+r.FormValue("grant_type"))
		return
	}
	signed, err := jose.ParseSignedCompact(r.FormValue("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		noToken(w, "invalid_grant", "Invalid JWT: Failed to parse.")
		return
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		Issued   int64  `json:"iat"`
		Expiry   int64  `json:"exp"`
	}
	if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claims); err != nil {
		noToken(w, "invalid_grant", "Invalid JWT: Failed to parse.")
		return
	}
	a := s.accounts[claims.Issuer]
	if a == nil {
		noToken(w, "invalid_grant", "Invalid grant: account not found")
		return
	}
	if _, err := signed.Verify(&a.key.PublicKey); err != nil {
		noToken(w, "invalid_grant", "Invalid JWT Signature.")
		return
	}
	now := s.now().Unix()
	if now > claims.Expiry || claims.Expiry-claims.Issued > int64(lifetime/time.Second) {
		noToken(w, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
		return
	}
	if !strings.Contains(claims.Scope, "https://www.googleapis.com/auth/") {
		noToken(w, "invalid_scope", "Empty or missing scope not allowed.")
		return
	}
	s.issue(w, a.forbidden)
}

// serveExchange gives a token for one of the cluster.
func (s *Server) serveExchange(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.FormValue("grant_type") != grantExchange:
		noToken(w, "unsupported_grant_type", "Invalid grant_type")
	case r.FormValue("audience") != Audience:
		noToken(w, "invalid_target", "The target service indicated by the \"audience\" parameters is invalid.")
	case !s.subjects[r.FormValue("subject_token")]:
		noToken(w, "invalid_grant", "ID Token issued at 0 is stale to sign-in.")
	default:
		s.issue(w, false)
	}
}

func (s *Server) issue(w http.ResponseWriter, forbidden bool) {
	s.issued++
	token := fmt.Sprintf("ya29.%d", s.issued)
	s.tokens[token] = grant{until: s.now().Add(lifetime), forbidden: forbidden}
	write(w, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime / time.Second),
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}, nil)
}

func noToken(w http.ResponseWriter, code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": text})
}
