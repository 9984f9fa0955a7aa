// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package redirect has connections come to a sidecar as iptables would bring them, on a
// machine where nobody may redirect any.
package redirect

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// OutboundPort and InboundPort are those of Istio's virtual listeners.
const (
	OutboundPort = 15001
	InboundPort  = 15006
)

// Filters change two things of the virtual listeners of a sidecar. They bind the pod's
// address, since all pods share the machine's. And the outbound one reads where a
// connection meant to go from the PROXY protocol, where iptables would have the kernel
// tell: both listener filters call the same function of Envoy, after which nothing tells
// the two apart (restoreLocalAddress in source/extensions/filters/listener/proxy_protocol
// and .../original_dst). It is the deprecated field that puts the filter behind
// original_dst, which on a machine with conntrack finds the listener's own address.
func Filters(namespace, name, address string, labels map[string]string) []byte {
	selected := ""
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		selected += fmt.Sprintf("%s: %q, ", key, labels[key])
	}
	return fmt.Appendf(nil, `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: %[1]s-redirected, namespace: %[2]s}
spec:
  workloadSelector: {labels: {%[3]s}}
  configPatches:
  - applyTo: LISTENER
    match: {context: SIDECAR_OUTBOUND, listener: {name: virtualOutbound}}
    patch: {operation: MERGE, value: {address: {socket_address: {address: %[4]s, port_value: %[5]d}}}}
  - applyTo: LISTENER
    match: {context: SIDECAR_INBOUND, listener: {name: virtualInbound}}
    patch: {operation: MERGE, value: {address: {socket_address: {address: %[4]s, port_value: %[6]d}}}}
  - applyTo: FILTER_CHAIN
    match: {context: SIDECAR_OUTBOUND, listener: {name: virtualOutbound}}
    patch: {operation: MERGE, value: {use_proxy_proto: true}}
`, name, namespace, selected, address, OutboundPort, InboundPort)
}

// Header is what a connection to the outbound listener of a pod begins with: it meant to
// go to an address, as one of the pod's (PROXY protocol, version 1).
func Header(pod string, to netip.AddrPort) string {
	const source = 40000 // any port: nothing looks at it
	return fmt.Sprintf("PROXY TCP4 %s %s %d %d\r\n", pod, to.Addr(), source, to.Port())
}
