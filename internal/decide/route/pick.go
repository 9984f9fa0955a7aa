// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Choice is what a table says of one request.
type Choice struct {
	// VirtualHost is nil where the request belongs to none.
	VirtualHost *VirtualHost
	// Cases are what can become of the request: one, unless chance decides (a
	// weighted cluster, a runtime fraction). Shares add up to 1.
	Cases []Case
}

// Case is one thing that can become of a request. Where Unknown is empty and
// Route is nil, no route matches, and Answer says 404.
type Case struct {
	// Share is the part of such requests, above 0 and up to 1.
	Share float64
	Route *Route
	// Cluster is the chosen cluster's name; empty for routes that answer
	// themselves, and where a header should name it and does not.
	Cluster string
	// Unknown says why nobody can tell what becomes of this share.
	Unknown string

	virtualHost *VirtualHost
	weighted    *weighted
}

// Pick chooses a route for a request as it is now.
func (t *Table) Pick(s *stream.Stream) Choice {
	if t.unknown != "" {
		return Choice{Cases: []Case{{Share: 1, Unknown: t.unknown}}}
	}
	v := t.VirtualHost(s)
	if v == nil {
		if t.config.GetVhds() != nil {
			return Choice{Cases: []Case{{Share: 1, Unknown: "the proxy asks for virtual hosts when it needs them"}}}
		}
		return Choice{Cases: []Case{{Share: 1}}}
	}
	return Choice{VirtualHost: v, Cases: v.pick(s)}
}

// pick goes through the routes in order. Chance is one number for each request,
// the same for all routes: what an earlier fraction has left is what a later one
// can take.
func (v *VirtualHost) pick(s *stream.Stream) []Case {
	if v.unknown != "" {
		return v.unknowable(nil, 1, v.unknown)
	}
	if v.toHTTPS != nil && v.needsTLS(s) {
		return []Case{{Share: 1, Route: v.toHTTPS, virtualHost: v}}
	}
	var cases []Case
	left := chance{share: 1}
	var room [8][]int
	candidates := v.index.candidates(s.Path(), v.table.config.GetIgnorePathParametersInPathMatching(), room[:0])
	for r := candidates.next(); r != nil; r = candidates.next() {
		answer := r.matches(s)
		if answer.Truth == match.False {
			continue
		}
		taken, rest := left.split(r.fraction)
		if taken.share == 0 {
			continue
		}
		if answer.Truth == match.Unknown {
			return v.unknowable(cases, left.share, "whether route "+r.Name()+" matches: "+answer.Why)
		}
		cases = r.cases(cases, s, taken)
		if left = rest; left.share == 0 {
			return cases
		}
	}
	return append(cases, Case{Share: left.share, virtualHost: v})
}

func (v *VirtualHost) unknowable(cases []Case, share float64, why string) []Case {
	return append(cases, Case{Share: share, Unknown: why, virtualHost: v})
}

// needsTLS is whether a request came in plaintext where it should not.
func (v *VirtualHost) needsTLS(s *stream.Stream) bool {
	if proto, _ := s.Headers.Get("x-forwarded-proto"); proto == "https" {
		return false
	}
	if v.config.GetRequireTls() == routev3.VirtualHost_EXTERNAL_ONLY {
		internal, _ := s.Headers.Get("x-envoy-internal")
		return internal != "true"
	}
	return true
}

// cases are the clusters of a route that matches.
func (r *Route) cases(cases []Case, s *stream.Stream, taken chance) []Case {
	action := r.config.GetRoute()
	one := Case{Share: taken.share, Route: r, virtualHost: r.virtualHost}
	switch {
	case action == nil:
	case action.GetCluster() != "":
		one.Cluster = action.GetCluster()
	case action.GetClusterHeader() != "":
		one.Cluster, _ = s.Headers.Get(strings.ToLower(action.GetClusterHeader()))
	case action.GetWeightedClusters() != nil:
		return r.weightedCases(cases, s, taken)
	default:
		one.Unknown = "route " + r.Name() + " leaves the cluster to a plugin"
	}
	return append(cases, one)
}

func (r *Route) weightedCases(cases []Case, s *stream.Stream, taken chance) []Case {
	if r.weightedUnknown != "" {
		return append(cases, Case{Share: taken.share, Unknown: r.weightedUnknown, virtualHost: r.virtualHost})
	}
	if fixed, is := r.fixedValue(s); is {
		taken = chance{share: taken.share}.at(r.total, fixed)
	}
	begin := uint64(0)
	for i := range r.weighted {
		w := &r.weighted[i]
		end := begin + w.weight
		part := taken.within(r.total, begin, end)
		begin = end
		if part == 0 {
			continue
		}
		name := w.config.GetName()
		if h := w.config.GetClusterHeader(); h != "" {
			if value, has := s.Headers.Get(strings.ToLower(h)); has {
				name = value
			}
		}
		cases = append(cases, Case{Share: part, Route: r, Cluster: name, weighted: w, virtualHost: r.virtualHost})
	}
	return cases
}
