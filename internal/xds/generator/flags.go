// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"istio.io/istio/pilot/pkg/features"
)

// Flags are environment variables of istiod by their names, with the values that
// they have there: PILOT_ENABLE_ALPN_FILTER=false. Only those of Known are taken:
// others need not change what a proxy gets, and must not be thought to have.
type Flags map[string]string

// switches are the flags that may change what a proxy gets, each with Istio's own
// variable for it (pilot/pkg/features).
var switches = map[string]*bool{
	"ENABLE_ENHANCED_DESTINATIONRULE_MERGE":            &features.EnableEnhancedDestinationRuleMerge,
	"ENABLE_LAYERED_WAYPOINT_AUTHORIZATION_POLICIES":   &features.WaypointLayeredAuthorizationPolicies,
	"ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY":         &features.EnableSelectorBasedK8sGatewayPolicy,
	"ENABLE_TLS_ON_SIDECAR_INGRESS":                    &features.EnableTLSOnSidecarIngress,
	"PILOT_DISABLE_MX_ALPN":                            &features.DisableMxALPN,
	"PILOT_ENABLE_ALPN_FILTER":                         &features.ALPNFilter,
	"PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES":           &features.EnableEDSForHeadless,
	"PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES":         &features.EnableK8SServiceSelectWorkloadEntries,
	"PILOT_ENABLE_METADATA_EXCHANGE":                   &features.MetadataExchange,
	"PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS":     &features.EnableMultipleCustomAuthzProviders,
	"PILOT_ENABLE_ROUTE_COLLAPSE_OPTIMIZATION":         &features.EnableRouteCollapse,
	"PILOT_ENABLE_SERVICEENTRY_SELECT_PODS":            &features.EnableServiceEntrySelectPods,
	"PILOT_ENABLE_STRICT_GATEWAY_MERGING":              &features.EnableStrictGatewayMerging,
	"PILOT_ENABLE_TELEMETRY_LABEL":                     &features.EnableTelemetryLabel,
	"PILOT_ENDPOINT_TELEMETRY_LABEL":                   &features.EndpointTelemetryLabel,
	"PILOT_FILTER_GATEWAY_CLUSTER_CONFIG":              &features.FilterGatewayClusterConfig,
	"PILOT_HTTP10":                                     &features.HTTP10,
	"PILOT_SCOPE_GATEWAY_TO_NAMESPACE":                 &features.ScopeGatewayToNamespace,
	"PILOT_SIDECAR_USE_REMOTE_ADDRESS":                 &features.UseRemoteAddress,
	"PILOT_SKIP_VALIDATE_TRUST_DOMAIN":                 &features.SkipValidateTrustDomain,
	"PREFER_DESTINATIONRULE_TLS_FOR_EXTERNAL_SERVICES": &features.PreferDestinationRulesTLSForExternalServices,
}

// ambient are the flags that have another default in an ambient mesh
// (pilot/pkg/features/ambient.go, registerAmbient).
var ambient = map[string]*bool{
	"PILOT_ENABLE_AMBIENT_WAYPOINTS":       &features.EnableAmbientWaypoints,
	"PILOT_ENABLE_SENDING_HBONE":           &features.EnableHBONESend,
	"PILOT_ENABLE_SIDECAR_LISTENING_HBONE": &features.EnableSidecarHBONEListening,
	"ENABLE_INGRESS_WAYPOINT_ROUTING":      &features.EnableIngressWaypointRouting,
}

const ambientFlag = "PILOT_ENABLE_AMBIENT"

// Known are the names of all flags that Configure takes, in order.
func Known() []string {
	names := slices.Concat(slices.Collect(maps.Keys(switches)), slices.Collect(maps.Keys(ambient)), []string{ambientFlag})
	slices.Sort(names)
	return names
}

var configured struct {
	sync.Mutex
	flags Flags
	// done: a generator has been made, or flags have been set.
	done bool
}

// Configure sets the flags of this process. It must come before the first New,
// and may be repeated only with the same flags: Istio reads them in the middle of
// its work.
func Configure(flags Flags) error {
	configured.Lock()
	defer configured.Unlock()
	if configured.done {
		if maps.Equal(flags, configured.flags) {
			return nil
		}
		return errors.New("setting Istio's flags: this process already works with others; use another process for another set")
	}
	values := map[*bool]bool{}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		value, err := strconv.ParseBool(flags[name])
		if err != nil {
			return fmt.Errorf("setting Istio's flag %s: %q is neither true nor false", name, flags[name])
		}
		switch {
		case name == ambientFlag:
			values[&features.EnableAmbient] = value
		case switches[name] != nil:
			values[switches[name]] = value
		case ambient[name] != nil:
			values[ambient[name]] = value
		default:
			return fmt.Errorf("setting Istio's flag %s: it is not among those that are known to change what a proxy gets: %s",
				name, strings.Join(Known(), ", "))
		}
	}
	if values[&features.EnableAmbient] {
		for _, variable := range ambient {
			if _, set := values[variable]; !set {
				values[variable] = true
			}
		}
	}
	for variable, value := range values {
		*variable = value
	}
	configured.flags, configured.done = maps.Clone(flags), true
	return nil
}

// fix ends the time in which flags may be set.
func fix() {
	configured.Lock()
	defer configured.Unlock()
	configured.done = true
}
