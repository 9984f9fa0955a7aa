// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

// maxName is the longest name of an object (RFC 1123 subdomain).
const maxName = 253

// nameFor is a name for a rule about a host: "cart-shop-mutual-tls".
func nameFor(host string) string {
	short, _, _ := strings.Cut(host, ".svc.")
	name := strings.Trim(strings.NewReplacer(".", "-", "*", "any").Replace(strings.ToLower(short)), "-") + "-mutual-tls"
	return name[max(0, len(name)-maxName):]
}

// tlsField are the fields in which a rule says TLS.
var tlsField = regexp.MustCompile(`^spec(?:\.subsets\[(\d+)\])?\.trafficPolicy(?:\.portLevelSettings\[(\d+)\])?(?:\.tls)?$`)

// set sets TLS in a field; nil takes it away, and what is empty without it, which Istio
// would refuse. False: there is no such field.
func set(spec *networkingapi.DestinationRule, field string, w wish) bool {
	m := tlsField.FindStringSubmatch(field)
	if m == nil {
		return false
	}
	holder := &spec.TrafficPolicy
	if m[1] != "" {
		at, err := strconv.Atoi(m[1])
		if err != nil || at >= len(spec.GetSubsets()) {
			return false
		}
		holder = &spec.Subsets[at].TrafficPolicy
	}
	tls := (*networkingapi.ClientTLSSettings)(w).DeepCopy()
	if m[2] == "" {
		if *holder == nil {
			*holder = &networkingapi.TrafficPolicy{}
		}
		(*holder).Tls = tls
		if proto.Equal(*holder, &networkingapi.TrafficPolicy{}) {
			*holder = nil
		}
		return true
	}
	at, err := strconv.Atoi(m[2])
	if err != nil || at >= len((*holder).GetPortLevelSettings()) {
		return false
	}
	entry := (*holder).PortLevelSettings[at]
	entry.Tls = tls
	if proto.Equal(entry, &networkingapi.TrafficPolicy_PortTrafficPolicy{Port: entry.GetPort()}) {
		(*holder).PortLevelSettings = slices.Delete((*holder).PortLevelSettings, at, at+1)
	}
	if proto.Equal(*holder, &networkingapi.TrafficPolicy{}) {
		*holder = nil
	}
	return true
}

// inMerged is where a view's field is in a rule that has the subsets of all that are
// merged.
func inMerged(rule *resolve.Rule, view resolve.TLSView) string {
	for i, s := range rule.Subsets {
		prefix := fmt.Sprintf("spec.subsets[%d].", s.Index)
		if rest, ok := strings.CutPrefix(view.Field, prefix); ok && s.From == view.Object {
			return fmt.Sprintf("spec.subsets[%d].%s", i, rest)
		}
	}
	return view.Field
}

// renew writes settings in their form of today: a new object should not have what is
// deprecated.
func renew(spec *networkingapi.DestinationRule) {
	policies := []*networkingapi.TrafficPolicy{spec.GetTrafficPolicy()}
	for _, s := range spec.GetSubsets() {
		policies = append(policies, s.GetTrafficPolicy())
	}
	for _, p := range policies {
		renewBalancer(p.GetLoadBalancer())
		for _, port := range p.GetPortLevelSettings() {
			renewBalancer(port.GetLoadBalancer())
		}
	}
}

// renewBalancer writes LEAST_REQUEST for LEAST_CONN, which Istio takes for the same
// (networking/v1alpha3/destination_rule.proto).
func renewBalancer(lb *networkingapi.LoadBalancerSettings) {
	if simple, ok := lb.GetLbPolicy().(*networkingapi.LoadBalancerSettings_Simple); ok && simple.Simple == networkingapi.LoadBalancerSettings_LEAST_CONN { //nolint:staticcheck // Old rules have it.
		simple.Simple = networkingapi.LoadBalancerSettings_LEAST_REQUEST
	}
}
