// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"regexp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// The specification says what may happen, written from the API's text and not
// from the compiler: slow, plain, and by one request at a time.

type specification struct{ in model.Input }

// publication is a route of an Application on a host.
type publication struct {
	app     *v1alpha1.Application
	route   *v1alpha1.Route
	ingress *v1alpha1.SecureIngress
	cors    bool
}

var odd = regexp.MustCompile(`(?i)//|\\|;|%2f|%5c|%3b|%00|%2e|%25[0-9a-f]{2}|%c[01]`)

// isOdd: gateway and application may read the path differently. An encoded
// character that a path of the Application holds is read as such by it alone.
func isOdd(path string, app *v1alpha1.Application) bool {
	holds := slices.ContainsFunc(app.Spec.Routes, func(r v1alpha1.Route) bool {
		return slices.ContainsFunc(r.Paths, func(p v1alpha1.PathMatch) bool {
			return (p.Exact != nil && strings.Contains(*p.Exact, "@")) || (p.Prefix != nil && strings.Contains(*p.Prefix, "@"))
		})
	})
	return odd.MatchString(path) || (holds && strings.Contains(path, "%40"))
}

// length is how long the best match of a route's paths is; an exact path counts
// more than a prefix of the same text. Zero is no match.
func length(route *v1alpha1.Route, path string) int {
	best := 0
	for _, p := range route.Paths {
		switch {
		case p.Exact != nil && *p.Exact == path:
			best = max(best, 2*len(path)+1)
		case p.Prefix != nil && (*p.Prefix == "/" || path == *p.Prefix || strings.HasPrefix(path, *p.Prefix+"/")):
			best = max(best, 2*len(*p.Prefix))
		}
	}
	return best
}

// decides is the route of an Application that a path on a port belongs to; nil
// when none does, or two do.
func decides(app *v1alpha1.Application, port v1alpha1.LabelName, path string) *v1alpha1.Route {
	var found *v1alpha1.Route
	best, twice := 0, false
	for i := range app.Spec.Routes {
		route := &app.Spec.Routes[i]
		if route.Port != port {
			continue
		}
		switch n := length(route, path); {
		case n == 0 || n < best:
		case n == best:
			twice = true
		default:
			found, best, twice = route, n, false
		}
	}
	if twice {
		return nil
	}
	return found
}

// usable is false for a route with a path that another one on its port states
// too, or a port that the Service does not declare alike.
func (s *specification) usable(app *v1alpha1.Application, route *v1alpha1.Route) bool {
	for _, p := range route.Paths {
		for i := range app.Spec.Routes {
			o := &app.Spec.Routes[i]
			if o != route && o.Port == route.Port && slices.ContainsFunc(o.Paths, func(q v1alpha1.PathMatch) bool { return samePath(p, q) }) {
				return false
			}
		}
	}
	return true
}

func samePath(p, q v1alpha1.PathMatch) bool {
	text := func(v *string) string {
		if v == nil {
			return ""
		}
		return *v
	}
	return text(p.Exact) == text(q.Exact) && text(p.Prefix) == text(q.Prefix)
}

func lists(route *v1alpha1.Route, method string) bool {
	return len(route.Methods) == 0 || slices.Contains(route.Methods, v1alpha1.Method(method))
}

// asked is what a route asks on the hosts of an ingress; ok is false when nobody
// can meet it.
func (s *specification) asked(route *v1alpha1.Route, in *v1alpha1.SecureIngress) (provider *v1alpha1.IdentityProvider, ok bool) {
	auth := route.Authentication
	if auth != nil && auth.Mode == v1alpha1.AuthenticationNone {
		return nil, true
	}
	for i := range in.Spec.IdentityProviders {
		p := &in.Spec.IdentityProviders[i]
		named := auth != nil && auth.Provider != ""
		if (named && p.Name != auth.Provider) || (!named && !p.Default) {
			continue
		}
		if auth != nil {
			for _, a := range auth.Audiences {
				if !slices.Contains(p.Audiences, a) {
					return nil, false
				}
			}
		}
		return p, s.trusted(p, in)
	}
	return nil, false
}

// trusted is false for an issuer that is stated with other keys for the same
// gateway pods.
func (s *specification) trusted(p *v1alpha1.IdentityProvider, in *v1alpha1.SecureIngress) bool {
	for _, other := range s.in.SecureIngresses {
		if other.Spec.Gateway.Service != in.Spec.Gateway.Service {
			continue
		}
		for _, q := range other.Spec.IdentityProviders {
			if q.Issuer == p.Issuer && q.JWKSURI != p.JWKSURI {
				return false
			}
		}
	}
	return true
}

// meets reports whether a token is what a route asks of a provider's tokens.
func meets(t *token, route *v1alpha1.Route, p *v1alpha1.IdentityProvider) bool {
	if t == nil || p == nil || t.issuer != string(p.Issuer) {
		return false
	}
	audiences := p.Audiences
	var scopes []v1alpha1.ClaimValue
	var claims []v1alpha1.ClaimRequirement
	if a := route.Authentication; a != nil {
		scopes, claims = a.Scopes, a.Claims
		if len(a.Audiences) > 0 {
			audiences = a.Audiences
		}
	}
	if !slices.ContainsFunc(audiences, func(a v1alpha1.ClaimValue) bool { return slices.Contains(t.audience, string(a)) }) {
		return false
	}
	for _, scope := range scopes {
		if !slices.Contains(t.scopes, string(scope)) {
			return false
		}
	}
	for _, c := range claims {
		if !slices.ContainsFunc(c.AnyOf, func(v v1alpha1.ClaimValue) bool { return slices.Contains(t.roles, string(v)) }) {
			return false
		}
	}
	return true
}

func modeOf(route *v1alpha1.Route) v1alpha1.AuthenticationMode {
	if route.Authentication == nil || route.Authentication.Mode == "" {
		return v1alpha1.AuthenticationRequired
	}
	return route.Authentication.Mode
}

// authenticated decides about a token on a host of an ingress.
func (s *specification) authenticated(r *request, route *v1alpha1.Route, in *v1alpha1.SecureIngress) bool {
	t := r.token
	p, ok := s.asked(route, in)
	switch {
	case !ok:
		return false
	case t == nil:
		return modeOf(route) != v1alpha1.AuthenticationRequired
	case modeOf(route) == v1alpha1.AuthenticationNone:
		// Any token of the host's own providers is fine, others are not.
		return s.ofHost(r, in)
	default:
		return meets(t, route, p)
	}
}

// ofHost reports whether a token is of a provider of the host's ingress. Where the
// gateway's pods know no provider at all, tokens mean nothing, and where the
// host's ingress knows none, those on what looks like a preflight: no proxy
// checks them.
func (s *specification) ofHost(r *request, in *v1alpha1.SecureIngress) bool {
	nobody := true
	for _, other := range s.in.SecureIngresses {
		if other.Spec.Gateway.Service != in.Spec.Gateway.Service {
			continue
		}
		for i := range other.Spec.IdentityProviders {
			p := &other.Spec.IdentityProviders[i]
			if !s.trusted(p, other) {
				continue
			}
			nobody = nobody && other != in && r.preflight()
			if other == in && string(p.Issuer) == r.token.issuer {
				return true
			}
		}
	}
	return nobody
}

// onHost are the publications on a host, those of namespaces that may use it.
func (s *specification) onHost(host string) []publication {
	type use struct {
		publication
		exposure *v1alpha1.Exposure
	}
	var uses []use
	for _, app := range s.in.Applications {
		for i := range app.Spec.Exposures {
			e := &app.Spec.Exposures[i]
			in := s.ingress(e)
			if !slices.ContainsFunc(e.Hostnames, func(h v1alpha1.Hostname) bool { return string(h)+"."+in.Spec.Domains[0].Domain == host }) {
				continue
			}
			for _, name := range e.Routes {
				uses = append(uses, use{publication{app, routeNamed(app, name), in, e.CORS != nil}, e})
			}
		}
	}
	consents := func(owner, namespace, name string) bool {
		return slices.ContainsFunc(uses, func(u use) bool {
			return u.app.Namespace == owner && slices.Contains(u.exposure.ShareHostWith, v1alpha1.NamespacedName{Name: name, Namespace: v1alpha1.LabelName(namespace)})
		})
	}
	may := func(owner string, u use) bool {
		return u.app.Namespace == owner || consents(owner, u.app.Namespace, u.app.Name)
	}
	owner := s.owner(host, func(candidate string) bool {
		used := slices.ContainsFunc(uses, func(u use) bool { return u.app.Namespace == candidate })
		return used && !slices.ContainsFunc(uses, func(u use) bool { return !may(candidate, u) })
	})
	var out []publication
	for _, u := range uses {
		if may(owner, u) {
			out = append(out, u.publication)
		}
	}
	return out
}

func (s *specification) owner(host string, consented func(string) bool) string {
	for _, c := range s.in.HostClaims {
		if c.Name == host {
			return string(c.Spec.Namespace)
		}
	}
	var candidates []string
	for _, n := range s.in.Namespaces {
		if consented(n.Name) {
			candidates = append(candidates, n.Name)
		}
	}
	if len(candidates) == 1 {
		return candidates[0]
	}
	return ""
}

func (s *specification) ingress(e *v1alpha1.Exposure) *v1alpha1.SecureIngress {
	for _, in := range s.in.SecureIngresses {
		if in.Name == e.Ingress.Name {
			return in
		}
	}
	return nil
}

func routeNamed(app *v1alpha1.Application, name v1alpha1.LabelName) *v1alpha1.Route {
	for i := range app.Spec.Routes {
		if app.Spec.Routes[i].Name == name {
			return &app.Spec.Routes[i]
		}
	}
	return nil
}

// throughGateway is the publication that may serve a request on a host, or nil.
func (s *specification) throughGateway(r *request, gateway string) *publication {
	host, _, _ := strings.Cut(strings.ToLower(r.host), ":")
	all := s.onHost(host)
	var found *publication
	best, twice := 0, false
	for i := range all {
		p := &all[i]
		if n := length(p.route, r.path); n > best {
			found, best, twice = p, n, false
		} else if n == best && n > 0 && p.route != found.route {
			twice = true
		}
	}
	switch {
	case found == nil, twice, isOdd(r.path, found.app), strings.HasPrefix(r.path+"/", "/.well-known/acme-challenge/"):
		return nil
	case found.ingress.Spec.Gateway.Service != gateway, s.conflicted(found, all):
		return nil
	case decides(found.app, found.route.Port, r.path) != found.route, !s.usable(found.app, found.route):
		// The path is one of a route that is not published here.
		return nil
	case !lists(found.route, r.method), !s.authenticated(r, found.route, found.ingress), !s.oneKey(found), s.foreign(r, found.app):
		return nil
	}
	return found
}

// conflicted: a path of the route is stated by another one on the host, too.
func (s *specification) conflicted(p *publication, all []publication) bool {
	return slices.ContainsFunc(all, func(o publication) bool {
		return o.route != p.route && slices.ContainsFunc(o.route.Paths, func(q v1alpha1.PathMatch) bool {
			return slices.ContainsFunc(p.route.Paths, func(m v1alpha1.PathMatch) bool { return samePath(m, q) })
		})
	})
}

// oneKey is false where ingresses of an Application state an issuer that the
// route needs with different keys: its own proxy cannot tell them apart.
func (s *specification) oneKey(p *publication) bool {
	provider, _ := s.asked(p.route, p.ingress)
	return provider == nil || s.known(p.app, provider)
}

func (s *specification) known(app *v1alpha1.Application, p *v1alpha1.IdentityProvider) bool {
	for _, in := range s.through(app) {
		for _, q := range in.Spec.IdentityProviders {
			if q.Issuer == p.Issuer && q.JWKSURI != p.JWKSURI && s.trusted(&q, in) {
				return false
			}
		}
	}
	return true
}

// through are the ingresses at which something of an Application is published.
func (s *specification) through(app *v1alpha1.Application) []*v1alpha1.SecureIngress {
	var out []*v1alpha1.SecureIngress
	for i := range app.Spec.Exposures {
		e := &app.Spec.Exposures[i]
		in := s.ingress(e)
		for _, h := range e.Hostnames {
			ours := slices.ContainsFunc(s.onHost(string(h)+"."+in.Spec.Domains[0].Domain), func(p publication) bool { return p.app == app })
			if ours && !slices.Contains(out, in) {
				out = append(out, in)
			}
		}
	}
	return out
}

// insideMesh reports whether a peer may make a request of an Application's port.
func (s *specification) insideMesh(r *request, app *v1alpha1.Application, port v1alpha1.LabelName) bool {
	route := decides(app, port, r.path)
	if route == nil || isOdd(r.path, app) || !lists(route, r.method) || !s.usable(app, route) || app.Spec.Access == nil || s.foreign(r, app) {
		return false
	}
	for i := range app.Spec.Access.Callers {
		c := &app.Spec.Access.Callers[i]
		if len(c.Routes) > 0 && !slices.Contains(c.Routes, route.Name) || !s.is(c.Peer, r.peer) {
			continue
		}
		if c.Authentication == v1alpha1.CallerAuthenticationWaived || s.tokenInMesh(r.token, app, route) {
			return true
		}
	}
	return false
}

// issuers are those whom the Application's proxy knows.
func (s *specification) issuers(app *v1alpha1.Application) []string {
	var out []string
	for _, in := range s.through(app) {
		for i := range in.Spec.IdentityProviders {
			if p := &in.Spec.IdentityProviders[i]; s.trusted(p, in) && s.known(app, p) {
				out = append(out, string(p.Issuer))
			}
		}
	}
	return out
}

// foreign: a token of somebody whom the Application's proxy does not know is
// 401, needed or not. Where it knows nobody, tokens mean nothing. Envoy checks no
// token of what looks like a preflight, so a token on one is refused as well.
func (s *specification) foreign(r *request, app *v1alpha1.Application) bool {
	known := s.issuers(app)
	return r.token != nil && len(known) > 0 && (r.preflight() || !slices.Contains(known, r.token.issuer))
}

func (s *specification) tokenInMesh(t *token, app *v1alpha1.Application, route *v1alpha1.Route) bool {
	if modeOf(route) == v1alpha1.AuthenticationNone {
		return true
	}
	for _, in := range s.through(app) {
		p, ok := s.asked(route, in)
		if ok && s.known(app, p) && (meets(t, route, p) || (t == nil && modeOf(route) == v1alpha1.AuthenticationOptional)) {
			return true
		}
	}
	return false
}

func (s *specification) is(peer v1alpha1.Peer, principal string) bool {
	switch {
	case peer.Any != nil:
		return true
	case peer.Namespace != nil:
		return strings.HasPrefix(principal, "cluster.local/ns/"+string(peer.Namespace.Name)+"/")
	case peer.ServiceAccount != nil:
		return principal == "cluster.local/ns/"+string(peer.ServiceAccount.Namespace)+"/sa/"+peer.ServiceAccount.Name
	case peer.Application != nil:
		// Every workload here runs as an account of its Application's name.
		return principal == "cluster.local/ns/"+string(peer.Application.Namespace)+"/sa/"+peer.Application.Name
	}
	return false
}
