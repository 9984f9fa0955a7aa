// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/test/stack"
)

// onOneHost are two Applications that publish on one host.
const onOneHost = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: orders}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes:
  - {name: own, port: web, paths: [{prefix: /orders}], authentication: {mode: None}}
  - {name: both, port: web, paths: [{prefix: /both}], authentication: {mode: None}}
  - {name: all, port: web, paths: [{prefix: /}], authentication: {mode: None}}
  exposures: [{name: public, ingress: {name: public, namespace: istio-ingress}, hostnames: [desk], routes: [own, both, all]}]
  access: {callers: [{name: checkout, peer: {serviceAccount: {name: checkout, namespace: checkout}}}]}
---
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: billing, namespace: orders}
spec:
  service: billing
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes:
  - {name: own, port: web, paths: [{prefix: /orders/bills}]}
  - {name: both, port: web, paths: [{prefix: /both}], authentication: {mode: None}}
  exposures: [{name: public, ingress: {name: public, namespace: istio-ingress}, hostnames: [desk], routes: [own, both]}]
`

func TestEqualMatchesOfTwoApplicationsOnOneHostAreConflictedAndClosed(t *testing.T) {
	withDocument(t, onOneHost)
	for _, test := range []struct {
		path, token, application string
		want                     int
	}{
		{"/both", "", "", refused},
		{"/both/x", "good", "", refused},
		// What they do not share goes on, and the longest path decides between them.
		{"/orders", "", "orders", 200},
		{"/orders/bills", "", "", 403},
		{"/orders/bills/x", "good", "billing", 200},
		{"/orders/billsx", "", "orders", 200},
		{"/x", "", "orders", 200},
	} {
		t.Run(test.path+" with token "+test.token, func(t *testing.T) {
			answer, err := world.https(t.Context(), world.public, stack.Request{Host: "desk.example.com", Path: test.path, Header: world.bearer(test.token)})
			expect(t, "at the gateway", test.application, test.want, answer, err)
		})
	}
	t.Run("other callers are none of the host's business", func(t *testing.T) {
		answer, err := call(t.Context(), "checkout", "orders", stack.Request{Path: "/both"})
		expect(t, "inside the mesh", "orders", 200, answer, err)
	})
	requireFinding(t, "Application orders/orders", "Conflicted")
	requireFinding(t, "Application orders/billing", "Conflicted")
}

func TestAHostOfAnotherNamespaceIsRefusedWithItsOwner(t *testing.T) {
	withDocument(t, `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: orders}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes: [{name: all, port: web, paths: [{prefix: /stolen}], authentication: {mode: None}}]
  exposures: [{name: public, ingress: {name: public, namespace: istio-ingress}, hostnames: [shop], routes: [all]}]
`)
	answer, err := world.https(t.Context(), world.public, stack.Request{Host: "shop.example.com", Path: "/stolen"})
	expect(t, "the other namespace's path", "orders", refused, answer, err)
	answer, err = world.https(t.Context(), world.public, stack.Request{Host: "shop.example.com", Path: "/open"})
	expect(t, "the owner's path", "shop", 200, answer, err)
	requireFinding(t, "Application orders/orders", "HostAlreadyClaimed")
}

func TestARouteWithoutAProviderThatResolvesIsClosed(t *testing.T) {
	withDocument(t, `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: orders}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes:
  - {name: lost, port: web, paths: [{prefix: /lost}], authentication: {provider: nobody}}
  - {name: all, port: web, paths: [{prefix: /}], authentication: {mode: None}}
  exposures: [{name: public, ingress: {name: public, namespace: istio-ingress}, hostnames: [orders], routes: [lost, all]}]
  access: {callers: [{name: checkout, peer: {serviceAccount: {name: checkout, namespace: checkout}}}]}
`)
	for _, token := range []string{"", "good", "partner"} {
		answer, err := world.https(t.Context(), world.public, stack.Request{Host: "orders.example.com", Path: "/lost", Header: world.bearer(token)})
		expect(t, "at the gateway with token "+token, "orders", refused, answer, err)
		answer, err = call(t.Context(), "checkout", "orders", stack.Request{Path: "/lost", Header: world.bearer(token)})
		expect(t, "inside the mesh with token "+token, "orders", refused, answer, err)
	}
	answer, err := world.https(t.Context(), world.public, stack.Request{Host: "orders.example.com", Path: "/found"})
	expect(t, "another route", "orders", 200, answer, err)
	requireFinding(t, "Application orders/orders", "ProviderNotFound")
}

func TestAPathThatCannotBeWrittenIsClosedAndSoIsWhatItMeant(t *testing.T) {
	withDocument(t, `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: orders}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes:
  - {name: pattern, port: web, paths: [{prefix: "/admin/.*"}]}
  - {name: encoded, port: web, paths: [{exact: /secret%2fplace}]}
  - {name: all, port: web, paths: [{prefix: /}], authentication: {mode: None}}
  exposures: [{name: public, ingress: {name: public, namespace: istio-ingress}, hostnames: [orders], routes: [pattern, encoded, all]}]
  access: {callers: [{name: checkout, peer: {serviceAccount: {name: checkout, namespace: checkout}}}]}
`)
	for path, want := range map[string]int{"/admin/x": refused, "/admin": refused, "/secret/place": refused, "/x": 200} {
		answer, err := world.https(t.Context(), world.public, stack.Request{Host: "orders.example.com", Path: path})
		expect(t, path+" at the gateway", "orders", want, answer, err)
		answer, err = call(t.Context(), "checkout", "orders", stack.Request{Path: path})
		expect(t, path+" inside the mesh", "orders", want, answer, err)
	}
}

func TestAForeignRouteCannotAttachToAHostOfOurs(t *testing.T) {
	for _, gateway := range []string{"istio-ingress/trellis-ingress-public", "edge/trellis-ingress-beta"} {
		host, g := "shop.example.com", world.public
		if strings.HasPrefix(gateway, "edge/") {
			host, g = "multi.beta.test", world.edge
		}
		t.Run(host, func(t *testing.T) {
			withDocument(t, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: aaa-foreign, namespace: rival}
spec:
  hosts: [%q]
  gateways: [%q]
  http:
  - {match: [{uri: {prefix: /}}], route: [{destination: {host: hidden.shop.svc.cluster.local, port: {number: 9080}}}]}
`, host, gateway))
			for _, path := range []string{"/undeclared", "/hijack"} {
				answer, err := world.https(t.Context(), g, stack.Request{Host: host, Path: path})
				expect(t, path, "hidden", refused, answer, err)
			}
		})
	}
}

func TestOnExclusivePodsWhatNoRouteAllowsIsDenied(t *testing.T) {
	// Somebody else opens a host on the pods. No rule of ours names that host:
	// default deny is what closes it, and without it the shared gateway serves.
	foreign := func(gatewayLabel string) string {
		return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: foreign, namespace: rival}
spec:
  selector: {istio: %s}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [foreign.test]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: foreign, namespace: rival}
spec:
  hosts: [foreign.test]
  gateways: [foreign]
  http: [{directResponse: {status: 202}}]
`, gatewayLabel)
	}
	t.Run("on the exclusive gateway", func(t *testing.T) {
		withDocument(t, foreign("ingressgateway"))
		answer, err := world.public.HTTP(t.Context(), stack.Request{Host: "foreign.test"})
		expect(t, "a foreign host", "", 403, answer, err)
		requireFinding(t, "SecureIngress istio-ingress/public", "ForeignRoute")
	})
	t.Run("on the shared gateway others go on", func(t *testing.T) {
		withDocument(t, foreign("edge"))
		answer, err := world.edge.HTTP(t.Context(), stack.Request{Host: "foreign.test"})
		expect(t, "a foreign host", "", 202, answer, err)
		answer, err = world.https(t.Context(), world.edge, stack.Request{Host: "multi.alpha.test", Path: "/api"})
		expect(t, "our host", "multi", 403, answer, err)
	})
}

func TestSecureIngressesOnTheSamePodsMustAgreeOnExclusive(t *testing.T) {
	withDocument(t, `
apiVersion: trellis.dev/v1alpha1
kind: SecureIngress
metadata: {name: gamma, namespace: edge}
spec:
  domains: [{name: gamma, domain: gamma.test}]
  gateway: {service: edge, exclusive: true}
  tls: {secretName: beta}
`)
	for _, host := range []string{"multi.alpha.test", "multi.beta.test"} {
		answer, err := world.https(t.Context(), world.edge, stack.Request{Host: host, Path: "/pages"})
		if err == nil {
			expect(t, host, "multi", refused, answer, err)
		}
	}
	for _, name := range []string{"alpha", "beta", "gamma"} {
		requireFinding(t, "SecureIngress edge/"+name, "Conflicted")
	}
}
