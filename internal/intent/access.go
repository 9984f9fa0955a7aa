// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// identityOf is the identity of the workloads that a Service selects; nil when
// it cannot be told, which closes what depends on it.
func (r *resolver) identityOf(at model.Origin, service model.Service) *model.Identity {
	accounts := r.snapshot.Accounts(service.Ref.Namespace, service.Selector)
	owner := service.Ref.String()
	switch list := accounts.Names; {
	case len(list) == 0:
		r.refuse(at, refusal{"IdentityUnresolved",
			fmt.Sprintf("%s selects no workload, so its identity is unknown and nothing is allowed in its name", service.Ref),
			owner, "start the workload, or add its Deployment to the files that are read"})
	case len(list) > 1:
		r.refuse(at, refusal{"IdentityUnresolved",
			fmt.Sprintf("%s selects workloads of several service accounts (%s), so its identity is unknown and nothing is allowed in its name", service.Ref, strings.Join(list, ", ")),
			owner, "run all of its workloads as one service account"})
	case list[0] == model.DefaultAccount:
		r.refuse(at, refusal{"IdentityDefault",
			fmt.Sprintf("%s runs as the service account default, which every workload of namespace %s may have; nothing is allowed in its name", service.Ref, service.Ref.Namespace),
			owner, "give the workload a service account of its own"})
	default:
		if accounts.Shared {
			r.warn(at, refusal{"IdentityShared",
				fmt.Sprintf("service account %s/%s is used by other workloads than those of %s too; what is allowed for one is allowed for all", service.Ref.Namespace, list[0], service.Ref),
				owner, "give each workload a service account of its own"})
		}
		return &model.Identity{TrustDomain: r.snapshot.Mesh().TrustDomain, Namespace: service.Ref.Namespace, ServiceAccount: list[0]}
	}
	return nil
}

// resolveAccess resolves who may call an Application inside the mesh.
func (r *resolver) resolveAccess(a *Application) {
	if a.Spec.Access == nil {
		return
	}
	for i := range a.Spec.Access.Callers {
		spec := &a.Spec.Access.Callers[i]
		at := field(a.Origin, "spec.access.callers[%d]", i)
		c := &Caller{
			Name: string(spec.Name), Waived: spec.Authentication == v1alpha1.CallerAuthenticationWaived, Origin: at,
			RefusedBy: r.judgeCaller(a, spec, i, at),
		}
		switch {
		case a.Pods == nil || !r.resolvePeer(a, c, spec, field(at, "peer")) || !r.resolveCalled(a, c, spec, at):
		case c.RefusedBy != nil:
			a.Refused = append(a.Refused, c)
		default:
			a.Callers = append(a.Callers, c)
		}
	}
	if a.Pods != nil {
		r.checkTokens(a)
	}
}

func (r *resolver) resolvePeer(a *Application, c *Caller, spec *v1alpha1.Caller, at model.Origin) bool {
	switch p := spec.Peer; {
	case p.Application != nil:
		return r.resolvePeerApplication(a, c, *p.Application, field(at, "application"))
	case p.ServiceAccount != nil:
		if len(validation.IsDNS1123Subdomain(p.ServiceAccount.Name)) > 0 {
			r.refuse(field(at, "serviceAccount.name"), refusal{"PeerInvalid",
				fmt.Sprintf("%s cannot be the name of a ServiceAccount (lower-case letters, digits, dashes and dots); caller %s is not let in", quoted(p.ServiceAccount.Name), spec.Name),
				"API trellis.dev/v1alpha1", "name one account, or say peer: {namespace: …} if a whole namespace is meant"})
			return false
		}
		if p.ServiceAccount.Name == model.DefaultAccount {
			r.refuse(field(at, "serviceAccount.name"), refusal{"IdentityDefault",
				fmt.Sprintf("every workload of namespace %s may run as its service account default; caller %s is not let in", p.ServiceAccount.Namespace, spec.Name),
				a.Ref.String(), "name a service account of its own, or say peer: {namespace: …} if the whole namespace is meant"})
			return false
		}
		c.Identity = &model.Identity{TrustDomain: r.snapshot.Mesh().TrustDomain, Namespace: string(p.ServiceAccount.Namespace), ServiceAccount: p.ServiceAccount.Name}
	case p.Namespace != nil && p.Namespace.Name != "":
		c.Namespace = string(p.Namespace.Name)
	case p.Any != nil:
		c.Any = true
	default:
		r.refuse(at, refusal{"PeerInvalid", "a peer is exactly one of application, serviceAccount, namespace and any; the caller is not let in", "API trellis.dev/v1alpha1", "set one of them"})
		return false
	}
	return true
}

func (r *resolver) resolvePeerApplication(a *Application, c *Caller, name v1alpha1.NamespacedName, at model.Origin) bool {
	peer := r.applications[model.Name{Namespace: string(name.Namespace), Name: name.Name}]
	if peer == nil || peer.Pods == nil {
		r.refuse(at, refusal{"PeerNotFound",
			fmt.Sprintf("Application %s/%s does not exist or names no workload; caller %s is not let in", name.Namespace, name.Name, c.Name),
			a.Ref.String(), "name an existing Application, or peer: {serviceAccount: …} for a workload without one"})
		return false
	}
	service, _ := r.snapshot.Service(model.Name{Namespace: peer.Ref.Namespace, Name: peer.Spec.Service})
	c.Identity = r.identityOf(at, service)
	return c.Identity != nil
}

// resolveCalled resolves what a caller may call. An unknown route refuses the
// whole entry: half of a statement is not what was stated.
func (r *resolver) resolveCalled(a *Application, c *Caller, spec *v1alpha1.Caller, at model.Origin) bool {
	if len(spec.Routes) == 0 {
		c.Routes = a.Routes
		for _, p := range a.Ports {
			if p.Protocol == v1alpha1.ProtocolTCP && p.Target != 0 {
				c.TCP = append(c.TCP, p)
			}
		}
		return true
	}
	for i, name := range spec.Routes {
		k := slices.IndexFunc(a.Routes, func(route *Route) bool { return route.Name == string(name) })
		if k < 0 {
			if !a.Closed {
				r.refuse(field(at, "routes[%d]", i), refusal{"RouteNotFound",
					fmt.Sprintf("caller %s names route %s, which spec.routes does not declare; the caller is not let in", spec.Name, name), a.Ref.String(), "use the name of one of spec.routes"})
			}
			return false
		}
		c.Routes = append(c.Routes, a.Routes[k])
	}
	return true
}

// Ingresses are those through which the Application is published, in order.
func (a *Application) Ingresses() []*Ingress {
	var out []*Ingress
	for _, p := range a.Publications {
		if !p.Unpublished && !slices.Contains(out, p.Host.Ingress) {
			out = append(out, p.Host.Ingress)
		}
	}
	slices.SortFunc(out, func(x, y *Ingress) int { return x.Ref.Compare(y.Ref) })
	return out
}

// checkTokens refuses routes that callers inside the mesh need a token for, when
// nobody says whose: providers come from the ingresses.
func (r *resolver) checkTokens(a *Application) {
	ingresses := a.Ingresses()
	for _, route := range a.Routes {
		if route.Mode == v1alpha1.AuthenticationNone || route.Closed {
			continue
		}
		called := slices.ContainsFunc(a.Callers, func(c *Caller) bool { return !c.Waived && slices.Contains(c.Routes, route) })
		if !called {
			continue
		}
		for _, in := range ingresses {
			if q, ok := r.requirement(route, in); ok && a.checks(q) {
				route.InMesh = append(route.InMesh, q)
			}
		}
		if len(ingresses) == 0 {
			r.refuse(field(route.Origin, "authentication"), refusal{"ProviderUnresolved",
				fmt.Sprintf("route %s needs a token of its callers, and the Application is exposed nowhere, so no identity provider is known; it is closed to all whose token is not waived", route.Name),
				a.Ref.String(), "set authentication: Waived on the callers (mutual TLS then admits them), or mode: None, or expose the Application"})
		}
	}
}

// ServiceHost is the name by which the mesh knows the Application's Service.
func (a *Application) ServiceHost(mesh model.Mesh) string {
	return a.Spec.Service + "." + a.Ref.Namespace + ".svc." + mesh.ClusterDomain
}
