// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/intent/paths"
	"github.com/trellis-mesh/trellis/internal/model"
)

// served are the paths of an Application's routes by port, the one that decides first.
type served map[v1alpha1.LabelName][]servedPath

type servedPath struct {
	paths.Path
	route   string
	methods []v1alpha1.Method
}

func servedBy(a *v1alpha1.Application) served {
	out := served{}
	for i := range a.Spec.Routes {
		route := &a.Spec.Routes[i]
		for _, p := range route.Paths {
			one := servedPath{route: string(route.Name), methods: route.Methods}
			switch {
			case p.Exact != nil:
				one.Path = paths.Path{Value: *p.Exact}
			case p.Prefix != nil:
				one.Path = paths.Path{Value: *p.Prefix, Prefix: true}
			}
			if problem, _ := paths.Check(one.Value, one.Prefix); problem == "" {
				out[route.Port] = append(out[route.Port], one)
			}
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b servedPath) int { return paths.MoreSpecific(a.Path, b.Path) })
	}
	return out
}

// odd are what proxies and applications may read differently in a path: it is not said then
// which route it is of.
const odd = "%\\;"

// routeOf is the one route that a request to a workload is for: the proxy of a workload
// does not name it. It is empty where there is none, or where it hangs on the port, which an
// entry has by the number of the pod.
func (s served) routeOf(method, path string) string {
	path, _, _ = strings.Cut(path, "?")
	if len(path) > longest || strings.ContainsAny(path, odd) || strings.Contains(path, "//") || strings.Contains(path, "/.") {
		return ""
	}
	found := ""
	for _, list := range s {
		route := decides(list, method, path)
		if found != "" && route != "" && route != found {
			return ""
		}
		if route != "" {
			found = route
		}
	}
	return found
}

// decides is the route of one port: the longest path decides, and only then the method.
func decides(list []servedPath, method, path string) string {
	first := slices.IndexFunc(list, func(p servedPath) bool { return p.Matches(path) })
	if first < 0 {
		return ""
	}
	same := list[first:]
	if end := slices.IndexFunc(same, func(p servedPath) bool { return !p.Same(list[first].Path) }); end >= 0 {
		same = same[:end]
	}
	if len(same) == 1 {
		return same[0].route
	}
	for _, p := range same {
		if len(p.methods) == 0 || slices.Contains(p.methods, v1alpha1.Method(method)) {
			return p.route
		}
	}
	return ""
}

// reduce puts the route in place of a path, which is not kept.
func (r *reading) reduce(key *hits.Key) {
	if key.Route != "" || key.Application == "" || key.Place != hits.Workload || r.e.Method == "" {
		return
	}
	key.Route = r.x.served[model.Name{Namespace: key.Namespace, Name: key.Application}].routeOf(r.e.Method, r.e.Path)
}
