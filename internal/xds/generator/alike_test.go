// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// another is a namespace of its own beside shop and edge.
const another = shop + `---
{apiVersion: v1, kind: Namespace, metadata: {name: bank, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: vault, namespace: bank, labels: {app: vault}}, spec: {serviceAccountName: vault, containers: [{name: vault, image: vault}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: vault, namespace: bank}, spec: {selector: {app: vault}, ports: [{name: http, port: 80}]}}
`

const (
	// calling is a Sidecar for the workloads of a namespace that call others, and taken one
	// for those that are called.
	calling = "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: x, namespace: NAME}, spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['./*']}]}}"
	taken   = "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: x, namespace: shop}, spec: {ingress: [{port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:8080}]}}\n"
	// authorizing is a mesh where a host is asked for authorization.
	authorizing = "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'extensionProviders: [{name: ask, envoyExtAuthzHttp: {service: api.example.com, port: 443}}]'}}\n---\n" +
		"{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: ask, namespace: bank}, spec: {action: CUSTOM, provider: {name: ask}, rules: [{}]}}\n---\n"
)

// entry is a ServiceEntry with more in its specification.
func entry(namespace, more string) string {
	return "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: x, namespace: " + namespace + "}, spec: {hosts: [api.example.com], " + more +
		"location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}}\n"
}

// TestProxiesThatAreAlikeAreSentTheSame changes one thing after the other: what is
// said of proxies from the objects alone has to hold for what they are sent.
func TestProxiesThatAreAlikeAreSentTheSame(t *testing.T) {
	const all = "bank/vault edge/gateway shop/cart"
	cases := []struct{ name, before, after, alike string }{
		{"nothing", "", "", all},
		{"the line of a statement", "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: more, namespace: edge, annotations: {trellis.dev/origin: a}}, spec: {selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com]}]}}", "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: more, namespace: edge, annotations: {trellis.dev/origin: b}}, spec: {selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com]}]}}", all},
		{"an AuthorizationPolicy", "", "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: x, namespace: bank}, spec: {}}", "edge/gateway shop/cart"},
		{"an AuthorizationPolicy that is tried out", "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: x, namespace: bank, annotations: {istio.io/dry-run: \"true\"}}, spec: {}}", "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: x, namespace: bank}, spec: {}}", "edge/gateway shop/cart"},
		{"an AuthorizationPolicy for all", "", "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: x, namespace: istio-system}, spec: {}}", ""},
		{"a RequestAuthentication", "", "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: x, namespace: shop}, spec: {jwtRules: [{issuer: a, jwks: '{\"keys\":[]}'}]}}", "bank/vault edge/gateway"},
		{"a RequestAuthentication whose keys are fetched", "", "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: x, namespace: shop}, spec: {jwtRules: [{issuer: a, jwksUri: https://a.example.com}]}}", ""},
		{"a PeerAuthentication", "", "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: x, namespace: bank}, spec: {mtls: {mode: DISABLE}}}", "shop/cart"},
		{"a VirtualService", "", "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: x, namespace: bank}, spec: {hosts: [shop.example.com], gateways: [edge/public], http: [{route: [{destination: {host: vault}}]}]}}", "bank/vault shop/cart"},
		{"a DestinationRule", "", "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: x, namespace: shop}, spec: {host: cart, trafficPolicy: {tls: {mode: DISABLE}}}}", "bank/vault shop/cart"},
		{"a Gateway", "", "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: x, namespace: edge}, spec: {selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [x.example.com]}]}}", "bank/vault shop/cart"},
		{"a Sidecar", "", "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: x, namespace: shop}, spec: {ingress: [{port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:8080}]}}", ""},
		{"a Sidecar for who calls", "", "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: x, namespace: shop}, spec: {workloadSelector: {labels: {app: cart}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: [bank/*]}]}}", all},
		{"Sidecars for who calls", strings.ReplaceAll(calling, "NAME", "shop"), strings.ReplaceAll(calling, "NAME", "bank"), all},
		{"the Sidecar for who calls of the mesh", "", strings.ReplaceAll(calling, "NAME", "istio-system"), ""},
		{"a Sidecar in place of one for who is called", taken, taken + "---\n{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: w, namespace: shop}, spec: {workloadSelector: {labels: {app: cart}}, egress: [{hosts: [bank/*]}]}}", ""},
		{"a Sidecar with a bound on connections", "", "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: x, namespace: shop}, spec: {inboundConnectionPool: {http: {http1MaxPendingRequests: 1}}}}", ""},
		{"a host of a namespace", "", entry("shop", "exportTo: [.], "), all},
		{"a host of a gateway's namespace", "", entry("edge", "exportTo: [.], "), "bank/vault shop/cart"},
		{"a host for all", "", entry("shop", ""), "bank/vault shop/cart"},
		{"a host of a namespace that all are told of", entry("shop", "exportTo: [.], "), entry("shop", ""), "bank/vault shop/cart"},
		{"a host with endpoints", "", entry("shop", "exportTo: [.], endpoints: [{address: 198.18.0.1}], "), ""},
		{"a host with workloads", entry("shop", "exportTo: [.], workloadSelector: {labels: {app: cart}}, "), entry("shop", "exportTo: [.], "), ""},
		{"a host that is an address", "", strings.Replace(entry("shop", "exportTo: [.], "), "api.example.com", "198.18.0.1", 1), ""},
		{"a host that authorizes", authorizing, authorizing + entry("shop", "exportTo: [.], "), ""},
		{"a Service", "", "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: shop}, spec: {selector: {app: cart}, ports: [{name: tcp, port: 9000}]}}", ""},
		{"a namespace's labels", "{apiVersion: v1, kind: Namespace, metadata: {name: x}}", "{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {istio-injection: enabled}}}", ""},
		{"the mesh configuration", "", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'trustDomain: example.com'}}", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var sides [2]*generator.Generator
			var meshes [2]*xds.Mesh
			for i, text := range []string{c.before, c.after} {
				sides[i], meshes[i] = start(t, generator.Input{Objects: objects(t, another+"---\n"+text), FromFiles: true})
			}
			for _, order := range [][2]int{{0, 1}, {1, 0}} {
				before, after := order[0], order[1]
				alike := generator.Alike(sides[before], sides[after])
				var names []string
				for _, n := range meshes[before].Nodes() {
					if !alike(n) {
						continue
					}
					names = append(names, n.Namespace+"/"+n.Name)
					if was, is := taking(t, sides[before], n), taking(t, sides[after], n); !slices.Equal(was, is) {
						t.Errorf("%s is sent something else:\n%v\n%v", n, was, is)
					}
				}
				slices.Sort(names)
				if got := strings.Join(names, " "); got != c.alike {
					t.Errorf("alike are %q, want %q", got, c.alike)
				}
			}
		})
	}
}

// taking is what a proxy has for those who connect to it, for a gateway all, in an
// order and a form that do not change from time to time.
func taking(t *testing.T, g *generator.Generator, n xds.Node) []string {
	t.Helper()
	config, err := g.Inbound(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	r := config.Resources()
	for _, one := range r.Listeners {
		if n.Type == xds.Router || one.GetName() == xds.VirtualInbound {
			out = append(out, prototext.Format(one))
		}
	}
	for _, one := range r.Routes {
		out = append(out, prototext.Format(one))
	}
	for _, one := range r.Clusters {
		if n.Type == xds.Router || strings.HasPrefix(one.GetName(), "inbound|") {
			out = append(out, prototext.Format(one))
		}
	}
	for _, one := range r.Assignments {
		out = append(out, prototext.Format(one))
	}
	slices.Sort(out)
	return out
}
