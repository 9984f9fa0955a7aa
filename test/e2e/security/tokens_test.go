// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/trellis-mesh/trellis/test/stack"
)

// makeIssuers makes the identity providers and a token of each sort.
func (w *universe) makeIssuers() error {
	for name, url := range map[string]string{
		"customers": "https://login.example.com", "partners": "https://login.example.com/evil", "browsers": "https://sessions.example.com",
		"alpha": "https://login.alpha.test", "beta": "https://login.beta.test",
		"disputed": "https://disputed.test", "impostor": "https://disputed.test",
		// forger says that it is customers, and has another key.
		"forger": "https://login.example.com", "stranger": "https://stranger.test",
	} {
		issuer, err := stack.NewIssuer(url)
		if err != nil {
			return err
		}
		w.issuers[name] = issuer
	}
	return w.makeTokens()
}

func (w *universe) makeTokens() error {
	reader := map[string]any{"roles": []string{"guest", "reader"}}
	w.tokens = map[string]string{"malformed": "x.y.z"}
	for _, t := range []struct {
		name, issuer string
		claims       stack.Claims
	}{
		{"good", "customers", stack.Claims{"aud": "shop"}},
		{"good in a list", "customers", stack.Claims{"aud": []string{"elsewhere", "shop"}}},
		{"other audience", "customers", stack.Claims{"aud": "elsewhere"}},
		{"longer audience", "customers", stack.Claims{"aud": "shop2"}},
		{"no audience", "customers", stack.Claims{}},
		{"mobile", "customers", stack.Claims{"aud": "mobile"}},
		{"mobile admin", "customers", stack.Claims{"aud": "mobile", "scope": "admin"}},
		{"shop admin", "customers", stack.Claims{"aud": "shop", "scope": "admin"}},
		{"mobile administrator", "customers", stack.Claims{"aud": "mobile", "scope": "administrator xadmin"}},
		{"profile", "customers", stack.Claims{"aud": "shop", "scope": "profile"}},
		{"reader", "customers", stack.Claims{"aud": "shop", "scope": "reviews.list x reviews.read", "tier": "gold", "realm_access": reader}},
		{"reader with scopes in a list", "customers", stack.Claims{"aud": "shop", "scope": []string{"reviews.list", "reviews.read"}, "tier": "gold", "realm_access": reader}},
		{"reader with one role", "customers", stack.Claims{"aud": "shop", "scope": "reviews.list reviews.read", "tier": []string{"gold"}, "realm_access": map[string]any{"roles": "admin"}}},
		{"reader with one scope", "customers", stack.Claims{"aud": "shop", "scope": "reviews.read", "tier": "gold", "realm_access": reader}},
		{"reader without the role", "customers", stack.Claims{"aud": "shop", "scope": "reviews.list reviews.read", "tier": "gold", "realm_access": map[string]any{"roles": []string{"guest"}}}},
		{"reader with the role elsewhere", "customers", stack.Claims{"aud": "shop", "scope": "reviews.list reviews.read", "tier": "gold", "roles": []string{"reader"}}},
		{"reader without the tier", "customers", stack.Claims{"aud": "shop", "scope": "reviews.list reviews.read", "realm_access": reader}},
		{"partner", "partners", stack.Claims{"aud": "shop"}},
		{"partner for another audience", "partners", stack.Claims{"aud": "mobile"}},
		{"session", "browsers", stack.Claims{"aud": "shop", "scp": "live"}},
		{"session with scope elsewhere", "browsers", stack.Claims{"aud": "shop", "scope": "live"}},
		{"alpha", "alpha", stack.Claims{"aud": "shop"}},
		{"beta", "beta", stack.Claims{"aud": "shop"}},
		{"disputed", "disputed", stack.Claims{"aud": "shop"}},
		{"impostor", "impostor", stack.Claims{"aud": "shop"}},
		{"forged", "forger", stack.Claims{"aud": "shop"}},
		{"stranger", "stranger", stack.Claims{"aud": "shop"}},
		// A token of partners that claims to be of customers.
		{"partner as customer", "partners", stack.Claims{"aud": "shop", "iss": "https://login.example.com"}},
		{"no issuer", "customers", stack.Claims{"aud": "shop", "iss": nil}},
		{"no subject", "customers", stack.Claims{"aud": "shop", "sub": nil}},
		{"not yet", "customers", stack.Claims{"aud": "shop", "nbf": 4102444800}},
	} {
		token, err := w.issuers[t.issuer].Token(t.claims)
		if err != nil {
			return err
		}
		w.tokens[t.name] = token
	}
	var err error
	w.tokens["expired"], err = w.issuers["customers"].ExpiredToken(stack.Claims{"aud": "shop"})
	encode := base64.RawURLEncoding.EncodeToString
	w.tokens["alg none"] = encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." +
		encode([]byte(`{"iss":"https://login.example.com","aud":"shop","sub":"user","exp":4102444800}`)) + "."
	parts := strings.Split(w.tokens["good"], ".")
	w.tokens["changed"] = parts[0] + "." + encode([]byte(`{"iss":"https://login.example.com","aud":"shop","sub":"root","exp":4102444800}`)) + "." + parts[2]
	return err
}

// bearer is a header with the token of that name; none for the empty name.
func (w *universe) bearer(name string) http.Header {
	if name == "" {
		return http.Header{}
	}
	token, ok := w.tokens[name]
	if !ok {
		panic(fmt.Sprintf("no token %q", name))
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}
