// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"context"
	"fmt"

	"istio.io/istio/pilot/pkg/model"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// Inbound is what a sidecar is sent, without what concerns the connections that
// its workload opens: some fifty times less to make in a mesh of 1,000 services.
// Connections to the workload are decided by it as by Config (a test compares the
// two). Other proxies get all.
func (g *Generator) Inbound(ctx context.Context, node xds.Node) (config *xds.Config, err error) {
	if node.Type != xds.Sidecar {
		return g.Config(ctx, node)
	}
	defer func() {
		if p := recover(); p != nil {
			config, err = nil, fmt.Errorf("generating the inbound configuration of %s: Istio's generator panics: %v", node, p)
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	proxy, err := g.proxy(node)
	if err != nil {
		return nil, fmt.Errorf("generating the inbound configuration of %s: %w", node, err)
	}
	// The scope says which services of others it sees: none. What a Sidecar object
	// says of its ingress, and the policies about mutual TLS, stay.
	full := proxy.SidecarScope
	proxy.SidecarScope = &model.SidecarScope{
		Name: full.Name, Namespace: full.Namespace, Sidecar: full.Sidecar, Version: full.Version,
		AuthnPolicies: full.AuthnPolicies, OutboundTrafficPolicy: full.OutboundTrafficPolicy,
	}
	var r xds.Resources
	for _, step := range []func(*model.Proxy, *xds.Resources) error{g.listeners, g.clusters} {
		if err := step(proxy, &r); err != nil {
			return nil, fmt.Errorf("generating the inbound configuration of %s: %w", node, err)
		}
	}
	made := g.made
	made.Version = g.push.PushVersion
	return xds.NewConfig(node, made, r, g.problems...), nil
}
