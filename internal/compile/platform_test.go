// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"math/rand/v2"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// world makes platforms and requests at random, small enough that they meet.
type world struct{ *rand.Rand }

func newWorld(seed uint64) world { return world{rand.New(rand.NewPCG(seed, 1))} }

func (w world) chance(percent int) bool { return w.IntN(100) < percent }

func pick[T any](w world, from ...T) T { return from[w.IntN(len(from))] }

// some are distinct elements, at least one.
func some[T any](w world, most int, from ...T) []T {
	from = slices.Clone(from)
	w.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:1+w.IntN(min(most, len(from)))]
}

const (
	namespaces   = 3
	applications = 5
)

var cluster = model.DefaultMesh().Cluster

func ref(kind, namespace, name string) model.Reference {
	return model.Reference{Cluster: cluster, Kind: kind, Namespace: namespace, Name: name}
}

func (w world) platform() model.Input {
	in := model.Input{Mesh: model.DefaultMesh(), ProbeKey: pick(w, "", "secret")}
	for i := range namespaces {
		in.Namespaces = append(in.Namespaces, model.Namespace{Name: fmt.Sprintf("n%d", i)})
	}
	for _, g := range []string{"g0", "g1"} {
		w.workload(&in, "edge", g, model.ServicePort{Name: "http", Number: 80, TargetNumber: 8080}, model.ServicePort{Name: "https", Number: 443, TargetNumber: 8443})
	}
	for i := range 2 {
		in.SecureIngresses = append(in.SecureIngresses, w.ingress(i, w.chance(50)))
	}
	shared := in.SecureIngresses[0].Spec.Gateway.Service == in.SecureIngresses[1].Spec.Gateway.Service
	if shared {
		in.SecureIngresses[1].Spec.Gateway.Exclusive = in.SecureIngresses[0].Spec.Gateway.Exclusive
	}
	in.Certificates = []model.Certificate{{Ref: ref("Secret", "edge", "wildcard"), Names: []string{"*.d0.test", "*.d1.test"}}}
	for i := range applications {
		w.application(&in, i)
	}
	for _, host := range []string{"h0.d0.test", "h1.d0.test", "h0.d1.test"} {
		if w.chance(60) {
			in.HostClaims = append(in.HostClaims, &v1alpha1.HostClaim{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: v1alpha1.HostClaimSpec{Namespace: v1alpha1.LabelName(fmt.Sprintf("n%d", w.IntN(namespaces)))}})
		}
	}
	return in
}

// workload adds a Service and its pod, which runs as an account of its name.
func (w world) workload(in *model.Input, namespace, name string, ports ...model.ServicePort) {
	selector := map[string]string{"app": name}
	in.Services = append(in.Services, model.Service{Ref: ref("Service", namespace, name), Selector: selector, Ports: ports})
	in.Workloads = append(in.Workloads, model.Workload{Ref: ref("Pod", namespace, name), Labels: selector, ServiceAccount: name, Ready: true})
}

func (w world) ingress(i int, exclusive bool) *v1alpha1.SecureIngress {
	in := &v1alpha1.SecureIngress{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: fmt.Sprintf("in%d", i)}}
	in.Spec = v1alpha1.SecureIngressSpec{
		Domains: []v1alpha1.IngressDomain{{Name: "main", Domain: fmt.Sprintf("d%d.test", i)}},
		Gateway: v1alpha1.IngressGateway{Service: pick(w, "g0", fmt.Sprintf("g%d", i)), Exclusive: exclusive},
		TLS:     v1alpha1.IngressTLS{SecretName: "wildcard"},
		Applications: []v1alpha1.ApplicationAdmission{
			{Name: "all", NamespaceSelector: metav1.LabelSelector{}, Hostnames: []string{"*"}},
		},
	}
	for j, issuer := range some(w, 3, "p0", "p1", "p2") {
		keys := "https://" + issuer + "/keys"
		if w.chance(5) {
			keys += "/other"
		}
		in.Spec.IdentityProviders = append(in.Spec.IdentityProviders, v1alpha1.IdentityProvider{
			Name: v1alpha1.LabelName(issuer), Issuer: v1alpha1.ClaimValue("https://" + issuer), JWKSURI: keys,
			Audiences: some[v1alpha1.ClaimValue](w, 2, "a0", "a1", "a2"), Default: j == 0 && w.chance(90),
		})
	}
	return in
}

var routeNames = []v1alpha1.LabelName{"r0", "r1", "r2", "r3"}

func (w world) application(in *model.Input, i int) {
	name, namespace := fmt.Sprintf("app%d", i), fmt.Sprintf("n%d", i%namespaces)
	w.workload(in, namespace, name,
		model.ServicePort{Name: "http", Number: 80, TargetNumber: 8000},
		model.ServicePort{Name: "http-two", Number: 81, TargetNumber: 8001})
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	app.Spec.Service = name
	app.Spec.Ports = []v1alpha1.ApplicationPort{{Name: "one", Port: 80, Protocol: v1alpha1.ProtocolHTTP}, {Name: "two", Port: 81, Protocol: v1alpha1.ProtocolHTTP}}
	for _, route := range routeNames[:1+w.IntN(len(routeNames))] {
		app.Spec.Routes = append(app.Spec.Routes, w.route(route))
	}
	names := routeNames[:len(app.Spec.Routes)]
	used := map[string]bool{}
	for j := range w.IntN(4) {
		k := w.IntN(2)
		e := v1alpha1.Exposure{
			Name:      v1alpha1.LabelName(fmt.Sprintf("e%d", j)),
			Ingress:   &v1alpha1.NamespacedName{Namespace: "edge", Name: fmt.Sprintf("in%d", k)},
			Hostnames: some[v1alpha1.Hostname](w, 2, "h0", "h1"),
			Routes:    slices.DeleteFunc(some(w, 4, names...), func(n v1alpha1.LabelName) bool { return used[fmt.Sprint(k, n)] }),
		}
		if len(e.Routes) == 0 {
			continue
		}
		for _, n := range e.Routes {
			used[fmt.Sprint(k, n)] = true
		}
		if w.chance(30) {
			e.CORS = &v1alpha1.CORS{Origins: []string{"https://www.test"}}
		}
		for o := range applications {
			if w.chance(50) {
				e.ShareHostWith = append(e.ShareHostWith, v1alpha1.NamespacedName{Name: fmt.Sprintf("app%d", o), Namespace: v1alpha1.LabelName(fmt.Sprintf("n%d", o%namespaces))})
			}
		}
		app.Spec.Exposures = append(app.Spec.Exposures, e)
	}
	if w.chance(70) {
		app.Spec.Access = &v1alpha1.Access{}
		for j := range 1 + w.IntN(3) {
			app.Spec.Access.Callers = append(app.Spec.Access.Callers, w.caller(j, names))
		}
	}
	in.Applications = append(in.Applications, app)
}

func (w world) route(name v1alpha1.LabelName) v1alpha1.Route {
	r := v1alpha1.Route{Name: name, Port: pick[v1alpha1.LabelName](w, "one", "one", "one", "two")}
	for range 1 + w.IntN(3) {
		path := w.path()
		if w.chance(70) {
			r.Paths = append(r.Paths, v1alpha1.PathMatch{Prefix: &path})
		} else {
			exact := path + pick(w, "", "", "/")
			if path == "/" {
				exact = path
			}
			r.Paths = append(r.Paths, v1alpha1.PathMatch{Exact: &exact})
		}
	}
	if w.chance(40) {
		r.Methods = some[v1alpha1.Method](w, 3, "GET", "POST", "OPTIONS", "PUT")
	}
	if w.chance(20) {
		return r
	}
	a := &v1alpha1.Authentication{Mode: pick(w, v1alpha1.AuthenticationNone, v1alpha1.AuthenticationOptional, v1alpha1.AuthenticationRequired)}
	r.Authentication = a
	if a.Mode == v1alpha1.AuthenticationNone {
		return r
	}
	if w.chance(40) {
		a.Provider = pick[v1alpha1.LabelName](w, "p0", "p1", "p2")
	}
	if w.chance(20) {
		a.Audiences = some[v1alpha1.ClaimValue](w, 1, "a0", "a1", "a2")
	}
	if w.chance(20) {
		a.Scopes = some[v1alpha1.ClaimValue](w, 2, "s0", "s1")
	}
	if w.chance(20) {
		a.Claims = []v1alpha1.ClaimRequirement{{Name: "roles", Path: []string{"realm", "roles"}, AnyOf: some[v1alpha1.ClaimValue](w, 2, "admin", "reader")}}
	}
	return r
}

func (w world) caller(i int, routes []v1alpha1.LabelName) v1alpha1.Caller {
	c := v1alpha1.Caller{Name: v1alpha1.LabelName(fmt.Sprintf("c%d", i))}
	o := w.IntN(applications)
	name := v1alpha1.NamespacedName{Name: fmt.Sprintf("app%d", o), Namespace: v1alpha1.LabelName(fmt.Sprintf("n%d", o%namespaces))}
	switch w.IntN(6) {
	case 0:
		c.Peer.Any = &v1alpha1.AnyPeer{}
	case 1:
		c.Peer.Namespace = &v1alpha1.NamespaceReference{Name: pick[v1alpha1.LabelName](w, "n0", "n1", "edge")}
	case 2:
		c.Peer.ServiceAccount = &name
	case 3:
		c.Peer.ServiceAccount = &v1alpha1.NamespacedName{Namespace: "edge", Name: "g0"}
	default:
		c.Peer.Application = &name
	}
	if w.chance(50) {
		c.Routes = some(w, 4, routes...)
	}
	if w.chance(30) {
		c.Authentication = v1alpha1.CallerAuthenticationWaived
	}
	return c
}

// path is of few segments, so that paths nest and meet.
func (w world) path() string {
	out := ""
	for range w.IntN(4) {
		out += "/" + pick(w, "a", "b", "aa", "a-b", "x@y")
	}
	if out == "" {
		return "/"
	}
	return out
}

// aimedAt changes a request so that it is about a route that is published, and
// may have what that asks: random ones hardly ever get anywhere.
func (w world) aimedAt(r *request, in model.Input) {
	app := pick(w, in.Applications...)
	route := pick(w, app.Spec.Routes...)
	if len(app.Spec.Exposures) > 0 {
		e := pick(w, app.Spec.Exposures...)
		route = *routeNamed(app, pick(w, e.Routes...))
		r.host = string(pick(w, e.Hostnames...)) + ".d" + e.Ingress.Name[2:] + ".test"
	}
	p := pick(w, route.Paths...)
	switch {
	case p.Exact != nil:
		r.path = *p.Exact
	case w.chance(50):
		r.path = *p.Prefix
	default:
		r.path = w.requestPath()
		if *p.Prefix != "/" && r.path != "/" {
			r.path = *p.Prefix + r.path
		}
	}
	if len(route.Methods) > 0 {
		r.method = string(pick(w, route.Methods...))
	}
	if r.token == nil || w.chance(20) {
		return
	}
	provider := pick(w, pick(w, in.SecureIngresses...).Spec.IdentityProviders...)
	r.token = &token{issuer: string(provider.Issuer), audience: []string{string(pick(w, provider.Audiences...))}, scopes: []string{"s0", "s1"}, roles: []string{"admin", "reader"}}
}

func (w world) requestPath() string {
	p := w.path()
	switch w.IntN(12) {
	case 0:
		return p + "/"
	case 1:
		return p + "x"
	case 2:
		return p + "/zzz"
	case 3:
		return pick(w, "/a//b", "/a%2fb", "/a/b;x=1", "/a/%5Cb", "/.well-known/acme-challenge/t", "/%252e", "/a/x%40y", "/aa%00")
	}
	return p
}

func (w world) token() *token {
	if w.chance(35) {
		return nil
	}
	t := &token{issuer: "https://" + pick(w, "p0", "p1", "p2", "p2", "evil"), audience: some(w, 2, "a0", "a1", "a2")}
	if w.chance(70) {
		t.scopes = some(w, 2, "s0", "s1")
	}
	if w.chance(70) {
		t.roles = some(w, 2, "admin", "reader", "other")
	}
	return t
}

func (w world) request() request {
	r := request{
		host:   pick(w, "h0", "h1", "h2") + "." + pick(w, "d0", "d1") + ".test" + pick(w, "", "", ":443", ":8443"),
		method: pick(w, "GET", "GET", "POST", "PUT", "OPTIONS", "DELETE"), path: w.requestPath(), token: w.token(),
		headers: map[string]string{},
	}
	if w.chance(10) {
		r.host = "H0.d0.TEST"
	}
	if w.chance(30) {
		r.headers["origin"] = pick(w, "https://www.test", "")
		r.headers["access-control-request-method"] = pick(w, "GET", "")
	}
	if r.token != nil {
		r.headers["authorization"] = "Bearer token"
	}
	return r
}
