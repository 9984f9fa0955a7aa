// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"net/netip"
	"slices"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Ending is what becomes of connections to one endpoint of a row.
type Ending struct {
	Status Status
	// Accepts is what the endpoint takes; empty: it is not known, or nothing.
	Accepts []decide.Transport
	// Sends is what the client's end sends there.
	Sends []decide.Transport
	Why   string
}

// Endings are those at endpoints of some addresses, by ADDRESS:PORT.
func (r *Row) Endings(at func(netip.Addr) bool) map[string]Ending {
	out := map[string]Ending{}
	for address, status := range r.states {
		if to, err := netip.ParseAddrPort(address); err == nil && at(to.Addr()) {
			out[address] = r.ending(address, status)
		}
	}
	return out
}

func (r *Row) ending(address string, status Status) Ending {
	for i := range r.Endpoints {
		if e := &r.Endpoints[i]; slices.Contains(e.Addresses, address) {
			return Ending{e.Status, e.Accepts, []decide.Transport{e.Sends}, e.Why}
		}
	}
	return Ending{status, r.Accepts, r.Sends, r.Why}
}

// Forget lets go of what the proxy of a client was sent, where that can be had again. It
// is for questions about all clients of a large mesh, one after the other.
func (c *Checker) Forget(client Client) {
	forgetful, ok := c.world.Proxies.(interface{ Forget(node xds.Node) })
	if client.Node == nil || !ok {
		return
	}
	if config, err := c.world.Proxies.Config(*client.Node); err == nil {
		c.evaluator.Forget(config)
	}
	forgetful.Forget(*client.Node)
}
