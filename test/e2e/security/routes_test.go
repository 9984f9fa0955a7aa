// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/test/oracle"
	"github.com/trellis-mesh/trellis/test/stack"
)

func TestAPrefixMatchesWholeSegments(t *testing.T) {
	check(t, []ask{
		{path: "/api", token: "good", gateway: 200, mesh: 200},
		{path: "/api/", token: "good", gateway: 200, mesh: 200},
		{path: "/api/x/y", token: "good", gateway: 200, mesh: 200},
		{path: "/api?x=/open", token: "good", gateway: 200, mesh: 200},
		{path: "/apix", token: "good", gateway: refused, mesh: refused},
		{path: "/api-x", token: "good", gateway: refused, mesh: refused},
		{path: "/API", token: "good", gateway: refused, mesh: refused},
		{path: "/openly", gateway: refused, mesh: refused},
		{path: "/open", gateway: 200, mesh: 200},
		{path: "/open/", gateway: 200, mesh: 200},
		{path: "/", gateway: 200, mesh: 200},
		{path: "/?x", gateway: 200, mesh: 200},
		{path: "/x", gateway: refused, mesh: refused},
	})
}

func TestTheLongestPathDecidesTheRouteBeforeTheMethod(t *testing.T) {
	check(t, []ask{
		{path: "/api/status", gateway: 200, mesh: 200},
		// An exact path is no prefix: below it the shorter route decides.
		{path: "/api/status/x", gateway: 403, mesh: 403},
		{path: "/api/status/x", token: "good", gateway: 200, mesh: 200},
		{path: "/api/status/", gateway: 403, mesh: 403},
		{path: "/api/admin", token: "mobile admin", gateway: 200, mesh: 200},
		{path: "/api/administer", token: "good", gateway: 200, mesh: 200},
	})
}

func TestAMethodThatTheRouteDoesNotListIsDeniedAndNeverTriedOnAShorterPath(t *testing.T) {
	check(t, []ask{
		// The shorter route /api lists POST.
		{method: "POST", path: "/api/status", token: "good", gateway: 403, mesh: 403},
		{method: "POST", path: "/api/admin/x", token: "mobile admin", gateway: 403, mesh: 403},
		{method: "POST", path: "/api/x", token: "good", gateway: 200, mesh: 200},
		{method: "DELETE", path: "/api/x", token: "good", gateway: 403, mesh: 403},
		{method: "get", path: "/api/x", token: "good", gateway: refused, mesh: refused},
		{method: "BREW", path: "/catalogue", gateway: refused, mesh: refused},
		{method: "HEAD", path: "/api/x", token: "good", gateway: 403, mesh: 403},
		{method: "OPTIONS", path: "/catalogue", gateway: 403, mesh: 403},
		{method: "TRACE", path: "/catalogue", gateway: 403, mesh: 403},
		{what: "a route without methods serves all of them", method: "DELETE", path: "/open/x", gateway: 200, mesh: 200},
		{what: "a header does not change the method", method: "GET", path: "/api/admin", token: "mobile admin",
			header: map[string][]string{"X-Http-Method-Override": {"DELETE"}}, gateway: 200, mesh: 200},
	})
}

func TestEachRuleSubtractsTheLongerPathsOfOtherRoutes(t *testing.T) {
	check(t, []ask{
		{what: "the longer route asks for more", path: "/api/admin", token: "good", gateway: 403, mesh: 403},
		{what: "the longer route is satisfied by what the shorter one refuses", path: "/api/admin", token: "mobile admin", gateway: 200, mesh: 200},
		{what: "the longer route's audience does not narrow the shorter one", path: "/api/x", token: "good", gateway: 200, mesh: 200},
		{what: "the longer route needs no token", path: "/api/status", gateway: 200, mesh: 200},
		{what: "what the longer route opens does not open its neighbours", path: "/api/statusx", gateway: 403, mesh: 403},
	})
}

func TestARouteThatIsNotPublishedIsClosedOnTheHost(t *testing.T) {
	check(t, []ask{
		{path: "/open/x", gateway: 200, mesh: 200},
		{what: "under a published path", path: "/open/internal", gateway: refused, mesh: 200},
		{what: "deeper under a published path", path: "/open/internal/x", gateway: refused, mesh: 200},
		{what: "beside it", path: "/open/internals", gateway: 200, mesh: 200},
		{what: "a route of another host", path: "/reviews", token: "reader", host: "browser.example.com", gateway: refused},
		{what: "a route under a path of another route", path: "/api/admin", token: "mobile admin", host: "browser.example.com", gateway: refused},
	})
}

// oddPaths are ways to write /api or /open/internal that a proxy and a back end
// may read differently. None may be served without the token.
var oddPaths = []string{
	"/open/..%2fapi/x", "/open/..%2Fapi/x", "/open%2f..%2fapi", "/open/%2e%2e/api", "/open/%2E%2E/api", "/open/.%2e/api",
	"/open/..%5capi", "/open/..%5Capi", "/open/..\\api", "/open\\..\\api", "\\api",
	"//api/x", "/open//api", "/open//../api", "///api", "/open/..//api/x", "/open/.//../api",
	"/open/..;/api", "/open/;/../api", "/open;/../api", "/api;a=1/x", "/open;x/internal", "/open%3b/../api",
	"/open/%00/../../api", "/api%00", "/api%00.html", "/open/x%00/../../api",
	"/open/../api", "/open/./../api/x", "/./api", "/api/.", "/open/../../api", "/open/x/../../api",
	"/open/%252e%252e/api", "/open/..%252fapi", "/open/%25252e%25252e/api", "/%2561pi",
	"/%61pi/x", "/a%70i", "/%61%70%69/x", "/api%2fx", "/api%2Fx", "/%2fapi", "/%2Fapi/x",
	"/open/%c0%ae%c0%ae/api", "/open/..%c0%afapi", "/open/..%e0%80%afapi", "/open/..%u2216api", "/open/%2e%2e%2fapi",
	"/open/..%2f..%2fapi?x=1", "/open/..%2fapi#x", "/open/internal%2fx", "/open/./internal", "/open//internal", "/open/%69nternal",
	"/open/x/..%2finternal", "/open/x%2f..%2f..%2fapi", "/api/../open/../api", "/.%2fapi", "/..%2fapi", "/%2e/api",
	"/catalogue/..%2fapi", "/catalogue//..//api",
}

func TestPathsThatCanBeReadInMoreThanOneWayNeverServeWhatNeedsAToken(t *testing.T) {
	protected := []string{"/api", "/open/internal", "/reviews", "/partners", "/live"}
	for _, path := range oddPaths {
		t.Run(path, func(t *testing.T) {
			for where, send := range map[string]func() (*stack.Response, error){
				"at the gateway": func() (*stack.Response, error) {
					return world.https(t.Context(), world.public, stack.Request{Host: "shop.example.com", Path: path})
				},
				"inside the mesh": func() (*stack.Response, error) {
					return call(t.Context(), "checkout", "shop", stack.Request{Path: path})
				},
			} {
				answer, err := send()
				if err != nil {
					t.Errorf("%s: %v", where, err)
					continue
				}
				if answer.Status != 200 {
					continue
				}
				var got oracle.Answer
				if err := json.Unmarshal(answer.Body, &got); err != nil {
					t.Fatalf("%s: %v in %s", where, err, answer.Body)
				}
				for _, read := range got.Reads {
					if where == "inside the mesh" && strings.HasPrefix(read, "/open/internal") {
						continue // checkout may call it
					}
					if slices.ContainsFunc(protected, func(p string) bool { return read == p || strings.HasPrefix(read, p+"/") }) {
						t.Errorf("%s: served %q, which a back end may read as %q", where, got.RequestURI, read)
					}
				}
			}
		})
	}
}

func TestOddPathsGet400OnEveryHost(t *testing.T) {
	check(t, []ask{
		{path: "/open/..%2fapi/x", gateway: 400, mesh: 403},
		{path: "/open//x", gateway: 400, mesh: 403},
		{path: "/open;x", gateway: refused, mesh: 403},
		{path: "/open/x;y=1", gateway: 400, mesh: 403},
		{path: "/open/%5cx", gateway: 400, mesh: 403},
		{path: "/open/%00", gateway: 400, mesh: refused},
		{path: "/open/%252e", gateway: 400, mesh: 403},
		{path: "/open/%2e%2e%2fx", gateway: 400, mesh: 403},
		{what: "with a good token too", path: "/api/..%2fx", token: "good", gateway: 400, mesh: 403},
		{what: "on another host", path: "/open/a%2fb", host: "browser.example.com", gateway: 400},
		{what: "what is odd in a query is nobody's path", path: "/open/x?a=%2f..//;%00", gateway: 200, mesh: 200},
		{what: "an encoded space is one way to write it", path: "/open/a%20b", gateway: 200, mesh: 200},
		{what: "encoded letters of other languages are too", path: "/open/%c3%a9t%c3%a9", gateway: 200, mesh: 200},
		{what: "dots inside a segment are no dot segment", path: "/open/a..b/...", gateway: 200, mesh: 200},
	})
	t.Run("on the shared gateway", func(t *testing.T) {
		answer, err := world.https(t.Context(), world.edge, stack.Request{Host: "multi.alpha.test", Path: "/pages/..%2fapi"})
		expect(t, "at the gateway", "multi", 400, answer, err)
	})
}

func TestARouteMayTakeRawPathsWhereAllRoutesAskTheSameAuthentication(t *testing.T) {
	for _, a := range []ask{
		{path: "/files/a%2fb", token: "good", gateway: 200, mesh: 200},
		{path: "/files//a", token: "good", gateway: 200, mesh: 200},
		{path: "/files/a;b=1", token: "good", gateway: 200, mesh: 200},
		{path: "/files/a%2fb", gateway: 403, mesh: 200},
		{path: "/files/..%2fmore", gateway: 403, mesh: 200},
		{path: "/files/a%2fb", token: "expired", gateway: 401, mesh: 401},
	} {
		t.Run(a.String(), func(t *testing.T) {
			answer, err := world.https(t.Context(), world.public, a.request("raw.example.com"))
			expect(t, "at the gateway", "raw", a.gateway, answer, err)
			answer, err = call(t.Context(), "cart", "raw", a.request("")) // cart's token is waived
			expect(t, "inside the mesh", "raw", a.mesh, answer, err)
		})
	}
}
