// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Goal is what the business must meet, in plain words. Nothing is compiled from it:
// policy bindings name the goals that they serve, and the status of a Goal sums up
// whether they hold.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=trellis
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a Goal has at most 63 characters: bindings name it"
// +kubebuilder:printcolumn:name="Title",type=string,JSONPath=`.spec.title`
// +kubebuilder:printcolumn:name="Met",type=string,JSONPath=`.status.conditions[?(@.type=="Met")].status`
// +kubebuilder:printcolumn:name="Failing",type=integer,JSONPath=`.status.rollup.failing`
// +kubebuilder:printcolumn:name="Exempt",type=integer,JSONPath=`.status.rollup.exempt`
// +kubebuilder:printcolumn:name="Unknown",type=integer,JSONPath=`.status.rollup.unknown`
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Goal struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec GoalSpec `json:"spec"`
	// +optional
	Status GoalStatus `json:"status,omitempty"`
}

// GoalList is a list of Goals.
//
// +kubebuilder:object:root=true
type GoalList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Goal `json:"items"`
}

// GoalSpec is a goal in the words of whoever must meet it.
type GoalSpec struct {
	// Title is the goal in one line.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Title string `json:"title"`
	// Statement says what must be true, and why.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Statement string `json:"statement,omitempty"`
	// Owner is whom to ask about it: a team or an address.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Owner string `json:"owner"`
	// Controls are those of catalogs of controls that the goal serves.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Controls []Control `json:"controls,omitempty"`
	// Links lead to what explains it.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Links []Link `json:"links,omitempty"`
}

// Control names a control of a catalog, such as nist-800-53:AC-4, pci-dss-4.0:1.3.1 or
// soc2:CC6.6.
//
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:Pattern=`^[a-z0-9][a-z0-9.-]*:[A-Za-z0-9][A-Za-z0-9.()_-]*$`
type Control string

// Link is an absolute URL.
//
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:Pattern=`^https?://[!-~]+$`
type Link string

// GoalStatus is whether a goal is met.
type GoalStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Rollup counts what the goal's bindings found.
	//
	// +optional
	Rollup PolicyRollup `json:"rollup,omitempty"`
	// Bindings are those that serve the goal, at most 64 of them.
	//
	// +optional
	// +listType=atomic
	Bindings []string `json:"bindings,omitempty"`
}

// PolicyRollup counts the things that a policy was asked of, by what it found.
type PolicyRollup struct {
	// Applications are those that at least one policy is about.
	//
	// +optional
	Applications int32 `json:"applications"`
	// +optional
	Passing int32 `json:"passing"`
	// Failing are those that a policy refuses, or would refuse where its mode is Shadow or
	// Audit.
	//
	// +optional
	Failing int32 `json:"failing"`
	// Exempt are those that would fail and are let go by an exception.
	//
	// +optional
	Exempt int32 `json:"exempt"`
	// Unknown are those of which it cannot be told.
	//
	// +optional
	Unknown int32 `json:"unknown"`
}
