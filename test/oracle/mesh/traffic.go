// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

func (a *author) trafficPolicy(deep bool) fields {
	out := fields{}
	if a.chance(70) {
		out["tls"] = pick(a.Rand,
			fields{"mode": "DISABLE"}, fields{"mode": "DISABLE"}, fields{"mode": "ISTIO_MUTUAL"}, fields{"mode": "ISTIO_MUTUAL"},
			fields{"mode": "ISTIO_MUTUAL", "sni": "custom.sni"},
			fields{"mode": "ISTIO_MUTUAL", "subjectAltNames": []string{"spiffe://cluster.local/ns/shop/sa/cart"}},
			fields{"mode": "SIMPLE", "insecureSkipVerify": true}, fields{"mode": "SIMPLE", "insecureSkipVerify": true, "sni": "www.example.com"})
	}
	if a.chance(20) {
		out["loadBalancer"] = pick(a.Rand, fields{"simple": "ROUND_ROBIN"}, fields{"simple": "RANDOM"}, fields{"consistentHash": fields{"httpHeaderName": "x-user"}}, fields{"simple": "PASSTHROUGH"})
	}
	if a.chance(25) {
		out["connectionPool"] = fields{"http": fields{"maxRequestsPerConnection": 1, "h2UpgradePolicy": pick(a.Rand, "UPGRADE", "DO_NOT_UPGRADE", "DEFAULT")}}
	}
	if deep && a.chance(30) {
		ports := []fields{}
		for _, port := range some(a, []int{8080, 8081, 9001, 9002, 9003}, 2) {
			own := a.trafficPolicy(false)
			own["port"] = fields{"number": port}
			ports = append(ports, own)
		}
		out["portLevelSettings"] = ports
	}
	return out
}

func (a *author) destinationRule() {
	namespace := pick(a.Rand, "shop", "bank", "people", "edge", "legacy", rootNamespace)
	spec := fields{"host": one(a, append(slices.Concat(meshHosts, a.more), "cart.shop.svc.cluster.local", "*.svc.cluster.local", "*.shop.svc.cluster.local", "*.local", "*.partner.test"))}
	if namespace == "shop" && a.chance(25) {
		spec["host"] = "cart"
	}
	if a.chance(75) {
		spec["trafficPolicy"] = a.trafficPolicy(true)
	}
	if a.chance(60) {
		var subsets []fields
		for _, version := range []string{"v1", "v2"} {
			subset := fields{"name": version, "labels": map[string]string{"version": version}}
			if a.chance(25) {
				subset["trafficPolicy"] = a.trafficPolicy(true)
			}
			subsets = append(subsets, subset)
		}
		spec["subsets"] = subsets
	}
	if a.chance(20) {
		spec["exportTo"] = pick(a.Rand, []string{"."}, []string{"*"}, []string{"people", "edge"})
	}
	if a.chance(15) {
		if s := a.selector(namespace); s != nil {
			spec["workloadSelector"] = s
		}
	}
	a.add(networking, "DestinationRule", namespace, spec)
}

// serviceEntry makes hosts outside of the mesh, which the workload without a
// proxy answers for.
func (a *author) serviceEntry() {
	mainframe := a.stage.apps["mainframe"]
	ledger := a.stage.apps["ledger"]
	spec := fields{
		"hosts": some(a, entryHosts, 2), "resolution": pick(a.Rand, "STATIC", "STATIC", "STATIC", "NONE", "DNS"), "location": pick(a.Rand, "MESH_EXTERNAL", "MESH_EXTERNAL", "MESH_INTERNAL"),
		"ports": []fields{{"number": 8080, "name": "http", "protocol": "HTTP", "targetPort": portOf(mainframe.PortAddress("web"))}},
	}
	if spec["resolution"] == "STATIC" {
		endpoints := []fields{{"address": mainframe.Address}}
		if a.chance(25) {
			endpoints = append(endpoints, fields{"address": ledger.Address, "serviceAccount": "ledger", "ports": fields{"http": portOf(ledger.PortAddress("web"))}})
		}
		spec["endpoints"] = endpoints
	}
	if spec["resolution"] == "DNS" {
		spec["hosts"] = []string{pick(a.Rand, "localhost.partner.test", "api.partner.test")}
		spec["endpoints"] = []fields{{"address": "localhost"}}
	}
	if spec["resolution"] == "NONE" {
		delete(spec["ports"].([]fields)[0], "targetPort") //nolint:errcheck // It was written above.
	}
	if a.chance(20) {
		spec["exportTo"] = pick(a.Rand, []string{"."}, []string{"*"})
	}
	a.add(networking, "ServiceEntry", one(a, workingSpaces), spec)
}

// gateways opens the gateway and routes what comes in.
func (a *author) gateways() {
	n := pick(a.Rand, 1, 1, 2, 3)
	var names []string
	for range n {
		namespace := pick(a.Rand, "edge", "edge", "edge", "shop")
		var servers []fields
		for i := range pick(a.Rand, 1, 2, 2, 3) {
			servers = append(servers, a.server(i))
		}
		o := a.add(networking, "Gateway", namespace, fields{"selector": map[string]string{"istio": "door"}, "servers": servers})
		names = append(names, namespace+"/"+o.name)
	}
	for range pick(a.Rand, 1, 2, 2, 3) {
		a.gatewayService(names)
	}
}

func (a *author) serverHosts() []string {
	hosts := some(a, append(slices.Clone(outerHosts), "*.example.com", "*", "*.test"), 2)
	for i := range hosts {
		if a.chance(15) {
			hosts[i] = pick(a.Rand, "shop/", "*/", "./", "people/") + hosts[i]
		}
	}
	// istiod ends with a panic where others follow that it rewrites
	// (pilot/pkg/model/gateway.go, sanitizeServerHostNamespace).
	if slices.Contains(hosts, "*/*") {
		return []string{"*/*"}
	}
	return hosts
}

func (a *author) server(i int) fields {
	out := fields{"hosts": a.serverHosts()}
	switch n := a.IntN(20); {
	case n < 11:
		out["port"] = fields{"number": 443, "name": fmt.Sprintf("https-%d", i), "protocol": "HTTPS"}
		out["tls"] = pick(a.Rand,
			fields{"mode": "SIMPLE", "credentialName": "wildcard"}, fields{"mode": "SIMPLE", "credentialName": "wildcard"}, fields{"mode": "SIMPLE", "credentialName": "bank"},
			fields{"mode": "MUTUAL", "credentialName": "mutual"}, fields{"mode": "OPTIONAL_MUTUAL", "credentialName": "mutual"},
			fields{"mode": "SIMPLE", "credentialName": "wildcard", "minProtocolVersion": "TLSV1_3"}, fields{"mode": "ISTIO_MUTUAL"})
	case n < 17:
		out["port"] = fields{"number": 80, "name": fmt.Sprintf("http-%d", i), "protocol": pick(a.Rand, "HTTP", "HTTP", "HTTP2")}
		if a.chance(25) {
			out["tls"] = fields{"httpsRedirect": true}
		}
	case n < 19:
		out["port"] = fields{"number": a.stage.passthrough, "name": fmt.Sprintf("tls-%d", i), "protocol": "TLS"}
		out["tls"] = pick(a.Rand, fields{"mode": "PASSTHROUGH"}, fields{"mode": "SIMPLE", "credentialName": "wildcard"})
		out["bind"] = a.stage.gateway.Address
	default:
		out["port"] = fields{"number": a.stage.passthrough, "name": fmt.Sprintf("tcp-%d", i), "protocol": "TCP"}
		out["bind"] = a.stage.gateway.Address
	}
	return out
}

func (a *author) gatewayService(gateways []string) {
	namespace := pick(a.Rand, "edge", "shop", "shop", "people")
	spec := fields{"hosts": some(a, append(slices.Clone(outerHosts), "*.example.com", "*"), 3), "gateways": some(a, gateways, 2)}
	if slices.Contains(spec["hosts"].([]string), "*") { //nolint:errcheck // It was written above.
		spec["hosts"] = []string{"*"}
	}
	routes := a.httpRoutes(false)
	if a.chance(10) {
		a.delegate(namespace, routes)
	}
	spec["http"] = routes
	if a.chance(25) {
		spec["tls"] = []fields{{"match": []fields{{"sniHosts": []string{pick(a.Rand, "www.example.com", "*.example.com", "bank.test")}, "port": a.stage.passthrough}}, "route": []fields{{
			"destination": fields{"host": pick(a.Rand, "cart.shop.svc.cluster.local", "ledger.bank.svc.cluster.local"), "port": fields{"number": 8080}},
		}}}}
		hosts := spec["tls"].([]fields)[0]["match"].([]fields)[0]["sniHosts"].([]string)                    //nolint:errcheck // It was written above.
		if all := spec["hosts"].([]string); !slices.Contains(all, hosts[0]) && !slices.Contains(all, "*") { //nolint:errcheck // It was written above.
			spec["hosts"] = append(all, hosts[0])
		}
	}
	if a.chance(20) {
		spec["tcp"] = []fields{{"match": []fields{{"port": a.stage.passthrough}}, "route": []fields{{
			"destination": fields{"host": "ledger.bank.svc.cluster.local", "port": fields{"number": 9002}},
		}}}}
	}
	a.add(networking, "VirtualService", namespace, spec)
}

// sidecar narrows what a workload's proxy sees.
func (a *author) sidecar() {
	name := pick(a.Rand, "visitor", "cart-1", "ledger")
	base := a.stage.sidecars[name]
	spec := maps.Clone(base.spec.(fields)) //nolint:errcheck // The stage wrote it.
	hosts := pick(a.Rand, []string{"./*", rootNamespace + "/*"}, []string{"shop/*"}, []string{"*/cart.shop.svc.cluster.local", "bank/*"}, []string{"~/*"})
	egress := []any{}
	for _, e := range spec["egress"].([]any) { //nolint:errcheck // The stage wrote it.
		own := maps.Clone(e.(fields)) //nolint:errcheck // The stage wrote it.
		own["hosts"] = plain(hosts)
		egress = append(egress, own)
	}
	spec["egress"] = egress
	base.spec = spec
	a.out = append(a.out, base)
}

func portOf(address string) int { return int(netip.MustParseAddrPort(address).Port()) }
