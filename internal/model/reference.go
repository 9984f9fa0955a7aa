// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"strings"
)

// Reference names one Kubernetes object anywhere: also in another cluster,
// though today every reference names the mesh's own. It is comparable and may
// be a map key.
type Reference struct {
	// Cluster is Istio's cluster id.
	Cluster string
	// Group is the API group; empty for the core group.
	Group string
	Kind  string
	// Namespace is empty for cluster-scoped kinds.
	Namespace string
	Name      string
}

// String is the form that people read: "Application bookinfo/productpage".
func (r Reference) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Compare orders references by kind, namespace, name, group and cluster.
func (r Reference) Compare(o Reference) int {
	return cmp.Or(
		strings.Compare(r.Kind, o.Kind),
		strings.Compare(r.Namespace, o.Namespace),
		strings.Compare(r.Name, o.Name),
		strings.Compare(r.Group, o.Group),
		strings.Compare(r.Cluster, o.Cluster),
	)
}

// Identity is a workload identity: a ServiceAccount in a trust domain (SPIFFE
// ID spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT).
type Identity struct {
	TrustDomain    string
	Namespace      string
	ServiceAccount string
}

// DefaultAccount is the ServiceAccount of workloads that state none, so that it is nobody's
// alone.
const DefaultAccount = "default"

// Principal is the identity as Istio's AuthorizationPolicy writes it.
func (i Identity) Principal() string {
	return i.TrustDomain + "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount
}

// SPIFFE is the identity as certificates have it.
func (i Identity) SPIFFE() string { return "spiffe://" + i.Principal() }

// Layer is who stated something: the level at which it can be changed.
type Layer string

// The layers, from the one that is read first by a developer to the one that
// nobody below can override.
const (
	LayerApplication Layer = "Application"
	LayerPlatform    Layer = "Platform"
	LayerDefault     Layer = "Default"
	// LayerNamespace is what a team states for its own namespace.
	LayerNamespace Layer = "Namespace"
	LayerMandatory Layer = "Mandatory"
)

// Position is a line of a file. The zero value means unknown, as it is for an
// object that was read from a cluster.
type Position struct {
	File string
	// Line counts from one.
	Line int
}

// Origin is where one generated thing came from. It is a typed field of every
// intent node and of every generated rule, and it is comparable.
type Origin struct {
	Object Reference
	// Field is a path such as spec.routes[1]; empty for the whole object.
	Field string
	Layer Layer
	// Source is what the object's trellis.dev/source annotation says: a
	// repository, commit and path. Never a local file, so that what is generated
	// does not depend on where it was generated.
	Source string
	// Goals are those that the object serves, by name and title, each after the other with
	// a semicolon between; empty for most.
	Goals string
}
