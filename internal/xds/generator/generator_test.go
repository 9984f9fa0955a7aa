// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: edge}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {serviceAccountName: cart, containers: [{name: cart, image: cart, ports: [{name: web, containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: outsider, namespace: shop}
spec:
  selector: {matchLabels: {app: outsider}}
  template:
    metadata: {labels: {app: outsider, sidecar.istio.io/inject: "false"}}
    spec: {containers: [{name: outsider, image: outsider}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway, namespace: edge}
spec:
  selector: {matchLabels: {istio: gateway}}
  template:
    metadata: {labels: {istio: gateway}, annotations: {inject.istio.io/templates: gateway}}
    spec: {serviceAccountName: gateway, containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: edge}
spec: {selector: {istio: gateway}, ports: [{name: https, port: 443, targetPort: 8443}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: edge}
spec:
  selector: {istio: gateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com], tls: {mode: SIMPLE, credentialName: wildcard}}]
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: cart, namespace: edge}
spec:
  hosts: [shop.example.com]
  gateways: [public]
  http: [{name: cart, route: [{destination: {host: cart.shop.svc.cluster.local, port: {number: 80}}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  rules: [{from: [{source: {principals: [cluster.local/ns/edge/sa/gateway]}}], to: [{operation: {methods: [GET]}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: login, namespace: edge}
spec:
  selector: {matchLabels: {istio: gateway}}
  jwtRules: [{issuer: "https://login.example.com", jwksUri: "https://login.example.com/keys"}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: broken, namespace: shop}
spec:
  rules: [{when: [{key: no.such.key, values: [x]}]}]
---
apiVersion: example.com/v1
kind: Strange
metadata: {name: strange, namespace: shop}
`

func objects(t testing.TB, text string) []client.Object {
	t.Helper()
	var out []client.Object
	decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, object)
	}
}

func start(t testing.TB, in generator.Input) (*generator.Generator, *xds.Mesh) {
	t.Helper()
	g, err := generator.New(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	mesh, err := xds.NewMesh(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return g, mesh
}

func configOf(t testing.TB, mesh *xds.Mesh, namespace, app string) *xds.Config {
	t.Helper()
	for _, n := range mesh.Nodes() {
		if n.Namespace == namespace && n.Name == app {
			c, err := mesh.Config(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("there is no proxy %s/%s among %v", namespace, app, mesh.Nodes())
	return nil
}

func TestFilesBecomeWhatProxiesWouldReceive(t *testing.T) {
	g, mesh := start(t, generator.Input{Objects: objects(t, shop), FromFiles: true})
	var names []string
	for _, n := range mesh.Nodes() {
		names = append(names, n.String())
	}
	if want := []string{"router edge/gateway", "sidecar shop/cart"}; !slices.Equal(names, want) {
		t.Fatalf("proxies %v, want %v", names, want)
	}

	cart := configOf(t, mesh, "shop", "cart")
	address := cart.Node().Addresses[0]
	inbound, ok := cart.Inbound(netip.AddrPortFrom(address, 8080))
	if !ok || inbound.GetName() != xds.VirtualInbound {
		t.Fatalf("the inbound listener is %q", inbound.GetName())
	}
	if text := protojson.Format(inbound); !strings.Contains(text, "ns[shop]-policy[cart]-rule[0]") {
		t.Error("the inbound listener of cart has no policy of cart's")
	}
	if at := mesh.At(address); len(at) != 1 || at[0].Name != "cart" {
		t.Errorf("at %s are %v", address, at)
	}

	gateway := configOf(t, mesh, "edge", "gateway")
	if _, ok := gateway.ListenerAt(netip.MustParseAddrPort("192.0.2.1:8443")); !ok {
		t.Error("the gateway listens on no address for its target port 8443")
	}
	routes, ok := gateway.RouteConfiguration("https.443.https.public.edge")
	if !ok || len(routes.GetVirtualHosts()) == 0 || routes.GetVirtualHosts()[0].GetRoutes()[0].GetName() != "cart" {
		t.Errorf("the routes of the gateway are %v", routes)
	}
	endpoints, ok := gateway.Endpoints("outbound|80||cart.shop.svc.cluster.local")
	if !ok || len(endpoints.GetEndpoints()) != 1 {
		t.Fatalf("the endpoints of cart are %v", endpoints)
	}
	at, _ := xds.AddrPort(endpoints.GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress())
	if at != netip.AddrPortFrom(address, 8080) {
		t.Errorf("cart is at %s, its pod at %s", at, address)
	}
	checkProblems(t, g, gateway)
}

func checkProblems(t *testing.T, g *generator.Generator, gateway *xds.Config) {
	t.Helper()
	var kinds []string
	for _, p := range g.Problems() {
		kinds = append(kinds, string(p.Kind)+" "+p.Type+" "+p.Resource)
	}
	slices.Sort(kinds)
	want := []string{"Missing JWKS https://login.example.com/keys", "Refused AuthorizationPolicy shop/broken"}
	if !slices.Equal(kinds, want) {
		t.Errorf("problems %v, want %v", kinds, want)
	}
	l, _ := gateway.ListenerAt(netip.MustParseAddrPort("192.0.2.1:8443"))
	if text := protojson.Format(l); !strings.Contains(text, "trellis.dev/fetch") {
		t.Error("the keys that were not fetched are not marked")
	}
	if len(gateway.Problems()) < len(kinds) {
		t.Errorf("the configuration has only the problems %v", gateway.Problems())
	}
}

func TestFlagsAreSetOnceForTheProcess(t *testing.T) {
	start(t, generator.Input{})
	err := generator.Configure(generator.Flags{"PILOT_HTTP10": "true"})
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v", err)
	}
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := generator.New(ctx, generator.Input{Objects: objects(t, shop), FromFiles: true}); err == nil {
		t.Error("a start that was cancelled succeeds")
	}
}
