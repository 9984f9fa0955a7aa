// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Token is what a request brings to prove who its user is.
type Token struct {
	// Name is for people.
	Name string
	// Issuer of a valid token; empty for none, and for a token that is not valid.
	Issuer string
	// Invalid tokens are expired, forged, or none at all.
	Invalid   bool
	Audiences []string
	Scopes    []string
	// Roles are the values of the claim at Path "roles".
	Roles []string
}

func (t Token) present() bool { return t.Invalid || t.Issuer != "" }

// Caller is a workload of the mesh. A Caller without an account has no identity.
type Caller struct{ Name, Namespace, ServiceAccount string }

// Via is the way that a request took to the application: through a gateway under
// a host, or from a caller inside the mesh.
type Via struct {
	// Ingress is nil inside the mesh.
	Ingress *v1alpha1.SecureIngress
	Host    string
	// Caller is of no meaning through a gateway.
	Caller Caller
}

// Reached is a request that an application answered.
type Reached struct {
	Via
	Application *v1alpha1.Application
	// Port is the name of the Application's port.
	Port   string
	Method string
	// Paths are the paths that a back end may read.
	Paths     []string
	Token     Token
	Preflight bool
}

// Violations says why the request should not have reached the application, by
// what the documents state; none if it may.
func (w *World) Violations(r Reached) []string {
	if raw(r.Application) {
		// Whatever it is read as, every route asks the same.
		return w.rawViolations(r)
	}
	var out []string
	for _, path := range r.Paths {
		route := longest(r.Application, path, r.Port)
		if route == nil {
			out = append(out, fmt.Sprintf("no route of %s on port %s declares %q", r.Application.Name, r.Port, path))
			continue
		}
		if why := w.mayReach(r, route); why != "" {
			out = append(out, fmt.Sprintf("route %s of %s, as which a back end reads %q: %s", route.Name, r.Application.Name, path, why))
		}
	}
	return out
}

func (w *World) rawViolations(r Reached) []string {
	for i := range r.Application.Spec.Routes {
		if why := w.mayReach(r, &r.Application.Spec.Routes[i]); why != "" {
			return []string{fmt.Sprintf("raw paths of %s: %s", r.Application.Name, why)}
		}
	}
	return nil
}

// mayReach says why a request may not reach a route; empty when it may.
func (w *World) mayReach(r Reached, route *v1alpha1.Route) string {
	if len(route.Methods) > 0 && !slices.Contains(route.Methods, v1alpha1.Method(r.Method)) {
		return "it does not list " + r.Method
	}
	if r.Ingress == nil {
		return w.mayCall(r, route)
	}
	exposure := exposureAt(r.Application, route.Name, r.Ingress, r.Host)
	switch {
	case exposure == nil:
		return "it is not published on " + r.Host
	case exposure.CORS != nil && r.Preflight:
		return "a preflight is answered at the gateway"
	case w.conflicted(r.Application, route, r.Ingress, r.Host):
		return "another application states the same path on " + r.Host
	}
	return w.satisfied(route, []*v1alpha1.SecureIngress{r.Ingress}, r.Token)
}

// mayCall is mayReach inside the mesh: one entry must let the caller in.
func (w *World) mayCall(r Reached, route *v1alpha1.Route) string {
	ingresses := w.ingressesOf(r.Application)
	why := "no entry of callers lets " + r.Caller.Name + " in"
	if r.Application.Spec.Access == nil {
		return why
	}
	for i := range r.Application.Spec.Access.Callers {
		entry := &r.Application.Spec.Access.Callers[i]
		if !is(r.Caller, entry.Peer) || (len(entry.Routes) > 0 && !slices.Contains(entry.Routes, route.Name)) {
			continue
		}
		if entry.Authentication == v1alpha1.CallerAuthenticationWaived {
			if len(ingresses) == 0 || !r.Token.present() || slices.ContainsFunc(ingresses, func(in *v1alpha1.SecureIngress) bool { return knows(in, r.Token) }) {
				return ""
			}
			why = "its token is invalid"
			continue
		}
		if why = w.satisfied(route, ingresses, r.Token); why == "" {
			return ""
		}
	}
	return why
}

func is(c Caller, p v1alpha1.Peer) bool {
	switch {
	case p.Any != nil:
		return true
	case c.ServiceAccount == "":
		return false
	case p.Namespace != nil:
		return string(p.Namespace.Name) == c.Namespace
	case p.ServiceAccount != nil:
		return string(p.ServiceAccount.Namespace) == c.Namespace && p.ServiceAccount.Name == c.ServiceAccount
	}
	return false
}

// satisfied says what a route misses in a token, when any of the ingresses'
// providers may have issued it.
func (w *World) satisfied(route *v1alpha1.Route, ingresses []*v1alpha1.SecureIngress, token Token) string {
	if token.Invalid && len(ingresses) > 0 {
		return "its token is invalid"
	}
	mode := modeOf(route)
	if !token.present() || (token.Invalid && len(ingresses) == 0) {
		if mode == v1alpha1.AuthenticationRequired {
			return "it needs a token"
		}
		return ""
	}
	if len(ingresses) == 0 && mode != v1alpha1.AuthenticationRequired {
		return ""
	}
	why := "nobody's token counts"
	for _, in := range ingresses {
		if why = meets(route, in, token); why == "" {
			return ""
		}
	}
	return why
}

// knows reports whether a token is valid for one of the ingress's providers.
func knows(in *v1alpha1.SecureIngress, token Token) bool {
	return !token.Invalid && slices.ContainsFunc(in.Spec.IdentityProviders, func(p v1alpha1.IdentityProvider) bool {
		return string(p.Issuer) == token.Issuer
	})
}

// meets says what a route misses in a valid token on the hosts of an ingress.
func meets(route *v1alpha1.Route, in *v1alpha1.SecureIngress, token Token) string {
	if !knows(in, token) {
		return "its token is of a provider that " + in.Name + " does not have"
	}
	if modeOf(route) == v1alpha1.AuthenticationNone {
		return ""
	}
	a := route.Authentication
	if a == nil {
		a = &v1alpha1.Authentication{}
	}
	provider := providerOf(in, a.Provider)
	audiences := a.Audiences
	if provider != nil && len(audiences) == 0 {
		audiences = provider.Audiences
	}
	switch {
	case provider == nil:
		return "no provider resolves"
	case string(provider.Issuer) != token.Issuer:
		return "its token is of another provider"
	case !slices.ContainsFunc(audiences, func(v v1alpha1.ClaimValue) bool { return slices.Contains(token.Audiences, string(v)) }):
		return "its token is for another audience"
	}
	for _, scope := range a.Scopes {
		if !slices.Contains(token.Scopes, string(scope)) {
			return "its token lacks the scope " + string(scope)
		}
	}
	for _, c := range a.Claims {
		if !slices.ContainsFunc(c.AnyOf, func(v v1alpha1.ClaimValue) bool { return slices.Contains(token.Roles, string(v)) }) {
			return "its token lacks the claim " + string(c.Name)
		}
	}
	return ""
}

func providerOf(in *v1alpha1.SecureIngress, name v1alpha1.LabelName) *v1alpha1.IdentityProvider {
	for i := range in.Spec.IdentityProviders {
		p := &in.Spec.IdentityProviders[i]
		if p.Name == name || (name == "" && p.Default) {
			return p
		}
	}
	return nil
}

func modeOf(route *v1alpha1.Route) v1alpha1.AuthenticationMode {
	if route.Authentication == nil || route.Authentication.Mode == "" {
		return v1alpha1.AuthenticationRequired
	}
	return route.Authentication.Mode
}

// matches is the documented meaning of a path: whole segments, case and all.
func matches(m v1alpha1.PathMatch, path string) bool {
	if m.Exact != nil {
		return path == *m.Exact
	}
	return *m.Prefix == "/" || path == *m.Prefix || strings.HasPrefix(path, *m.Prefix+"/")
}

func text(m v1alpha1.PathMatch) string {
	if m.Exact != nil {
		return *m.Exact
	}
	return *m.Prefix
}

// longest is the route of an Application that a path falls to; port "" is every
// port. The longest path wins, and of two alike the exact one.
func longest(a *v1alpha1.Application, path, port string) *v1alpha1.Route {
	var best *v1alpha1.Route
	weight := -1
	for i := range a.Spec.Routes {
		route := &a.Spec.Routes[i]
		if port != "" && string(route.Port) != port {
			continue
		}
		for _, m := range route.Paths {
			if w := weightOf(m); matches(m, path) && w > weight {
				best, weight = route, w
			}
		}
	}
	return best
}

func weightOf(m v1alpha1.PathMatch) int {
	w := 2 * len(text(m))
	if m.Exact != nil {
		w++
	}
	return w
}

func raw(a *v1alpha1.Application) bool {
	return slices.ContainsFunc(a.Spec.Routes, func(r v1alpha1.Route) bool { return r.RawPaths })
}
