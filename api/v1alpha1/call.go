// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Call is one party that the application calls.
//
// +kubebuilder:validation:XValidation:rule="!has(self.routes) || has(self.peer.application)",message="routes are those of an application: a service and an external host have none"
type Call struct {
	// +required
	Name LabelName `json:"name"`
	// +required
	Peer Callee `json:"peer"`
	// Routes are the names of the callee's routes that are called. Each must be
	// one that the callee lets this application call. Absent: whatever it lets
	// this application call.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Routes []LabelName `json:"routes,omitempty"`
}

// Callee is one kind of party that is called. Exactly one field is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.application), has(self.service), has(self.external)].filter(x, x).size() == 1",message="exactly one of application, service and external"
type Callee struct {
	// Application is another Application, which must let this one in.
	//
	// +optional
	Application *NamespacedName `json:"application,omitempty"`
	// Service is a Kubernetes Service of this mesh. Where an Application is
	// stated for it, that must let this one in.
	//
	// +optional
	Service *NamespacedName `json:"service,omitempty"`
	// External is outside of the mesh.
	//
	// +optional
	External *ExternalPeer `json:"external,omitempty"`
}

// ExternalPeer are hosts outside of the mesh, at one port.
//
// +kubebuilder:validation:XValidation:rule="(self.protocol == 'TCP') == has(self.addresses)",message="addresses are stated for TCP, and for nothing else: all else is told apart by its host name"
// +kubebuilder:validation:XValidation:rule="self.protocol != 'TCP' || size(self.hosts) == 1",message="TCP has one host: connections carry no name, and addresses tell them apart"
type ExternalPeer struct {
	// Hosts are DNS names in full, without wildcards. A TCP host is the name
	// under which its addresses are known.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Hosts []ExternalHost `json:"hosts"`
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// Protocol is what the application itself speaks on that port. HTTPS and
	// TLS are told apart by the server name that the application sends.
	//
	// +required
	Protocol ExternalProtocol `json:"protocol"`
	// Addresses is the IP address of a TCP host, to which the application opens its
	// connections. Of several Istio takes one, and which is chance; a host with more
	// takes an entry, with a name of its own, for each.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1
	Addresses []ExternalAddress `json:"addresses,omitempty"`
}

// ExternalHost is a DNS name of two labels or more, in lower case.
//
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`
type ExternalHost string

// ExternalAddress is one IP address, no range.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:Pattern=`^[0-9a-f.:]+$`
type ExternalAddress string

// ExternalProtocol is what is spoken with a host outside of the mesh.
//
// +kubebuilder:validation:Enum=TLS;HTTPS;HTTP;TCP
type ExternalProtocol string

// The protocols of an ExternalPeer.
const (
	ExternalProtocolTLS   ExternalProtocol = "TLS"
	ExternalProtocolHTTPS ExternalProtocol = "HTTPS"
	ExternalProtocolHTTP  ExternalProtocol = "HTTP"
	ExternalProtocolTCP   ExternalProtocol = "TCP"
)
