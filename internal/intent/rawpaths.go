// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// checkRawPaths lets odd paths through only where it cannot matter which route
// the application reads them as: its routes ask the same, list the same methods,
// are published together and have the same callers.
func (r *resolver) checkRawPaths(a *Application) {
	raw := slices.IndexFunc(a.Spec.Routes, func(s v1alpha1.Route) bool { return s.RawPaths })
	if raw < 0 || len(a.Routes) == 0 {
		return
	}
	why, fix := rawDifference(a, a.Routes[raw].Spec)
	if why == "" {
		a.RawPaths = true
		return
	}
	a.Routes[raw].Closed = true
	r.refuse(field(a.Origin, "spec.routes[%d].rawPaths", raw), refusal{"RawPathsRefused",
		why + ", and an odd path may be read as either; the route is closed",
		a.Ref.String(), "drop rawPaths, or " + fix})
}

// rawDifference says in what the routes of an Application differ, with what policies add.
func rawDifference(a *Application, raw *v1alpha1.Route) (why, fix string) {
	spec := a.Spec
	for _, route := range a.Routes {
		other := route.Spec
		between := fmt.Sprintf("routes %s and %s ", raw.Name, other.Name)
		switch {
		case !sameAuthentication(raw.Authentication, other.Authentication):
			return between + "ask different authentication", "ask the same authentication on every route"
		case !slices.Equal(stringsOf(raw.Methods), stringsOf(other.Methods)):
			return between + "list different methods", "list the same methods on every route"
		}
	}
	for _, e := range spec.Exposures {
		if len(e.Routes) != len(spec.Routes) {
			return fmt.Sprintf("exposure %s publishes some routes and not others", e.Name), "publish every route in every exposure"
		}
	}
	if spec.Access == nil {
		return "", ""
	}
	for _, c := range spec.Access.Callers {
		if len(c.Routes) > 0 && len(c.Routes) != len(spec.Routes) {
			return fmt.Sprintf("caller %s may call some routes and not others", c.Name), "let every caller call every route"
		}
	}
	return "", ""
}

// settleHostRawPaths lets odd paths through a host only where every route asks
// the same.
func (r *resolver) settleHostRawPaths(h *Host) {
	for _, p := range h.Publications {
		if !p.Application.RawPaths {
			continue
		}
		for _, o := range h.Publications {
			if sameAuthentication(p.Route.Spec.Authentication, o.Route.Spec.Authentication) {
				continue
			}
			p.Closed = true
			r.refuse(p.Origin, refusal{"RawPathsRefused",
				fmt.Sprintf("%s takes raw paths, and route %s of %s on host %s asks different authentication; the route is closed there", p.Application.Ref, o.Route.Name, o.Application.Ref, h.Name),
				p.Application.Ref.String(), "drop rawPaths, or publish the Applications on different hosts"})
			return
		}
	}
	h.RawPaths = slices.ContainsFunc(h.Publications, func(p *Publication) bool { return p.Application.RawPaths && !p.Closed })
}

// closeRawPaths closes an Application that takes raw paths with the first of its routes
// that a policy closes: an odd path may be read as either.
func (r *resolver) closeRawPaths(a *Application) {
	k := slices.IndexFunc(a.Routes, func(route *Route) bool { return route.ClosedBy != nil })
	if !a.RawPaths || k < 0 {
		return
	}
	closed := a.Routes[k]
	for i, route := range a.Routes {
		if a.Spec.Routes[i].RawPaths {
			r.refuse(field(route.Origin, "rawPaths"), refusal{"RawPathsRefused",
				fmt.Sprintf("a policy closes route %s, and an odd path may be read as a path of it; all routes are closed", closed.Name),
				a.Ref.String(), "drop rawPaths, or have route " + closed.Name + " meet the policy"})
		}
		if !route.Closed {
			route.Closed, route.ClosedBy = true, closed.ClosedBy
		}
	}
}
