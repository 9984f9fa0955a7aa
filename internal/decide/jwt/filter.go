// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Filter is a compiled configuration.
type Filter struct {
	rules    []rule
	named    map[string]requirement
	names    string // of named, for an error text
	state    string // key of the filter state that chooses; empty for none
	ofState  map[string]requirement
	skipCORS bool
	// own are the headers that claims are written to.
	own []string
}

// rule says what the requests that it matches have to bring.
type rule struct {
	match  func(*stream.Stream) match.Answer
	demand requirement // nil: nothing
}

// Route is what a route says in place of the rules.
type Route struct {
	disabled bool
	name     string
}

// New compiles a configuration. It fails where Envoy refuses it.
func New(c *jwtv3.JwtAuthentication) (*Filter, error) {
	providers, err := newProviders(c.GetProviders())
	if err != nil {
		return nil, fmt.Errorf("compiling the JWT filter: %w", err)
	}
	f := &Filter{skipCORS: c.GetBypassCorsPreflight(), named: map[string]requirement{}, ofState: map[string]requirement{}}
	for _, p := range providers {
		f.own = append(f.own, written(p.config)...)
	}
	build := &builder{providers: providers}
	for name, r := range c.GetRequirementMap() {
		if f.named[name], err = build.requirement(r, 0); err != nil {
			return nil, fmt.Errorf("compiling the JWT requirement %q: %w", name, err)
		}
	}
	f.names = strings.Join(slices.Sorted(maps.Keys(f.named)), ",")
	for i, r := range c.GetRules() {
		compiled, err := f.rule(build, r)
		if err != nil {
			return nil, fmt.Errorf("compiling the JWT rule %d: %w", i, err)
		}
		f.rules = append(f.rules, compiled)
	}
	f.state = c.GetFilterStateRules().GetName()
	for value, r := range c.GetFilterStateRules().GetRequires() {
		if f.ofState[value], err = build.requirement(r, 0); err != nil {
			return nil, fmt.Errorf("compiling the JWT requirement of the filter state %q: %w", value, err)
		}
	}
	return f, nil
}

// NewRoute reads what a route says.
func NewRoute(c *jwtv3.PerRouteConfig) *Route {
	return &Route{disabled: c.GetDisabled(), name: c.GetRequirementName()}
}

func (f *Filter) rule(build *builder, r *jwtv3.RequirementRule) (rule, error) {
	m, err := newRouteMatch(r.GetMatch())
	if err != nil {
		return rule{}, err
	}
	out := rule{match: m}
	switch t := r.GetRequirementType().(type) {
	case *jwtv3.RequirementRule_Requires:
		out.demand, err = build.requirement(t.Requires, 0)
	case *jwtv3.RequirementRule_RequirementName:
		known := false
		if out.demand, known = f.named[t.RequirementName]; !known {
			err = fmt.Errorf("the requirement %q does not exist", t.RequirementName)
		}
	}
	return out, err
}

// Outcome is what the filter does with a request.
type Outcome int8

// The outcomes.
const (
	Allowed Outcome = iota
	Denied
	Unknown
)

// Verdict is what the filter does with a request.
type Verdict struct {
	Outcome Outcome
	// Status is that of the refusal: 401, or 403 for a wrong audience.
	Status int
	// Reason is the refusal in Envoy's words, which are the body of the answer.
	Reason string
	// Details are Envoy's response code details of the refusal.
	Details string
	// Why the outcome is Unknown.
	Why string
	// Reroute says that the route is to be chosen anew, by the request as it is now.
	// Istio has gateways and waypoints do so, that routes may ask for claims.
	Reroute bool
}

const wrongRequirement = "Wrong requirement_name: "

// Decide answers for one request at a time and changes it as Envoy does: the
// payload of a token goes into the dynamic metadata and into headers, the token
// out of the request. route is nil where the route says nothing. What s is after
// an Unknown verdict means nothing.
func (f *Filter) Decide(s *stream.Stream, route *Route, now time.Time) Verdict {
	// Whatever the rules are, clients may not write what this filter writes.
	for _, name := range f.own {
		s.Headers.Remove(name)
	}
	if f.skipCORS && preflight(s) {
		return Verdict{}
	}
	demand, a := f.demand(s, route)
	switch {
	case a.Truth == match.Unknown:
		return Verdict{Outcome: Unknown, Why: a.Why}
	case a.Truth == match.False:
		reason := wrongRequirement + route.name + ". It should be one of [" + f.names + "]"
		return Verdict{Outcome: Denied, Status: 403, Reason: "Failed JWT authentication: " + reason, Details: details(reason)}
	case demand == nil:
		return Verdict{}
	}
	v := &verification{stream: s, now: now}
	result := demand.verify(v)
	switch result {
	case ok:
		v.publish()
		return Verdict{Reroute: v.reroute}
	case undecided:
		return Verdict{Outcome: Unknown, Why: v.why}
	case audienceNotAllowed:
		return Verdict{Outcome: Denied, Status: 403, Reason: string(result), Details: details(string(result))}
	}
	return Verdict{Outcome: Denied, Status: 401, Reason: string(result), Details: details(string(result))}
}

// demand finds what a request has to bring; nil for nothing. False: the route
// names a requirement that does not exist.
func (f *Filter) demand(s *stream.Stream, route *Route) (requirement, match.Answer) {
	if route != nil {
		if route.disabled {
			return nil, match.Yes
		}
		r, known := f.named[route.name]
		return r, match.Is(known)
	}
	for i := range f.rules {
		switch a := f.rules[i].match(s); a.Truth {
		case match.True:
			return f.rules[i].demand, match.Yes
		case match.Unknown:
			return nil, a
		case match.False:
		}
	}
	if value, there := s.FilterState[f.state]; there && f.state != "" {
		return f.ofState[value], match.Yes
	}
	return nil, match.Yes
}

// preflight is a question of a browser before the request (Fetch §3.3.2), which
// has no token.
func preflight(s *stream.Stream) bool {
	if s.Method() != "OPTIONS" {
		return false
	}
	origin, _ := s.Headers.Get("origin")
	method, _ := s.Headers.Get("access-control-request-method")
	return origin != "" && method != ""
}

var errNoMatch = errors.New("it matches nothing, and Envoy refuses that")
