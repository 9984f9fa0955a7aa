// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"slices"
	"strings"
)

// closeUnpublished adds the routes of an Application that are not published on
// a host but lie under a path of it that is: without that, the shorter path
// would serve them.
func closeUnpublished(h *Host) {
	published := make(map[*Route]bool)
	var applications []*Application
	x := publishedPaths{make(map[string]served), make(map[string]served)}
	for _, p := range h.Publications {
		published[p.Route] = true
		if len(applications) == 0 || applications[len(applications)-1] != p.Application {
			applications = append(applications, p.Application)
		}
		x.add(p)
	}
	for _, a := range applications {
		for _, route := range a.Routes {
			if published[route] {
				continue
			}
			// Only the paths that would be served: the others are somebody else's.
			closed := *route
			closed.Paths = nil
			for _, p := range route.Paths {
				if x.servedBy(p, a, route.Port) {
					closed.Paths = append(closed.Paths, p)
				}
			}
			if len(closed.Paths) == 0 {
				continue
			}
			h.Publications = append(h.Publications, &Publication{
				Host: h, Application: a, Route: &closed, Closed: true, Unpublished: true,
				Requirement: Requirement{Mode: route.Mode, Origin: route.Origin}, Origin: route.Origin,
			})
		}
	}
	slices.SortFunc(h.Publications, comparePublications)
}

// served is what answers a path: a port of an Application.
type served struct {
	application *Application
	port        string
	guess       bool
}

// publishedPaths finds what answers a path on a host.
type publishedPaths struct{ exact, prefix map[string]served }

func (x publishedPaths) add(p *Publication) {
	for _, path := range p.Route.Paths {
		m := x.exact
		if path.Prefix {
			m = x.prefix
		}
		if o, ok := m[path.Value]; !ok || (o.guess && !path.Guess) {
			m[path.Value] = served{p.Application, p.Route.Port.key(), path.Guess}
		}
	}
}

// servedBy reports whether the longest published path around p is one of a port
// of an Application. What is published inside p is longer and decides for itself.
func (x publishedPaths) servedBy(p Path, a *Application, port Port) bool {
	by, ok := x.exact[p.Value]
	if p.Prefix || !ok {
		for v := p.Value; ; v = v[:max(1, strings.LastIndexByte(v, '/'))] {
			if by, ok = x.prefix[v]; ok || v == "/" {
				break
			}
		}
	}
	return ok && by.application == a && by.port == port.key()
}

// routesOf are the routes of a host, each once.
func routesOf(h *Host) []*Route {
	seen := make(map[*Route]bool)
	var out []*Route
	for _, p := range h.Publications {
		if !seen[p.Route] {
			seen[p.Route] = true
			out = append(out, p.Route)
		}
	}
	return out
}
