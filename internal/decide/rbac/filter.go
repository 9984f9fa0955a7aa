// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"

	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Filter is a compiled configuration of an RBAC filter.
type Filter struct {
	rules, shadow             *engine // nil: the filter has none
	rulesPrefix, shadowPrefix string  // of the keys in dynamic metadata
	network                   bool
}

// NewHTTP compiles the configuration of the HTTP filter. It fails where Envoy
// refuses the configuration.
func NewHTTP(c *httprbacv3.RBAC) (*Filter, error) {
	f := &Filter{rulesPrefix: c.GetRulesStatPrefix(), shadowPrefix: c.GetShadowRulesStatPrefix()}
	var err error
	if f.rules, err = newEngine(c.GetRules(), c.GetMatcher() != nil, false); err != nil {
		return nil, fmt.Errorf("compiling the rules of an RBAC filter: %w", err)
	}
	if f.shadow, err = newEngine(c.GetShadowRules(), c.GetShadowMatcher() != nil, false); err != nil {
		return nil, fmt.Errorf("compiling the shadow rules of an RBAC filter: %w", err)
	}
	return f, nil
}

// NewHTTPRoute compiles what a route says in place of the filter (see ForRoute).
// Without rules it turns the filter off.
func NewHTTPRoute(c *httprbacv3.RBACPerRoute) (*Filter, error) { return NewHTTP(c.GetRbac()) }

// NewNetwork compiles the configuration of the network filter. It fails where
// Envoy refuses the configuration, as it does with matchers of headers.
func NewNetwork(c *networkrbacv3.RBAC) (*Filter, error) {
	f := &Filter{shadowPrefix: c.GetShadowRulesStatPrefix(), network: true}
	var err error
	if f.rules, err = newEngine(c.GetRules(), c.GetMatcher() != nil, true); err != nil {
		return nil, fmt.Errorf("compiling the rules of a network RBAC filter: %w", err)
	}
	if f.shadow, err = newEngine(c.GetShadowRules(), c.GetShadowMatcher() != nil, true); err != nil {
		return nil, fmt.Errorf("compiling the shadow rules of a network RBAC filter: %w", err)
	}
	return f, nil
}

// ForRoute is the filter on a route that has a configuration of its own: its
// rules replace the filter's, its prefixes only where they are given. A nil
// route changes nothing.
func (f *Filter) ForRoute(route *Filter) *Filter {
	if route == nil {
		return f
	}
	out := *route
	if out.rulesPrefix == "" {
		out.rulesPrefix = f.rulesPrefix
	}
	if out.shadowPrefix == "" {
		out.shadowPrefix = f.shadowPrefix
	}
	return &out
}

// Decide answers for one request, or for the network filter one connection. It
// adds to the dynamic metadata of s what Envoy does. What is not known there is
// left out: later matchers of it would be wrong, and Verdict.Why says so.
func (f *Filter) Decide(s *stream.Stream) Verdict {
	view := s
	if f.network {
		// A network filter sees no request, whatever the caller knows of it.
		connection := *s
		connection.Headers = stream.Headers{}
		view = &connection
	}
	v := Verdict{filter: f}
	if f.shadow != nil {
		v.Shadow = f.shadow.decide(view)
	}
	if f.rules != nil {
		v.Enforced = f.rules.decide(view)
	}
	v.record(s)
	return v
}
