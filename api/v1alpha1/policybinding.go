// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterPolicyBinding holds namespaces and their Applications to a policy.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=trellis,shortName=cpb
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a ClusterPolicyBinding has at most 63 characters"
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.spec.policy.name`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.policy.version`
// +kubebuilder:printcolumn:name="Tier",type=string,JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Stage",type=string,JSONPath=`.status.rollout.stage`
// +kubebuilder:printcolumn:name="Holds",type=string,JSONPath=`.status.conditions[?(@.type=="Holds")].status`
// +kubebuilder:printcolumn:name="Failing",type=integer,JSONPath=`.status.rollup.failing`
// +kubebuilder:printcolumn:name="Exempt",type=integer,JSONPath=`.status.rollup.exempt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterPolicyBinding struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec ClusterPolicyBindingSpec `json:"spec"`
	// +optional
	Status PolicyBindingStatus `json:"status,omitempty"`
}

// ClusterPolicyBindingList is a list of ClusterPolicyBindings.
//
// +kubebuilder:object:root=true
type ClusterPolicyBindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterPolicyBinding `json:"items"`
}

// ClusterPolicyBindingSpec is a policy and what it is about.
//
// +kubebuilder:validation:XValidation:rule="!has(self.rollout) || !has(self.rollout.from) || self.rollout.from != self.policy.version",message="a rollout goes from another version than the one that is bound"
type ClusterPolicyBindingSpec struct {
	// Tier says whether Applications may say otherwise.
	//
	// +required
	Tier PolicyTier `json:"tier"`
	// Namespaces selects by the labels of namespaces: those of Applications, of
	// SecureIngresses and of Istio objects. Absent: all.
	//
	// +optional
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	// Rollout brings the version to one stage of namespaces after the other. Absent: it
	// holds everywhere at once.
	//
	// +optional
	Rollout *PolicyRolloutSpec `json:"rollout,omitempty"`

	PolicyBindingSpec `json:",inline"`
}

// PolicyTier is where a policy stands beside what Applications state.
//
// +kubebuilder:validation:Enum=Mandatory;Default
type PolicyTier string

// The tiers.
const (
	// TierMandatory goes before what an Application states.
	TierMandatory PolicyTier = "Mandatory"
	// TierDefault holds where an Application states nothing; a constraint of this tier
	// only warns.
	TierDefault PolicyTier = "Default"
)

// PolicyMode is what comes of a policy.
//
// +kubebuilder:validation:Enum=Enforce;Shadow;Audit
type PolicyMode string

// The modes.
const (
	ModeEnforce PolicyMode = "Enforce"
	// ModeShadow refuses nothing. What it would refuse is said at the object, and proxies
	// count the requests that they would deny (Istio's dry run).
	ModeShadow PolicyMode = "Shadow"
	// ModeAudit refuses nothing; what it would refuse is in reports.
	ModeAudit PolicyMode = "Audit"
)

// PolicyBindingSpec is a policy with its parameters.
type PolicyBindingSpec struct {
	// Policy is the version that is bound.
	//
	// +required
	Policy PolicyVersion `json:"policy"`
	// Mode must be said: what a policy does should never be a surprise.
	//
	// +required
	Mode PolicyMode `json:"mode"`
	// Parameters of the policy.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Parameters []ParameterValue `json:"parameters,omitempty"`
	// Applications selects by the labels of Applications. Absent: all. A policy about other
	// things is not bound by it.
	//
	// +optional
	Applications *metav1.LabelSelector `json:"applications,omitempty"`
	// Goals are the names of those that the binding serves.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Goals []LabelName `json:"goals,omitempty"`
	// Contact is whom to ask: a team or an address. It stands in every refusal.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Contact string `json:"contact,omitempty"`
}

// PolicyVersion names a version of a policy.
type PolicyVersion struct {
	// +required
	Name LabelName `json:"name"`
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9a-z.-]+)?$`
	Version string `json:"version"`
}

// TemplateName is that of the PolicyTemplate of a version of a policy.
func TemplateName(policy LabelName, version string) string { return string(policy) + "-" + version }

// ParameterValue sets a parameter.
type ParameterValue struct {
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z][A-Za-z0-9]*$`
	Name string `json:"name"`
	// Value of the type that the policy declares.
	//
	// +required
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Value JSON `json:"value"`
}

// PolicyBinding holds the Applications of its own namespace to a policy. It stands below
// every Mandatory one and can only narrow.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=trellis,shortName=pb
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a PolicyBinding has at most 63 characters"
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.spec.policy.name`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.policy.version`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Holds",type=string,JSONPath=`.status.conditions[?(@.type=="Holds")].status`
// +kubebuilder:printcolumn:name="Failing",type=integer,JSONPath=`.status.rollup.failing`
// +kubebuilder:printcolumn:name="Exempt",type=integer,JSONPath=`.status.rollup.exempt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PolicyBinding struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec PolicyBindingSpec `json:"spec"`
	// +optional
	Status PolicyBindingStatus `json:"status,omitempty"`
}

// PolicyBindingList is a list of PolicyBindings.
//
// +kubebuilder:object:root=true
type PolicyBindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicyBinding `json:"items"`
}

// PolicyBindingStatus is what a binding found.
type PolicyBindingStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Rollup counts what it found.
	//
	// +optional
	Rollup PolicyRollup `json:"rollup,omitempty"`
	// Rollout is how far the version of a ClusterPolicyBinding has come; absent where it
	// holds everywhere at once.
	//
	// +optional
	Rollout *PolicyRolloutStatus `json:"rollout,omitempty"`
	// Violations are what it refuses or would refuse, at most 32 of them.
	//
	// +optional
	// +listType=atomic
	Violations []PolicyViolation `json:"violations,omitempty"`
	// Problems are everything that keeps it from being applied.
	//
	// +optional
	// +listType=atomic
	Problems []Problem `json:"problems,omitempty"`
}

// PolicyViolation is one thing that a policy refuses.
type PolicyViolation struct {
	// Subject as a person would name it, such as Application shop/cart spec.routes[0].
	//
	// +required
	Subject string `json:"subject"`
	// Rule is the constraint or the contribution.
	//
	// +required
	Rule string `json:"rule"`
	// +required
	Message string `json:"message"`
	// Exception is the one that lets it go, as namespace/name.
	//
	// +optional
	Exception string `json:"exception,omitempty"`
}
