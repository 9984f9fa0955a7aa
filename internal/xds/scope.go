// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
)

// Scope is what limits whom the workload of a sidecar calls.
type Scope struct {
	// Namespace and Name are those of the Sidecar that Istio takes for it, and Egress is what
	// that lists; no Name: there is none, and the workload sees all that is exported to it.
	Namespace, Name string
	Egress          []*networkingapi.IstioEgressListener
	// Registry: hosts that are not listed, or without a list not known, are kept in
	// (REGISTRY_ONLY).
	Registry bool
	// Own tells a workload from others of its namespace that the same limits, and that are
	// led in another way all the same: by EnvoyFilters or routes that choose it.
	Own string
}

// Same reports whether two of one namespace limit alike, whatever they are called.
func (s Scope) Same(o Scope) bool {
	return s.Registry == o.Registry && slices.EqualFunc(s.Egress, o.Egress, func(a, b *networkingapi.IstioEgressListener) bool { return proto.Equal(a, b) })
}

// Lists finds the place at which a scope lists a host of a namespace for a workload in
// another one, the most exact first; false: it lists it nowhere.
func (s Scope) Lists(client, namespace, host string, port uint16) (listener, at int, ok bool) {
	best := 0
	for i, l := range s.Egress {
		if number := l.GetPort().GetNumber(); number != 0 && number != uint32(port) {
			continue
		}
		for j, text := range l.GetHosts() {
			of, name, _ := strings.Cut(text, "/")
			if of == "." {
				of = client
			}
			if of != "*" && of != namespace {
				continue
			}
			if exact := exactness(name, host); exact > best {
				best, listener, at, ok = exact, i, j, true
			}
		}
	}
	return listener, at, ok
}

// exactness is how much of a host a name of a Sidecar says; 0: it is another one.
func exactness(name, host string) int {
	domain, wild := strings.CutPrefix(name, "*")
	switch {
	case name == host:
		return len(host) + 2
	case wild && strings.HasSuffix(host, domain):
		return len(domain) + 1
	}
	return 0
}
