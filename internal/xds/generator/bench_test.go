// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"fmt"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// fleet has n services of two ports in namespaces of ten, each with a workload, a
// policy and, for every second one, a DestinationRule; every sidecar sees all.
func fleet(n int) []client.Object {
	var out []client.Object
	for i := range n {
		name, namespace := fmt.Sprintf("app-%d", i), fmt.Sprintf("team-%d", i/10)
		meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
		labels := map[string]string{"app": name, "sidecar.istio.io/inject": "true"}
		if i%10 == 0 {
			out = append(out, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		}
		out = append(out,
			&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": name},
				Ports:    []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "grpc", Port: 9090}},
			}},
			&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{ServiceAccountName: name},
			}}},
			&securityv1.AuthorizationPolicy{ObjectMeta: meta, Spec: securityapi.AuthorizationPolicy{
				Selector: &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": name}},
				Rules: []*securityapi.Rule{{
					From: []*securityapi.Rule_From{{Source: &securityapi.Source{Namespaces: []string{namespace}}}},
					To:   []*securityapi.Rule_To{{Operation: &securityapi.Operation{Methods: []string{"GET"}}}},
				}},
			}})
		if i%2 == 0 {
			out = append(out, &networkingv1.DestinationRule{ObjectMeta: meta, Spec: networkingapi.DestinationRule{
				Host:          name + "." + namespace + ".svc.cluster.local",
				TrafficPolicy: &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{MaxConnections: 9}}},
			}})
		}
	}
	return out
}

// BenchmarkSetup is from objects to the first question.
func BenchmarkSetup(b *testing.B) {
	objects := fleet(1000)
	for b.Loop() {
		g, err := generator.New(b.Context(), generator.Input{Objects: objects, FromFiles: true})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkFirstProxy is the first configuration of a new generator.
func BenchmarkFirstProxy(b *testing.B) {
	objects := fleet(1000)
	for b.Loop() {
		b.StopTimer()
		g, nodes := ready(b, objects)
		b.StartTimer()
		if _, err := g.Config(b.Context(), nodes[0]); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkNextProxy is another proxy's configuration from the same generator.
func BenchmarkNextProxy(b *testing.B) {
	g, nodes := ready(b, fleet(1000))
	if _, err := g.Config(b.Context(), nodes[0]); err != nil {
		b.Fatal(err)
	}
	i, size := 0, 0
	for b.Loop() {
		i++
		c, err := g.Config(b.Context(), nodes[i%len(nodes)])
		if err != nil {
			b.Fatal(err)
		}
		size = len(c.Resources().Clusters)
	}
	b.ReportMetric(float64(size), "clusters")
	if err := g.Close(); err != nil {
		b.Fatal(err)
	}
}

func ready(b *testing.B, objects []client.Object) (*generator.Generator, []xds.Node) {
	b.Helper()
	g, err := generator.New(b.Context(), generator.Input{Objects: objects, FromFiles: true})
	if err != nil {
		b.Fatal(err)
	}
	nodes, err := g.Nodes(b.Context())
	if err != nil || len(nodes) != 1000 {
		b.Fatalf("%d proxies, %v", len(nodes), err)
	}
	return g, nodes
}
