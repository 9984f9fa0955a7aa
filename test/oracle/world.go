// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// World is what people state: given ingresses, and Applications made from a
// seed. It is not changed after NewWorld.
type World struct {
	Ingresses    []*v1alpha1.SecureIngress
	Applications []*v1alpha1.Application
}

// Workload is where an Application may be put: a Service of that name with one
// HTTP port for each of Ports.
type Workload struct {
	Namespace, Name string
	Ports           map[string]int32
}

// paths are what routes are made of: they lie inside and beside each other, and
// hold characters that are often written encoded.
var paths = []string{
	"/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab", "/A", "/a-b", "/b", "/b/a", "/b/a+b", "/b/@me", "/c", "/c/v1:run", "/c/d/e/f", "/a.b", "/~a", "/b/x=1",
}

// NewWorld makes one Application for each workload, exposed through some of the
// ingresses, and called by some of the callers. The same seed makes the same.
func NewWorld(seed uint64, ingresses []*v1alpha1.SecureIngress, workloads []Workload, callers []Caller) *World {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), ingresses: ingresses, callers: callers}
	w := &World{Ingresses: ingresses}
	for _, workload := range workloads {
		w.Applications = append(w.Applications, g.application(workload))
	}
	return w
}

type generator struct {
	*rand.Rand
	ingresses []*v1alpha1.SecureIngress
	callers   []Caller
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// some takes at least one and at most n elements, in their order.
func some[T any](g *generator, in []T, n int) []T {
	out := slices.Clone(in)
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:1+g.IntN(min(n, len(out)))]
}

func (g *generator) application(workload Workload) *v1alpha1.Application {
	a := &v1alpha1.Application{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Application"},
		ObjectMeta: metav1.ObjectMeta{Namespace: workload.Namespace, Name: workload.Name},
		Spec:       v1alpha1.ApplicationSpec{Service: workload.Name},
	}
	var ports []v1alpha1.LabelName
	for name, number := range workload.Ports {
		a.Spec.Ports = append(a.Spec.Ports, v1alpha1.ApplicationPort{Name: v1alpha1.LabelName(name), Port: number, Protocol: v1alpha1.ProtocolHTTP})
		ports = append(ports, v1alpha1.LabelName(name))
	}
	slices.Sort(ports)
	slices.SortFunc(a.Spec.Ports, func(x, y v1alpha1.ApplicationPort) int { return int(x.Port - y.Port) })
	a.Spec.Routes = g.routes(ports)
	g.expose(a)
	g.admit(a)
	if g.chance(15) {
		g.makeRaw(a)
	}
	return a
}

// routes share the paths out among them, so that no path is in two.
func (g *generator) routes(ports []v1alpha1.LabelName) []v1alpha1.Route {
	left := slices.Clone(paths)
	g.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	var out []v1alpha1.Route
	for i := range 2 + g.IntN(6) {
		route := v1alpha1.Route{
			Name: v1alpha1.LabelName(fmt.Sprintf("r%d", i)), Port: ports[g.IntN(len(ports))],
			Methods: g.methods(), Authentication: g.authentication(),
		}
		n := 1 + g.IntN(2)
		for _, p := range left[:n] {
			m := v1alpha1.PathMatch{Prefix: &p}
			if g.chance(35) {
				m = v1alpha1.PathMatch{Exact: &p}
			}
			route.Paths = append(route.Paths, m)
		}
		left = left[n:]
		out = append(out, route)
	}
	return out
}

func (g *generator) methods() []v1alpha1.Method {
	if g.chance(40) {
		return nil
	}
	return some(g, []v1alpha1.Method{"GET", "GET", "POST", "PUT", "OPTIONS", "HEAD"}, 1)
}

func (g *generator) authentication() *v1alpha1.Authentication {
	switch n := g.IntN(10); {
	case n < 3:
		return &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}
	case n < 5:
		return nil
	}
	a := &v1alpha1.Authentication{}
	if g.chance(25) {
		a.Mode = v1alpha1.AuthenticationOptional
	}
	if g.chance(25) {
		a.Provider = "partners"
	}
	if g.chance(40) {
		a.Scopes = some(g, []v1alpha1.ClaimValue{"read", "write"}, 2)
	}
	if g.chance(30) {
		a.Audiences = []v1alpha1.ClaimValue{"shop"}
	}
	if g.chance(30) {
		a.Claims = []v1alpha1.ClaimRequirement{{Name: "roles", Path: []string{"roles"}, AnyOf: some(g, []v1alpha1.ClaimValue{"admin", "clerk"}, 2)}}
	}
	if a.Mode == "" && a.Provider == "" && len(a.Scopes)+len(a.Audiences)+len(a.Claims) == 0 {
		return nil // server-side apply reads an object that lost its last field as null
	}
	return a
}

// expose publishes routes under the application's own name, or under one that
// all applications share.
func (g *generator) expose(a *v1alpha1.Application) {
	var names []v1alpha1.LabelName
	for _, r := range a.Spec.Routes {
		names = append(names, r.Name)
	}
	for i, in := range g.ingresses {
		if !g.chance(70) {
			continue
		}
		e := v1alpha1.Exposure{
			Name:      v1alpha1.LabelName(fmt.Sprintf("e%d", i)),
			Ingress:   &v1alpha1.NamespacedName{Name: in.Name, Namespace: v1alpha1.LabelName(in.Namespace)},
			Hostnames: []v1alpha1.Hostname{v1alpha1.Hostname(a.Name)}, Routes: some(g, names, len(names)),
		}
		if g.chance(60) {
			e.Hostnames = []v1alpha1.Hostname{"desk"}
		}
		if g.chance(25) {
			e.CORS = &v1alpha1.CORS{Origins: []string{"https://www.example.com"}}
		}
		a.Spec.Exposures = append(a.Spec.Exposures, e)
	}
}

func (g *generator) admit(a *v1alpha1.Application) {
	if g.chance(15) {
		return
	}
	a.Spec.Access = &v1alpha1.Access{}
	if g.chance(50) {
		a.Spec.Access.MutualTLS = v1alpha1.MutualTLSStrict
	}
	var names []v1alpha1.LabelName
	for _, r := range a.Spec.Routes {
		names = append(names, r.Name)
	}
	for i, c := range some(g, g.callers, len(g.callers)) {
		entry := v1alpha1.Caller{Name: v1alpha1.LabelName(fmt.Sprintf("c%d", i))}
		switch n := g.IntN(10); {
		case n < 1:
			entry.Peer.Any = &v1alpha1.AnyPeer{}
		case n < 4:
			entry.Peer.Namespace = &v1alpha1.NamespaceReference{Name: v1alpha1.LabelName(c.Namespace)}
		default:
			entry.Peer.ServiceAccount = &v1alpha1.NamespacedName{Name: c.ServiceAccount, Namespace: v1alpha1.LabelName(c.Namespace)}
		}
		if g.chance(60) {
			entry.Routes = some(g, names, len(names))
		}
		if g.chance(40) {
			entry.Authentication = v1alpha1.CallerAuthenticationWaived
		}
		a.Spec.Access.Callers = append(a.Spec.Access.Callers, entry)
	}
}

// makeRaw makes all routes ask the same and lets them take every path, under a
// host of their own.
func (g *generator) makeRaw(a *v1alpha1.Application) {
	for i := range a.Spec.Routes {
		a.Spec.Routes[i].Authentication = a.Spec.Routes[0].Authentication
		a.Spec.Routes[i].Methods = a.Spec.Routes[0].Methods
		a.Spec.Routes[i].Port = a.Spec.Routes[0].Port
	}
	a.Spec.Routes[0].RawPaths = true
	for i := range a.Spec.Exposures {
		e := &a.Spec.Exposures[i]
		e.Hostnames = []v1alpha1.Hostname{v1alpha1.Hostname(a.Name)}
		e.Routes = nil
		for _, r := range a.Spec.Routes {
			e.Routes = append(e.Routes, r.Name)
		}
	}
	if a.Spec.Access == nil {
		return
	}
	for i := range a.Spec.Access.Callers {
		a.Spec.Access.Callers[i].Routes = nil
	}
}

// exposureAt is the exposure that publishes a route on a host of an ingress.
func exposureAt(a *v1alpha1.Application, route v1alpha1.LabelName, in *v1alpha1.SecureIngress, host string) *v1alpha1.Exposure {
	for i := range a.Spec.Exposures {
		e := &a.Spec.Exposures[i]
		if e.Ingress.Name == in.Name && string(e.Ingress.Namespace) == in.Namespace &&
			string(e.Hostnames[0])+"."+in.Spec.Domains[0].Domain == host && slices.Contains(e.Routes, route) {
			return e
		}
	}
	return nil
}

// ingressesOf are those through which an Application is exposed.
func (w *World) ingressesOf(a *v1alpha1.Application) []*v1alpha1.SecureIngress {
	var out []*v1alpha1.SecureIngress
	for _, in := range w.Ingresses {
		if slices.ContainsFunc(a.Spec.Exposures, func(e v1alpha1.Exposure) bool {
			return e.Ingress.Name == in.Name && string(e.Ingress.Namespace) == in.Namespace
		}) {
			out = append(out, in)
		}
	}
	return out
}

// conflicted reports whether another Application states one of a route's paths
// on the host.
func (w *World) conflicted(a *v1alpha1.Application, route *v1alpha1.Route, in *v1alpha1.SecureIngress, host string) bool {
	for _, other := range w.Applications {
		if other == a {
			continue
		}
		for i := range other.Spec.Routes {
			r := &other.Spec.Routes[i]
			if exposureAt(other, r.Name, in, host) == nil {
				continue
			}
			for _, m := range r.Paths {
				for _, n := range route.Paths {
					if text(m) == text(n) && (m.Exact == nil) == (n.Exact == nil) {
						return true
					}
				}
			}
		}
	}
	return false
}
