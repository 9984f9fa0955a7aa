// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Access says who may call an Application inside the mesh, how, and whom it calls
// itself.
type Access struct {
	// MutualTLS is what the application's own proxy accepts. Absent: not ours
	// to say; the setting of the namespace or of the mesh holds.
	//
	// +optional
	MutualTLS MutualTLSMode `json:"mutualTLS,omitempty"`
	// Callers may call the application from inside the mesh. Absent: only the
	// gateways through which it is exposed.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	Callers []Caller `json:"callers,omitempty"`
	// Calls are all whom the application calls: its proxy lets no other request
	// out. Empty: it calls nobody. Absent: nothing is restricted. The list has one
	// owner, since server-side apply loses an empty one whose items can have several.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(c, self.exists_one(o, o.name == c.name))",message="each call has a name of its own"
	Calls []Call `json:"calls,omitzero"`
}

// MutualTLSMode is what a workload accepts.
//
// +kubebuilder:validation:Enum=Strict;Permissive
type MutualTLSMode string

const (
	// MutualTLSStrict accepts mutual TLS alone.
	MutualTLSStrict MutualTLSMode = "Strict"
	// MutualTLSPermissive accepts plaintext too.
	MutualTLSPermissive MutualTLSMode = "Permissive"
)

// Caller is one party that may call, and what it may call.
type Caller struct {
	// +required
	Name LabelName `json:"name"`
	// +required
	Peer Peer `json:"peer"`
	// Routes are the names of the routes that it may call. Absent: all of
	// them, and the TCP ports. A caller of more than 32 single routes takes two
	// entries: the API server bounds what checking the names may cost.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Routes []LabelName `json:"routes,omitempty"`
	// Authentication Waived lets this caller call without the token that its
	// routes require. Absent: the token is needed inside the mesh too.
	//
	// +optional
	Authentication CallerAuthentication `json:"authentication,omitempty"`
}

// CallerAuthentication says whether a caller needs the token that a route asks for.
//
// +kubebuilder:validation:Enum=Waived
type CallerAuthentication string

// CallerAuthenticationWaived exempts a caller from tokens; its mutual TLS
// identity is what admits it.
const CallerAuthenticationWaived CallerAuthentication = "Waived"

// Peer is one kind of caller. Exactly one field is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.application), has(self.serviceAccount), has(self.__namespace__), has(self.any)].filter(x, x).size() == 1",message="exactly one of application, serviceAccount, namespace and any"
type Peer struct {
	// Application is another Application: the ServiceAccount of its pods.
	//
	// +optional
	Application *NamespacedName `json:"application,omitempty"`
	// ServiceAccount is a Kubernetes ServiceAccount of this mesh.
	//
	// +optional
	ServiceAccount *NamespacedName `json:"serviceAccount,omitempty"`
	// Namespace is every workload of a namespace of this mesh.
	//
	// +optional
	Namespace *NamespaceReference `json:"namespace,omitempty"`
	// Any is everybody who can reach the proxy, with or without an identity.
	//
	// +optional
	Any *AnyPeer `json:"any,omitempty"`
}

// NamespaceReference names a namespace.
type NamespaceReference struct {
	// +required
	Name LabelName `json:"name"`
}

// AnyPeer is written {}.
type AnyPeer struct{}
