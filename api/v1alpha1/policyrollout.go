// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PolicyRolloutSpec brings a version of a policy to one stage of namespaces after the other.
// A stage is tried first: what held there goes on, and the version runs in Shadow beside it.
// After a while without trouble the version holds there in the mode of the binding, and the
// next stage is tried. Trouble stops it, and it never goes back by itself.
type PolicyRolloutSpec struct {
	// From is the version that holds where the new one does not yet. Absent: nothing does.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9a-z.-]+)?$`
	From string `json:"from,omitempty"`
	// Stages in their order. Namespaces that none of them selects follow in a last stage,
	// rest.
	//
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Stages []PolicyRolloutStage `json:"stages"`
	// Soak is how long a stage is tried without trouble before the version holds there. It
	// begins anew when trouble is over.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('720h')",message="the soak is between 1s and 720h"
	Soak metav1.Duration `json:"soak"`
}

// PolicyRolloutStage is a part of the namespaces that a binding is about.
//
// +kubebuilder:validation:XValidation:rule="self.name != 'rest'",message="rest is the stage of the namespaces that no other one selects"
type PolicyRolloutStage struct {
	// Name is any but rest.
	//
	// +required
	Name LabelName `json:"name"`
	// Namespaces selects by the labels of namespaces. One belongs to the first stage that
	// selects it, and to none where the binding is not about it.
	//
	// +required
	Namespaces metav1.LabelSelector `json:"namespaces"`
}

// PolicyRolloutState is what is done with a stage.
//
// +kubebuilder:validation:Enum=Trying;Holding
type PolicyRolloutState string

// The states.
const (
	// RolloutTrying is that of the stage in which the version runs in Shadow.
	RolloutTrying PolicyRolloutState = "Trying"
	// RolloutHolding is that of the last stage once the version holds everywhere.
	RolloutHolding PolicyRolloutState = "Holding"
)

// PolicyRolloutStatus is how far a version has come. It counts for this version, coming from
// this one, alone: with another one a rollout starts anew at the first stage.
type PolicyRolloutStatus struct {
	// +required
	Version string `json:"version"`
	// +optional
	From string `json:"from,omitempty"`
	// Stage that is tried, or the last one once all hold.
	//
	// +required
	Stage string `json:"stage"`
	// State of the stage.
	//
	// +required
	State PolicyRolloutState `json:"state"`
	// Since when the stage is in this state.
	//
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// QuietSince is since when there is no trouble, and not before the stage was tried;
	// absent while there is some.
	//
	// +optional
	QuietSince *metav1.Time `json:"quietSince,omitempty"`
	// Holds are the stages in which the version holds, in their order.
	//
	// +optional
	// +listType=atomic
	Holds []string `json:"holds,omitempty"`
	// Stages is how many there are, the last one included.
	//
	// +required
	Stages int32 `json:"stages"`
	// Trouble is how many subjects the version refuses, or would refuse, in stages that it
	// has come to and that the version before does not.
	//
	// +optional
	Trouble int32 `json:"trouble,omitempty"`
}
