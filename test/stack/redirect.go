// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"fmt"
	"net/netip"
)

// interception is INTERCEPTION_MODE of a sidecar.
func (o ApplicationOptions) interception() string {
	if o.Redirected {
		return "REDIRECT"
	}
	return "NONE"
}

// outboundPort and inboundPort are those of Istio's virtual listeners.
const (
	outboundPort = 15001
	inboundPort  = 15006
)

// takeRedirected changes two things of the virtual listeners of a sidecar. They bind the
// pod's address, since all pods share the machine's. And the outbound one reads where a
// connection meant to go from the PROXY protocol, where iptables would have the kernel
// tell: both listener filters call the same function of Envoy, after which nothing tells
// the two apart (restoreLocalAddress in source/extensions/filters/listener/proxy_protocol
// and .../original_dst). It is the deprecated field that puts the filter behind
// original_dst, which on a machine with conntrack finds the listener's own address.
func (s *Stack) takeRedirected(ctx context.Context, a *Application, labels map[string]string) error {
	selected := ""
	for name, value := range labels {
		selected += fmt.Sprintf("%s: %q, ", name, value)
	}
	return s.Apply(ctx, fmt.Appendf(nil, `
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
`, a.Name, a.Namespace, selected, a.Address, outboundPort, inboundPort))
}

// RedirectAddress returns host:port where the sidecar of an application that is
// Redirected takes connections, each of which begins with a Redirection.
func (a *Application) RedirectAddress() string { return endpoint(a.Address, outboundPort) }

// Redirection is what a connection to RedirectAddress begins with: it meant to go to an
// address, as one of the application's (PROXY protocol, version 1).
func (a *Application) Redirection(to netip.AddrPort) string {
	const source = 40000 // any port: nothing looks at it
	return fmt.Sprintf("PROXY TCP4 %s %s %d %d\r\n", a.Address, to.Addr(), source, to.Port())
}
