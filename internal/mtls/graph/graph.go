// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package graph knows the services of a mesh as a graph: who may use whom, how what is
// sent there is secured, and whether both ends get on. What it gives is a view that
// programs draw, and a promise: fields are added, and never change their meaning.
//
// It is pure.
package graph

import (
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
)

// Graph is the services of a mesh and who may use them.
type Graph struct {
	// Nodes are in order of namespace, name and id.
	Nodes []Node `json:"nodes"`
	// Edges are in order of from and to; there is one at most between two nodes, in each
	// direction.
	Edges []Edge `json:"edges"`
}

// Kind is what a node is.
type Kind string

// The kinds of nodes.
const (
	// Service is a Kubernetes Service with the workloads behind it.
	Service Kind = "Service"
	// Workload sends requests, and no Service is in front of it.
	Workload Kind = "Workload"
	// Gateway is a proxy at the edge of the mesh.
	Gateway Kind = "Gateway"
	// Outside is a host of a ServiceEntry.
	Outside Kind = "Outside"
	// Anybody stands for all clients of a sort that a service does not tell apart.
	Anybody Kind = "Anybody"
)

// Node is an end of edges.
type Node struct {
	// ID tells it from other nodes, and is the same for as long as the object has its
	// name.
	ID        string `json:"id"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Kind      Kind   `json:"kind"`
	// Unproxied: none of its workloads has a proxy of the mesh.
	Unproxied bool `json:"unproxied,omitempty"`
}

// Security is how what goes along an edge is secured.
type Security string

// What clients send: one thing, several, or nobody knows. What applications secure by TLS
// of their own is TLS, although Port.Sends has Plaintext for it: it is what proxies add.
const (
	MutualTLS Security = Security(decide.MutualTLS)
	Plaintext Security = Security(decide.Plaintext)
	TLS       Security = Security(decide.OtherTLS)
	Mixed     Security = "Mixed"
	Unknown   Security = "Unknown"
)

// Reason is why there is an edge.
type Reason string

// The reasons, the weakest first.
const (
	// None: nothing leads the client there, or it would not be let in. Only Options.All
	// has such edges.
	None Reason = "None"
	// AsAnybody: the service lets it in, and does not tell it apart from others.
	AsAnybody Reason = "AsAnybody"
	// ByName: the service's rules tell the client apart, and let it in.
	ByName Reason = "ByName"
	// ByRoute: a gateway has a route to the service.
	ByRoute Reason = "ByRoute"
)

// Edge is a client that may use a service.
type Edge struct {
	// From and To are ids of nodes: of the client and of the service.
	From string `json:"from"`
	To   string `json:"to"`
	// Ports are in order of port, subset and destinationRule.
	Ports []Port `json:"ports"`
	// Status is the worst of the ports': CONFLICT, PARTIAL, UNKNOWN or OK.
	Status   mtls.Status `json:"status"`
	Security Security    `json:"security"`
	// Reason is the strongest of the ports'.
	Reason Reason `json:"reason"`
	// Clients are those that an edge from Anybody stands for, as NAMESPACE/NAME.
	Clients []string `json:"clients,omitempty"`
}

// Port is what happens at one port of the service, or at one subset of it. Of several
// clients that differ in their DestinationRule there are several.
type Port struct {
	Port uint16 `json:"port"`
	// Subset is the one of a DestinationRule; empty: requests that name none.
	Subset string      `json:"subset,omitempty"`
	Status mtls.Status `json:"status"`
	// Accepts is what the endpoints take, and Sends what the clients send. Of endpoints
	// and clients that differ all. Empty: it is not known, or nothing.
	Accepts []decide.Transport `json:"accepts"`
	Sends   []decide.Transport `json:"sends"`
	// PeerAuthentications and DestinationRule are as NAME/NAMESPACE.
	PeerAuthentications []string `json:"peerAuthentications,omitempty"`
	DestinationRule     string   `json:"destinationRule,omitempty"`
	// Why says what is wrong, or not known.
	Why string `json:"why,omitempty"`
	// Unproven says why Status is computed and not proven, as in mtls.Row.
	Unproven string `json:"unproven,omitempty"`

	// fine: some client gets on with it.
	fine bool
	// wrapped: the applications bring TLS of their own, which the proxies carry.
	wrapped bool
}

// Options say which part of a mesh is looked at.
type Options struct {
	// Namespace is that of services, and ClientNamespace that of clients; empty is any.
	Namespace, ClientNamespace string
	// Conflicts leaves out what is not in conflict, at least partly.
	Conflicts bool
	// All has every client and every service, whether the one may use the other or not.
	All bool
}
