// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// without returns the input without one object of Trellis's own kinds.
func without(in model.Input, candidate model.Reference) model.Input {
	named := func(o named) bool {
		return o.GetNamespace() == candidate.Namespace && o.GetName() == candidate.Name
	}
	switch candidate.Kind {
	case "Application":
		in.Applications = slices.DeleteFunc(slices.Clone(in.Applications), func(a *v1alpha1.Application) bool { return named(a) })
	case "SecureIngress":
		in.SecureIngresses = slices.DeleteFunc(slices.Clone(in.SecureIngresses), func(s *v1alpha1.SecureIngress) bool { return named(s) })
	case "HostClaim":
		in.HostClaims = slices.DeleteFunc(slices.Clone(in.HostClaims), func(c *v1alpha1.HostClaim) bool { return named(c) })
	}
	return in
}

type named interface {
	GetNamespace() string
	GetName() string
}

// with returns the input with one more object.
func with(in model.Input, object any) model.Input {
	switch o := object.(type) {
	case *v1alpha1.Application:
		in.Applications = append(slices.Clip(in.Applications), o)
	case *v1alpha1.SecureIngress:
		in.SecureIngresses = append(slices.Clip(in.SecureIngresses), o)
	case *v1alpha1.HostClaim:
		in.HostClaims = append(slices.Clip(in.HostClaims), o)
	}
	return in
}

// narrow leaves out the Applications that have nothing to do with one of the
// given ones, so that admitting one among thousands costs what it costs among
// ten. Two Applications meet on a host, in a namespace (where Services may select
// the same pods), or as peers; a test holds the result against the whole.
func narrow(in model.Input, candidates ...*v1alpha1.Application) model.Input {
	hosts := map[string]bool{}
	namespaces := map[string]bool{}
	peers := map[model.Name]bool{}
	for _, a := range candidates {
		namespaces[a.Namespace] = true
		for _, host := range Hosts(a, in.SecureIngresses) {
			hosts[host] = true
		}
		if a.Spec.Access == nil {
			continue
		}
		for _, c := range a.Spec.Access.Callers {
			if p := c.Peer.Application; p != nil {
				peers[model.Name{Namespace: string(p.Namespace), Name: p.Name}] = true
			}
		}
	}
	var kept []*v1alpha1.Application
	for _, a := range in.Applications {
		meets := namespaces[a.Namespace] || peers[model.Name{Namespace: a.Namespace, Name: a.Name}] ||
			slices.ContainsFunc(Hosts(a, in.SecureIngresses), func(host string) bool { return hosts[host] })
		if meets {
			kept = append(kept, a)
		}
	}
	in.Applications = kept
	return in
}

// assume adds the Service that an Application names, when it is not there yet:
// a missing Service hides everything else that is wrong with a document, and it
// must not make a difference in which order the two are applied.
func assume(in model.Input, a *v1alpha1.Application) model.Input {
	name := model.Name{Namespace: a.Namespace, Name: a.Spec.Service}
	if slices.ContainsFunc(in.Services, func(s model.Service) bool { return s.Ref.Namespace == name.Namespace && s.Ref.Name == name.Name }) {
		return in
	}
	// No pod has such a label, so that no other Application's pods are meant.
	selector := map[string]string{"trellis.dev/assumed": a.Name}
	service := model.Service{
		Ref:      model.Reference{Cluster: in.Mesh.Cluster, Kind: "Service", Namespace: name.Namespace, Name: name.Name},
		Selector: selector,
	}
	for _, p := range a.Spec.Ports {
		service.Ports = append(service.Ports, model.ServicePort{
			Name: string(p.Name), Number: p.Port, AppProtocol: strings.ToLower(string(p.Protocol)), Transport: "TCP", TargetNumber: p.Port,
		})
	}
	in.Services = append(slices.Clip(in.Services), service)
	in.Workloads = append(slices.Clip(in.Workloads), model.Workload{
		Ref:    model.Reference{Cluster: in.Mesh.Cluster, Kind: "Pod", Namespace: name.Namespace, Name: name.Name},
		Labels: selector, ServiceAccount: "trellis-assumed-" + a.Name, Ready: true,
	})
	return in
}

// Hosts are all hosts that an Application can mean, on any ingress.
func Hosts(a *v1alpha1.Application, ingresses []*v1alpha1.SecureIngress) []string {
	var out []string
	for _, exposure := range a.Spec.Exposures {
		names := exposure.Hostnames
		if len(names) == 0 {
			names = []v1alpha1.Hostname{v1alpha1.Hostname(a.Name)}
		}
		for _, in := range ingresses {
			for _, domain := range in.Spec.Domains {
				for _, name := range names {
					if name == "@" {
						out = append(out, domain.Domain)
					} else {
						out = append(out, string(name)+"."+domain.Domain)
					}
				}
			}
		}
	}
	return out
}
