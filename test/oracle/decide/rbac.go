// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// rules makes a set of policies. Network filters get no matcher of headers.
func (d dice) rules(network bool) *rbacv3.RBAC {
	out := &rbacv3.RBAC{
		Action:   pick(d, []rbacv3.RBAC_Action{rbacv3.RBAC_ALLOW, rbacv3.RBAC_ALLOW, rbacv3.RBAC_DENY, rbacv3.RBAC_DENY, rbacv3.RBAC_LOG}),
		Policies: map[string]*rbacv3.Policy{},
	}
	for i := range d.IntN(4) {
		p := &rbacv3.Policy{}
		for range 1 + d.IntN(2) {
			p.Permissions = append(p.Permissions, d.permission(0, network))
			p.Principals = append(p.Principals, d.principal(0, network))
		}
		// Names that sort in another way than they were made, and have spaces.
		out.Policies[fmt.Sprintf("%s %d[%d]", pick(d, []string{"b", "A", "ns[a]-policy[b]-rule", "z\tz"}), d.IntN(20), i)] = p
	}
	return out
}

func (d dice) httpRBAC() *httprbacv3.RBAC {
	out := &httprbacv3.RBAC{}
	if d.chance(0.9) {
		out.Rules = d.rules(false)
	}
	if d.chance(0.4) {
		out.ShadowRules = d.rules(false)
	}
	if d.chance(0.3) {
		out.ShadowRulesStatPrefix = pick(d, []string{"istio_dry_run_allow_", "s_"})
	}
	if d.chance(0.2) {
		out.RulesStatPrefix = "r_"
	}
	return out
}

func (d dice) permission(depth int, network bool) *rbacv3.Permission {
	if depth < 3 && d.chance(0.4) {
		set := &rbacv3.Permission_Set{}
		for range 1 + d.IntN(3) {
			set.Rules = append(set.Rules, d.permission(depth+1, network))
		}
		switch d.IntN(3) {
		case 0:
			return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: set}}
		case 1:
			return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: set}}
		}
		return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: set.Rules[0]}}
	}
	return d.onePermission(network)
}

func (d dice) onePermission(network bool) *rbacv3.Permission {
	kind := d.IntN(11)
	if network && kind == 0 {
		kind = 4
	}
	switch kind {
	case 0:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: d.header()}}
	case 1:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: d.path()}}
	case 2:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_UriTemplate{UriTemplate: d.template()}}
	case 3:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: d.cidr()}}
	case 4:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: 1 + d.Uint32N(65535)}}
	case 5:
		start := d.Int32N(65000)
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPortRange{DestinationPortRange: &typev3.Int32Range{Start: start, End: start + 1 + d.Int32N(65536-start)}}}
	case 6:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: d.metadata("test")}} //nolint:staticcheck // Deprecated, and in use.
	case 7:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_SourcedMetadata{SourcedMetadata: d.sourced()}}
	case 8:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: d.text(servers)}}
	case 9:
		if !network {
			return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: d.header()}}
		}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
}

func (d dice) sourced() *rbacv3.SourcedMetadata {
	return &rbacv3.SourcedMetadata{
		MetadataMatcher: d.metadata("test"),
		MetadataSource:  pick(d, []rbacv3.MetadataSource{rbacv3.MetadataSource_DYNAMIC, rbacv3.MetadataSource_ROUTE}),
	}
}

func (d dice) principal(depth int, network bool) *rbacv3.Principal {
	if depth < 3 && d.chance(0.35) {
		set := &rbacv3.Principal_Set{}
		for range 1 + d.IntN(3) {
			set.Ids = append(set.Ids, d.principal(depth+1, network))
		}
		switch d.IntN(3) {
		case 0:
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: set}}
		case 1:
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: set}}
		}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: set.Ids[0]}}
	}
	return d.onePrincipal(network)
}

func (d dice) onePrincipal(network bool) *rbacv3.Principal {
	kind := d.IntN(11)
	if network && kind == 0 {
		kind = 8
	}
	switch kind {
	case 0:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: d.header()}}
	case 1:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_UrlPath{UrlPath: d.path()}}
	case 2:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: d.metadata("test")}} //nolint:staticcheck // Deprecated, and in use.
	case 3:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourcedMetadata{SourcedMetadata: d.sourced()}}
	case 4:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourceIp{SourceIp: d.cidr()}} //nolint:staticcheck // Deprecated, and in use.
	case 5:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: d.cidr()}}
	case 6:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: d.cidr()}}
	case 7:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_FilterState{FilterState: &matcherv3.FilterStateMatcher{
			Key: pick(d, []string{stateKey, "missing"}), Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: d.text(values)},
		}}}
	case 8, 9:
		a := &rbacv3.Principal_Authenticated{}
		if d.chance(0.8) {
			a.PrincipalName = d.text(append(append([]string{"CN=b", "CN=client,O=Shop", ""}, uris...), dns...))
		}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: a}}
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}
