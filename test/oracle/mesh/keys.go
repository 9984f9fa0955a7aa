// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"strings"

	"github.com/trellis-mesh/trellis/test/stack"
)

// The issuers that objects name; nobody names the stranger, and the forger signs
// in another's name.
const (
	issuerMain    = "https://login.example.com"
	issuerPartner = "https://login.example.com/partner"
	issuerBank    = "bank-issuer"
)

// keyring has issuers and tokens of every kind.
type keyring struct {
	issuers map[string]*stack.Issuer
	// tokens by what they are; good ones first.
	names  []string
	tokens map[string]string
}

func newKeyring() (*keyring, error) {
	k := &keyring{issuers: map[string]*stack.Issuer{}, tokens: map[string]string{}}
	for name, url := range map[string]string{
		issuerMain: issuerMain, issuerPartner: issuerPartner, issuerBank: issuerBank, "stranger": "https://stranger.test", "forger": issuerMain,
	} {
		issuer, err := stack.NewIssuer(url)
		if err != nil {
			return nil, err
		}
		k.issuers[name] = issuer
	}
	nested := map[string]any{"groups": []string{"admin", "staff"}, "level": "gold", "deep": map[string]any{"x": "y"}}
	for _, t := range []struct {
		name, issuer string
		claims       stack.Claims
	}{
		{"whole", issuerMain, stack.Claims{"aud": []string{"shop", "mobile"}, "scope": "read write", "groups": []string{"admin", "clerk"}, "realm": nested, "azp": "app", "sub": "alice", "n": 7, "yes": true}},
		{"reader", issuerMain, stack.Claims{"aud": "shop", "scope": "read", "groups": "clerk", "realm": map[string]any{"level": "silver", "groups": []string{}}}},
		{"partner", issuerPartner, stack.Claims{"aud": []string{"shop"}, "groups": []string{"partner"}, "sub": "bob/x", "email": "bob@partner.test"}},
		{"bank", issuerBank, stack.Claims{"aud": "bank", "sub": "carol", "realm": nested, "scope": []string{"read"}}},
		{"bare", issuerMain, nil},
		{"subjectless", issuerMain, stack.Claims{"sub": nil, "aud": "shop"}},
		{"elsewhere", issuerMain, stack.Claims{"aud": "elsewhere", "groups": []string{"admin"}}},
		{"stranger", "stranger", stack.Claims{"aud": "shop"}},
		{"forged", "forger", stack.Claims{"aud": "shop", "groups": []string{"admin"}}},
		{"numeric", issuerMain, stack.Claims{"aud": []any{"shop", 7}, "groups": 5, "sub": "7"}},
		{"later", issuerMain, stack.Claims{"aud": "shop", "nbf": 4102444800}},
		{"endless", issuerPartner, stack.Claims{"aud": "shop", "exp": nil, "groups": []string{"admin", "partner"}}},
	} {
		text, err := k.issuers[t.issuer].Token(t.claims)
		if err != nil {
			return nil, err
		}
		k.add(t.name, text)
	}
	expired, err := k.issuers[issuerMain].ExpiredToken(stack.Claims{"aud": "shop"})
	if err != nil {
		return nil, err
	}
	k.add("expired", expired)
	k.add("cut", k.tokens["whole"][:len(k.tokens["whole"])-6])
	k.add("unsigned", k.tokens["whole"][:strings.LastIndexByte(k.tokens["whole"], '.')+1])
	k.add("text", "x.y.z")
	k.add("word", "token")
	return k, nil
}

func (k *keyring) add(name, text string) {
	k.names = append(k.names, name)
	k.tokens[name] = text
}

// keys are the key set of an issuer, as an object has it.
func (k *keyring) keys(issuer string) string { return k.issuers[issuer].JWKS() }

// named writes tokens in a text by their names.
func (k *keyring) named(text string) string {
	for _, name := range k.names {
		if t := k.tokens[name]; len(t) > 20 {
			text = strings.ReplaceAll(text, t, "<"+name+">")
		}
	}
	return text
}
