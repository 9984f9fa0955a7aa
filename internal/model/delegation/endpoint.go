// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package delegation

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// EndpointKind is the kind, and EndpointCRD the name of what defines it.
var EndpointKind = schema.GroupVersionKind{Group: ExternalDNSGroup, Version: "v1alpha1", Kind: "DNSEndpoint"}

// ExternalDNSGroup is the API group of ExternalDNS.
const (
	ExternalDNSGroup = "externaldns.k8s.io"
	EndpointCRD      = "dnsendpoints.externaldns.k8s.io"
)

// DNSEndpoint asks ExternalDNS for entries (its --source=crd).
type DNSEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   DNSEndpointSpec   `json:"spec"`
	Status DNSEndpointStatus `json:"status,omitzero"`
}

// DNSEndpointSpec lists entries.
type DNSEndpointSpec struct {
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is one entry: a name, a type and its values.
type Endpoint struct {
	DNSName    string   `json:"dnsName"`
	RecordType string   `json:"recordType"`
	RecordTTL  int64    `json:"recordTTL"`
	Targets    []string `json:"targets"`
}

// DNSEndpointStatus is all that ExternalDNS ever says: which generation it has read.
type DNSEndpointStatus struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// DeepCopyObject copies all of it.
func (e *DNSEndpoint) DeepCopyObject() runtime.Object {
	out := *e
	out.ObjectMeta = *e.DeepCopy()
	out.Spec.Endpoints = slices.Clone(e.Spec.Endpoints)
	for i := range out.Spec.Endpoints {
		out.Spec.Endpoints[i].Targets = slices.Clone(out.Spec.Endpoints[i].Targets)
	}
	return &out
}
