// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ads

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/xds"
)

const (
	listeners  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routes     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	clusters   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpoints  = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	extensions = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
)

// registering are metadata that make istiod write objects for a proxy that
// connects (pilot/pkg/autoregistration); they do not change what it sends.
var registering = []string{"AUTO_REGISTER_GROUP", "WORKLOAD_ENTRY"}

type stream = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient

// fetch is one conversation with istiod. It is for one goroutine.
type fetch struct {
	stream    stream
	node      *corev3.Node
	resources xds.Resources
	asked     map[string]*question
	version   string
}

// question is the state of one resource type.
type question struct {
	names    []string
	version  string
	nonce    string
	answered bool
}

func newFetch(s stream, node xds.Node) *fetch {
	announced := node.Announcement()
	for _, name := range registering {
		delete(announced.Metadata.Fields, name)
	}
	return &fetch{stream: s, node: announced, asked: map[string]*question{}}
}

// run asks as an Envoy does: clusters and listeners first, then what they name.
// Whatever istiod changes meanwhile is taken in.
func (f *fetch) run() error {
	for _, typeURL := range []string{clusters, listeners} {
		if err := f.ask(typeURL, nil); err != nil {
			return err
		}
	}
	for range maximumMessages {
		if f.complete() {
			return f.stream.CloseSend()
		}
		answer, err := f.stream.Recv()
		if err != nil {
			return err
		}
		if err := f.take(answer); err != nil {
			return err
		}
	}
	return fmt.Errorf("istiod sent %d messages and was not done: its configuration changes faster than it can be read", maximumMessages)
}

func (f *fetch) complete() bool {
	for _, q := range f.asked {
		if !q.answered {
			return false
		}
	}
	return true
}

// ask sends a question unless the same one was asked before.
func (f *fetch) ask(typeURL string, names []string) error {
	q := f.asked[typeURL]
	if q != nil && slices.Equal(q.names, names) {
		return nil
	}
	if q == nil {
		if typeURL != clusters && typeURL != listeners && len(names) == 0 {
			// No names would mean everything.
			return nil
		}
		q = &question{}
		f.asked[typeURL] = q
	}
	q.names, q.answered = names, len(names) == 0 && q.version != ""
	return f.send(typeURL, q)
}

// send also acknowledges what was answered last.
func (f *fetch) send(typeURL string, q *question) error {
	request := &discoveryv3.DiscoveryRequest{
		Node: f.node, TypeUrl: typeURL, ResourceNames: q.names, VersionInfo: q.version, ResponseNonce: q.nonce,
	}
	if f.stream.Send(request) != nil {
		// Why a stream was ended is what Recv returns.
		_, err := f.stream.Recv()
		return err
	}
	return nil
}

func (f *fetch) take(answer *discoveryv3.DiscoveryResponse) error {
	q := f.asked[answer.GetTypeUrl()]
	if q == nil {
		return nil
	}
	if err := f.read(answer); err != nil {
		return err
	}
	q.version, q.nonce, q.answered = answer.GetVersionInfo(), answer.GetNonce(), true
	if err := f.send(answer.GetTypeUrl(), q); err != nil {
		return err
	}
	switch answer.GetTypeUrl() {
	case clusters:
		return f.ask(endpoints, xds.AssignmentNames(f.resources))
	case listeners:
		f.version = answer.GetVersionInfo()
		if err := f.ask(routes, xds.RouteNames(f.resources)); err != nil {
			return err
		}
		return f.ask(extensions, xds.ExtensionNames(f.resources))
	}
	return nil
}

// read takes listeners and clusters as all that there are. Of the rest istiod may
// send only what has changed.
func (f *fetch) read(answer *discoveryv3.DiscoveryResponse) error {
	r, all := &f.resources, answer.GetResources()
	var err error
	switch answer.GetTypeUrl() {
	case listeners:
		r.Listeners, err = decode[*listenerv3.Listener](all)
	case clusters:
		r.Clusters, err = decode[*clusterv3.Cluster](all)
	case routes:
		var changed []*routev3.RouteConfiguration
		changed, err = decode[*routev3.RouteConfiguration](all)
		r.Routes = merge(r.Routes, changed, (*routev3.RouteConfiguration).GetName)
	case endpoints:
		var changed []*endpointv3.ClusterLoadAssignment
		changed, err = decode[*endpointv3.ClusterLoadAssignment](all)
		r.Assignments = merge(r.Assignments, changed, (*endpointv3.ClusterLoadAssignment).GetClusterName)
	case extensions:
		var changed []*corev3.TypedExtensionConfig
		changed, err = decode[*corev3.TypedExtensionConfig](all)
		r.Extensions = merge(r.Extensions, changed, (*corev3.TypedExtensionConfig).GetName)
	}
	return err
}

func decode[T proto.Message](resources []*anypb.Any) ([]T, error) {
	out := make([]T, 0, len(resources))
	for _, resource := range resources {
		message, err := resource.UnmarshalNew()
		if err != nil {
			return nil, fmt.Errorf("reading what istiod sent: %w", err)
		}
		typed, ok := message.(T)
		if !ok {
			return nil, fmt.Errorf("reading what istiod sent: a %T is among the %T", message, typed)
		}
		out = append(out, typed)
	}
	return out, nil
}

// merge is in order of names.
func merge[T any](old, changed []T, name func(T) string) []T {
	all := make(map[string]T, len(old)+len(changed))
	for _, resource := range slices.Concat(old, changed) {
		all[name(resource)] = resource
	}
	out := make([]T, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[key])
	}
	return out
}

// config leaves out routes, endpoints and filters that nothing names any more.
func (f *fetch) config(node xds.Node, from string) *xds.Config {
	r := f.resources
	r.Routes = named(r.Routes, xds.RouteNames(r), (*routev3.RouteConfiguration).GetName)
	r.Assignments = named(r.Assignments, xds.AssignmentNames(r), (*endpointv3.ClusterLoadAssignment).GetClusterName)
	r.Extensions = named(r.Extensions, xds.ExtensionNames(r), (*corev3.TypedExtensionConfig).GetName)
	provenance := xds.Provenance{Source: xds.FromADS, Name: from, Version: f.version}
	text, _, _ := strings.Cut(f.version, "/")
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		provenance.Time = at
	}
	return xds.NewConfig(node, provenance, r, xds.Unsent(r)...)
}

func named[T any](resources []T, names []string, name func(T) string) []T {
	return slices.DeleteFunc(resources, func(r T) bool {
		_, found := slices.BinarySearch(names, name(r))
		return !found
	})
}
