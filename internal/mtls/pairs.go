// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Targets are all services but those in front of gateways, in order: what a gateway takes
// depends on the name that a client asks for, and has nothing to do with the mesh's
// mutual TLS.
func (c *Checker) Targets() []Target {
	var out []Target
	for _, s := range c.world.Directory.Services() {
		if !slices.ContainsFunc(s.Endpoints, c.gatewayAt) {
			out = append(out, Target{Service: s})
		}
	}
	return out
}

func (c *Checker) gatewayAt(address netip.Addr) bool {
	return slices.ContainsFunc(c.world.Proxies.At(address), func(n xds.Node) bool { return n.Type == xds.Router })
}

// ClientsIn are the clients of a namespace; empty is all.
func (c *Checker) ClientsIn(namespace string) []Client {
	return slices.DeleteFunc(c.Clients(), func(one Client) bool { return namespace != "" && one.Ref.Namespace != namespace })
}

// TargetsIn are the targets in a namespace; empty is all.
func (c *Checker) TargetsIn(namespace string) []Target {
	return slices.DeleteFunc(c.Targets(), func(t Target) bool { return namespace != "" && t.Service.Name.Namespace != namespace })
}

// workers is how many clients are looked at at the same time.
const workers = 4

// CheckAll compares all clients with all targets. Rows are in order of host, port, subset
// and client.
func (c *Checker) CheckAll(clients []Client, targets []Target) []Row {
	found := make([][]Row, len(clients))
	parallel.Each(len(clients), workers, func(i int) {
		for _, t := range targets {
			found[i] = append(found[i], c.Check(clients[i], t)...)
		}
	})
	out := slices.Concat(found...)
	slices.SortStableFunc(out, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), strings.Compare(a.Subset, b.Subset), strings.Compare(a.Client, b.Client))
	})
	return out
}
