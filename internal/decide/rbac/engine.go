// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"
	"maps"
	"slices"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// condition is a compiled permission or principal.
type condition func(*stream.Stream) match.Answer

// engine is one compiled set of rules.
type engine struct {
	action   rbacv3.RBAC_Action
	policies []policy // by name
	index    *index   // nil: there are few policies, or nothing rules one out
	why      string   // it cannot be evaluated
}

// policy matches where one permission and one principal do.
type policy struct {
	name                   string
	permission, principals []condition
	why                    string // it has a condition that is not known here
}

// newEngine compiles rules; nil for none. Envoy asks the matcher where there is
// one, whatever the rules are.
func newEngine(rules *rbacv3.RBAC, matcher, network bool) (*engine, error) {
	if matcher {
		return &engine{why: "the rules of the RBAC filter are a matcher tree"}, nil
	}
	if rules == nil {
		return nil, nil
	}
	e := &engine{action: rules.GetAction()}
	if _, ok := rbacv3.RBAC_Action_name[int32(e.action)]; !ok {
		return nil, fmt.Errorf("the action %d does not exist", e.action)
	}
	c := &compiler{network: network}
	var indexed []*rbacv3.Policy
	// Envoy keeps policies in a sorted map, and the first that matches decides.
	for _, name := range slices.Sorted(maps.Keys(rules.GetPolicies())) {
		p, err := c.policy(name, rules.GetPolicies()[name])
		if err != nil {
			return nil, fmt.Errorf("the policy %q: %w", name, err)
		}
		e.policies = append(e.policies, p)
		indexed = append(indexed, rules.GetPolicies()[name])
	}
	e.index = newIndex(len(indexed), func(i int) ([]host, bool) { return neededBy(indexed[i].GetPermissions(), 0) })
	return e, nil
}

func (p *policy) match(s *stream.Stream) match.Answer {
	a := anyOf(p.permission, s)
	if a.Truth == match.False {
		return a
	}
	b := anyOf(p.principals, s)
	switch {
	case b.Truth == match.False:
		return b
	case p.why != "":
		return match.Cannot(p.why)
	case a.Truth == match.Unknown:
		return a
	}
	return b
}

// candidates are the positions of policies that may match, in order.
func (e *engine) candidates(s *stream.Stream) candidates {
	if authority, there := s.Headers.Single(stream.Authority); there && e.index != nil {
		return e.index.of(authority)
	}
	return upTo(len(e.policies))
}

func (e *engine) decide(s *stream.Stream) Result {
	if e.why != "" {
		return Result{There: true, Outcome: Unknown, Why: e.why}
	}
	why := ""
	left := e.candidates(s)
	for i, ok := left.next(); ok; i, ok = left.next() {
		a := e.policies[i].match(s)
		switch a.Truth {
		case match.True:
			out := e.result(true)
			if why == "" {
				out.Policy = e.policies[i].name
			}
			out.Why = why
			return out
		case match.Unknown:
			if why == "" {
				why = "the policy " + e.policies[i].name + ": " + a.Why
			}
		case match.False:
		}
	}
	out := e.result(false)
	if why != "" {
		out.Why = why
		// An open answer changes the outcome, except where rules only log.
		if e.action != rbacv3.RBAC_LOG {
			out.Outcome = Unknown
		}
		out.Log = nil
	}
	return out
}

// result is what follows of a policy that matches, or of none.
func (e *engine) result(matched bool) Result {
	out := Result{There: true}
	switch e.action {
	case rbacv3.RBAC_ALLOW:
		if !matched {
			out.Outcome = Denied
		}
	case rbacv3.RBAC_DENY:
		if matched {
			out.Outcome = Denied
		}
	case rbacv3.RBAC_LOG:
		out.Log = &matched
	}
	return out
}
