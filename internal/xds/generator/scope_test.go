// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

func opened(t *testing.T, objects []client.Object) (*generator.Generator, []xds.Node) {
	t.Helper()
	g, err := generator.New(t.Context(), generator.Input{Objects: objects, FromFiles: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	nodes, err := g.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return g, nodes
}

// TestAScopeIsTheOneThatIstioTakes gives Sidecars to pods, namespaces and the mesh by chance.
func TestAScopeIsTheOneThatIstioTakes(t *testing.T) {
	taken := map[string]bool{}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		objects := fleet(12)
		for i := range r.IntN(6) {
			objects = append(objects, sidecarOfChance(r, i))
		}
		if r.IntN(2) == 0 {
			objects = append(objects, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "istio", Namespace: "istio-system"}, Data: map[string]string{"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}})
		}
		g, nodes := opened(t, objects)
		scopes := g.Scopes()
		for _, node := range nodes {
			name, registry, err := g.IstioScope(node)
			if err != nil {
				t.Fatal(err)
			}
			if got := scopes.Of(node); got.Name != name || got.Registry != registry {
				t.Errorf("seed %d: %s: it is %+v, and Istio takes %q, %v", seed, node, got, name, registry)
			}
			taken[name] = true
		}
	}
	if len(taken) < 5 {
		t.Errorf("hardly any Sidecar was taken: %v", taken)
	}
}

func sidecarOfChance(r *rand.Rand, i int) client.Object {
	s := &networkingv1.Sidecar{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i), Namespace: []string{"team-0", "team-1", "istio-system"}[r.IntN(3)]}}
	s.Spec.Egress = []*networkingapi.IstioEgressListener{{Hosts: []string{"./*"}}}
	if r.IntN(2) == 0 {
		s.Spec.WorkloadSelector = &networkingapi.WorkloadSelector{Labels: map[string]string{"app": fmt.Sprint("app-", r.IntN(12))}}
	}
	if r.IntN(2) == 0 {
		s.Spec.OutboundTrafficPolicy = &networkingapi.OutboundTrafficPolicy{Mode: networkingapi.OutboundTrafficPolicy_Mode(r.IntN(2))}
	}
	if r.IntN(2) == 0 {
		s.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1+r.IntN(3), 0, 0, 0, 0, time.UTC))
	}
	return s
}

// TestWhatConcernsCallersIsFoundInTheObjects: policies about who is let in are nothing to
// them, nor is an address that was given to another Service.
func TestWhatConcernsCallersIsFoundInTheObjects(t *testing.T) {
	with := func(more ...client.Object) []client.Object { return append(fleet(12), more...) }
	entry := func(hosts ...string) client.Object {
		return &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "team-0"}, Spec: networkingapi.ServiceEntry{
			Hosts: hosts, Resolution: networkingapi.ServiceEntry_DNS, Ports: []*networkingapi.ServicePort{{Number: 443, Name: "tls", Protocol: "TLS"}},
		}}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a-first-one", Namespace: "team-0"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	r := rand.New(rand.NewPCG(1, 1))
	for name, c := range map[string]struct {
		after []client.Object
		want  generator.Outgoing
	}{
		"nothing": {with(), generator.Outgoing{}},
		"policies": {slices.DeleteFunc(with(), func(o client.Object) bool {
			return o.GetName() == "app-3" && fmt.Sprintf("%T", o) == "*v1.AuthorizationPolicy"
		}), generator.Outgoing{}},
		"a Service":          {with(service), generator.Outgoing{Hosts: []string{"a-first-one.team-0.svc.cluster.local"}}},
		"a ServiceEntry":     {with(entry("a.example.com", "b.example.com")), generator.Outgoing{Hosts: []string{"a.example.com", "b.example.com"}}},
		"a Sidecar":          {with(sidecarOfChance(r, 1)), generator.Outgoing{Scopes: true}},
		"the mesh's outlook": {with(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "istio", Namespace: "istio-system"}, Data: map[string]string{"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}}), generator.Outgoing{Everywhere: true}},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := opened(t, fleet(12))
			after, _ := opened(t, c.after)
			for _, sides := range [2][2]*generator.Generator{{before, after}, {after, before}} {
				got := generator.OutgoingBetween(sides[0], sides[1])
				if got.Everywhere != c.want.Everywhere || got.Scopes != c.want.Scopes || !slices.Equal(got.Hosts, c.want.Hosts) {
					t.Errorf("it is %+v, want %+v", got, c.want)
				}
			}
		})
	}
}
