// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// surround makes up what a test does not state and what nothing would be published
// without: namespaces without labels, a Service and a workload for each Application and
// for each gateway, and certificates. So a test holds what it is about and no more.
func surround(in *model.Input) {
	for _, a := range in.Applications {
		addNamespace(in, a.Namespace)
		addService(in, a.Namespace, a.Spec.Service, applicationPorts(a))
	}
	for _, s := range in.SecureIngresses {
		addNamespace(in, s.Namespace)
		addService(in, s.Namespace, s.Spec.Gateway.Service, []model.ServicePort{
			{Name: "https", Number: 443, AppProtocol: "https", Transport: "TCP", TargetNumber: 8443},
			{Name: "http", Number: 80, AppProtocol: "http", Transport: "TCP", TargetNumber: 8080},
		})
		addCertificate(in, s)
	}
	for _, f := range in.Foreign {
		addNamespace(in, f.Ref.Namespace)
	}
	for _, e := range in.Policies.Exceptions {
		addNamespace(in, e.Namespace)
	}
}

func addNamespace(in *model.Input, name string) {
	if !slices.ContainsFunc(in.Namespaces, func(n model.Namespace) bool { return n.Name == name }) {
		in.Namespaces = append(in.Namespaces, model.Namespace{Name: name})
	}
}

func applicationPorts(a *v1alpha1.Application) []model.ServicePort {
	out := make([]model.ServicePort, 0, len(a.Spec.Ports))
	for _, p := range a.Spec.Ports {
		out = append(out, model.ServicePort{
			Name: string(p.Name), Number: p.Port, AppProtocol: strings.ToLower(string(p.Protocol)), Transport: "TCP", TargetNumber: p.Port,
		})
	}
	return out
}

// addService adds a Service with one workload that runs as an account of its own.
func addService(in *model.Input, namespace, name string, ports []model.ServicePort) {
	ref := model.Reference{Cluster: in.Mesh.Cluster, Kind: "Service", Namespace: namespace, Name: name}
	if slices.ContainsFunc(in.Services, func(s model.Service) bool { return s.Ref == ref }) {
		return
	}
	selector := map[string]string{"app": name}
	in.Services = append(in.Services, model.Service{Ref: ref, Selector: selector, Ports: ports})
	in.Workloads = append(in.Workloads, model.Workload{
		Ref:    model.Reference{Cluster: in.Mesh.Cluster, Group: "apps", Kind: "Deployment", Namespace: namespace, Name: name},
		Labels: selector, ServiceAccount: name, Ready: true,
	})
}

// addCertificate adds a certificate for every name that Applications of the test use.
func addCertificate(in *model.Input, s *v1alpha1.SecureIngress) {
	ref := model.Reference{Cluster: in.Mesh.Cluster, Kind: "Secret", Namespace: s.Namespace, Name: s.Spec.TLS.SecretName}
	if ref.Name == "" || slices.ContainsFunc(in.Certificates, func(c model.Certificate) bool { return c.Ref == ref }) {
		return
	}
	out := model.Certificate{Ref: ref}
	for _, d := range s.Spec.Domains {
		out.Names = append(out.Names, d.Domain, "*."+d.Domain)
		for _, a := range in.Applications {
			for _, e := range a.Spec.Exposures {
				for _, host := range e.Hostnames {
					out.Names = append(out.Names, string(host)+"."+d.Domain)
				}
			}
		}
	}
	in.Certificates = append(in.Certificates, out)
}
