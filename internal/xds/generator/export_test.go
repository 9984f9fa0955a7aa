// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// SameControlPlane reports whether two generators work on one control plane.
func SameControlPlane(a, b *Generator) bool { return a.plane == b.plane }

// SameConfig is what sides are compared by.
var SameConfig = sameConfig

// IstioScope is the Sidecar that Istio takes for a proxy, where it holds, and whether it keeps
// in what is not known.
func (g *Generator) IstioScope(node xds.Node) (name string, registry bool, err error) {
	proxy, err := g.proxy(node)
	if err != nil {
		return "", false, err
	}
	found := proxy.SidecarScope
	if found.Sidecar != nil {
		name = found.Name
	}
	return name, found.OutboundTrafficPolicy.GetMode() == networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY, nil
}
