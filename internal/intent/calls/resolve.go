// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// resolver holds what one resolution has found so far.
type resolver struct {
	snapshot     *model.Snapshot
	graph        *intent.Graph
	applications map[model.Name]*intent.Application
	// inNamespace are the Applications of a namespace that name a workload.
	inNamespace map[string][]*intent.Application
	// stated are the Egresses, by Application.
	stated   map[*intent.Application]*Egress
	findings []model.Finding
}

// Resolve turns what Applications state of their calls into what they may call. What
// policies say of it is added to the judgements of the Graph.
func Resolve(s *model.Snapshot, graph *intent.Graph) *Calls {
	out := &Calls{}
	if !slices.ContainsFunc(graph.Applications, func(a *intent.Application) bool { return states(a) || len(a.Egress) > 0 }) {
		return out
	}
	r := &resolver{
		snapshot: s, graph: graph, applications: make(map[model.Name]*intent.Application, len(graph.Applications)),
		inNamespace: make(map[string][]*intent.Application), stated: make(map[*intent.Application]*Egress),
	}
	for _, a := range graph.Applications {
		r.applications[model.Name{Namespace: a.Ref.Namespace, Name: a.Ref.Name}] = a
		if a.Pods != nil {
			r.inNamespace[a.Ref.Namespace] = append(r.inNamespace[a.Ref.Namespace], a)
		}
	}
	var wanted []wanted
	for _, a := range graph.Applications {
		closed, by := r.judge(a), limits(a)
		r.tried(a)
		r.checkLists(a, by)
		switch {
		case a.Pods == nil:
		case states(a):
			e, w := r.egress(a, closed)
			out.Egresses = append(out.Egresses, e)
			wanted = append(wanted, w...)
		case len(by) > 0:
			out.Egresses = append(out.Egresses, r.limit(a, by))
		}
	}
	out.Externals = r.externals(wanted)
	for _, e := range out.Egresses {
		if len(e.limits) > 0 {
			e.Patterns = r.patterns(e, out.Externals)
		}
		slices.SortFunc(e.Hosts, func(a, b Host) int { return strings.Compare(a.Name, b.Name) })
	}
	for _, a := range graph.Applications {
		r.neverCalled(a)
	}
	out.Findings = r.findings
	return out
}

// states reports whether an Application says whom it calls, and be it nobody.
func states(a *intent.Application) bool {
	return a.Spec.Access != nil && a.Spec.Access.Calls != nil
}

// egress resolves one Application, but for hosts outside of the mesh: those of a
// namespace are settled together. What policies close is resolved, and not let out.
func (r *resolver) egress(a *intent.Application, closed []bool) (*Egress, []wanted) {
	e := &Egress{Application: a, Origin: field(a.Origin, "spec.access.calls")}
	r.stated[a] = e
	r.checkProxies(e)
	r.checkForeign(e)
	who := r.identityOf(a)
	var outside []wanted
	for i := range a.Spec.Access.Calls {
		call := &a.Spec.Access.Calls[i]
		at := field(a.Origin, "spec.access.calls[%d]", i)
		switch p := call.Peer; {
		case p.Application != nil:
			if name, ok := r.application(a, who, call, at); ok && !closed[i] {
				e.Services = append(e.Services, Service{Name: name, Origin: at})
			}
		case p.Service != nil:
			if name, ok := r.service(a, who, call, at); ok && !closed[i] {
				e.Services = append(e.Services, Service{Name: name, Origin: at})
			}
		case p.External != nil:
			outside = append(outside, r.external(e, call, at, closed[i])...)
		default:
			r.refuse(field(at, "peer"), refusal{"CallInvalid", "a callee is exactly one of application, service and external; it cannot be called",
				"API trellis.dev/v1alpha1", "set one of them"})
		}
	}
	slices.SortStableFunc(e.Services, func(x, y Service) int { return compareNames(x.Name, y.Name) })
	e.Services = slices.CompactFunc(e.Services, func(x, y Service) bool { return x.Name == y.Name })
	return e, outside
}

func compareNames(a, b model.Name) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// application resolves a call of another Application, which must let the caller in.
func (r *resolver) application(a *intent.Application, who identity, call *v1alpha1.Call, at model.Origin) (model.Name, bool) {
	name := *call.Peer.Application
	callee := r.applications[model.Name{Namespace: string(name.Namespace), Name: name.Name}]
	if callee == nil || callee.Pods == nil {
		r.refuse(field(at, "peer.application"), refusal{"CallNotFound",
			fmt.Sprintf("Application %s/%s does not exist or names no workload; call %s is not let out", name.Namespace, name.Name, call.Name),
			a.Ref.String(), "name an existing Application, or peer: {service: …} for a Service without one"})
		return model.Name{}, false
	}
	return model.Name{Namespace: callee.Ref.Namespace, Name: callee.Spec.Service}, r.admitted(callee, who, call, field(at, "peer.application"))
}

// service resolves a call of a Service. Whatever Application is stated for the same pods
// must let the caller in, or this would be the way around its consent.
func (r *resolver) service(a *intent.Application, who identity, call *v1alpha1.Call, at model.Origin) (model.Name, bool) {
	at = field(at, "peer.service")
	name := model.Name{Namespace: string(call.Peer.Service.Namespace), Name: call.Peer.Service.Name}
	service, ok := r.snapshot.Service(name)
	if !ok || service.ExternalName != "" {
		what := "does not exist"
		if ok {
			what = "is an alias of " + service.ExternalName
		}
		r.refuse(at, refusal{"CallNotFound",
			fmt.Sprintf("Service %s/%s %s; call %s is not let out", name.Namespace, name.Name, what, call.Name),
			a.Ref.String(), "name a Service of this mesh, or peer: {external: …} for what is outside of it"})
		return model.Name{}, false
	}
	behind := r.behind(service)
	for _, callee := range behind {
		if !r.admitted(callee, who, call, at) {
			return model.Name{}, false
		}
	}
	if len(behind) == 0 {
		r.warn(at, refusal{"CallUnstated",
			fmt.Sprintf("no Application is stated for Service %s/%s, so nobody there has said whether %s may call; the call is let out", name.Namespace, name.Name, a.Ref),
			a.Ref.String(), "let the owner of " + service.Ref.String() + " state an Application with access.callers"})
	}
	return name, true
}

// behind are the Applications whose pods a Service selects, or that name it.
func (r *resolver) behind(service model.Service) []*intent.Application {
	var out []*intent.Application
	selected := r.snapshot.Selected(service.Ref.Namespace, service.Selector)
	for _, a := range r.inNamespace[service.Ref.Namespace] {
		same := func(w model.Workload) bool { return model.Selects(a.Pods.Selector, w.Labels) }
		if a.Spec.Service == service.Ref.Name || model.Selects(a.Pods.Selector, service.Selector) || slices.ContainsFunc(selected, same) {
			out = append(out, a)
		}
	}
	return out
}

// neverCalled warns of callers that say themselves that they do not call.
func (r *resolver) neverCalled(callee *intent.Application) {
	if callee.Pods == nil || callee.Spec.Access == nil {
		return
	}
	for i := range callee.Spec.Access.Callers {
		peer := callee.Spec.Access.Callers[i].Peer.Application
		if peer == nil {
			continue
		}
		caller := r.applications[model.Name{Namespace: string(peer.Namespace), Name: peer.Name}]
		if caller == nil || r.stated[caller] == nil || r.names(caller, callee) {
			continue
		}
		r.warn(field(callee.Origin, "spec.access.callers[%d]", i), refusal{"CallerNeverCalls",
			fmt.Sprintf("%s states whom it calls, and %s is not among them: its own proxy lets no such call out", caller.Ref, callee.Ref),
			caller.Ref.String(), "take the caller out here, or add this Application to spec.access.calls there"})
	}
}

// names reports whether an Application states calls of another one, let out or not.
func (r *resolver) names(caller, callee *intent.Application) bool {
	return slices.ContainsFunc(caller.Spec.Access.Calls, func(c v1alpha1.Call) bool {
		if p := c.Peer.Application; p != nil && string(p.Namespace) == callee.Ref.Namespace && p.Name == callee.Ref.Name {
			return true
		}
		if c.Peer.Service == nil || string(c.Peer.Service.Namespace) != callee.Ref.Namespace {
			return false
		}
		service, ok := r.snapshot.Service(model.Name{Namespace: callee.Ref.Namespace, Name: c.Peer.Service.Name})
		return ok && slices.Contains(r.behind(service), callee)
	})
}
