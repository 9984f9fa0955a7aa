// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/test/stack"
)

func TestOnlyTheCallersThatAreNamedMayCallAndOnlyTheirRoutes(t *testing.T) {
	for _, test := range []struct {
		what, from, method, path, token string
		want                            int
	}{
		{"an application", "checkout", "", "/open/x", "", 200},
		{"an application needs the token as anybody does", "checkout", "", "/api/x", "", 403},
		{"an application with the token", "checkout", "", "/api/x", "good", 200},
		{"a service account, its token waived", "cart", "", "/api/x", "", 200},
		{"a waived token may be there all the same", "cart", "", "/api/x", "good", 200},
		{"a waived token that is invalid is still 401", "cart", "", "/api/x", "expired", 401},
		{"a waived caller on a longer path of its routes", "cart", "", "/api/admin", "", 200},
		{"a waived caller's methods are those of the route", "cart", "DELETE", "/api/x", "", 403},
		{"a waived caller on another route", "cart", "", "/open/x", "", 403},
		{"a waived caller on another route with a good token", "cart", "", "/reviews", "reader", 403},
		{"a waived caller on a route between its own", "cart", "", "/api/status", "", 403},
		{"a namespace", "prometheus", "", "/api/status", "", 200},
		{"a namespace on another route", "prometheus", "", "/api/x", "good", 403},
		{"a namespace on a route that is published nowhere", "prometheus", "", "/open/internal", "", 200},
		{"a namespace beside that route", "prometheus", "", "/open/x", "", 403},
		{"a workload that nobody named", "orders", "", "/open/x", "", 403},
		{"a workload that nobody named with a good token", "orders", "", "/api/x", "good", 403},
		{"an exposed application's own namespace", "hidden", "", "/open/x", "", 403},
		{"the application itself", "shop", "", "/open/x", "", 403},
	} {
		t.Run(test.what, func(t *testing.T) {
			answer, err := call(t.Context(), test.from, "shop", stack.Request{Method: test.method, Path: test.path, Header: world.bearer(test.token)})
			expect(t, "as "+test.from, "shop", test.want, answer, err)
		})
	}
}

func TestAnApplicationThatIsExposedWithoutCallersIsForItsGatewaysOnly(t *testing.T) {
	withDocument(t, `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: orders}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes:
  - {name: all, port: web, paths: [{prefix: /}], authentication: {mode: None}}
  exposures: [{name: public, ingress: {name: public, namespace: istio-ingress}, hostnames: [orders], routes: [all]}]
`)
	answer, err := world.https(t.Context(), world.public, stack.Request{Host: "orders.example.com"})
	expect(t, "through its gateway", "orders", 200, answer, err)
	for _, from := range []string{"checkout", "billing", "orders"} {
		answer, err := call(t.Context(), from, "orders", stack.Request{})
		expect(t, "from "+from, "orders", 403, answer, err)
	}
}

func TestAnApplicationWithoutExposureAndCallersIsClosed(t *testing.T) {
	for _, from := range []string{"checkout", "cart", "prometheus", "shop", "hidden"} {
		t.Run("from "+from, func(t *testing.T) {
			answer, err := call(t.Context(), from, "hidden", stack.Request{Header: world.bearer("good")})
			expect(t, "inside the mesh", "hidden", 403, answer, err)
		})
	}
	t.Run("under its name at the gateway", func(t *testing.T) {
		answer, err := onTheWire(t.Context(), world.public, "shop.example.com", stack.Request{Host: "hidden.example.com"})
		expect(t, "at the gateway", "hidden", refused, answer, err)
	})
}

func TestAnyOpensAnApplicationOnPurpose(t *testing.T) {
	for _, from := range []string{"cart", "orders", "prometheus"} {
		answer, err := call(t.Context(), from, "checkout", stack.Request{})
		expect(t, "from "+from, "checkout", 200, answer, err)
	}
}

func TestACallerWithoutAnIdentity(t *testing.T) {
	t.Run("is reset where mutual TLS is Strict", func(t *testing.T) {
		answer, err := stack.Send(t.Context(), world.apps["shop"].PortAddress("web"), nil, stack.Request{Host: world.apps["shop"].Host(9080), Path: "/open/x"})
		expect(t, "in plaintext", "shop", reset, answer, err)
	})
	for token, want := range map[string]int{"": 403, "good": 403, "expired": 401} {
		t.Run("is refused where it is Permissive, with token "+token, func(t *testing.T) {
			answer, err := stack.Send(t.Context(), world.apps["raw"].PortAddress("web"), nil,
				stack.Request{Host: world.apps["raw"].Host(9080), Path: "/files", Header: world.bearer(token)})
			expect(t, "in plaintext", "raw", want, answer, err)
		})
	}
	t.Run("may call where any may and mutual TLS is not ours to say", func(t *testing.T) {
		answer, err := stack.Send(t.Context(), world.apps["checkout"].PortAddress("web"), nil, stack.Request{Host: world.apps["checkout"].Host(9080)})
		expect(t, "in plaintext", "checkout", 200, answer, err)
	})
}

func TestTheWorkloadBehindTheGatewayIsNotReachedAroundIt(t *testing.T) {
	// The gateway's own rules are on its pods, the application's on its proxy:
	// whoever stands beside the gateway meets the same rules.
	for path, want := range map[string]int{"/api/x": 403, "/reviews": 403, "/open/x": 200} {
		answer, err := call(t.Context(), "checkout", "shop", stack.Request{Path: path})
		expect(t, path, "shop", want, answer, err)
	}
}

func TestAPortThatIsNotDeclaredIsClosed(t *testing.T) {
	for _, from := range []string{"checkout", "cart", "prometheus"} {
		t.Run("from "+from, func(t *testing.T) {
			answer, err := world.apps[from].Do(t.Context(), stack.Request{Host: world.apps["shop"].Host(9081), Path: "/open/x", Header: world.bearer("good")})
			expect(t, "inside the mesh", "shop", 403, answer, err)
		})
	}
}

func TestAPathThatNoRouteDeclaresIsClosed(t *testing.T) {
	check(t, []ask{
		{path: "/undeclared", gateway: refused, mesh: 403},
		{path: "/undeclared", token: "good", gateway: refused, mesh: 403},
		{path: "/open.bak", token: "good", gateway: refused, mesh: 403},
		{path: "/favicon.ico", gateway: refused, mesh: 403},
		{what: "a path of another port", path: "/greet.Greeter/Hello", method: "POST", gateway: refused, mesh: 403},
	})
}

func TestATCPPortIsForTheCallersOfThePort(t *testing.T) {
	for from, want := range map[string]bool{"checkout": true, "cart": false, "prometheus": false, "orders": false} {
		t.Run("from "+from, func(t *testing.T) {
			if got := echoes(t.Context(), world.apps[from].EgressAddress(9083)); got != want {
				t.Errorf("answered %t, want %t", got, want)
			}
		})
	}
}

// echoes reports whether what answers at an address says what it hears.
func echoes(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "hello\n"
}
