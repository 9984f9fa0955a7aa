// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Request is one request and what is known of it.
type Request struct {
	Via
	// Authority is the host as it is written in the request.
	Authority string
	// To and Port are what a request inside the mesh is for.
	To           *v1alpha1.Application
	Port         string
	Method       string
	Target       string
	Token        Token
	Preflight    bool
	emptyHeaders bool
	// Plain requests are written as any client would.
	Plain bool
}

// Headers are those of the request besides its token.
func (r *Request) Headers() map[string][]string {
	switch {
	case r.Preflight:
		return map[string][]string{"Origin": {"https://www.example.com"}, "Access-Control-Request-Method": {"GET"}}
	case r.emptyHeaders:
		return map[string][]string{"Origin": {""}, "Access-Control-Request-Method": {"GET"}}
	}
	return map[string][]string{}
}

func (r *Request) String() string {
	where := "inside the mesh as " + r.Caller.Name
	if r.Ingress != nil {
		where = "through " + r.Ingress.Name + " at " + r.Authority
	} else {
		where += " to " + r.To.Name + " " + r.Port
	}
	return fmt.Sprintf("%s %q %s, token %s, preflight %t", r.Method, r.Target, where, r.Token.Name, r.Preflight)
}

// Requests makes requests for a world, the same for the same seed.
type Requests struct {
	*rand.Rand
	world   *World
	callers []Caller
	tokens  []Token
	hosts   []Via
}

// NewRequests begins a sequence of requests.
func NewRequests(seed uint64, w *World, callers []Caller, tokens []Token) *Requests {
	r := &Requests{Rand: rand.New(rand.NewPCG(seed, 1)), world: w, callers: callers, tokens: tokens}
	for _, a := range w.Applications {
		for _, e := range a.Spec.Exposures {
			for _, in := range w.Ingresses {
				via := Via{Ingress: in, Host: string(e.Hostnames[0]) + "." + in.Spec.Domains[0].Domain}
				if e.Ingress.Name == in.Name && !slices.Contains(r.hosts, via) {
					r.hosts = append(r.hosts, via)
				}
			}
		}
	}
	return r
}

// Next is the next request of the sequence: mostly one that some route serves,
// with a thing or two changed, so that what is refused is refused for that.
func (g *Requests) Next() *Request {
	r := &Request{Token: g.tokens[g.IntN(len(g.tokens))], Plain: true, Method: "GET", Target: g.path()}
	if g.IntN(100) < 85 {
		g.aim(r)
	} else {
		g.way(r)
	}
	for range []int{0, 0, 0, 1, 1, 2}[g.IntN(6)] {
		g.change(r)
	}
	if g.IntN(100) < 20 {
		r.Target += "?q=" + []string{"1", "/../a", "%2f", "x?y", ";a"}[g.IntN(5)]
	}
	if r.Ingress != nil && g.IntN(100) < 4 {
		r.Target, r.Plain = "https://"+r.Authority+r.Target, false
	}
	return r
}

// way takes any way to any application.
func (g *Requests) way(r *Request) {
	r.Via, r.Authority, r.To, r.Port = Via{}, "", nil, ""
	if len(g.hosts) > 0 && g.IntN(2) == 0 {
		r.Via = g.hosts[g.IntN(len(g.hosts))]
		r.Authority = r.Host
		return
	}
	r.Caller = g.callers[g.IntN(len(g.callers))]
	r.To = g.world.Applications[g.IntN(len(g.world.Applications))]
	r.Port = string(r.To.Spec.Ports[g.IntN(len(r.To.Spec.Ports))].Name)
}

// aim makes a request that a route serves, if a few tries find one.
func (g *Requests) aim(r *Request) {
	for range 40 {
		app := g.world.Applications[g.IntN(len(g.world.Applications))]
		route := &app.Spec.Routes[g.IntN(len(app.Spec.Routes))]
		m := route.Paths[g.IntN(len(route.Paths))]
		r.Target = text(m)
		if m.Prefix != nil && g.IntN(2) == 0 {
			r.Target = strings.TrimSuffix(r.Target, "/") + "/" + []string{"x", "a", "b"}[g.IntN(3)]
		}
		g.way(r)
		if r.Ingress == nil {
			r.To, r.Port = app, string(route.Port)
		}
		r.Token = g.tokens[g.IntN(len(g.tokens))]
		if len(route.Methods) > 0 {
			r.Method = string(route.Methods[g.IntN(len(route.Methods))])
		}
		if g.world.MustServe(r) != nil {
			return
		}
	}
}

// change changes one thing about a request.
func (g *Requests) change(r *Request) {
	switch n := g.IntN(100); {
	case n < 20:
		r.Token = g.tokens[g.IntN(len(g.tokens))]
	case n < 30:
		r.Method = []string{"GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"}[g.IntN(6)]
	case n < 75:
		for range 1 + g.IntN(2) {
			r.Target, r.Plain = g.twist(r.Target), false
		}
	case n < 82:
		g.way(r)
	case n < 86:
		r.Method, r.Preflight, r.emptyHeaders, r.Plain = "OPTIONS", true, false, false
	case n < 89:
		r.Method, r.Preflight, r.emptyHeaders, r.Plain = "OPTIONS", false, true, false
	case n < 91:
		r.Method, r.Plain = "get", false
	case r.Ingress != nil:
		r.Authority, r.Plain = g.authority(r.Host), false
	}
}

// path is mostly one that some route states, or lies below it.
func (g *Requests) path() string {
	p := paths[g.IntN(len(paths))]
	for range []int{0, 0, 1, 2}[g.IntN(4)] {
		p = strings.TrimSuffix(p, "/") + "/" + []string{"a", "b", "c", "x", "a+b", "@me", "index.html", "v1:run"}[g.IntN(8)]
	}
	return p
}

// twists are ways to write a path that somebody may read as another one.
var twists = []func(g *Requests, p string) string{
	func(g *Requests, p string) string { return oneSlash(g, p, "%2f") },
	func(g *Requests, p string) string { return oneSlash(g, p, "%2F") },
	func(g *Requests, p string) string { return oneSlash(g, p, "//") },
	func(g *Requests, p string) string { return oneSlash(g, p, "/./") },
	func(g *Requests, p string) string { return oneSlash(g, p, "/x/../") },
	func(g *Requests, p string) string { return oneSlash(g, p, "\\") },
	func(g *Requests, p string) string { return oneSlash(g, p, "%5c") },
	func(g *Requests, p string) string { return oneSlash(g, p, ";x=1/") },
	func(g *Requests, p string) string { return oneSlash(g, p, "/%2e/") },
	func(g *Requests, p string) string { return oneSlash(g, p, "/;/") },
	func(g *Requests, p string) string { return p + "/.." + g.path() },
	func(g *Requests, p string) string { return p + "/..%2f.." + g.path() },
	func(g *Requests, p string) string { return p + "/..%2f..%2f" + strings.TrimPrefix(g.path(), "/") },
	func(g *Requests, p string) string { return p + "/%2e%2e/%2E%2E" + g.path() },
	func(g *Requests, p string) string { return p + "/..;/..;" + g.path() },
	func(g *Requests, p string) string { return p + "\\..\\.." + strings.ReplaceAll(g.path(), "/", "\\") },
	func(g *Requests, p string) string { return p + "/%252e%252e" + g.path() },
	func(g *Requests, p string) string { return p + "/%c0%ae%c0%ae" + g.path() },
	func(g *Requests, p string) string { return p + "%00" + g.path() },
	func(g *Requests, p string) string { return p + "#" + g.path() },
	func(g *Requests, p string) string { return p + ";" + g.path() },
	func(_ *Requests, p string) string { return p + "/" },
	func(_ *Requests, p string) string { return p + "%20" },
	func(_ *Requests, p string) string { return p + "%" },
	func(_ *Requests, p string) string { return p + "/%c3%a9" },
	func(_ *Requests, p string) string { return strings.ToUpper(p) },
	func(_ *Requests, p string) string { return strings.TrimPrefix(p, "/") },
	func(g *Requests, p string) string { return encodeOne(g, p, "%%%02x", 1) },
	func(g *Requests, p string) string { return encodeOne(g, p, "%%%02X", 1) },
	func(g *Requests, p string) string { return encodeOne(g, p, "%%%02X", len(p)) },
	func(g *Requests, p string) string { return encodeOne(g, p, "%%25%02x", 1) },
}

func (g *Requests) twist(p string) string { return twists[g.IntN(len(twists))](g, p) }

// oneSlash writes one of the slashes differently.
func oneSlash(g *Requests, p, with string) string {
	n := strings.Count(p, "/")
	if n == 0 {
		return p
	}
	parts := strings.Split(p, "/")
	at := 1 + g.IntN(n)
	return strings.Join(parts[:at], "/") + with + strings.Join(parts[at:], "/")
}

// encodeOne writes n characters that are no slash in a format.
func encodeOne(g *Requests, p, format string, n int) string {
	var b strings.Builder
	from := g.IntN(len(p) + 1)
	for i := range len(p) {
		if i >= from && n > 0 && p[i] != '/' && p[i] != '%' {
			fmt.Fprintf(&b, format, p[i])
			n--
			continue
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

func (g *Requests) authority(host string) string {
	return []string{
		strings.ToUpper(host), host + ":443", host + ":8443", host + ":1", host + ".", host + ":", "x" + host, host + ":443:1",
		"user@" + host, host + "@other.test", "127.0.0.1", "[::1]:443", "localhost", host + "%2f", "*." + host,
	}[g.IntN(15)]
}

// MustServe is the Application that has to answer a request, by what the
// documents state; nil when nothing is said about it.
func (w *World) MustServe(r *Request) *v1alpha1.Application {
	if !r.Plain || r.refusedByMutualTLS() {
		return nil
	}
	path, _, _ := strings.Cut(r.Target, "?")
	app := r.To
	if r.Ingress != nil {
		app = w.winner(path, r.Ingress, r.Host)
	}
	if app == nil || raw(app) {
		return nil
	}
	route := longest(app, path, r.Port)
	if route == nil || w.closed(app, route) {
		return nil
	}
	if r.Ingress == nil && modeOf(route) != v1alpha1.AuthenticationNone && len(w.ingressesOf(app)) == 0 {
		return nil // nobody's providers are known: closed, unless the caller is waived
	}
	reached := Reached{Via: r.Via, Application: app, Port: string(route.Port), Method: r.Method, Token: r.Token}
	if w.mayReach(reached, route) != "" {
		return nil
	}
	return app
}

func (r *Request) refusedByMutualTLS() bool {
	return r.Ingress == nil && r.Caller.ServiceAccount == "" && r.To.Spec.Access != nil && r.To.Spec.Access.MutualTLS == v1alpha1.MutualTLSStrict
}

// winner is the Application whose published path is the longest for a request.
func (w *World) winner(path string, in *v1alpha1.SecureIngress, host string) *v1alpha1.Application {
	var best *v1alpha1.Application
	weight := -1
	for _, a := range w.Applications {
		for i := range a.Spec.Routes {
			if exposureAt(a, a.Spec.Routes[i].Name, in, host) == nil {
				continue
			}
			for _, m := range a.Spec.Routes[i].Paths {
				if n := weightOf(m); matches(m, path) && n > weight {
					best, weight = a, n
				}
			}
		}
	}
	return best
}

// closed reports whether a route names a provider or an audience that an
// ingress of its Application does not have: it is closed there, and inside the
// mesh a token of that ingress does not count.
func (w *World) closed(a *v1alpha1.Application, route *v1alpha1.Route) bool {
	if modeOf(route) == v1alpha1.AuthenticationNone || route.Authentication == nil {
		return false
	}
	for _, in := range w.ingressesOf(a) {
		p := providerOf(in, route.Authentication.Provider)
		if p == nil {
			return true
		}
		for _, audience := range route.Authentication.Audiences {
			if !slices.Contains(p.Audiences, audience) {
				return true
			}
		}
	}
	return false
}
