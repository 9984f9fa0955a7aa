// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package tell

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Held is a rule in the configuration of a proxy.
type Held struct {
	// Proxy has it, in Part: a listener or a route configuration.
	Proxy, Part string
	// Rule is Envoy's name of it.
	Rule string
}

// envoyRule is a named rule of a proxy.
type envoyRule struct {
	name, part string
	// route is a route's name; else it is an RBAC policy with an action.
	route  bool
	action rbacv3.RBAC_Action
}

// rulesOf lists the RBAC policies and the named routes of a proxy, each once for a
// listener or route configuration.
func rulesOf(c *xds.Config) []envoyRule {
	var out []envoyRule
	seen := map[envoyRule]bool{}
	add := func(r envoyRule) {
		if r.name != "" && !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	policies := func(part string, sets ...*rbacv3.RBAC) {
		for _, rules := range sets {
			for _, name := range slices.Sorted(maps.Keys(rules.GetPolicies())) {
				add(envoyRule{name: name, part: part, action: rules.GetAction()})
			}
		}
	}
	for _, l := range c.Resources().Listeners {
		part := "listener " + l.GetName()
		for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
			for _, f := range chain.GetFilters() {
				eachRule(c, f, part, policies, add)
			}
		}
	}
	return out
}

// eachRule finds the rules of one network filter.
func eachRule(c *xds.Config, f *listenerv3.Filter, part string, policies func(string, ...*rbacv3.RBAC), add func(envoyRule)) {
	config := f.GetTypedConfig()
	if network := (&networkrbacv3.RBAC{}); config.MessageIs(network) && config.UnmarshalTo(network) == nil {
		policies(part, network.GetRules(), network.GetShadowRules())
		return
	}
	manager, err := xds.Manager(config)
	if err != nil {
		return
	}
	for _, h := range manager.GetHttpFilters() {
		if filter := (&httprbacv3.RBAC{}); h.GetTypedConfig().MessageIs(filter) && h.GetTypedConfig().UnmarshalTo(filter) == nil {
			policies(part, filter.GetRules(), filter.GetShadowRules())
		}
	}
	routes, ok := c.RoutesOf(manager)
	if !ok {
		return
	}
	for _, host := range routes.GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			add(envoyRule{name: route.GetName(), part: "routes " + routes.GetName(), route: true})
		}
	}
}

// Holders finds the proxies that have rules of these names, in the order of the
// nodes. Proxies whose configuration is not known are named in the second result.
func Holders(w *ask.World, names map[string]bool) (held []Held, unread []string) {
	for _, node := range w.Nodes {
		config, err := w.Proxies.Config(node)
		if err != nil {
			unread = append(unread, fmt.Sprintf("%s: %v", node, err))
			continue
		}
		rules := rulesOf(config)
		// Listeners come in no order.
		slices.SortStableFunc(rules, func(a, b envoyRule) int { return strings.Compare(a.part, b.part) })
		for _, rule := range rules {
			if names[rule.name] {
				held = append(held, Held{Proxy: node.String(), Part: rule.part, Rule: rule.name})
			}
		}
	}
	return held, unread
}
