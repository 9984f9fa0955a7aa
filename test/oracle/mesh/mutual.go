// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// The headers by which requests of the oracle about mutual TLS say where to: at the
// gateway the host, and everywhere the subset.
const (
	headerTarget = "x-target"
	headerSubset = "x-subset"
)

// versions are the subsets that DestinationRules of the stage name.
var versions = []string{"v1", "v2"}

// composeMutual writes a configuration of what decides about mutual TLS, at all levels,
// and of routes to every service and subset.
func composeMutual(seed uint64, s *stage) []object {
	a := &author{Rand: rand.New(rand.NewPCG(seed, 2)), stage: s, n: map[string]int{}, more: headlessHosts()}
	for range pick(a.Rand, 0, 1, 1, 2, 2, 3, 4) {
		a.peerAuthentication()
	}
	if a.chance(40) {
		a.add(security, "PeerAuthentication", rootNamespace, fields{"mtls": fields{"mode": pick(a.Rand, "STRICT", "STRICT", "PERMISSIVE", "DISABLE")}})
	}
	for range pick(a.Rand, 0, 1, 1, 2, 3, 4, 5) {
		a.destinationRule()
	}
	if a.chance(25) {
		a.serviceEntry()
	}
	if a.chance(10) {
		a.sidecar()
	}
	a.toSubsets()
	a.toEverything()
	return a.out
}

// toSubsets has the sidecars send requests to the subset that they name.
func (a *author) toSubsets() {
	for _, host := range slices.Concat(meshHosts, headlessHosts()) {
		var routes []fields
		for _, version := range versions {
			routes = append(routes, fields{
				"match": []fields{{"headers": fields{headerSubset: fields{"exact": version}}}},
				"route": []fields{{"destination": fields{"host": host, "subset": version}}},
			})
		}
		routes = append(routes, fields{"route": []fields{{"destination": fields{"host": host}}}})
		a.add(networking, "VirtualService", "shop", fields{"hosts": []string{host}, "http": routes})
	}
}

// target is a port of a service; raw: it is not for HTTP.
type target struct {
	host string
	port int
	raw  bool
	// headless: the client finds the addresses of workloads by the name.
	headless bool
}

func (t target) String() string { return fmt.Sprintf("%s:%d", t.host, t.port) }

// targets are those of the stage.
func targets() []target {
	out := []target{
		{host: meshHosts[0], port: 8081}, {host: meshHosts[0], port: 9001, raw: true},
		{host: meshHosts[1], port: 9002, raw: true}, {host: meshHosts[2], port: 9003, raw: true},
	}
	for _, host := range meshHosts {
		out = append(out, target{host: host, port: 8080})
	}
	for _, host := range headlessHosts() {
		out = append(out, target{host: host, port: 8080, headless: true}, target{host: host, port: sparePort, raw: true, headless: true})
	}
	out = append(out, target{host: headless[0].host(), port: elsewherePort, headless: true})
	return out
}

// toEverything has the gateway send requests to whatever they name.
func (a *author) toEverything() {
	a.add(networking, "Gateway", "edge", fields{
		"selector": map[string]string{"istio": "door"},
		"servers":  []fields{{"port": fields{"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": []string{"*"}}},
	})
	var routes []fields
	for _, t := range targets() {
		if t.raw {
			continue
		}
		for _, version := range append(slices.Clone(versions), "") {
			headers := fields{headerTarget: fields{"exact": t.String()}}
			destination := fields{"host": t.host, "port": fields{"number": t.port}}
			if version != "" {
				headers[headerSubset] = fields{"exact": version}
				destination["subset"] = version
			}
			routes = append(routes, fields{"match": []fields{{"headers": headers}}, "route": []fields{{"destination": destination}}})
		}
	}
	a.add(networking, "VirtualService", "edge", fields{"hosts": []string{"*"}, "gateways": []string{"gateway-0"}, "http": routes})
}
