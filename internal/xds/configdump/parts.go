// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package configdump

import (
	"fmt"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// The resource types, as problems name them.
const (
	listenerType   = "Listener"
	routeType      = "RouteConfiguration"
	clusterType    = "Cluster"
	assignmentType = "ClusterLoadAssignment"
	secretType     = "Secret"
	extensionType  = "TypedExtensionConfig"
)

func (r *reading) bootstrap(dump *adminv3.BootstrapConfigDump) error {
	r.resources.Runtime = xds.RuntimeOf(dump.GetBootstrap())
	if r.node != nil {
		return nil
	}
	node, err := xds.ParseAnnouncement(dump.GetBootstrap().GetNode())
	if err != nil {
		return fmt.Errorf("its bootstrap is not of a proxy of Istio: %w", err)
	}
	r.node = &node
	return nil
}

// resource reads an Any of a known type; what cannot be read has been named by
// tolerate, or is named here.
func resource[T proto.Message](r *reading, kind string, packed *anypb.Any, into T) bool {
	if packed == nil {
		return false
	}
	if packed.MessageIs(&anypb.Any{}) || packed.UnmarshalTo(into) != nil {
		if packed.GetTypeUrl() != unreadable {
			r.problem(xds.Unresolved, kind, "", packed.GetTypeUrl(), "it is not a "+kind)
		}
		return false
	}
	return true
}

func (r *reading) refused(kind, name string, state *adminv3.UpdateFailureState) {
	if state != nil {
		r.problem(xds.Refused, kind, name, "", state.GetDetails())
	}
}

func (r *reading) listeners(dump *adminv3.ListenersConfigDump) {
	r.version = dump.GetVersionInfo()
	for _, static := range dump.GetStaticListeners() {
		r.listener(static.GetListener())
	}
	for _, dynamic := range dump.GetDynamicListeners() {
		r.refused(listenerType, dynamic.GetName(), dynamic.GetErrorState())
		if dynamic.GetWarmingState() != nil {
			r.problem(xds.Warming, listenerType, dynamic.GetName(), "", "Envoy waits for what the listener needs")
		}
		r.seen(dynamic.GetActiveState().GetLastUpdated())
		r.listener(dynamic.GetActiveState().GetListener())
	}
}

func (r *reading) listener(packed *anypb.Any) {
	if l := new(listenerv3.Listener); resource(r, listenerType, packed, l) {
		r.resources.Listeners = append(r.resources.Listeners, l)
	}
}

// routes leaves out static ones: those are inside of listeners as well.
func (r *reading) routes(dump *adminv3.RoutesConfigDump) {
	for _, dynamic := range dump.GetDynamicRouteConfigs() {
		routes := &routev3.RouteConfiguration{}
		if resource(r, routeType, dynamic.GetRouteConfig(), routes) {
			r.resources.Routes = append(r.resources.Routes, routes)
		}
		r.refused(routeType, routes.GetName(), dynamic.GetErrorState())
		r.seen(dynamic.GetLastUpdated())
	}
}

func (r *reading) clusters(dump *adminv3.ClustersConfigDump) {
	add := func(packed *anypb.Any) *clusterv3.Cluster {
		cluster := &clusterv3.Cluster{}
		if resource(r, clusterType, packed, cluster) {
			r.resources.Clusters = append(r.resources.Clusters, cluster)
		}
		return cluster
	}
	for _, static := range dump.GetStaticClusters() {
		add(static.GetCluster())
	}
	for _, active := range dump.GetDynamicActiveClusters() {
		r.refused(clusterType, add(active.GetCluster()).GetName(), active.GetErrorState())
		r.seen(active.GetLastUpdated())
	}
	for _, warming := range dump.GetDynamicWarmingClusters() {
		cluster := &clusterv3.Cluster{}
		if resource(r, clusterType, warming.GetCluster(), cluster) {
			r.problem(xds.Warming, clusterType, cluster.GetName(), "", "Envoy waits for what the cluster needs")
		}
		r.refused(clusterType, cluster.GetName(), warming.GetErrorState())
	}
}

// endpoints leaves out static ones: those are inside of clusters as well.
func (r *reading) endpoints(dump *adminv3.EndpointsConfigDump) {
	for _, dynamic := range dump.GetDynamicEndpointConfigs() {
		assignment := &endpointv3.ClusterLoadAssignment{}
		if resource(r, assignmentType, dynamic.GetEndpointConfig(), assignment) {
			r.resources.Assignments = append(r.resources.Assignments, assignment)
		}
		r.refused(assignmentType, assignment.GetClusterName(), dynamic.GetErrorState())
	}
}

func (r *reading) extensions(dump *adminv3.EcdsConfigDump) {
	for _, filter := range dump.GetEcdsFilters() {
		extension := &corev3.TypedExtensionConfig{}
		if resource(r, extensionType, filter.GetEcdsFilter(), extension) {
			r.resources.Extensions = append(r.resources.Extensions, extension)
		}
		r.refused(extensionType, extension.GetName(), filter.GetErrorState())
	}
}

func (r *reading) secrets(dump *adminv3.SecretsConfigDump) {
	r.resources.Secrets = []string{}
	for _, static := range dump.GetStaticSecrets() {
		r.resources.Secrets = append(r.resources.Secrets, static.GetName())
	}
	for _, active := range dump.GetDynamicActiveSecrets() {
		r.resources.Secrets = append(r.resources.Secrets, active.GetName())
		r.refused(secretType, active.GetName(), active.GetErrorState())
	}
	for _, warming := range dump.GetDynamicWarmingSecrets() {
		r.problem(xds.Warming, secretType, warming.GetName(), "", "the secret has not been given to Envoy")
		r.refused(secretType, warming.GetName(), warming.GetErrorState())
	}
}
