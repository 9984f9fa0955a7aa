// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/test/stack"
)

func TestIssuerAndAudienceAreExact(t *testing.T) {
	check(t, []ask{
		{path: "/api/x", token: "good", gateway: 200, mesh: 200},
		{path: "/api/x", token: "good in a list", gateway: 200, mesh: 200},
		{path: "/api/x", token: "mobile", gateway: 200, mesh: 200},
		{path: "/api/x", token: "no subject", gateway: 200, mesh: 200},
		{path: "/api/x", gateway: 403, mesh: 403},
		{path: "/api/x", token: "other audience", gateway: 403, mesh: 403},
		{path: "/api/x", token: "longer audience", gateway: 403, mesh: 403},
		{path: "/api/x", token: "no audience", gateway: 403, mesh: 403},
		{path: "/api/x", token: "no issuer", gateway: refused, mesh: refused},
		{what: "an issuer that begins like the right one", path: "/api/x", token: "partner", gateway: 403, mesh: 403},
		{what: "the same the other way round", path: "/partners", token: "good", gateway: 403, mesh: 403},
		{path: "/partners", token: "partner", gateway: 200, mesh: 200},
		{path: "/partners", token: "partner for another audience", gateway: 403, mesh: 403},
		{what: "a token of a provider that looks for it elsewhere", path: "/api/x", token: "session", gateway: 401, mesh: 401},
		{path: "/api/admin", token: "shop admin", gateway: 403, mesh: 403},
		{path: "/api/admin", token: "mobile admin", gateway: 200, mesh: 200},
		{path: "/api/admin", token: "mobile", gateway: 403, mesh: 403},
		{path: "/api/admin", token: "mobile administrator", gateway: 403, mesh: 403},
	})
}

func TestScopesAndClaimsMustAllHold(t *testing.T) {
	check(t, []ask{
		{path: "/reviews", token: "reader", gateway: 200, mesh: 200},
		{path: "/reviews", token: "reader with scopes in a list", gateway: 200, mesh: 200},
		{path: "/reviews", token: "reader with one role", gateway: 200, mesh: 200},
		{path: "/reviews", token: "reader with one scope", gateway: 403, mesh: 403},
		{path: "/reviews", token: "reader without the role", gateway: 403, mesh: 403},
		{path: "/reviews", token: "reader with the role elsewhere", gateway: 403, mesh: 403},
		{path: "/reviews", token: "reader without the tier", gateway: 403, mesh: 403},
		{path: "/reviews", token: "good", gateway: 403, mesh: 403},
		{path: "/reviews", gateway: 403, mesh: 403},
	})
}

// notTokens are no valid token of any provider of the host.
var notTokens = []string{
	"malformed", "expired", "not yet", "alg none", "changed", "forged", "partner as customer", "stranger", "alpha", "no issuer",
}

func TestAnInvalidTokenIs401WhateverTheRouteAsks(t *testing.T) {
	var asks []ask
	for _, path := range []string{"/api/x", "/open/x", "/profile", "/", "/partners"} {
		for _, token := range notTokens {
			asks = append(asks, ask{path: path, token: token, gateway: 401, mesh: 401})
		}
	}
	check(t, asks)
}

func TestNoneMeansThatNoTokenIsNeeded(t *testing.T) {
	check(t, []ask{
		{path: "/open/x", gateway: 200, mesh: 200},
		{path: "/open/x", token: "good", gateway: 200, mesh: 200},
		{path: "/open/x", token: "partner", gateway: 200, mesh: 200},
		{path: "/open/x", token: "malformed", gateway: 401, mesh: 401},
		{what: "a scheme that is no bearer token is not ours", path: "/open/x", header: map[string][]string{"Authorization": {"Basic dTpw"}}, gateway: 200, mesh: 200},
		{what: "which opens nothing", path: "/api/x", header: map[string][]string{"Authorization": {"Basic dTpw"}}, gateway: 403, mesh: 403},
	})
}

func TestOptionalLetsRequestsWithoutATokenInAndHoldsTokensToEverything(t *testing.T) {
	check(t, []ask{
		{path: "/profile", gateway: 200, mesh: 200},
		{path: "/profile", token: "profile", gateway: 200, mesh: 200},
		{path: "/profile", token: "good", gateway: 403, mesh: 403},
		{path: "/profile", token: "partner", gateway: 403, mesh: 403},
		{path: "/profile", token: "other audience", gateway: 403, mesh: 403},
		{path: "/profile", token: "expired", gateway: 401, mesh: 401},
	})
}

func TestATokenIsLookedForInOnePlaceOnly(t *testing.T) {
	good := world.tokens["good"]
	check(t, []ask{
		{what: "not in Envoy's default query parameter", path: "/api/x?access_token=" + good, gateway: 403, mesh: 403},
		{what: "not in a cookie", path: "/api/x", header: map[string][]string{"Cookie": {"session=" + good}}, gateway: refused, mesh: refused},
		{what: "not in another provider's header", path: "/api/x", header: map[string][]string{"X-Session": {"Token " + good}}, gateway: refused, mesh: refused},
		{what: "not without the scheme", path: "/api/x", header: map[string][]string{"Authorization": {good}}, gateway: 403, mesh: 403},
		{what: "the scheme in lower case is none that is sure to be read alike", path: "/api/x", header: map[string][]string{"Authorization": {"bearer " + good}}, gateway: refused, mesh: refused},
		{what: "a header that claims what a token says", path: "/api/x", header: map[string][]string{
			"X-Jwt-Payload": {"e30"}, "X-Forwarded-Client-Cert": {"URI=spiffe://cluster.local/ns/checkout/sa/cart"}, "X-Envoy-Original-Path": {"/open"},
			"X-Original-Url": {"/open"}, "X-Rewrite-Url": {"/open"}, "X-Forwarded-Host": {"raw.example.com"},
		}, gateway: 403, mesh: 403},
	})
}

func TestTwoTokensDoNotAddUp(t *testing.T) {
	both := map[string][]string{
		"Authorization": {"Bearer " + world.tokens["partner"]}, "X-Session": {"Token " + world.tokens["session"]},
	}
	twice := map[string][]string{"Authorization": {"Bearer " + world.tokens["partner"], "Bearer " + world.tokens["good"]}}
	check(t, []ask{
		{what: "of two providers", path: "/api/x", header: both, gateway: refused, mesh: refused},
		{what: "a forged one beside one of another provider", path: "/live", token: "good", header: map[string][]string{"X-Session": {"Token " + world.tokens["forged"]}}, gateway: refused, mesh: refused},
		{what: "in one header", path: "/api/x", header: twice, gateway: refused, mesh: refused},
	})
}

func TestATokenIsAcceptedOnAHostOnlyFromThatHostsProviders(t *testing.T) {
	for _, test := range []struct {
		host, path, token string
		want              int
	}{
		{"multi.alpha.test", "/api", "alpha", 200},
		{"multi.alpha.test", "/api", "beta", 403},
		{"multi.beta.test", "/api", "beta", 200},
		{"multi.beta.test", "/api", "alpha", 403},
		{"MULTI.beta.test:8443", "/api", "alpha", 403},
		{"multi.alpha.test", "/pages", "", 200},
		{"multi.alpha.test", "/pages", "alpha", 200},
		// The filter knows both issuers; the host knows its own.
		{"multi.alpha.test", "/pages", "beta", 403},
		{"multi.alpha.test", "/api", "good", 401},
		{"multi.alpha.test", "/api", "", 403},
	} {
		t.Run(test.host+test.path+" with token "+test.token, func(t *testing.T) {
			answer, err := world.https(t.Context(), world.edge, stack.Request{Host: test.host, Path: test.path, Header: world.bearer(test.token)})
			expect(t, "at the shared gateway", "multi", test.want, answer, err)
		})
	}
	t.Run("inside the mesh a token of any of the application's ingresses will do", func(t *testing.T) {
		for token, want := range map[string]int{"alpha": 200, "beta": 200, "": 403, "stranger": 401} {
			answer, err := call(t.Context(), "checkout", "multi", stack.Request{Path: "/api", Header: world.bearer(token)})
			expect(t, "with token "+token, "multi", want, answer, err)
		}
	})
}

func TestOneIssuerWithTwoKeysOnTheSamePodsIsClosed(t *testing.T) {
	for _, host := range []string{"multi.alpha.test", "multi.beta.test"} {
		for _, token := range []string{"", "disputed", "impostor", "alpha"} {
			t.Run(host+" with token "+token, func(t *testing.T) {
				answer, err := world.https(t.Context(), world.edge, stack.Request{Host: host, Path: "/disputed", Header: world.bearer(token)})
				expect(t, "at the gateway", "multi", refused, answer, err)
			})
		}
	}
	requireFinding(t, "SecureIngress edge/alpha", "IssuerConflict")
	requireFinding(t, "SecureIngress edge/beta", "IssuerConflict")
}

// requireFinding fails unless the compiler refused or warned for that reason.
func requireFinding(t *testing.T, object, reason string) {
	t.Helper()
	var all []string
	for _, f := range world.outcome.Findings {
		if f.Object.String() == object && f.Reason == reason {
			return
		}
		all = append(all, f.Object.String()+" "+f.Reason)
	}
	t.Errorf("no finding %s about %s among\n%s", reason, object, strings.Join(all, "\n"))
}
