// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent/paths"
	"github.com/trellis-mesh/trellis/internal/model"
)

// resolveRoutes resolves every route. A route with an error is closed, and so
// are the paths of it that can be told.
func (r *resolver) resolveRoutes(a *Application) {
	if n := len(a.Spec.Routes); n > MaxRoutes {
		a.Closed = true
		r.refuse(field(a.Origin, "spec.routes"), refusal{"TooManyRoutes",
			fmt.Sprintf("%d routes, and an Application has at most %d; it is closed", n, MaxRoutes),
			"API trellis.dev/v1alpha1", "join routes that need the same, or split the Application"})
		return
	}
	for i := range a.Spec.Routes {
		a.Routes = append(a.Routes, r.resolveRoute(a, i))
	}
	r.checkRepeatedPaths(a)
	byPort := make(map[string][]*Route)
	for _, route := range a.Routes {
		byPort[route.Port.key()] = append(byPort[route.Port.key()], route)
	}
	a.tables = make(map[string]*PathTable, len(byPort))
	for key, routes := range byPort {
		a.tables[key] = newPathTable(routes)
	}
}

func (r *resolver) resolveRoute(a *Application, i int) *Route {
	spec := &a.Spec.Routes[i]
	at := field(a.Origin, "spec.routes[%d]", i)
	route := &Route{Name: string(spec.Name), Spec: spec, Origin: at, Mode: modeOf(spec.Authentication)}
	if spec.Timeout != nil {
		route.Timeout = spec.Timeout.Duration
	}
	r.resolveRoutePort(a, route, spec, at)
	for j, p := range spec.Paths {
		r.resolvePath(a, route, p, j)
	}
	if len(spec.Paths) == 0 {
		route.Closed = true
		r.refuse(field(at, "paths"), refusal{"PathInvalid", fmt.Sprintf("route %s has no paths; it is closed", spec.Name), "API trellis.dev/v1alpha1", "list at least one path"})
	}
	route.Methods = routeMethods(spec, route.Port.Protocol)
	if route.Port.Protocol == v1alpha1.ProtocolGRPC && slices.ContainsFunc(spec.Methods, func(m v1alpha1.Method) bool { return m != "POST" }) {
		route.Closed = true
		r.refuse(field(at, "methods"), refusal{"MethodNotPossible",
			"gRPC requests are POST, and this route lists another method; the route is closed",
			a.Ref.String(), "leave methods out"})
	}
	return route
}

func modeOf(a *v1alpha1.Authentication) v1alpha1.AuthenticationMode {
	if a == nil || a.Mode == "" {
		return v1alpha1.AuthenticationRequired
	}
	return a.Mode
}

func routeMethods(spec *v1alpha1.Route, protocol v1alpha1.Protocol) []string {
	if protocol == v1alpha1.ProtocolGRPC {
		return []string{"POST"}
	}
	if len(spec.Methods) == 0 {
		return nil
	}
	return stringsOf(spec.Methods)
}

func (r *resolver) resolveRoutePort(a *Application, route *Route, spec *v1alpha1.Route, at model.Origin) {
	k := slices.IndexFunc(a.Ports, func(p Port) bool { return p.Name == string(spec.Port) })
	if k < 0 {
		route.Closed = true
		r.refuse(field(at, "port"), refusal{"PortNotFound",
			fmt.Sprintf("route %s names port %s, which spec.ports does not list; the route is closed", spec.Name, spec.Port),
			a.Ref.String(), "use the name of one of spec.ports"})
		return
	}
	route.Port = a.Ports[k]
	if route.Port.Protocol == v1alpha1.ProtocolTCP {
		route.Closed = true
		r.refuse(field(at, "port"), refusal{"ProtocolMismatch",
			fmt.Sprintf("route %s has paths and port %s is TCP, which has none; the route is closed", spec.Name, spec.Port),
			a.Ref.String(), "name a port with protocol HTTP, HTTP2 or GRPC"})
	}
	if route.Port.Target == 0 {
		route.Closed = true
	}
}

func (r *resolver) resolvePath(a *Application, route *Route, p v1alpha1.PathMatch, j int) {
	path := Path{Origin: field(route.Origin, "paths[%d]", j)}
	at := field(path.Origin, "exact")
	switch {
	case p.Exact != nil && p.Prefix == nil:
		path.Value = *p.Exact
	case p.Prefix != nil && p.Exact == nil:
		path.Value, path.Prefix = *p.Prefix, true
		at = field(path.Origin, "prefix")
	default:
		route.Closed = true
		r.refuse(path.Origin, refusal{"PathInvalid", "a path has exactly one of exact and prefix; the route is closed",
			"API trellis.dev/v1alpha1", "keep one of them"})
		return
	}
	if problem, fix := paths.Check(path.Value, path.Prefix); problem != "" {
		route.Closed = true
		r.refuse(at, refusal{"PathInvalid",
			fmt.Sprintf("%s: %s; the route is closed", quoted(path.Value), problem), a.Ref.String(), fix})
		// What the path was meant to cover stays closed: a shorter path of
		// another route must not serve it.
		path.Value, path.Prefix, path.Guess = paths.Stem(path.Value), true, true
		route.Paths = append(route.Paths, path)
		return
	}
	if paths.Reserved(path) {
		route.Closed = true
		r.refuse(at, refusal{"PathReserved",
			fmt.Sprintf("%s is reserved on every host for certificate authorities (RFC 8555); the route is closed", paths.Acme),
			"SecureIngress", "use another path"})
		return
	}
	route.Paths = append(route.Paths, path)
}

// quoted shortens what somebody wrote to a length that fits a message.
func quoted(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// checkRepeatedPaths refuses one path in two routes of a port: the longest path decides,
// and there would be two. Within one route a repetition is only noise.
func (r *resolver) checkRepeatedPaths(a *Application) {
	type key struct {
		port   string
		value  string
		prefix bool
	}
	first := make(map[key]*Route)
	for _, route := range a.Routes {
		for _, p := range route.Paths {
			k := key{route.Port.key(), p.Value, p.Prefix}
			other, ok := first[k]
			if !ok {
				first[k] = route
				continue
			}
			if other == route {
				r.warn(p.Origin, refusal{"PathRepeated", fmt.Sprintf("%q is listed twice in route %s", p.Value, route.Name), a.Ref.String(), "list it once"})
				continue
			}
			other.Closed, route.Closed = true, true
			r.refuse(p.Origin, conflict(a, other, route, p))
		}
	}
}

// conflict says why two routes of an Application with one path are closed.
func conflict(a *Application, other, route *Route, p Path) refusal {
	message := fmt.Sprintf("routes %s and %s both state the path %q, so it is not clear what it needs; both are closed", other.Name, route.Name, p.Value)
	fix := "keep the path in one of them"
	if p.Guess || slices.ContainsFunc(other.Paths, func(q Path) bool { return q.Guess && q.Same(p) }) {
		message = fmt.Sprintf("one of routes %s and %s has a path that cannot be used and may have meant something below %q, which the other one states; both are closed, since the other may ask less", other.Name, route.Name, p.Value)
		fix = "correct the path that cannot be used"
	}
	return refusal{"PathConflict", message, a.Ref.String(), fix}
}
