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

// Overrides are what the levels say of the filter of that name, the most specific
// first: weighted cluster, route, virtual host, route configuration. Most filters
// take the first one alone; CORS merges. Unreadable ones make it an error.
func (c *Case) Overrides(filter string) ([]Override, error) {
	var levels []map[string]*anypb.Any
	if c.weighted != nil {
		levels = append(levels, c.weighted.config.GetTypedPerFilterConfig())
	}
	if c.Route != nil {
		levels = append(levels, c.Route.config.GetTypedPerFilterConfig())
	}
	if c.virtualHost != nil {
		levels = append(levels, c.virtualHost.config.GetTypedPerFilterConfig(), c.virtualHost.table.config.GetTypedPerFilterConfig())
	}
	var out []Override
	for _, level := range levels {
		config, has := level[filter]
		if !has {
			continue
		}
		o := Override{Config: config}
		if wrapped := (&routev3.FilterConfig{}); config.MessageIs(wrapped) {
			if err := config.UnmarshalTo(wrapped); err != nil {
				return nil, err
			}
			o = Override{Config: wrapped.GetConfig(), Disabled: wrapped.GetDisabled()}
		}
		out = append(out, o)
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
