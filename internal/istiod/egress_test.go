// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"
	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// catchAll is a proxy that sends what it does not know to a cluster.
func catchAll(t *testing.T, chain, cluster string) *dumpIndex {
	t.Helper()
	proxy, err := anypb.New(&tcpproxyv3.TcpProxy{ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster}})
	if err != nil {
		t.Fatal(err)
	}
	x := &dumpIndex{}
	if err := x.readCatchAll(&listenerv3.Listener{Name: catchAllListener, DefaultFilterChain: &listenerv3.FilterChain{
		Name: chain, Filters: []*listenerv3.Filter{{ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: proxy}}},
	}}); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestASidecarIsThereOnceUnknownHostsAreRefused(t *testing.T) {
	find := sidecar(&networkingapi.Sidecar{})
	for _, c := range []struct {
		name, chain, cluster string
		want                 likeness
	}{
		{"what is unknown ends at the proxy", catchAllChain, xds.BlackHole, alike},
		{"what is unknown passes", catchAllChain, "PassthroughCluster", absent},
		{"what comes to the listener itself ends at the proxy", "virtualOutbound-blackhole", xds.BlackHole, absent},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, why := find(catchAll(t, c.chain, c.cluster)); got != c.want {
				t.Errorf("%v (%s), want %v", got, why, c.want)
			}
		})
	}
}

func TestAServiceEntryIsThereOnceAllOfItsPortsAre(t *testing.T) {
	find := serviceEntry(&networkingapi.ServiceEntry{Hosts: []string{"api.example.com"}, Ports: []*networkingapi.ServicePort{{Number: 443}, {Number: 80}}})
	for _, c := range []struct {
		name     string
		clusters []string
		want     likeness
	}{
		{"both ports", []string{"outbound|443||api.example.com", "outbound|80||api.example.com"}, alike},
		{"one port", []string{"outbound|443||api.example.com"}, different},
		{"other hosts and directions", []string{"outbound|443||api.example.net", "inbound|80||", "outbound|80|v1|api.example.com", "BlackHoleCluster"}, absent},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &dumpIndex{outbound: set{}}
			for _, name := range c.clusters {
				if host, ok := outboundHost(name); ok {
					x.outbound.add(host)
				}
			}
			if got, why := find(x); got != c.want {
				t.Errorf("%v (%s), want %v", got, why, c.want)
			}
		})
	}
}
