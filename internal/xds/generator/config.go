// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"weak"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/util"
	labelutil "istio.io/istio/pilot/pkg/serviceregistry/util/label"
	v3 "istio.io/istio/pilot/pkg/xds/v3"
	"istio.io/istio/pkg/util/sets"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// Config implements xds.Source: what a proxy that connects now is sent at first.
// The node need not be among Nodes.
func (g *Generator) Config(ctx context.Context, node xds.Node) (*xds.Config, error) {
	return g.config(ctx, node, g.routes)
}

// ConfigOnce is the same for one question, about one proxy after the other: Istio's cache
// keeps none of the routes, which are as large as the mesh in each namespace.
func (g *Generator) ConfigOnce(ctx context.Context, node xds.Node) (*xds.Config, error) {
	return g.config(ctx, node, g.routesOnce)
}

func (g *Generator) config(ctx context.Context, node xds.Node, routes func(*model.Proxy, *xds.Resources) error) (config *xds.Config, err error) {
	// Istio's generators have no errors for odd objects, and where they do not
	// expect one they panic.
	defer func() {
		if p := recover(); p != nil {
			config, err = nil, fmt.Errorf("generating the configuration of %s: Istio's generator panics: %v", node, p)
		}
	}()
	proxy, err := g.proxy(node)
	if err != nil {
		return nil, fmt.Errorf("generating the configuration of %s: %w", node, err)
	}
	var r xds.Resources
	for _, step := range []func(*model.Proxy, *xds.Resources) error{g.listeners, g.clusters, routes, g.endpoints} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(proxy, &r); err != nil {
			return nil, fmt.Errorf("generating the configuration of %s: %w", node, err)
		}
	}
	problems := slices.Concat(g.problems, xds.Unsent(r))
	made := g.made
	made.Version = g.push.PushVersion
	return xds.NewConfig(node, made, r, problems...), nil
}

// proxy is what istiod makes of a proxy that connects
// (pilot/pkg/xds/ads.go, initProxyMetadata and initializeProxy).
func (g *Generator) proxy(node xds.Node) (*model.Proxy, error) {
	announced := node.Announcement()
	metadata, err := model.ParseMetadata(announced.Metadata)
	if err != nil {
		return nil, err
	}
	proxy, err := model.ParseServiceNodeWithMetadata(announced.Id, metadata)
	if err != nil {
		return nil, err
	}
	env := g.server.Env()
	proxy.ConfigNamespace = model.GetProxyConfigNamespace(proxy)
	proxy.XdsNode = announced
	proxy.SetWorkloadLabels(env)
	proxy.Locality = locality(proxy.Labels)
	proxy.Labels = labelutil.AugmentLabels(proxy.Labels, metadata.ClusterID, util.LocalityToString(proxy.Locality),
		proxy.GetNodeName(), metadata.Network)
	proxy.SetServiceTargets(env.ServiceDiscovery)
	proxy.SetSidecarScope(g.push)
	if proxy.Type == model.Router || proxy.IsAmbientEastWestGateway() {
		proxy.SetGatewaysForProxy(g.push)
	}
	proxy.LastPushContext = g.push
	proxy.DiscoverIPMode()
	proxy.WatchedResources = map[string]*model.WatchedResource{}
	return proxy, nil
}

// locality is where the workload runs, as its node's labels say.
func locality(labels map[string]string) *corev3.Locality {
	return &corev3.Locality{
		Region: labels[labelutil.LabelTopologyRegion], Zone: labels[labelutil.LabelTopologyZone],
		SubZone: labels["topology.istio.io/subzone"],
	}
}

func (g *Generator) listeners(proxy *model.Proxy, r *xds.Resources) error {
	if proxy.Type == model.Router {
		// Making these, Istio writes into its Gateway objects, which several proxies share
		// (pilot/pkg/networking/core/gateway.go, the cipher suites).
		g.gateways.Lock()
		defer g.gateways.Unlock()
	}
	var err error
	if r.Listeners, err = generate[*listenerv3.Listener](g, proxy, v3.ListenerType, nil, nil); err != nil {
		return err
	}
	if names := xds.ExtensionNames(*r); len(names) > 0 {
		r.Extensions, err = generate[*corev3.TypedExtensionConfig](g, proxy, v3.ExtensionConfigurationType, names, nil)
	}
	return err
}

func (g *Generator) clusters(proxy *model.Proxy, r *xds.Resources) error {
	var err error
	r.Clusters, err = generate[*clusterv3.Cluster](g, proxy, v3.ClusterType, nil, &g.messages)
	return err
}

func (g *Generator) routes(proxy *model.Proxy, r *xds.Resources) error {
	return g.routesFor(proxy, r, &g.messages)
}

func (g *Generator) routesOnce(proxy *model.Proxy, r *xds.Resources) error {
	return g.routesFor(proxy, r, nil)
}

func (g *Generator) routesFor(proxy *model.Proxy, r *xds.Resources, shared *messages) error {
	names := xds.RouteNames(*r)
	if len(names) == 0 {
		return nil
	}
	var err error
	r.Routes, err = generate[*routev3.RouteConfiguration](g, proxy, v3.RouteType, names, shared)
	return err
}

func (g *Generator) endpoints(proxy *model.Proxy, r *xds.Resources) error {
	names := xds.AssignmentNames(*r)
	if len(names) == 0 {
		return nil
	}
	var err error
	r.Assignments, err = generate[*endpointv3.ClusterLoadAssignment](g, proxy, v3.EndpointType, names, &g.messages)
	return err
}

// generate asks Istio's generator for resources of one type; no names are all. Those that
// other proxies get too are kept by Istio's cache and in shared, if there is such.
func generate[M interface {
	*T
	proto.Message
}, T any](g *Generator, proxy *model.Proxy, typeURL string, names []string, shared *messages) ([]M, error) {
	watched := &model.WatchedResource{TypeUrl: typeURL, ResourceNames: sets.New(names...)}
	proxy.WatchedResources[typeURL] = watched
	request := &model.PushRequest{Forced: true, Push: g.push}
	if shared != nil {
		// Istio's cache keeps nothing for a push without a start.
		request.Start = g.started
	}
	resources, _, err := g.server.Discovery.Generators[typeURL].Generate(proxy, watched, request)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", typeURL, err)
	}
	out := make([]M, 0, len(resources))
	for _, resource := range resources {
		message, err := decoded[M](shared, resource)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", resource.GetName(), err)
		}
		out = append(out, message)
	}
	return out, nil
}

// messages remembers what Istio's cache gives to one proxy after the other, for as long as
// somebody has it: the same resource is decoded once.
type messages struct {
	mu sync.Mutex
	// known are weak pointers to messages of any type.
	known map[weak.Pointer[discoveryv3.Resource]]any
}

func decoded[M interface {
	*T
	proto.Message
}, T any](m *messages, resource *discoveryv3.Resource) (M, error) {
	key := weak.Make(resource)
	if m != nil {
		m.mu.Lock()
		known, ok := m.known[key].(weak.Pointer[T])
		m.mu.Unlock()
		if ok {
			if message := M(known.Value()); message != nil {
				return message, nil
			}
		}
	}
	message := M(new(T))
	if err := resource.GetResource().UnmarshalTo(message); err != nil || m == nil {
		return message, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[weak.Pointer[discoveryv3.Resource]]any{}
	}
	m.known[key] = weak.Make((*T)(message))
	runtime.AddCleanup((*T)(message), func(key weak.Pointer[discoveryv3.Resource]) { forget[T](m, key) }, key)
	return message, nil
}

// forget lets go of a message that nobody has, unless it was decoded again.
func forget[T any](m *messages, key weak.Pointer[discoveryv3.Resource]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.known[key].(weak.Pointer[T]); ok && known.Value() == nil {
		delete(m.known, key)
	}
}
