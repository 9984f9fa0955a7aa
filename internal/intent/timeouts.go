// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"time"

	"github.com/trellis-mesh/trellis/internal/policy"
)

// contributeTimeouts bounds how long a route may take: first what it has where it states
// nothing, and then what it has at the most. The order of the policies does not matter.
func (r *resolver) contributeTimeouts(a *Application, route *Route, i int, all []*policy.Contribution) {
	var holding []*policy.Contribution
	for _, c := range all {
		if timesRoute(route, c) && r.keptAt(a, route, i, c) {
			holding = append(holding, c)
		}
	}
	stated := route.Spec.Timeout
	if stated == nil {
		route.Timeout = r.fallback(route, holding)
	}
	most := route.Timeout
	for _, c := range holding {
		if c.Maximum == 0 || !longer(route.Timeout, c.Maximum) {
			continue
		}
		if stated != nil {
			r.overridden(c, field(route.Origin, "timeout"), fmt.Sprintf("route %s would have %s", route.Name, stated.Duration), "it has "+c.Maximum.String()+" at the most")
		}
		if c.Holds() && longer(most, c.Maximum) {
			most = c.Maximum
		}
	}
	route.Timeout = most
}

// timesRoute reports whether a policy may change the timeout of a route. A default gives
// way to what is stated.
func timesRoute(route *Route, c *policy.Contribution) bool {
	if route.Spec.Timeout == nil {
		return true
	}
	return c.Binding.Mandatory && c.Maximum > 0 && longer(route.Timeout, c.Maximum)
}

// longer reports whether a timeout is longer than another one. Zero is none at all, which
// is the longest.
func longer(timeout, than time.Duration) bool { return timeout == 0 || timeout > than }

// fallback is the timeout of a route that states none: the shortest of what policies give
// it, of the stricter tier that gives any; zero where none does.
func (r *resolver) fallback(route *Route, all []*policy.Contribution) time.Duration {
	var first *policy.Contribution
	for _, c := range all {
		if c.Fallback == 0 || !c.Holds() || first != nil && first.Binding.Mandatory && !c.Binding.Mandatory {
			continue
		}
		if first == nil || c.Binding.Mandatory && !first.Binding.Mandatory {
			first = c
			continue
		}
		if first.Fallback == c.Fallback {
			continue
		}
		shorter, other := first, c
		if c.Fallback < first.Fallback {
			shorter, other = c, first
		}
		r.warn(field(route.Origin, "timeout"), refusal{"PolicyConflict",
			fmt.Sprintf("two policies give route %s another timeout, %s and %s; the shorter one holds", route.Name, shorter.Fallback, other.Fallback),
			first.Binding.String() + " and " + c.Binding.String(), "state a timeout here, or ask the owners to agree"})
		first = shorter
	}
	if first == nil {
		return 0
	}
	return first.Fallback
}

// keptTimeout reports whether a policy about timeouts holds for a route, and reports the
// exception where one keeps it away.
func (r *resolver) keptAt(a *Application, route *Route, i int, c *policy.Contribution) bool {
	j, _ := a.policies.About(c, policy.Route{Index: i, Name: route.Name, Origin: route.Origin})
	if j = a.policies.Kept(j); j.Outcome == policy.Pass {
		return true
	}
	r.judgement(&j)
	return false
}
