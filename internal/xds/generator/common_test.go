// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	meta "istio.io/api/meta/v1alpha1"
	networkingapi "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

const (
	policy  = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: %s, namespace: %s}, spec: {action: %s, rules: [{to: [{operation: {paths: [%s]}}]}]}}\n---\n"
	request = "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: %s, namespace: %s}, spec: {jwtRules: [{issuer: %s, jwks: '{\"keys\":[]}'}]}}\n---\n"
	mutual  = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: bank}, spec: {mtls: {mode: %s}}}\n---\n"
	limits  = "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: %s, namespace: %s}, spec: {outboundTrafficPolicy: {%s}, egress: [{hosts: ['%s']}]}}\n---\n"
	fetched = "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: x, namespace: shop}, spec: {jwtRules: [{issuer: a, jwksUri: https://a.example.com}]}}\n---\n"
)

// changes are made to a mesh; those of policies and Sidecars alone need no control plane of their own.
var changes = []struct {
	name, before, after string
	together            bool
}{
	{"nothing", fmt.Sprintf(policy, "x", "bank", "DENY", "/x"), fmt.Sprintf(policy, "x", "bank", "DENY", "/x"), true},
	{"an AuthorizationPolicy", "", fmt.Sprintf(policy, "x", "bank", "ALLOW", "/x"), true},
	{"an AuthorizationPolicy of gateways", "", fmt.Sprintf(policy, "x", "edge", "DENY", "/x"), true},
	{"an AuthorizationPolicy for all", "", fmt.Sprintf(policy, "x", "istio-system", "DENY", "/x"), true},
	{"AuthorizationPolicies in another order", fmt.Sprintf(policy+policy, "a", "bank", "DENY", "/a", "b", "bank", "DENY", "/b"), fmt.Sprintf(policy+policy, "b", "bank", "DENY", "/b", "a", "bank", "DENY", "/c"), true},
	{"an AuthorizationPolicy that is tried out", fmt.Sprintf(policy, "x", "bank", "DENY", "/x"), strings.Replace(fmt.Sprintf(policy, "x", "bank", "DENY", "/x"), "namespace: bank", `namespace: bank, annotations: {istio.io/dry-run: "true"}`, 1), true},
	{"a RequestAuthentication", "", fmt.Sprintf(request, "x", "shop", "a"), true},
	{"a RequestAuthentication for all", "", fmt.Sprintf(request, "x", "istio-system", "a"), true},
	{"a RequestAuthentication of gateways", fmt.Sprintf(request, "x", "edge", "a"), fmt.Sprintf(request, "x", "edge", "b"), true},
	{"a RequestAuthentication whose keys are fetched", "", fetched, true},
	{"policies of both kinds", fmt.Sprintf(request+policy, "x", "shop", "a", "x", "edge", "DENY", "/"), fmt.Sprintf(request+policy, "z", "bank", "b", "z", "shop", "ALLOW", "/"), true},
	{"policies beside other objects", fmt.Sprintf(mutual, "STRICT"), fmt.Sprintf(mutual+policy+request, "STRICT", "x", "bank", "DENY", "/x", "x", "bank", "b"), true},
	{"a Sidecar", "", fmt.Sprintf(limits, "x", "shop", "mode: REGISTRY_ONLY", "./*"), true},
	{"a Sidecar for all", "", fmt.Sprintf(limits, "x", "istio-system", "mode: REGISTRY_ONLY", "bank/*"), true},
	{"other Sidecars", fmt.Sprintf(limits+limits, "a", "shop", "mode: REGISTRY_ONLY", "./*", "x", "bank", "mode: ALLOW_ANY", "*/*"), fmt.Sprintf(limits+limits, "b", "shop", "mode: ALLOW_ANY", "bank/*", "x", "bank", "mode: REGISTRY_ONLY", "shop/*"), true},
	{"a Sidecar and a policy", fmt.Sprintf(limits+policy, "x", "shop", "mode: REGISTRY_ONLY", "./*", "x", "bank", "DENY", "/x"), fmt.Sprintf(policy, "x", "bank", "DENY", "/y"), true},
	{"a Sidecar for who is called", "", taken, true},
	{"a Sidecar and a Service", "", fmt.Sprintf(limits, "x", "shop", "mode: REGISTRY_ONLY", "./*") + "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: shop}, spec: {selector: {app: cart}, ports: [{name: tcp, port: 9000}]}}", false},
	{"a Sidecar that sends the rest to another proxy", fmt.Sprintf(limits, "x", "shop", "mode: ALLOW_ANY, egressProxy: {host: vault.bank.svc.cluster.local, port: {number: 80}}", "*/*"), fmt.Sprintf(limits, "x", "shop", "mode: ALLOW_ANY, egressProxy: {host: cart.shop.svc.cluster.local, port: {number: 80}}", "*/*"), false},
	{"a PeerAuthentication", "", fmt.Sprintf(mutual, "DISABLE"), false},
	{"a policy and a PeerAuthentication", fmt.Sprintf(mutual, "STRICT"), fmt.Sprintf(mutual+policy, "DISABLE", "x", "bank", "DENY", "/x"), false},
	{"a Gateway", "", "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: x, namespace: edge}, spec: {selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [x.example.com]}]}}", false},
	{"an EnvoyFilter", "", "{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: x, namespace: bank}, spec: {configPatches: []}}", false},
	{"a Service", "", "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: shop}, spec: {selector: {app: cart}, ports: [{name: tcp, port: 9000}]}}", false},
	{"the mesh configuration", "", "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'trustDomain: example.com'}}", false},
}

// TestWhatIsSharedChangesNothingThatIsSent makes one change after the other, in both
// directions, and holds each side to a control plane of its own.
func TestWhatIsSharedChangesNothingThatIsSent(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			var inputs [2]generator.Input
			var alone [2]string
			for i, text := range []string{c.before, c.after} {
				inputs[i] = generator.Input{Objects: objects(t, another+"---\n"+text), FromFiles: true}
				g, mesh := start(t, inputs[i])
				alone[i] = everything(t, g, mesh)
			}
			for _, order := range [][2]int{{0, 1}, {1, 0}} {
				common := &generator.Common{}
				var sides [2]*generator.Generator
				var meshes [2]*xds.Mesh
				for _, i := range order {
					in := inputs[i]
					in.Common = common
					sides[i], meshes[i] = start(t, in)
				}
				if generator.SameControlPlane(sides[0], sides[1]) != c.together {
					t.Errorf("on one control plane: %v", !c.together)
				}
				// Both at the same time, and again with what was kept.
				for range 2 {
					var both sync.WaitGroup
					var got [2]string
					for i := range sides {
						both.Go(func() { got[i] = everything(t, sides[i], meshes[i]) })
					}
					both.Wait()
					if got != alone {
						t.Errorf("together:\n%s\nalone:\n%s", got, alone)
					}
				}
			}
		})
	}
}

// everything is what all proxies are sent, in an order and a form that do not change.
func everything(t *testing.T, g *generator.Generator, mesh *xds.Mesh) string {
	t.Helper()
	var out []string
	for _, n := range mesh.Nodes() {
		whole, err := g.Config(t.Context(), n)
		if err != nil {
			t.Error(err)
			return ""
		}
		inbound, err := g.Inbound(t.Context(), n)
		if err != nil {
			t.Error(err)
			return ""
		}
		for what, config := range map[string]*xds.Config{"whole": whole, "inbound": inbound} {
			r := config.Resources()
			add := func(one proto.Message) { out = append(out, n.Namespace+"/"+n.Name+" "+what+" "+prototext.Format(one)) }
			for _, one := range r.Listeners {
				add(one)
			}
			for _, one := range r.Clusters {
				add(one)
			}
			for _, one := range r.Routes {
				add(one)
			}
			for _, one := range r.Assignments {
				add(one)
			}
			for _, one := range r.Extensions {
				add(one)
			}
			out = append(out, fmt.Sprint(n, config.Problems()))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestAControlPlaneRunsUntilNobodyUsesIt(t *testing.T) {
	common := &generator.Common{}
	in := generator.Input{Objects: objects(t, another), FromFiles: true, Common: common}
	first, mesh := start(t, in)
	second, _ := start(t, in)
	for range 2 {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if everything(t, second, mesh) == "" {
		t.Error("nothing is sent once the first has ended")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if third, _ := start(t, in); generator.SameControlPlane(first, third) {
		t.Error("it works on what has ended")
	}
}

// TestAStatusThatWasLookedAtIsTheSame: a message is another to reflection once somebody
// has looked at it, as Istio does with the objects of the first side.
func TestAStatusThatWasLookedAtIsTheSame(t *testing.T) {
	spec := &networkingapi.VirtualService{Hosts: []string{"x.example.com"}}
	looked := &meta.IstioStatus{}
	_ = proto.Clone(looked)
	if !generator.SameConfig(config.Config{Spec: spec, Status: looked}, config.Config{Spec: spec, Status: &meta.IstioStatus{}}) {
		t.Error("two empty statuses are different")
	}
	if generator.SameConfig(config.Config{Spec: spec, Status: &meta.IstioStatus{ObservedGeneration: 2}}, config.Config{Spec: spec, Status: looked}) {
		t.Error("two different statuses are the same")
	}
}
