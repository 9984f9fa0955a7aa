// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azuredns

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// lifetime is how long a token is good for.
const lifetime = time.Hour

// Client is an application that may ask for tokens.
type Client struct {
	// Secret is its password; Assertion the token of another issuer that it trusts.
	Secret, Assertion string
	// Expired: the secret was right until some time ago.
	Expired bool
}

// AddClient lets an application ask for tokens.
func (s *Server) AddClient(id string, c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[id] = c
}

// metadata is the OpenID Connect discovery document of a tenant.
func metadata(r *request) any {
	tenant := "https://" + r.Host + "/" + strings.Split(strings.Trim(r.URL.Path, "/"), "/")[0]
	return map[string]string{
		"issuer":                 tenant + "/v2.0",
		"authorization_endpoint": tenant + "/oauth2/v2.0/authorize",
		"token_endpoint":         tenant + "/oauth2/v2.0/token",
	}
}

// token answers a request of the client credentials grant.
func (s *Server) token(r *request) (int, any) {
	form, err := url.ParseQuery(string(r.body))
	if err != nil || form.Get("grant_type") != "client_credentials" {
		return s.refuseToken(http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003", "The app requested an unsupported grant type.")
	}
	client, known := s.clients[form.Get("client_id")]
	secret, assertion := form.Get("client_secret"), form.Get("client_assertion")
	switch {
	case !known:
		return s.refuseToken(http.StatusBadRequest, "unauthorized_client", "AADSTS700016", "Application with identifier '"+form.Get("client_id")+"' was not found in the directory.")
	case secret != "" && secret == client.Secret && client.Expired:
		return s.refuseToken(http.StatusUnauthorized, "invalid_client", "AADSTS7000222", "The provided client secret keys for app are expired.")
	case secret != "" && secret != client.Secret:
		return s.refuseToken(http.StatusUnauthorized, "invalid_client", "AADSTS7000215", "Invalid client secret provided.")
	case secret == "" && (assertion == "" || assertion != client.Assertion):
		return s.refuseToken(http.StatusUnauthorized, "invalid_client", "AADSTS700213", "No matching federated identity record found for presented assertion.")
	}
	value := fmt.Sprintf("token-%d", len(s.tokens))
	s.tokens[value] = Token{Expires: s.Now().Add(lifetime)}
	return http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": int(lifetime.Seconds()), "access_token": value}
}

// refuseToken ends the description with what is another one each time, as the
// service does.
func (s *Server) refuseToken(status int, kind, code, text string) (int, any) {
	return status, map[string]any{
		"error":             kind,
		"error_description": fmt.Sprintf("%s: %s Trace ID: 5cd5-%06d Correlation ID: a2f1-%06d Timestamp: %s", code, text, s.calls, s.calls, s.Now().UTC().Format(time.RFC3339Nano)),
		"error_codes":       []int{}, "trace_id": fmt.Sprint(s.calls),
	}
}

// ChangeTokens makes all tokens that were given out be like t.
func (s *Server) ChangeTokens(t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for value := range s.tokens {
		s.tokens[value] = t
	}
}
