// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
)

// serving is an Application with these routes.
func serving(routes ...v1alpha1.Route) *v1alpha1.Application {
	return &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       v1alpha1.ApplicationSpec{Service: "web", Routes: routes},
	}
}

func route(name, port string, methods []v1alpha1.Method, matches ...v1alpha1.PathMatch) v1alpha1.Route {
	return v1alpha1.Route{Name: v1alpha1.LabelName(name), Port: v1alpha1.LabelName(port), Paths: matches, Methods: methods}
}

func exact(path string) v1alpha1.PathMatch  { return v1alpha1.PathMatch{Exact: &path} }
func prefix(path string) v1alpha1.PathMatch { return v1alpha1.PathMatch{Prefix: &path} }

func TestOfAPathTheRouteIsKept(t *testing.T) {
	in := mesh(t)
	in.Applications = []*v1alpha1.Application{serving(
		route("pages", "web", nil, prefix("/")),
		route("read", "web", []v1alpha1.Method{"GET", "HEAD"}, prefix("/api")),
		route("write", "web", []v1alpha1.Method{"POST"}, prefix("/api")),
		route("health", "web", nil, exact("/api/healthz")),
		route("metrics", "admin", nil, exact("/metrics")),
		route("stats", "admin", nil, prefix("/stats")),
		route("odd", "admin", nil, prefix("/a*")),
	)}
	x := attribution.New(in)
	for _, c := range []struct{ name, method, path, want string }{
		{"a longer path decides before a shorter one", "GET", "/api/x", "read"},
		{"a method decides between routes of one path", "POST", "/api", "write"},
		{"a method that none of them serves is of none", "DELETE", "/api", ""},
		{"an exact path decides before a prefix", "GET", "/api/healthz", "health"},
		{"an exact path is not those below it", "GET", "/api/healthz/x", "read"},
		{"a prefix matches whole segments", "GET", "/apix", "pages"},
		{"the query is no part of a path", "GET", "/apix?to=/api", "pages"},
		{"two ports serve the path, by different routes", "GET", "/metrics", ""},
		{"what may be read differently is of none", "GET", "/api%2Fx", ""},
		{"neither are doubled slashes", "GET", "//api", ""},
		{"nor dots", "GET", "/api/../x", ""},
		{"a connection has no path", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := x.Of(change(t, atWeb, "method", c.method, "path", c.path))
			if got.Route != c.want {
				t.Errorf("%q, want %q", got.Route, c.want)
			}
		})
	}
}

func BenchmarkRoutesOfPaths(b *testing.B) {
	in := mesh(b)
	var routes []v1alpha1.Route
	for i := range 64 {
		routes = append(routes, route("r"+string(rune('a'+i%26)), "web", nil, prefix("/"+string(rune('a'+i%26))+"/"+string(rune('a'+i/26)))))
	}
	in.Applications = []*v1alpha1.Application{serving(routes...)}
	x := attribution.New(in)
	e := change(b, atWeb, "path", "/z/a/some/more")
	for b.Loop() {
		x.Of(e)
	}
}
