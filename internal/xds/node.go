// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/model"
)

// NodeType is what a proxy is to Istio, as the first part of its id says it
// (pilot/pkg/model/context.go, NodeType).
type NodeType string

// The types of proxies that are Envoys. A ztunnel is none.
const (
	Sidecar  NodeType = "sidecar"
	Router   NodeType = "router"
	Waypoint NodeType = "waypoint"
)

// Interception is how traffic gets into a sidecar (INTERCEPTION_MODE).
type Interception string

const (
	// InterceptionRedirect is Istio's default: iptables redirects the workload's
	// connections to the virtual listeners.
	InterceptionRedirect Interception = "REDIRECT"
	// InterceptionTProxy is the same by transparent proxying.
	InterceptionTProxy Interception = "TPROXY"
	// InterceptionNone means that nothing is intercepted: listeners bind their
	// ports, and clients address them.
	InterceptionNone Interception = "NONE"
)

// Node is one proxy, as it presents itself to istiod. It is a value; nobody may
// change the maps and slices of one that was handed on.
type Node struct {
	Type NodeType
	// Name is the pod's or WorkloadEntry's.
	Name           string
	Namespace      string
	ServiceAccount string
	// Labels are the workload's: they decide which policies it gets.
	Labels map[string]string
	// Addresses are the workload's IPs; the first one is part of its id.
	Addresses []netip.Addr
	// TrustDomain is the mesh's, cluster.local by default.
	TrustDomain string
	// ClusterDomain is the DNS suffix of Services, cluster.local by default.
	ClusterDomain string
	// Cluster is Istio's id of the cluster that the workload runs in.
	Cluster string
	// Interception is empty for routers and waypoints.
	Interception Interception
	// Capture is which connections go past a sidecar; Inbound and Outbound read it.
	Capture Capture
	// Version is the Istio version that the proxy announces (ISTIO_VERSION);
	// istiod writes for it. Empty: the version of whoever writes.
	Version string
	// Metadata is all that the proxy sent, where that is known; the fields above
	// are read from it. Nil otherwise.
	Metadata *structpb.Struct
}

// Key names a proxy within a mesh. It may be a map key.
type Key struct {
	Type      NodeType
	Cluster   string
	Namespace string
	Name      string
}

// Key returns the node's key.
func (n Node) Key() Key {
	return Key{Type: n.Type, Cluster: n.Cluster, Namespace: n.Namespace, Name: n.Name}
}

// String is the form that people read: "sidecar shop/cart-1".
func (n Node) String() string { return fmt.Sprintf("%s %s/%s", n.Type, n.Namespace, n.Name) }

// ID is the node id of Istio's proxies:
// TYPE~ADDRESS~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN (pilot/pkg/model/context.go,
// ServiceNode). A node without address gets 0.0.0.0, which no workload has.
func (n Node) ID() string {
	address := netip.IPv4Unspecified()
	if len(n.Addresses) > 0 {
		address = n.Addresses[0]
	}
	domain := n.ClusterDomain
	if domain == "" {
		domain = "cluster.local"
	}
	return fmt.Sprintf("%s~%s~%s.%s~%s.svc.%s", n.Type, address, n.Name, n.Namespace, n.Namespace, domain)
}

// Identity is who the workload is to others.
func (n Node) Identity() model.Identity {
	return model.Identity{TrustDomain: n.TrustDomain, Namespace: n.Namespace, ServiceAccount: n.ServiceAccount}
}

// ParseID reads what is in a node id: type, address, name, namespace and domain.
func ParseID(id string) (Node, error) {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return Node{}, fmt.Errorf("reading node id %q: it has %d parts between tildes, Istio's have 4", id, len(parts))
	}
	n := Node{Type: NodeType(parts[0])}
	switch n.Type {
	case Sidecar, Router, Waypoint:
	default:
		return Node{}, fmt.Errorf("reading node id %q: %q is no type of an Envoy of Istio", id, parts[0])
	}
	// A pod's name may have dots, a namespace's may not.
	dot := strings.LastIndex(parts[2], ".")
	if dot <= 0 || dot == len(parts[2])-1 {
		return Node{}, fmt.Errorf("reading node id %q: %q is not NAME.NAMESPACE", id, parts[2])
	}
	n.Name, n.Namespace = parts[2][:dot], parts[2][dot+1:]
	if address, err := netip.ParseAddr(parts[1]); err == nil && !address.IsUnspecified() {
		n.Addresses = []netip.Addr{address}
	}
	if _, domain, ok := strings.Cut(parts[3], ".svc."); ok {
		n.ClusterDomain = domain
	}
	return n, nil
}
