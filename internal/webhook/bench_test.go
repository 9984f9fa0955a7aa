// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// BenchmarkAChangeAmongThousands admits one Application among many that share a
// gateway, ten to a namespace.
func BenchmarkAChangeAmongThousands(b *testing.B) {
	for _, count := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			in := thousands(count)
			candidate := in.Applications[count/2]
			ref := model.Reference{Cluster: in.Mesh.Cluster, Group: v1alpha1.GroupName, Kind: "Application", Namespace: candidate.Namespace, Name: candidate.Name}
			b.ResetTimer()
			for range b.N {
				before, after := inputs(in, ref, candidate, candidate)
				judge(ref, foundIn(before, candidate), foundIn(after, candidate))
			}
		})
	}
}

// BenchmarkABindingAmongThousands admits a policy about all of them, and one about a
// namespace.
func BenchmarkABindingAmongThousands(b *testing.B) {
	for _, count := range []int{10, 1000, 10000} {
		in := thousands(count)
		t := &v1alpha1.PolicyTemplate{}
		t.Name, t.Spec.Policy, t.Spec.Version = "named-1.0.0", "named", "1.0.0"
		t.Spec.Constraints = []v1alpha1.Constraint{{Name: "names", Subject: v1alpha1.SubjectRoute, Expression: "route.name != 'admin'", Message: "the name is forbidden"}}
		in.Policies.Templates = append(in.Policies.Templates, t)
		whole, one := &v1alpha1.ClusterPolicyBinding{}, &v1alpha1.PolicyBinding{}
		whole.Name, one.Name, one.Namespace = "all", "ours", "team-0"
		one.Spec = v1alpha1.PolicyBindingSpec{Policy: v1alpha1.PolicyVersion{Name: "named", Version: "1.0.0"}, Mode: v1alpha1.ModeEnforce}
		whole.Spec.PolicyBindingSpec, whole.Spec.Tier = one.Spec, v1alpha1.TierMandatory
		for kind, candidate := range map[string]client.Object{"ClusterPolicyBinding": whole, "PolicyBinding": one} {
			b.Run(fmt.Sprint(kind, "/", count), func(b *testing.B) {
				ref := model.Reference{Cluster: in.Mesh.Cluster, Group: v1alpha1.GroupName, Kind: kind, Namespace: candidate.GetNamespace(), Name: candidate.GetName()}
				for range b.N {
					before, after := inputs(in, ref, candidate, nil)
					judge(ref, foundIn(before, nil), foundIn(after, candidate))
				}
			})
		}
	}
}

// thousands are Applications that share a gateway, ten to a namespace.
func thousands(count int) model.Input {
	in := model.Input{Mesh: model.DefaultMesh(), SecureIngresses: []*v1alpha1.SecureIngress{{}}}
	ingress := in.SecureIngresses[0]
	ingress.Namespace, ingress.Name = "istio-ingress", "public"
	ingress.Spec.Domains = []v1alpha1.IngressDomain{{Name: "main", Domain: "example.com"}}
	ingress.Spec.Gateway.Service = "gateway"
	ingress.Spec.Applications = []v1alpha1.ApplicationAdmission{{Name: "all", Hostnames: []string{"*"}}}
	path := "/"
	for i := range count {
		a := &v1alpha1.Application{}
		a.Namespace, a.Name = fmt.Sprintf("team-%d", i/10), fmt.Sprintf("web-%d", i)
		a.Spec.Service = a.Name
		a.Spec.Ports = []v1alpha1.ApplicationPort{{Name: "web", Port: 80, Protocol: v1alpha1.ProtocolHTTP}}
		a.Spec.Routes = []v1alpha1.Route{{Name: "all", Port: "web", Paths: []v1alpha1.PathMatch{{Prefix: &path}}}}
		a.Spec.Exposures = []v1alpha1.Exposure{{Name: "public", Routes: []v1alpha1.LabelName{"all"}}}
		in.Applications = append(in.Applications, a)
		labels := map[string]string{"app": a.Name}
		in.Services = append(in.Services, model.Service{
			Ref: model.Reference{Kind: "Service", Namespace: a.Namespace, Name: a.Name}, Selector: labels,
			Ports: []model.ServicePort{{Name: "http", Number: 80, TargetNumber: 8080}},
		})
		in.Workloads = append(in.Workloads, model.Workload{
			Ref:    model.Reference{Kind: "Pod", Namespace: a.Namespace, Name: a.Name},
			Labels: labels, ServiceAccount: a.Name, Address: "192.0.2.1", Ready: true,
		})
	}
	return in
}
