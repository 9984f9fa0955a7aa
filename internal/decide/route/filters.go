// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Override is what a route says of one HTTP filter.
type Override struct {
	// Config replaces or extends the filter's own configuration, as the filter
	// has it; nil for none.
	Config *anypb.Any
	// Disabled: the filter does not run for this request. Set with neither Config
	// nor Disabled, it enables a filter that is disabled by default.
	Disabled bool
}

// overrides are what one level says of filters, by their names.
type overrides map[string]override

type override struct {
	Override
	err error // it cannot be read
}

func newOverrides(configs map[string]*anypb.Any) overrides {
	if len(configs) == 0 {
		return nil
	}
	out := overrides{}
	for filter, config := range configs {
		o := override{Override: Override{Config: config}}
		if wrapped := (&routev3.FilterConfig{}); config.MessageIs(wrapped) {
			o.err = config.UnmarshalTo(wrapped)
			o.Override = Override{Config: wrapped.GetConfig(), Disabled: wrapped.GetDisabled()}
		}
		out[filter] = o
	}
	return out
}

// Overrides are what the levels say of the filter of that name, the most specific
// first: weighted cluster, route, virtual host, route configuration. Most filters
// take the first one alone; CORS merges. Unreadable ones make it an error.
func (c *Case) Overrides(filter string) ([]Override, error) {
	var levels [4]overrides
	if c.weighted != nil {
		levels[0] = c.weighted.overrides
	}
	if c.Route != nil {
		levels[1] = c.Route.overrides
	}
	if c.virtualHost != nil {
		levels[2], levels[3] = c.virtualHost.overrides, c.virtualHost.table.overrides
	}
	var out []Override
	for _, level := range levels {
		one, has := level[filter]
		switch {
		case !has:
		case one.err != nil:
			return nil, one.err
		default:
			out = append(out, one.Override)
		}
	}
	return out, nil
}

// Upgrades is what the route says of protocols to upgrade to, in lower case: it
// decides before the connection manager does.
func (c *Case) Upgrades() map[string]bool {
	if c.Route == nil {
		return nil
	}
	out := map[string]bool{}
	for _, u := range c.Route.config.GetRoute().GetUpgradeConfigs() {
		out[strings.ToLower(u.GetUpgradeType())] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
	}
	return out
}
