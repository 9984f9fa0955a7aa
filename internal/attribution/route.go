// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask/origin"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
)

// applications are what people stated, by name.
type applications map[model.Name]*v1alpha1.Application

// complete fills in the Application of a statement, and the route where the statement is
// about one alone.
func (a applications) complete(key *hits.Key) {
	name, is := strings.CutPrefix(key.Statement, "Application ")
	if !is {
		return
	}
	key.Namespace, key.Application, _ = strings.Cut(name, "/")
	stated := a[model.Name{Namespace: key.Namespace, Name: key.Application}]
	if stated == nil {
		return
	}
	if i, _, ok := number(key.Field, "spec.routes"); ok && i < len(stated.Spec.Routes) {
		key.Route = string(stated.Spec.Routes[i].Name)
	}
	if i, rest, ok := number(key.Field, "spec.exposures"); ok && i < len(stated.Spec.Exposures) {
		routes := stated.Spec.Exposures[i].Routes
		if j, _, ok := number(rest, "routes"); ok && j < len(routes) {
			key.Route = string(routes[j])
		}
	}
	if access := stated.Spec.Access; access != nil {
		if i, _, ok := number(key.Field, "spec.access.callers"); ok && i < len(access.Callers) && len(access.Callers[i].Routes) == 1 {
			key.Route = string(access.Callers[i].Routes[0])
		}
	}
}

// route is one of a gateway.
type route struct {
	hosts []string
	key   hits.Key
	// since is when its object came to be as it is; zero where that is not known.
	since time.Time
}

// routesOf are those of a VirtualService that Trellis made, by their names.
func routesOf(o *networkingv1.VirtualService, origins *origin.Origins, applications applications, to map[string][]route) {
	if o.Annotations[compile.AnnotationOrigin] == "" {
		return
	}
	object := "VirtualService " + o.Namespace + "/" + o.Name
	var hosts []string
	for _, host := range o.Spec.GetHosts() {
		hosts = append(hosts, strings.ToLower(host))
	}
	named := map[string]bool{}
	for i, r := range o.Spec.GetHttp() {
		at := origins.Of(decide.Step{Object: &decide.Object{Kind: "VirtualService", Namespace: o.Namespace, Name: o.Name, Rule: i}})
		if at == nil || r.GetName() == "" {
			continue
		}
		key := hits.Key{Object: object, Rule: i, Place: hits.Gateway, Statement: at.Object, Field: at.Field, Reason: string(at.Reason)}
		applications.complete(&key)
		if parts := strings.Split(r.GetName(), "/"); len(parts) == 3 {
			key.Namespace, key.Application, key.Route = parts[0], parts[1], parts[2]
		}
		if named[r.GetName()] {
			to[r.GetName()] = joined(to[r.GetName()], key)
			continue
		}
		named[r.GetName()] = true
		to[r.GetName()] = append(to[r.GetName()], route{hosts, key, Changed(o)})
	}
}

// joined is for a route that has several entries in its VirtualService, one for each of
// its paths: they differ in their number at most.
func joined(all []route, key hits.Key) []route {
	last := &all[len(all)-1].key
	last.Rule = -1
	if last.Statement != key.Statement || last.Field != key.Field {
		last.Statement, last.Field, last.Reason = "", "", ""
	}
	return all
}

// route finds the route of a gateway that an entry names. Of one that came to be stated
// otherwise it is certain for a while which one it is, and not by what.
func (x *Index) route(name, authority string) (hits.Key, bool) {
	key, ok := among(x.routes[name], authority)
	for _, p := range x.past.routes[name] {
		if p.forgotten {
			return hits.Key{}, false
		}
		was, did := among(p.what, authority)
		switch {
		case !did || ok && was == key:
		case !ok:
			key, ok = was, true
		case was.Namespace != key.Namespace || was.Application != key.Application || was.Route != key.Route:
			return hits.Key{}, false
		default:
			key = hits.Key{Namespace: key.Namespace, Application: key.Application, Route: key.Route, Place: hits.Gateway, Rule: -1}
		}
	}
	return key, ok
}

// among finds the one of several routes of a name.
func among(found []route, authority string) (hits.Key, bool) {
	switch len(found) {
	case 0:
		return hits.Key{}, false
	case 1:
		return found[0].key, true
	}
	at := slices.IndexFunc(found, func(r route) bool { return r.serves(authority) })
	if at >= 0 && !slices.ContainsFunc(found[at+1:], func(r route) bool { return r.serves(authority) }) {
		return found[at].key, true
	}
	// It is of one Application whatever the host is, or of nobody in particular.
	key := found[0].key
	if key.Application == "" || slices.ContainsFunc(found, func(r route) bool {
		return r.key.Namespace != key.Namespace || r.key.Application != key.Application || r.key.Route != key.Route
	}) {
		return hits.Key{}, false
	}
	return hits.Key{Namespace: key.Namespace, Application: key.Application, Route: key.Route, Place: hits.Gateway, Rule: -1}, true
}

// serves reports whether a host is among those of the route: without regard to case, and
// to the port.
func (r route) serves(authority string) bool {
	host := authority
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:at]
	}
	return slices.ContainsFunc(r.hosts, func(own string) bool {
		if below, is := strings.CutPrefix(own, "*"); is {
			return len(host) > len(below) && strings.EqualFold(host[len(host)-len(below):], below)
		}
		return strings.EqualFold(own, host)
	})
}
