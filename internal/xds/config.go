// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/trellis-mesh/trellis/internal/once"
)

// SourceKind is where configuration came from.
type SourceKind string

const (
	// FromGenerator is what Istio's generator in this process wrote.
	FromGenerator SourceKind = "Generator"
	// FromADS is what a running istiod sent to us in the proxy's name.
	FromADS SourceKind = "ADS"
	// FromDump is what the proxy itself said that it has.
	FromDump SourceKind = "ConfigDump"
)

// Provenance is where a Config came from, and of which moment it is.
type Provenance struct {
	Source SourceKind
	// Name is the file, the address of istiod or the version of the generator.
	Name string
	// Version is what the control plane calls this state: Istio's push version
	// (an RFC 3339 time, a slash and a counter), or empty.
	Version string
	// Time is when it was made or last changed, by the clock of who made it. Zero
	// when unknown.
	Time time.Time
}

// ProblemKind is what is wrong with one resource.
type ProblemKind string

const (
	// Refused means that the proxy rejected an update of the resource (error_state); the
	// Config has the one that it still uses.
	Refused ProblemKind = "Refused"
	// Warming means that the proxy has the resource and does not use it yet, for example
	// because a certificate is missing.
	Warming ProblemKind = "Warming"
	// Unresolved means that a part has a type that this build does not know. It is kept as
	// an xds.type.v3.TypedStruct with its type URL.
	Unresolved ProblemKind = "Unresolved"
	// UnknownField means that a part has fields that this build does not know, and which
	// were dropped.
	UnknownField ProblemKind = "UnknownField"
	// Missing means that the configuration names something that the source did not give: a
	// route configuration, endpoints, keys.
	Missing ProblemKind = "Missing"
)

// Problem is something that an answer from this Config may not know. None of
// them is fatal; a verdict that would depend on one is Unknown.
type Problem struct {
	Kind ProblemKind
	// Type is the resource's: Listener, RouteConfiguration, Cluster,
	// ClusterLoadAssignment, Secret; empty for the whole.
	Type string
	// Resource is the resource's name, as far as known.
	Resource string
	// TypeURL is the type that is not known, for Unresolved.
	TypeURL string
	// Detail is for people.
	Detail string
}

// Resources are what a Config is made from.
type Resources struct {
	// Listeners are in the order in which they were received.
	Listeners []*listenerv3.Listener
	// Routes are the route configurations that listeners name (RDS). Those inside
	// of a listener are not among them.
	Routes   []*routev3.RouteConfiguration
	Clusters []*clusterv3.Cluster
	// Assignments are endpoints that came apart from their cluster (EDS).
	Assignments []*endpointv3.ClusterLoadAssignment
	// Extensions are filters that came apart from their listener (ECDS).
	Extensions []*corev3.TypedExtensionConfig
	// Runtime are the values of the proxy's runtime layers by key, as text. They are
	// in its bootstrap, which istiod does not send: a source that cannot know them
	// gives those that Istio's agent writes (DefaultRuntime).
	Runtime map[string]string
	// Secrets are the names of TLS secrets that the source says are there. Nil:
	// the source does not know of secrets. Never their contents.
	Secrets []string
}

// Config is all that one proxy was sent. It is immutable, its messages are
// shared and read only, and it is safe for concurrent use.
type Config struct {
	node        Node
	provenance  Provenance
	problems    []Problem
	resources   Resources
	routes      map[string]*routev3.RouteConfiguration
	clusters    map[string]*clusterv3.Cluster
	assignments map[string]*endpointv3.ClusterLoadAssignment
	extensions  map[string]*corev3.TypedExtensionConfig
	listeners   *listenerIndex
	unpacked    once.Map[packed, unpacked]
	outbound    outbound
}

// NewConfig builds a Config and its indexes. Of two resources of one type and
// name the later one counts, as for Envoy.
func NewConfig(node Node, provenance Provenance, resources Resources, problems ...Problem) *Config {
	return &Config{
		node: node, provenance: provenance, problems: problems, resources: resources,
		routes:      byName(resources.Routes, (*routev3.RouteConfiguration).GetName),
		clusters:    byName(resources.Clusters, (*clusterv3.Cluster).GetName),
		assignments: byName(resources.Assignments, (*endpointv3.ClusterLoadAssignment).GetClusterName),
		extensions:  byName(resources.Extensions, (*corev3.TypedExtensionConfig).GetName),
		listeners:   newListenerIndex(resources.Listeners),
	}
}

func byName[T any](resources []T, name func(T) string) map[string]T {
	out := make(map[string]T, len(resources))
	for _, r := range resources {
		out[name(r)] = r
	}
	return out
}

// Node is the proxy that the configuration is for.
func (c *Config) Node() Node { return c.node }

// Provenance is where the configuration came from.
func (c *Config) Provenance() Provenance { return c.provenance }

// Problems are what is not known. Read only.
func (c *Config) Problems() []Problem { return c.problems }

// Resources are all messages, in the order in which they came. Read only.
func (c *Config) Resources() Resources { return c.resources }
