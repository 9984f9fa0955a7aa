// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

func prefix(p string) []v1alpha1.PathMatch { return []v1alpha1.PathMatch{{Prefix: &p}} }

// small is a world of one application with an open route and a closed one below.
func small() (*World, *v1alpha1.SecureIngress, *v1alpha1.Application) {
	in := &v1alpha1.SecureIngress{ObjectMeta: metav1.ObjectMeta{Name: "public", Namespace: "gateways"}}
	in.Spec.Domains = []v1alpha1.IngressDomain{{Name: "main", Domain: "example.com"}}
	in.Spec.IdentityProviders = []v1alpha1.IdentityProvider{{Name: "customers", Issuer: "https://login", Audiences: []v1alpha1.ClaimValue{"shop"}, Default: true}}
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "shop"}}
	a.Spec.Ports = []v1alpha1.ApplicationPort{{Name: "web", Port: 80, Protocol: v1alpha1.ProtocolHTTP}}
	a.Spec.Routes = []v1alpha1.Route{
		{Name: "open", Port: "web", Paths: prefix("/"), Authentication: &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}},
		{Name: "api", Port: "web", Paths: prefix("/api"), Methods: []v1alpha1.Method{"GET"}},
		{Name: "internal", Port: "web", Paths: prefix("/internal"), Authentication: &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}},
	}
	a.Spec.Exposures = []v1alpha1.Exposure{{
		Name: "public", Ingress: &v1alpha1.NamespacedName{Name: "public", Namespace: "gateways"},
		Hostnames: []v1alpha1.Hostname{"shop"}, Routes: []v1alpha1.LabelName{"open", "api"},
	}}
	a.Spec.Access = &v1alpha1.Access{Callers: []v1alpha1.Caller{
		{Name: "cart", Peer: v1alpha1.Peer{ServiceAccount: &v1alpha1.NamespacedName{Name: "cart", Namespace: "cart"}}, Routes: []v1alpha1.LabelName{"api"}, Authentication: v1alpha1.CallerAuthenticationWaived},
	}}
	return &World{Ingresses: []*v1alpha1.SecureIngress{in}, Applications: []*v1alpha1.Application{a}}, in, a
}

func TestARequestThatReachedAnApplicationIsJudgedByWhatItMayBeReadAs(t *testing.T) {
	w, in, a := small()
	good := Token{Name: "good", Issuer: "https://login", Audiences: []string{"shop"}}
	outside := Via{Ingress: in, Host: "shop.example.com"}
	cart := Via{Caller: Caller{Name: "cart", Namespace: "cart", ServiceAccount: "cart"}}
	for _, test := range []struct {
		what   string
		via    Via
		method string
		target string
		token  Token
		want   int
	}{
		{"an open path", outside, "GET", "/x", Token{}, 0},
		{"a protected path without a token", outside, "GET", "/api", Token{}, 1},
		{"a protected path with the token", outside, "GET", "/api", good, 0},
		{"an open path that decodes to a protected one", outside, "GET", "/x/..%2fapi", Token{}, 1},
		{"the same with the token", outside, "GET", "/x/..%2fapi", good, 0},
		{"an invalid token on an open path", outside, "GET", "/x", Token{Invalid: true}, 1},
		{"another audience", outside, "GET", "/api", Token{Issuer: "https://login", Audiences: []string{"x"}}, 1},
		{"another issuer", outside, "GET", "/x", Token{Issuer: "https://other"}, 1},
		{"a method that is not listed", outside, "POST", "/api", good, 1},
		{"a route that is not published", outside, "GET", "/internal", Token{}, 1},
		{"another host", Via{Ingress: in, Host: "other.example.com"}, "GET", "/x", Token{}, 1},
		{"a waived caller", cart, "GET", "/api", Token{}, 0},
		{"a caller on another route", cart, "GET", "/x", Token{}, 1},
		{"another caller", Via{Caller: Caller{Name: "x", Namespace: "cart", ServiceAccount: "x"}}, "GET", "/api", good, 1},
		{"nobody", Via{}, "GET", "/api", good, 1},
	} {
		t.Run(test.what, func(t *testing.T) {
			got := w.Violations(Reached{Via: test.via, Application: a, Port: "web", Method: test.method, Paths: Readings(test.target), Token: test.token})
			if len(got) != test.want {
				t.Errorf("want %d violations, got %q", test.want, got)
			}
		})
	}
}

func TestTheSameSeedMakesTheSameRequests(t *testing.T) {
	w, _, _ := small()
	callers := []Caller{{Name: "cart", Namespace: "cart", ServiceAccount: "cart"}}
	x, y := NewRequests(1, w, callers, []Token{{}}), NewRequests(1, w, callers, []Token{{}})
	served := 0
	for range 500 {
		a, b := x.Next(), y.Next()
		if a.String() != b.String() {
			t.Fatalf("%s and %s", a, b)
		}
		if w.MustServe(a) != nil {
			served++
		}
	}
	if served < 100 {
		t.Errorf("%d of 500 requests have to be served: too few to say anything", served)
	}
}
