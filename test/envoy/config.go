// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package envoy

import (
	"fmt"
	"net/netip"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Bootstrap is a configuration of static listeners and clusters. Listeners that
// send requests on need a cluster of theirs in it.
func Bootstrap(listeners []*listenerv3.Listener, clusters ...*clusterv3.Cluster) *bootstrapv3.Bootstrap {
	return &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: "test", Cluster: "test"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: listeners, Clusters: clusters,
		},
	}
}

// HTTPListener is a listener on 127.0.0.1 with one filter chain. The connection
// manager gets a stat prefix and an access log that Logged reads, if it has none.
// Without a TLS context (see Authority.Server) it takes plaintext; with one, the
// TLS inspector runs, without which Envoy knows no requested server name.
func HTTPListener(name string, manager *hcmv3.HttpConnectionManager, tls *corev3.TransportSocket) *listenerv3.Listener {
	manager, _ = proto.Clone(manager).(*hcmv3.HttpConnectionManager)
	if manager.GetStatPrefix() == "" {
		manager.StatPrefix = name
	}
	if len(manager.GetAccessLog()) == 0 {
		manager.AccessLog = AccessLog()
	}
	out := &listenerv3.Listener{
		Name: name, Address: Address("127.0.0.1", 0),
		FilterChains: []*listenerv3.FilterChain{{
			TransportSocket: tls,
			Filters:         []*listenerv3.Filter{NetworkFilter("envoy.filters.network.http_connection_manager", manager)},
		}},
	}
	if tls != nil {
		out.ListenerFilters = []*listenerv3.ListenerFilter{TLSInspector()}
	}
	return out
}

// TLSInspector is the listener filter that reads SNI and ALPN.
func TLSInspector() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: Any(&tlsinspectorv3.TlsInspector{})},
	}
}

// Manager is a connection manager with HTTP filters in front of the router and a
// static route table.
func Manager(routes *routev3.RouteConfiguration, filters ...*hcmv3.HttpFilter) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes},
		HttpFilters:    append(filters, HTTPFilter("envoy.filters.http.router", &routerv3.Router{})),
	}
}

// Everything is a route table that answers all requests with 200 by itself.
func Everything() *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: "everything", VirtualHosts: []*routev3.VirtualHost{{
		Name: "everything", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Name:  "everything",
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}},
			Action: &routev3.Route_DirectResponse{
				DirectResponse: &routev3.DirectResponseAction{Status: 200},
			},
		}},
	}}}
}

// HTTPFilter and NetworkFilter wrap a filter's configuration.
func HTTPFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: Any(config)}}
}

// NetworkFilter wraps a network filter's configuration.
func NetworkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: Any(config)}}
}

// Any wraps a message. It panics at one that cannot be encoded, which is a
// mistake in a test.
func Any(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", m, err))
	}
	return a
}

// Cluster sends to the given addresses over HTTP/1.1.
func Cluster(name string, endpoints ...netip.AddrPort) *clusterv3.Cluster {
	group := &endpointv3.LocalityLbEndpoints{}
	for _, e := range endpoints {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: Address(e.Addr().String(), uint32(e.Port())),
			}},
		})
	}
	return &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(5 * time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment:       &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}},
	}
}

// AccessLog is the access log that Logged reads; for connection managers, TCP
// proxies and listeners.
func AccessLog() []*accesslogv3.AccessLog {
	format := map[string]any{
		"client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "server": "%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%",
		"code": "%RESPONSE_CODE%", "details": "%RESPONSE_CODE_DETAILS%", "flags": "%RESPONSE_FLAGS%",
		"route": "%ROUTE_NAME%", "cluster": "%UPSTREAM_CLUSTER%", "upstream": "%UPSTREAM_HOST%",
		"termination": "%CONNECTION_TERMINATION_DETAILS%", "transport": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
		"path": "%REQ(:PATH)%", "authority": "%REQ(:AUTHORITY)%", "method": "%REQ(:METHOD)%",
		"remote": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "chain": "%FILTER_CHAIN_NAME%",
		"peer": "%DOWNSTREAM_PEER_URI_SAN%", "subject": "%DOWNSTREAM_PEER_SUBJECT%", "sni": "%REQUESTED_SERVER_NAME%",
		"rbac":        "%DYNAMIC_METADATA(envoy.filters.http.rbac)%",
		"networkRBAC": "%DYNAMIC_METADATA(envoy.filters.network.rbac)%",
		"jwt":         "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%",
	}
	fields, err := structpb.NewStruct(format)
	if err != nil {
		panic(fmt.Sprintf("writing the format of the access log: %v", err))
	}
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: Any(&filelogv3.FileAccessLog{
			Path: accessLog,
			AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: fields},
			}},
		})},
	}}
}
