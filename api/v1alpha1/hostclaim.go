// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HostClaim records which namespace owns a host. Its name is the host. Trellis
// creates it for the first namespace that uses the host, and it outlives that
// use by seven days, so that restoring or re-creating an Application loses
// nothing to a newcomer. The platform releases a host by deleting its claim, and
// hands one over by editing spec.namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=trellis
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.namespace`
// +kubebuilder:printcolumn:name="Unused Since",type=date,JSONPath=`.status.unusedSince`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type HostClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec HostClaimSpec `json:"spec"`
	// +optional
	Status HostClaimStatus `json:"status,omitempty"`
}

// HostClaimList is a list of HostClaims.
//
// +kubebuilder:object:root=true
type HostClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HostClaim `json:"items"`
}

// HostClaimSpec is the owner.
type HostClaimSpec struct {
	// Namespace owns the host: only its Applications, and those that they
	// consent to, may publish on it.
	//
	// +required
	Namespace LabelName `json:"namespace"`
}

// HostClaimStatus is what is known of the claim's use.
type HostClaimStatus struct {
	// UnusedSince is when the last user of the host went away. Absent: in use.
	// Seven days later the claim is released.
	//
	// +optional
	UnusedSince *metav1.Time `json:"unusedSince,omitempty"`
}
