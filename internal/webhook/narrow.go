// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

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
	case "PolicyTemplate":
		in.Policies.Templates = slices.DeleteFunc(slices.Clone(in.Policies.Templates), func(p *v1alpha1.PolicyTemplate) bool { return named(p) })
	case "ClusterPolicyBinding":
		in.Policies.ClusterBindings = slices.DeleteFunc(slices.Clone(in.Policies.ClusterBindings), func(b *v1alpha1.ClusterPolicyBinding) bool { return named(b) })
	case "PolicyBinding":
		in.Policies.Bindings = slices.DeleteFunc(slices.Clone(in.Policies.Bindings), func(b *v1alpha1.PolicyBinding) bool { return named(b) })
	case "PolicyException":
		in.Policies.Exceptions = slices.DeleteFunc(slices.Clone(in.Policies.Exceptions), func(e *v1alpha1.PolicyException) bool { return named(e) })
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
	case *v1alpha1.PolicyTemplate:
		in.Policies.Templates = append(slices.Clip(in.Policies.Templates), o)
	case *v1alpha1.ClusterPolicyBinding:
		in.Policies.ClusterBindings = append(slices.Clip(in.Policies.ClusterBindings), o)
	case *v1alpha1.PolicyBinding:
		in.Policies.Bindings = append(slices.Clip(in.Policies.Bindings), o)
	case *v1alpha1.PolicyException:
		in.Policies.Exceptions = append(slices.Clip(in.Policies.Exceptions), o)
	}
	return in
}

// concerned leaves out what a change has nothing to do with, as far as that is easily
// told. What is left is judged with the change and without it.
func concerned(in model.Input, candidate, old client.Object) model.Input {
	switch o := candidate.(type) {
	case *v1alpha1.Application:
		related := []*v1alpha1.Application{o}
		if before, ok := old.(*v1alpha1.Application); ok {
			related = append(related, before)
		}
		return narrow(in, related...)
	case *v1alpha1.PolicyBinding, *v1alpha1.PolicyException:
		return narrowTo(in, candidate.GetNamespace())
	case *v1alpha1.PolicyTemplate:
		if len(usersOf(in, o)) == 0 {
			in.Applications, in.SecureIngresses = nil, nil
		}
	}
	return in
}

// narrowTo leaves out the Applications that have nothing to do with those of a namespace.
// Where an ingress is in it, everything may be published there.
func narrowTo(in model.Input, namespace string) model.Input {
	if slices.ContainsFunc(in.SecureIngresses, func(s *v1alpha1.SecureIngress) bool { return s.Namespace == namespace }) {
		return in
	}
	var inside []*v1alpha1.Application
	for _, a := range in.Applications {
		if a.Namespace == namespace {
			inside = append(inside, a)
		}
	}
	return narrow(in, inside...)
}

// narrow leaves out the Applications that have nothing to do with one of the
// given ones, so that admitting one among thousands costs what it costs among
// ten. Two Applications meet on a host, in a namespace (where Services may select
// the same pods), as callers, or as callees; a test holds the result against the whole.
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
		for _, c := range a.Spec.Access.Calls {
			// Whether a callee lets anybody in is for its neighbours to spoil, too.
			for _, p := range []*v1alpha1.NamespacedName{c.Peer.Application, c.Peer.Service} {
				if p != nil {
					namespaces[string(p.Namespace)] = true
				}
			}
		}
	}
	var kept, others []*v1alpha1.Application
	for _, a := range in.Applications {
		meets := namespaces[a.Namespace] || peers[model.Name{Namespace: a.Namespace, Name: a.Name}] ||
			slices.ContainsFunc(Hosts(a, in.SecureIngresses), func(host string) bool { return hosts[host] })
		if meets {
			kept = append(kept, a)
		} else {
			others = append(others, a)
		}
	}
	in.Applications, in.Others = kept, slices.Concat(in.Others, others)
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
