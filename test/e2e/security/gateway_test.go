// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/trellis-mesh/trellis/test/stack"
)

func TestPlainHTTPIsRedirectedToTheSameURL(t *testing.T) {
	for _, test := range []struct{ host, path, want string }{
		{"shop.example.com", "/", "https://shop.example.com/"},
		{"shop.example.com", "/api/x?a=1&b=%2f", "https://shop.example.com/api/x?a=1&b=%2f"},
		{"shop.example.com:80", "/open", "https://shop.example.com/open"},
		{"shop.example.com:8080", "/open", "https://shop.example.com/open"},
		{"SHOP.example.com", "/open", "https://shop.example.com/open"},
		{"shop.example.com", "/undeclared", "https://shop.example.com/undeclared"},
		{"multi.beta.test", "/api", "https://multi.beta.test/api"},
	} {
		t.Run(test.host+test.path, func(t *testing.T) {
			g := world.public
			if test.host == "multi.beta.test" {
				g = world.edge
			}
			answer, err := g.HTTP(t.Context(), stack.Request{Host: test.host, Path: test.path})
			expect(t, "on the plain port", "", 308, answer, err)
			if err == nil && answer.Header.Get("Location") != test.want {
				t.Errorf("redirected to %q, want %q", answer.Header.Get("Location"), test.want)
			}
		})
	}
	t.Run("and never served", func(t *testing.T) {
		for _, method := range []string{"POST", "OPTIONS", "HEAD"} {
			answer, err := world.public.HTTP(t.Context(), stack.Request{Host: "shop.example.com", Path: "/open", Method: method})
			expect(t, method, "shop", 308, answer, err)
		}
	})
	t.Run("for published hosts alone", func(t *testing.T) {
		answer, err := world.public.HTTP(t.Context(), stack.Request{Host: "other.example.com"})
		expect(t, "another host", "", refused, answer, err)
	})
}

func TestATokenOnThePlainPortIsAnswered400(t *testing.T) {
	for what, r := range map[string]stack.Request{
		"a bearer token":       {Header: world.bearer("good")},
		"in lower case":        {Header: http.Header{"authorization": {"bearer " + world.tokens["good"]}}},
		"one that is expired":  {Header: world.bearer("expired")},
		"in a provider header": {Header: http.Header{"X-Session": {"Token " + world.tokens["session"]}}},
		"in a query":           {Path: "/live?session=" + world.tokens["session"]},
		"in a cookie":          {Header: http.Header{"Cookie": {"a=b; session=" + world.tokens["session"]}}},
	} {
		t.Run(what, func(t *testing.T) {
			r.Host = "shop.example.com"
			answer, err := world.public.HTTP(t.Context(), r)
			if err == nil && answer.Status == 401 {
				return // its signature is looked at first
			}
			expect(t, "on the plain port", "", 400, answer, err)
		})
	}
	t.Run("and other credentials are redirected", func(t *testing.T) {
		answer, err := world.public.HTTP(t.Context(), stack.Request{Host: "shop.example.com", Header: http.Header{"Cookie": {"a=b"}}})
		expect(t, "on the plain port", "", 308, answer, err)
	})
}

func TestRejectRefusesPlainHTTP(t *testing.T) {
	for _, path := range []string{"/", "/pages", "/api"} {
		answer, err := world.edge.HTTP(t.Context(), stack.Request{Host: "multi.alpha.test", Path: path})
		expect(t, path, "multi", 403, answer, err)
	}
}

func TestThePathOfCertificateAuthoritiesIsReservedOnEveryHost(t *testing.T) {
	for _, path := range []string{"/.well-known/acme-challenge", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/token"} {
		for _, host := range []string{"shop.example.com", "browser.example.com", "raw.example.com"} {
			answer, err := world.public.HTTP(t.Context(), stack.Request{Host: host, Path: path})
			expect(t, host+path+" on the plain port", "", 404, answer, err)
			answer, err = world.https(t.Context(), world.public, stack.Request{Host: host, Path: path, Header: world.bearer("good")})
			expect(t, host+path, "shop", refused, answer, err)
		}
		answer, err := world.edge.HTTP(t.Context(), stack.Request{Host: "multi.alpha.test", Path: path})
		expect(t, "where plain HTTP is rejected", "", 404, answer, err)
	}
	t.Run("also where an application publishes everything", func(t *testing.T) {
		withDocument(t, `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: orders}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes: [{name: all, port: web, paths: [{prefix: /}], authentication: {mode: None}}]
  exposures: [{name: beta, ingress: {name: beta, namespace: edge}, hostnames: [orders], routes: [all]}]
`)
		answer, err := world.https(t.Context(), world.edge, stack.Request{Host: "orders.beta.test", Path: "/x"})
		expect(t, "another path", "orders", 200, answer, err)
		answer, err = world.https(t.Context(), world.edge, stack.Request{Host: "orders.beta.test", Path: "/.well-known/acme-challenge/x"})
		expect(t, "the reserved path", "orders", 404, answer, err)
	})
}

func TestTheMinimumTLSVersionIsKept(t *testing.T) {
	for _, test := range []struct {
		host    string
		gateway *stack.Gateway
		version uint16
		want    bool
	}{
		{"shop.example.com", world.public, tls.VersionTLS11, false},
		{"shop.example.com", world.public, tls.VersionTLS12, true},
		{"shop.example.com", world.public, tls.VersionTLS13, true},
		{"multi.alpha.test", world.edge, tls.VersionTLS12, false},
		{"multi.alpha.test", world.edge, tls.VersionTLS13, true},
		{"multi.beta.test", world.edge, tls.VersionTLS12, true},
	} {
		t.Run(test.host+" "+tls.VersionName(test.version), func(t *testing.T) {
			conn, err := (&tls.Dialer{Config: &tls.Config{
				ServerName: test.host, MinVersion: tls.VersionTLS10, MaxVersion: test.version,
				InsecureSkipVerify: true, // only the handshake's version is looked at
			}}).DialContext(t.Context(), "tcp", test.gateway.HTTPSAddress)
			if err == nil {
				_ = conn.Close()
			}
			if got := err == nil; got != test.want {
				t.Errorf("accepted %t, want %t: %v", got, test.want, err)
			}
		})
	}
}

func TestStrictTransportSecurityIsSentOverHTTPSAlone(t *testing.T) {
	const want = "max-age=31536000"
	answer, err := world.https(t.Context(), world.public, stack.Request{Host: "shop.example.com"})
	expect(t, "over HTTPS", "shop", 200, answer, err)
	if got := answer.Header.Get("Strict-Transport-Security"); got != want {
		t.Errorf("over HTTPS: %q, want %q", got, want)
	}
	answer, err = world.public.HTTP(t.Context(), stack.Request{Host: "shop.example.com"})
	expect(t, "over HTTP", "", 308, answer, err)
	if got := answer.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("over HTTP: %q, want none", got)
	}
	answer, err = world.https(t.Context(), world.edge, stack.Request{Host: "multi.beta.test", Path: "/pages"})
	expect(t, "an ingress that does not say so", "multi", 200, answer, err)
	if got := answer.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("an ingress that does not say so: %q, want none", got)
	}
}

func TestAProbeIsAnsweredByTheGatewayAfterAuthorization(t *testing.T) {
	probe := map[string][]string{"Trellis-Probe": {probeKey}}
	check(t, []ask{
		{what: "an open route", path: "/open/x", header: probe, gateway: 418},
		{what: "a protected route", path: "/api/x", header: probe, gateway: 403},
		{what: "a protected route with the token", path: "/api/x", token: "good", header: probe, gateway: 418},
		{what: "an invalid token", path: "/open/x", token: "malformed", header: probe, gateway: 401},
		{what: "a guessed key is nobody's", path: "/open/x", header: map[string][]string{"Trellis-Probe": {"guess"}}, gateway: 200},
	})
}
