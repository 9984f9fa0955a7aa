// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/trellis-mesh/trellis/internal/ask/directory"
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

// In reports whether a service is in a namespace; empty is any.
func In(s *directory.Service, namespace string) bool {
	return namespace == "" || s.Name.Namespace == namespace
}

// workers is how many clients are looked at at the same time.
const workers = 4

// CheckAll compares all clients with all targets. Done is told after each client, from
// several goroutines; nil: nobody wants to know. Rows are in order of host, port, subset and client.
func (c *Checker) CheckAll(clients []Client, targets []Target, done func(client int)) []Row {
	found := make([][]Row, len(clients))
	var work errgroup.Group
	work.SetLimit(workers)
	for i := range clients {
		work.Go(func() error {
			for _, t := range targets {
				found[i] = append(found[i], c.Check(clients[i], t)...)
			}
			if done != nil {
				done(i)
			}
			return nil
		})
	}
	// None of them fails.
	_ = work.Wait()
	out := slices.Concat(found...)
	slices.SortStableFunc(out, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), strings.Compare(a.Subset, b.Subset), strings.Compare(a.Client, b.Client))
	})
	return out
}
