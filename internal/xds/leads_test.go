// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// filter is a listener's filter with a configuration.
func filter(t *testing.T, config proto.Message) *listenerv3.Filter {
	t.Helper()
	packed, err := anypb.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &listenerv3.Filter{ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed}}
}

func TestAProxyLeadsToWhereItsRoutesTunnelsAndMirrorsEnd(t *testing.T) {
	cluster := func(name string) string { return xds.OutboundCluster(80, "", name) }
	routes := &routev3.RouteConfiguration{Name: "http.8080", VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"named-only"}, Routes: []*routev3.Route{
		{Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier:      &routev3.RouteAction_Cluster{Cluster: xds.OutboundCluster(80, "v1", "one")},
			RequestMirrorPolicies: []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: cluster("mirrored")}},
		}}},
		{Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
			Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: cluster("heavy")}, {Name: cluster("light")}},
		}}}}},
		{Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}}},
	}}}}
	manager := filter(t, &hcmv3.HttpConnectionManager{RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routes.GetName()}}})
	tunnel := filter(t, &tcpv3.TcpProxy{ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster("tunnel")}})
	split := filter(t, &tcpv3.TcpProxy{ClusterSpecifier: &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: &tcpv3.TcpProxy_WeightedCluster{
		Clusters: []*tcpv3.TcpProxy_WeightedCluster_ClusterWeight{{Name: cluster("left")}, {Name: cluster("right")}},
	}}})
	var listeners []*listenerv3.Listener
	for _, f := range []*listenerv3.Filter{manager, tunnel, split} {
		listeners = append(listeners, &listenerv3.Listener{FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{f}}}})
	}
	c := xds.NewConfig(xds.Node{Type: xds.Router}, xds.Provenance{}, xds.Resources{Listeners: listeners, Routes: []*routev3.RouteConfiguration{routes}})
	for host, want := range map[string]bool{
		"one": true, "mirrored": true, "heavy": true, "light": true, "tunnel": true, "left": true, "right": true, "named-only": false, "": false,
	} {
		if c.Leads(host, 80) != want || c.Leads(host, 81) {
			t.Errorf("%q: %v at port 80, %v at port 81", host, c.Leads(host, 80), c.Leads(host, 81))
		}
	}
}
