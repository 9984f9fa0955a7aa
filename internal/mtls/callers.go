// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Admission is how a client comes to be let in by a port of a service.
type Admission int

const (
	// Refused is a client of which the server's rules let no request in.
	Refused Admission = iota
	// AsAnybody is one that they let in, and do not tell apart from others.
	AsAnybody
	// ByName is one that they tell apart, and let in.
	ByName
)

// Callers are those that a service lets in, port by port: what its proxies decide by
// certificates, and not whether the connections of a client get as far.
type Callers struct {
	service *directory.Service
	// open: no proxy decides.
	open bool
	// past are ports of the service whose connections go past the proxy of an endpoint.
	past map[uint16]bool
	// ports are those of endpoints; of endpoints that differ all.
	ports map[uint16][]ask.Callers
	// Notes say why callers may be missing.
	Notes []string
}

// Callers asks one proxy for each kind of the service's endpoints.
func (c *Checker) Callers(s *directory.Service) *Callers {
	out := &Callers{service: s, ports: map[uint16][]ask.Callers{}, past: map[uint16]bool{}}
	seen := map[string]bool{}
	for _, address := range s.Endpoints {
		nodes := c.world.Proxies.At(address)
		if len(nodes) == 0 {
			out.open = true
			continue
		}
		for _, p := range s.Ports {
			if captured, _ := nodes[0].Inbound(s.TargetAt(p, address)); captured != xds.Through {
				out.past[p.Number] = true
			}
		}
		key := alike(nodes[0])
		if seen[key] {
			continue
		}
		seen[key] = true
		callers, notes := c.world.Callers(nodes[0])
		for _, one := range callers {
			out.ports[one.Port] = append(out.ports[one.Port], one)
		}
		for _, note := range notes {
			if !slices.Contains(out.Notes, note) {
				out.Notes = append(out.Notes, note)
			}
		}
	}
	out.open = out.open || s.External
	return out
}

// Admits says how a client is let in by a port.
func (a *Callers) Admits(client Client, port directory.Port) Admission {
	best := Refused
	if a.open || a.past[port.Number] {
		best = AsAnybody
	}
	for _, number := range a.service.Targets(port) {
		for i := range a.ports[number] {
			best = max(best, admits(&a.ports[number][i], client))
		}
	}
	return best
}

func admits(c *ask.Callers, client Client) Admission {
	if client.Node == nil {
		// Of a service that is open to workloads it is the connection that fails.
		if c.Plaintext || c.Any {
			return AsAnybody
		}
		return Refused
	}
	account := client.Node.Namespace + "/" + cmp.Or(client.Node.ServiceAccount, client.Node.Name)
	switch {
	case slices.Contains(c.Named, account):
		return ByName
	case c.Any && !slices.Contains(c.Refused, account), c.Plaintext:
		return AsAnybody
	}
	return Refused
}

// Leads reports whether a client is led to a port of a service by what its proxy is
// told: a gateway by a route, and a workload by having the service's name, which a
// Sidecar or exportTo may keep from it. A client without a proxy goes anywhere. Where
// the proxy's configuration is not known it may lead there.
func (c *Checker) Leads(client Client, s *directory.Service, port uint16) bool {
	if client.Node == nil {
		return !s.External
	}
	config, err := c.world.Proxies.Config(*client.Node)
	switch {
	case err != nil:
		return true
	case client.Node.Type == xds.Router:
		return config.Leads(s.Host, port)
	}
	return len(config.Subsets(s.Host, port)) > 0 && config.Routed(s.Host, port)
}

// ServiceOf is the Service in front of a client; nil: there is none.
func (c *Checker) ServiceOf(client Client) *directory.Service { return c.serviceAt[client.Address] }

// Unproxied reports whether a service's workloads are without a proxy, and nothing else
// stands before them. False where it has no endpoint.
func (c *Checker) Unproxied(s *directory.Service) bool {
	for _, address := range s.Endpoints {
		if len(c.world.Proxies.At(address)) > 0 || c.world.Directory.Unfollowed(address) != "" {
			return false
		}
	}
	return len(s.Endpoints) > 0
}
