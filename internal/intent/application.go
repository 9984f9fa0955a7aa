// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// MaxRoutes and MaxHostEntries bound what one Application and one host may ask
// of a proxy.
const (
	MaxRoutes      = 64
	MaxHostEntries = 2000
)

func (r *resolver) resolveApplication(app *v1alpha1.Application) {
	origin := r.applicationOrigin(app)
	a := &Application{Ref: origin.Object, Origin: origin, Spec: &app.Spec, TrustDomain: r.snapshot.Mesh().TrustDomain}
	r.graph.Applications = append(r.graph.Applications, a)
	r.applications[model.Name{Namespace: app.Namespace, Name: app.Name}] = a
	if !r.graph.Policies.Empty() {
		a.policies = r.graph.Policies.Application(app, origin)
	}

	if !r.checkName(origin) {
		return
	}
	service, ok := r.resolveService(a)
	if !ok {
		// What is wrong with the routes is said at the same time. Without pods
		// nothing is generated for them.
		for i, p := range app.Spec.Ports {
			a.Ports = append(a.Ports, Port{Name: string(p.Name), Number: p.Port, Protocol: p.Protocol, Origin: field(origin, "spec.ports[%d]", i)})
		}
		r.resolveRoutes(a)
		r.contribute(a)
		return
	}
	a.Pods = &Pods{Namespace: app.Namespace, Selector: service.Selector}
	r.resolvePorts(a, service)
	r.resolveRoutes(a)
	r.contribute(a)
	r.checkRawPaths(a)
	r.resolveMutualTLS(a)
}

// checkName refuses names that do not fit where generated objects carry them.
// The schema says the same; files and old objects may not have met it.
func (r *resolver) checkName(origin model.Origin) bool {
	name := origin.Object.Name
	if len(name) <= 63 && !strings.Contains(name, ".") {
		return true
	}
	r.refuse(field(origin, "metadata.name"), refusal{"NameInvalid",
		fmt.Sprintf("%s: the name of an %s is one DNS label of at most 63 characters, since generated names and labels are made from it; nothing is generated", quoted(name), origin.Object.Kind),
		"API trellis.dev/v1alpha1", "use a shorter name without dots"})
	return false
}

// resolveService finds the Service that names the workload.
func (r *resolver) resolveService(a *Application) (model.Service, bool) {
	at := field(a.Origin, "spec.service")
	name := a.Ref.Namespace + "/" + a.Spec.Service
	service, ok := r.snapshot.Service(model.Name{Namespace: a.Ref.Namespace, Name: a.Spec.Service})
	switch {
	case !ok:
		r.refuse(at, refusal{"ServiceNotFound",
			fmt.Sprintf("Service %s does not exist, so the workload is unknown and nothing is published", name),
			a.Ref.String(), "create the Service, or name another one of this namespace"})
	case service.ExternalName != "":
		r.refuse(at, refusal{"ServiceIsExternalName",
			fmt.Sprintf("Service %s is an alias of %s, which no proxy of this mesh can protect", name, service.ExternalName),
			a.Ref.String(), "name a Service with a selector"})
	case len(service.Selector) == 0:
		r.refuse(at, refusal{"ServiceHasNoSelector",
			fmt.Sprintf("Service %s has no selector, so it names no workload", name),
			a.Ref.String(), "name a Service with a selector"})
	default:
		return service, true
	}
	return model.Service{}, false
}

// resolvePorts resolves every port; one that cannot be used has no target and
// closes its routes.
func (r *resolver) resolvePorts(a *Application, service model.Service) {
	pods := r.snapshot.Selected(a.Ref.Namespace, service.Selector)
	for i, p := range a.Spec.Ports {
		at := field(a.Origin, "spec.ports[%d]", i)
		port := Port{Name: string(p.Name), Number: p.Port, Protocol: p.Protocol, Origin: at}
		k := slices.IndexFunc(service.Ports, func(s model.ServicePort) bool { return s.Number == p.Port })
		switch {
		case k < 0:
			r.refuse(field(at, "port"), refusal{"PortNotFound",
				fmt.Sprintf("Service %s/%s has no port %d; it has %s", a.Ref.Namespace, a.Spec.Service, p.Port, portList(service)),
				a.Ref.String(), "use one of the Service's ports, or add this one to the Service"})
		case !sameProtocol(p.Protocol, declaredProtocol(service.Ports[k])):
			r.refuse(field(at, "protocol"), refusal{"ProtocolMismatch",
				fmt.Sprintf("port %d is stated as %s and Service %s/%s declares %s; the port is closed, since a proxy that reads another protocol enforces other rules",
					p.Port, p.Protocol, a.Ref.Namespace, a.Spec.Service, declaredName(service.Ports[k])),
				a.Ref.String(), fmt.Sprintf("set appProtocol: %s on that port of the Service, or change protocol here", strings.ToLower(string(p.Protocol)))})
		default:
			port.Target = targetPort(service.Ports[k], pods)
			if port.Target == 0 {
				r.refuse(field(at, "port"), refusal{"PortUnresolved",
					fmt.Sprintf("the target of port %d is the name %q, which the selected workloads do not declare alike; the port is closed", p.Port, service.Ports[k].TargetName),
					a.Ref.String(), "use a number as targetPort, or name the container's port"})
			}
		}
		a.Ports = append(a.Ports, port)
	}
}

func sameProtocol(stated v1alpha1.Protocol, declared string) bool {
	return strings.EqualFold(string(stated), declared)
}

func declaredName(p model.ServicePort) string {
	if d := declaredProtocol(p); d != "" {
		return strings.ToUpper(d)
	}
	return "nothing (no appProtocol, and no protocol in the port's name)"
}

func portList(s model.Service) string {
	var out []string
	for _, p := range s.Ports {
		out = append(out, fmt.Sprint(p.Number))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// settleSharedWorkloads refuses Applications that select the same workload: a
// proxy has one set of rules, and nobody could say whose.
func (r *resolver) settleSharedWorkloads() {
	index := model.SelectorIndex[*Application]{}
	for _, a := range r.graph.Applications {
		if a.Pods != nil {
			index.Add(a.Ref.Namespace, a.Pods.Selector, a)
		}
	}
	shared := make(map[*Application]map[*Application]bool)
	collect := func(selected []*Application) {
		for _, a := range selected {
			for _, b := range selected {
				if a != b {
					if shared[a] == nil {
						shared[a] = make(map[*Application]bool)
					}
					shared[a][b] = true
				}
			}
		}
	}
	seen := make(map[string]bool)
	for _, a := range r.graph.Applications {
		if a.Pods == nil {
			continue
		}
		// What one selector asks for is a workload that another may select too,
		// whether such a workload runs now or not.
		collect(index.Selecting(a.Ref.Namespace, a.Pods.Selector))
		if seen[a.Ref.Namespace] {
			continue
		}
		seen[a.Ref.Namespace] = true
		for _, w := range r.snapshot.Workloads(a.Ref.Namespace) {
			collect(index.Selecting(a.Ref.Namespace, w.Labels))
		}
	}
	for _, a := range r.graph.Applications {
		others := shared[a]
		if len(others) == 0 {
			continue
		}
		a.Closed = true
		var list []string
		for o := range others {
			list = append(list, o.Ref.String())
		}
		slices.Sort(list)
		r.refuse(field(a.Origin, "spec.service"), refusal{"Conflicted",
			fmt.Sprintf("%s selects the same workload; a workload has one set of rules, so both are closed", strings.Join(list, " and ")),
			a.Ref.String() + " and " + strings.Join(list, " and "), "join them into one Application, or make the Services select different pods"})
	}
}
