// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"maps"
	"testing"
)

func TestACORSPreflightIsAnsweredAtTheGatewayAndNeverForwarded(t *testing.T) {
	preflight := map[string][]string{"Origin": {"https://www.example.com"}, "Access-Control-Request-Method": {"GET"}}
	for _, path := range []string{"/api/x", "/open/x", "/profile", "/catalogue"} {
		t.Run(path, func(t *testing.T) {
			a := ask{method: "OPTIONS", path: path, header: preflight}
			answer, err := world.https(t.Context(), world.public, a.request("browser.example.com"))
			if err != nil {
				t.Fatal(err)
			}
			if answer.Status != 200 || len(answer.Body) > 0 || answer.Header.Get("Access-Control-Allow-Origin") != "https://www.example.com" {
				t.Errorf("got %d %v %s", answer.Status, answer.Header, answer.Body)
			}
			for name, want := range map[string]string{
				"Access-Control-Allow-Methods": "GET,POST", "Access-Control-Allow-Headers": "authorization", "Access-Control-Max-Age": "600",
			} {
				if got := answer.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
	t.Run("of another origin", func(t *testing.T) {
		a := ask{method: "OPTIONS", path: "/open/x", header: map[string][]string{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"GET"}}}
		answer, err := world.https(t.Context(), world.public, a.request("browser.example.com"))
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Body) > 0 || answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("got %d %v %s", answer.Status, answer.Header, answer.Body)
		}
	})
	t.Run("a request of that origin is served with the header", func(t *testing.T) {
		a := ask{path: "/open/x", header: map[string][]string{"Origin": {"https://www.example.com"}}}
		answer, err := world.https(t.Context(), world.public, a.request("browser.example.com"))
		expect(t, "at the gateway", "shop", 200, answer, err)
		if got := answer.Header.Get("Access-Control-Allow-Origin"); got != "https://www.example.com" {
			t.Errorf("allowed origin %q", got)
		}
	})
}

func TestOPTIONSThatIsNoPreflightIsHeldToTheRules(t *testing.T) {
	const host = "browser.example.com"
	origin := map[string][]string{"Origin": {"https://www.example.com"}}
	asked := map[string][]string{"Access-Control-Request-Method": {"GET"}}
	empty := map[string][]string{"Origin": {""}, "Access-Control-Request-Method": {"GET"}}
	emptyMethod := map[string][]string{"Origin": {"https://www.example.com"}, "Access-Control-Request-Method": {""}}
	var asks []ask
	for what, header := range map[string]map[string][]string{
		"without the headers": nil, "with one header": origin, "with the other header": asked,
		"with an empty origin": empty, "with an empty method": emptyMethod,
	} {
		asks = append(asks,
			// /api lists GET and POST, /profile every method.
			ask{what: what + " on a route that does not serve it", method: "OPTIONS", path: "/api/x", token: "good", header: header, host: host, gateway: refused},
			ask{what: what + " with a token that does not do", method: "OPTIONS", path: "/profile", token: "good", header: header, host: host, gateway: refused},
			ask{what: what + " on a protected path without a token", method: "OPTIONS", path: "/api/x", header: header, host: host, gateway: refused},
		)
	}
	asks = append(asks,
		ask{what: "on a route that serves it", method: "OPTIONS", path: "/open/x", host: host, gateway: 200},
		ask{what: "on a route that serves it, with its token", method: "OPTIONS", path: "/profile", token: "profile", host: host, gateway: 200},
	)
	check(t, asks)
}

func TestWithoutCORSNothingIsExemptFromAuthentication(t *testing.T) {
	preflight := map[string][]string{"Origin": {"https://www.example.com"}, "Access-Control-Request-Method": {"GET"}}
	check(t, []ask{
		{what: "a preflight of a route that lists no OPTIONS", method: "OPTIONS", path: "/api/x", header: preflight, gateway: 403, mesh: 403},
		{what: "a preflight of a route that needs a token", method: "OPTIONS", path: "/partners", header: preflight, gateway: 403, mesh: 403},
		{what: "a preflight of a public route is the application's", method: "OPTIONS", path: "/open/x", header: preflight, gateway: 200, mesh: 200},
		{what: "with an invalid token, on a public route", method: "OPTIONS", path: "/open/x", token: "malformed", header: preflight, gateway: refused, mesh: refused},
		{what: "with a forged token, where one is optional", method: "OPTIONS", path: "/profile", token: "forged", header: preflight, gateway: refused, mesh: refused},
		{what: "with an expired token, where one is needed", method: "OPTIONS", path: "/partners", token: "expired", header: preflight, gateway: refused, mesh: refused},
	})
}

func TestABrowserMayBringItsTokenInACookieOrAQueryWhereTheProviderSaysSo(t *testing.T) {
	session := world.tokens["session"]
	check(t, []ask{
		{what: "in a cookie", path: "/live", header: map[string][]string{"Cookie": {"a=b; session=" + session}}, gateway: 200, mesh: 200},
		{what: "in a query", path: "/live?session=" + session, gateway: 200, mesh: 200},
		{what: "in a header of its own", path: "/live", header: map[string][]string{"X-Session": {"Token " + session}}, gateway: 200, mesh: 200},
		{what: "not in the authorization header", path: "/live", token: "session", gateway: refused, mesh: refused},
		{what: "in a cookie of another name", path: "/live", header: map[string][]string{"Cookie": {"other=" + session}}, gateway: 403, mesh: 403},
		{what: "without the scope in its claim", path: "/live", header: map[string][]string{"Cookie": {"session=" + world.tokens["session with scope elsewhere"]}}, gateway: 403, mesh: 403},
		{what: "an invalid one in a cookie", path: "/live", header: map[string][]string{"Cookie": {"session=" + world.tokens["malformed"]}}, gateway: 401, mesh: 401},
		{what: "nothing", path: "/live", gateway: 403, mesh: 403},
	})
}

func TestAWebSocketIsOpenedWithTheTokenAndRefusedWithoutIt(t *testing.T) {
	upgrade := map[string][]string{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	with := func(name, value string) map[string][]string {
		header := maps.Clone(upgrade)
		header[name] = []string{value}
		return header
	}
	session := world.tokens["session"]
	check(t, []ask{
		{what: "with a cookie", path: "/live/feed", header: with("Cookie", "session="+session), gateway: 101, mesh: 101},
		{what: "with a query", path: "/live/feed?session=" + session, header: upgrade, gateway: 101, mesh: 101},
		{what: "on a public route", path: "/open/feed", header: upgrade, gateway: 101, mesh: 101},
		{what: "without a token", path: "/live/feed", header: upgrade, gateway: 403, mesh: 403},
		{what: "with an invalid cookie", path: "/live/feed", header: with("Cookie", "session=x.y.z"), gateway: 401, mesh: 401},
		{what: "with a cookie where the provider does not say so", path: "/api/feed", header: with("Cookie", "session="+world.tokens["good"]), gateway: refused, mesh: refused},
		{what: "with the other provider's session", path: "/api/feed", header: with("Cookie", "session="+session), gateway: 403, mesh: 403},
	})
}
