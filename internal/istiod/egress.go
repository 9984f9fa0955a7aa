// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"fmt"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// Istio's names of the listener for what no other one takes, and of its last filter chain:
// where what is not known goes.
const (
	catchAllListener = "virtualOutbound"
	catchAllChain    = "virtualOutbound-catchall-tcp"
)

// readCatchAll notes where a proxy sends what it does not know.
func (x *dumpIndex) readCatchAll(listener *listenerv3.Listener) error {
	for _, chain := range xds.FilterChains(listener) {
		if chain.GetName() != catchAllChain {
			continue
		}
		for _, filter := range chain.GetFilters() {
			proxy := &tcpproxyv3.TcpProxy{}
			if !filter.GetTypedConfig().MessageIs(proxy) {
				continue
			}
			if err := filter.GetTypedConfig().UnmarshalTo(proxy); err != nil {
				return err
			}
			x.refusesUnknown = proxy.GetCluster() == xds.BlackHole
		}
	}
	return nil
}

// outboundHost is the port and host in the name of a cluster for calls, as PORT|HOST; ok
// is false for other clusters and for subsets.
func outboundHost(cluster string) (host string, ok bool) {
	parts := strings.Split(cluster, "|")
	if len(parts) != 4 || parts[0] != "outbound" || parts[2] != "" {
		return "", false
	}
	return parts[1] + "|" + parts[3], true
}

// sidecar is recognised by what it does to hosts that it does not list. Which hosts there
// are besides is not the Sidecar's alone to say.
func sidecar(*networkingapi.Sidecar) finder {
	return func(x *dumpIndex) (likeness, string) {
		if !x.refusesUnknown {
			return absent, ""
		}
		return alike, ""
	}
}

func serviceEntry(spec *networkingapi.ServiceEntry) finder {
	return func(x *dumpIndex) (likeness, string) {
		found := 0
		missing := ""
		for _, host := range spec.GetHosts() {
			for _, port := range spec.GetPorts() {
				if _, ok := x.outbound[fmt.Sprintf("%d|%s", port.GetNumber(), host)]; ok {
					found++
				} else {
					missing = fmt.Sprintf("port %d of %s is not there", port.GetNumber(), host)
				}
			}
		}
		switch {
		case missing == "":
			return alike, ""
		case found == 0:
			return absent, ""
		}
		return different, missing
	}
}
