// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// RouteNames are the route configurations that listeners name, in order. They are
// what a proxy asks for next.
func RouteNames(r Resources) []string {
	names := map[string]bool{}
	eachManager(r.Listeners, func(manager *hcmv3.HttpConnectionManager) {
		if rds := manager.GetRds(); rds != nil {
			names[rds.GetRouteConfigName()] = true
		}
	})
	return slices.Sorted(maps.Keys(names))
}

// ExtensionNames are the filters that listeners name and do not have in them, in
// order.
func ExtensionNames(r Resources) []string {
	names := map[string]bool{}
	for _, l := range r.Listeners {
		for _, filter := range l.GetListenerFilters() {
			if filter.GetConfigDiscovery() != nil {
				names[filter.GetName()] = true
			}
		}
		for _, chain := range FilterChains(l) {
			for _, filter := range chain.GetFilters() {
				if filter.GetConfigDiscovery() != nil {
					names[filter.GetName()] = true
				}
			}
		}
	}
	eachManager(r.Listeners, func(manager *hcmv3.HttpConnectionManager) {
		for _, filter := range manager.GetHttpFilters() {
			if filter.GetConfigDiscovery() != nil {
				names[filter.GetName()] = true
			}
		}
	})
	return slices.Sorted(maps.Keys(names))
}

// AssignmentNames are the endpoints that clusters name, in order.
func AssignmentNames(r Resources) []string {
	names := map[string]bool{}
	for _, c := range r.Clusters {
		if c.GetType() == clusterv3.Cluster_EDS {
			names[AssignmentName(c)] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Unsent are problems: what the resources name and do not contain.
func Unsent(r Resources) []Problem {
	var out []Problem
	missing := func(kind string, names []string, has map[string]bool) {
		for _, name := range names {
			if !has[name] {
				out = append(out, Problem{Kind: Missing, Type: kind, Resource: name, Detail: "it is named and was not given"})
			}
		}
	}
	missing("RouteConfiguration", RouteNames(r), namesOf(r.Routes, (*routev3.RouteConfiguration).GetName))
	missing("ClusterLoadAssignment", AssignmentNames(r), namesOf(r.Assignments, (*endpointv3.ClusterLoadAssignment).GetClusterName))
	extensions := map[string]bool{}
	for _, e := range r.Extensions {
		extensions[e.GetName()] = true
	}
	missing("TypedExtensionConfig", ExtensionNames(r), extensions)
	return out
}

func namesOf[T any](resources []T, name func(T) string) map[string]bool {
	out := make(map[string]bool, len(resources))
	for _, r := range resources {
		out[name(r)] = true
	}
	return out
}

// FilterChains are all of a listener, the one by default last.
func FilterChains(l *listenerv3.Listener) []*listenerv3.FilterChain {
	if last := l.GetDefaultFilterChain(); last != nil {
		return append(slices.Clone(l.GetFilterChains()), last)
	}
	return l.GetFilterChains()
}

// eachManager passes every HTTP connection manager that can be read; one that
// cannot is for the evaluator to stumble over.
func eachManager(listeners []*listenerv3.Listener, do func(*hcmv3.HttpConnectionManager)) {
	for _, l := range listeners {
		for _, chain := range FilterChains(l) {
			for _, filter := range chain.GetFilters() {
				if manager, err := Manager(filter.GetTypedConfig()); err == nil {
					do(manager)
				}
			}
		}
	}
}
