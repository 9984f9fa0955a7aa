// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"

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

// CheckAll compares all clients with all targets. Done is told after each client; nil:
// nobody wants to know. Rows are in order of host, port, subset and client.
func (c *Checker) CheckAll(clients []Client, targets []Target, done func(client int)) []Row {
	found := make([][]Row, len(clients))
	inParallel(len(clients), func(i int) {
		for _, t := range targets {
			found[i] = append(found[i], c.Check(clients[i], t)...)
		}
		if done != nil {
			done(i)
		}
	})
	out := slices.Concat(found...)
	slices.SortStableFunc(out, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), strings.Compare(a.Subset, b.Subset), strings.Compare(a.Client, b.Client))
	})
	return out
}

// inParallel does n pieces of work, each once.
func inParallel(n int, do func(int)) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}
