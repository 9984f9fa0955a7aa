// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/model"
)

// dumpIndex is what can be recognised in the configuration of one proxy.
type dumpIndex struct {
	// pushed is when istiod began the push that the configuration belongs to, by
	// its own clock, cut to whole seconds.
	pushed time.Time
	// enforced is what the RBAC filters do, and tried what they only count (Istio's
	// dry run).
	enforced, tried policies
	// httpFilters are the names of all HTTP filters.
	httpFilters set
	// virtualServices has the paths of each named route of each VirtualService.
	virtualServices map[model.Name]map[string]set
	// gateways has the server names that each Gateway terminates TLS for.
	gateways map[model.Name]*gatewayMarks
	// issuers has the audiences of every JWT provider.
	issuers map[string][]set
	// destinationRules are those that clusters name.
	destinationRules map[model.Name]bool
	// outbound are the ports and hosts of clusters for what the workload calls, as
	// PORT|HOST.
	outbound set
	// refusesUnknown: calls of hosts that the proxy does not know end at it.
	refusesUnknown bool
	// read holds the RBAC and JWT filters that were read, as bytes: a gateway has
	// the same ones in the chain of every host.
	read set
	// mutualChains and plainChains count inbound filter chains by whether they
	// ask the client for a certificate.
	mutualChains, plainChains int
}

type gatewayMarks struct{ hosts, secrets set }

// policies are those of RBAC filters, by policy id; an id is there once for each filter
// chain that has it.
type policies struct{ http, tcp map[string][]literals }

func newPolicies() policies {
	return policies{http: map[string][]literals{}, tcp: map[string][]literals{}}
}

func readPolicies(into map[string][]literals, rules *rbacv3.RBAC) {
	for id, policy := range rules.GetPolicies() {
		into[id] = append(into[id], readPolicy(policy))
	}
}

// readDump indexes what somebody asks for: resources of the types wanted.
func readDump(dump *adminv3.ConfigDump, wanted func(resourceType) bool) (*dumpIndex, error) {
	x := &dumpIndex{
		enforced: newPolicies(), tried: newPolicies(), httpFilters: set{},
		virtualServices: map[model.Name]map[string]set{}, gateways: map[model.Name]*gatewayMarks{},
		issuers: map[string][]set{}, destinationRules: map[model.Name]bool{}, read: set{}, outbound: set{},
	}
	for _, part := range dump.Configs {
		var err error
		switch {
		case part.MessageIs((*adminv3.ListenersConfigDump)(nil)):
			err = x.readListeners(part)
		case wanted(routes) && part.MessageIs((*adminv3.RoutesConfigDump)(nil)):
			err = x.readRoutes(part)
		case wanted(clusters) && part.MessageIs((*adminv3.ClustersConfigDump)(nil)):
			err = x.readClusters(part)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a configuration dump: %w", err)
		}
	}
	return x, nil
}

// readVersion understands Istio's push version: an RFC 3339 time, a slash and a
// counter. Another form leaves the time unknown.
func (x *dumpIndex) readVersion(version string) {
	text, _, _ := strings.Cut(version, "/")
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		x.pushed = t
	}
}

// readListeners leaves a sidecar's outbound half alone: nothing of ours is in it,
// and it is most of the bytes.
func (x *dumpIndex) readListeners(part *anypb.Any) error {
	dump := &adminv3.ListenersConfigDump{}
	if err := part.UnmarshalTo(dump); err != nil {
		return err
	}
	x.readVersion(dump.GetVersionInfo())
	var all []*listenerv3.Listener
	for _, dynamic := range dump.GetDynamicListeners() {
		listener := &listenerv3.Listener{}
		if err := dynamic.GetActiveState().GetListener().UnmarshalTo(listener); err != nil {
			return err
		}
		all = append(all, listener)
		if listener.GetName() == catchAllListener {
			if err := x.readCatchAll(listener); err != nil {
				return err
			}
		}
	}
	sidecar := slices.ContainsFunc(all, inbound)
	for _, listener := range all {
		if sidecar && !inbound(listener) {
			continue
		}
		for _, chain := range listener.GetFilterChains() {
			if err := x.readChain(chain, sidecar); err != nil {
				return err
			}
		}
	}
	return nil
}

func inbound(l *listenerv3.Listener) bool {
	return l.GetTrafficDirection() == corev3.TrafficDirection_INBOUND
}

func (x *dumpIndex) readChain(chain *listenerv3.FilterChain, sidecar bool) error {
	socket, err := downstreamTLS(chain)
	if err != nil {
		return err
	}
	switch {
	case !sidecar || strings.HasSuffix(chain.GetName(), "blackhole"):
	case socket.GetRequireClientCertificate().GetValue():
		x.mutualChains++
	default:
		x.plainChains++
	}
	for _, filter := range chain.GetFilters() {
		config := filter.GetTypedConfig()
		switch {
		case config.MessageIs((*hcmv3.HttpConnectionManager)(nil)):
			manager := &hcmv3.HttpConnectionManager{}
			if err := config.UnmarshalTo(manager); err != nil {
				return err
			}
			x.readGateway(manager.GetRds().GetRouteConfigName(), chain, socket)
			if err := x.readHTTPFilters(manager); err != nil {
				return err
			}
		case config.MessageIs((*networkrbacv3.RBAC)(nil)):
			rbac := &networkrbacv3.RBAC{}
			if err := config.UnmarshalTo(rbac); err != nil {
				return err
			}
			readPolicies(x.enforced.tcp, rbac.GetRules())
			readPolicies(x.tried.tcp, rbac.GetShadowRules())
		}
	}
	return nil
}

func downstreamTLS(chain *listenerv3.FilterChain) (*tlsv3.DownstreamTlsContext, error) {
	config := chain.GetTransportSocket().GetTypedConfig()
	if !config.MessageIs((*tlsv3.DownstreamTlsContext)(nil)) {
		return nil, nil
	}
	socket := &tlsv3.DownstreamTlsContext{}
	return socket, config.UnmarshalTo(socket)
}

// readGateway attributes a TLS chain by the name of its route configuration:
// https.PORT.SERVER.GATEWAY.NAMESPACE. Names with dots in them are ambiguous;
// ours have none.
func (x *dumpIndex) readGateway(routeConfig string, chain *listenerv3.FilterChain, socket *tlsv3.DownstreamTlsContext) {
	parts := strings.Split(routeConfig, ".")
	if socket == nil || len(parts) < 5 || parts[0] != "https" {
		return
	}
	name := model.Name{Namespace: parts[len(parts)-1], Name: parts[len(parts)-2]}
	marks := x.gateways[name]
	if marks == nil {
		marks = &gatewayMarks{hosts: set{}, secrets: set{}}
		x.gateways[name] = marks
	}
	marks.hosts.add(chain.GetFilterChainMatch().GetServerNames()...)
	if len(chain.GetFilterChainMatch().GetServerNames()) == 0 {
		marks.hosts.add("*")
	}
	for _, secret := range socket.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
		marks.secrets.add(strings.TrimPrefix(secret.GetName(), "kubernetes://"))
	}
}

func (x *dumpIndex) readHTTPFilters(manager *hcmv3.HttpConnectionManager) error {
	for _, filter := range manager.GetHttpFilters() {
		x.httpFilters.add(filter.GetName())
		config := filter.GetTypedConfig()
		if _, again := x.read[string(config.GetValue())]; again {
			continue
		}
		switch {
		case config.MessageIs((*httprbacv3.RBAC)(nil)):
			x.read.add(string(config.GetValue()))
			rbac := &httprbacv3.RBAC{}
			if err := config.UnmarshalTo(rbac); err != nil {
				return err
			}
			readPolicies(x.enforced.http, rbac.GetRules())
			readPolicies(x.tried.http, rbac.GetShadowRules())
		case config.MessageIs((*jwtv3.JwtAuthentication)(nil)):
			x.read.add(string(config.GetValue()))
			jwt := &jwtv3.JwtAuthentication{}
			if err := config.UnmarshalTo(jwt); err != nil {
				return err
			}
			for _, provider := range jwt.GetProviders() {
				issuer := provider.GetIssuer()
				x.issuers[issuer] = append(x.issuers[issuer], newSet(provider.GetAudiences()...))
			}
		}
	}
	return nil
}

func (x *dumpIndex) readRoutes(part *anypb.Any) error {
	dump := &adminv3.RoutesConfigDump{}
	if err := part.UnmarshalTo(dump); err != nil {
		return err
	}
	for _, dynamic := range dump.GetDynamicRouteConfigs() {
		config := &routev3.RouteConfiguration{}
		if err := dynamic.GetRouteConfig().UnmarshalTo(config); err != nil {
			return err
		}
		for _, host := range config.GetVirtualHosts() {
			for _, route := range host.GetRoutes() {
				x.readRoute(route)
			}
		}
	}
	return nil
}

func (x *dumpIndex) readRoute(route *routev3.Route) {
	name, ok := configOf(route.GetMetadata(), "virtual-service")
	if !ok {
		return
	}
	if x.virtualServices[name] == nil {
		x.virtualServices[name] = map[string]set{}
	}
	paths := x.virtualServices[name][route.GetName()]
	if paths == nil {
		paths = set{}
		x.virtualServices[name][route.GetName()] = paths
	}
	switch match := route.GetMatch().GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Path:
		paths.add(match.Path)
	case *routev3.RouteMatch_Prefix:
		paths.add(match.Prefix)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		paths.add(match.PathSeparatedPrefix)
	case *routev3.RouteMatch_SafeRegex:
		paths.add(match.SafeRegex.GetRegex())
	}
}

func (x *dumpIndex) readClusters(part *anypb.Any) error {
	dump := &adminv3.ClustersConfigDump{}
	if err := part.UnmarshalTo(dump); err != nil {
		return err
	}
	for _, dynamic := range dump.GetDynamicActiveClusters() {
		cluster := &clusterv3.Cluster{}
		if err := dynamic.GetCluster().UnmarshalTo(cluster); err != nil {
			return err
		}
		if host, ok := outboundHost(cluster.GetName()); ok {
			x.outbound.add(host)
		}
		if name, ok := configOf(cluster.GetMetadata(), "destination-rule"); ok {
			x.destinationRules[name] = true
		}
	}
	return nil
}

// configOf reads the reference that Istio leaves in metadata:
// /apis/GROUP/VERSION/namespaces/NAMESPACE/KIND/NAME.
func configOf(metadata *corev3.Metadata, kind string) (model.Name, bool) {
	path := metadata.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
	parts := strings.Split(path, "/")
	if n := len(parts); n >= 4 && parts[n-2] == kind && parts[n-4] == "namespaces" {
		return model.Name{Namespace: parts[n-3], Name: parts[n-1]}, true
	}
	return model.Name{}, false
}
