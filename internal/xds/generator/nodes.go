// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	networkingapi "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config/schema/gvk"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// tlsModeLabel is on pods that speak mutual TLS.
const tlsModeLabel = "security.istio.io/tlsMode"

// nodes are the proxies that the objects show.
func nodes(g *gathered, cluster string) []xds.Node {
	var entries []xds.Entry
	for _, c := range g.configs {
		if entry, ok := c.Spec.(*networkingapi.WorkloadEntry); ok && c.GroupVersionKind == gvk.WorkloadEntry {
			entries = append(entries, xds.Entry{Namespace: c.Namespace, Name: c.Name, Labels: c.Labels, Spec: entry})
		}
	}
	return xds.NodesOf(g.pods, entries, xds.Common{
		TrustDomain: g.mesh.GetTrustDomain(), ClusterDomain: g.domain, Cluster: cluster,
		Interception: xds.Interception(g.mesh.GetDefaultConfig().GetInterceptionMode().String()),
	})
}
