// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PolicyException lets something of its own namespace go that a policy would refuse: for
// a reason, until a day, and only when somebody has approved who may.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=trellis,shortName=pex
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a PolicyException has at most 63 characters"
// +kubebuilder:printcolumn:name="Binding",type=string,JSONPath=`.spec.binding.name`
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.subject.application`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Approved By",type=string,JSONPath=`.spec.approval.by`
// +kubebuilder:printcolumn:name="In Force",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PolicyException struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec PolicyExceptionSpec `json:"spec"`
	// +optional
	Status PolicyExceptionStatus `json:"status,omitempty"`
}

// PolicyExceptionList is a list of PolicyExceptions.
//
// +kubebuilder:object:root=true
type PolicyExceptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicyException `json:"items"`
}

// PolicyExceptionSpec is what is let go, why, and for how long.
type PolicyExceptionSpec struct {
	// Binding is the one that is not to hold.
	//
	// +required
	Binding BindingReference `json:"binding"`
	// Rules are the names of the constraints and contributions of its policy that are not
	// to hold. Absent: all.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Rules []LabelName `json:"rules,omitempty"`
	// Subject is what it is not to hold for.
	//
	// +required
	Subject ExceptionSubject `json:"subject"`
	// Reason for whoever approves, and for whoever audits.
	//
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
	// Expires is when the policy holds again.
	//
	// +required
	Expires metav1.Time `json:"expires"`
	// Approval is written by whoever may approve, for example by
	// `trellis exception approve`. Without it, and after any change of the rest, nothing is
	// let go.
	//
	// +optional
	Approval *ExceptionApproval `json:"approval,omitempty"`
}

// BindingReference names a binding.
type BindingReference struct {
	// Kind; a PolicyBinding is one of the same namespace.
	//
	// +required
	// +kubebuilder:validation:Enum=ClusterPolicyBinding;PolicyBinding
	Kind string `json:"kind"`
	// +required
	Name LabelName `json:"name"`
}

// ExceptionSubject is an Application of the exception's namespace, or one route of it.
// Exactly one of Application and SecureIngress is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.application) != has(self.secureIngress)",message="exactly one of application and secureIngress"
// +kubebuilder:validation:XValidation:rule="!has(self.route) || has(self.application)",message="a route is one of an application"
type ExceptionSubject struct {
	// +optional
	Application LabelName `json:"application,omitempty"`
	// Route by name. Absent: all of the Application.
	//
	// +optional
	Route LabelName `json:"route,omitempty"`
	// +optional
	SecureIngress LabelName `json:"secureIngress,omitempty"`
}

// ExceptionApproval is who approved what. Admission takes it only from that user, who
// has the verb approve on the binding.
type ExceptionApproval struct {
	// By is the name of the user.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	By string `json:"by"`
	// Of is the digest of what was approved: sha256 in hex of the rest of the spec. It
	// keeps an approval from holding for what was changed afterwards.
	//
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Of string `json:"of"`
	// Policy is the name of the policy that the binding binds. Once it binds another one,
	// nothing is let go: nobody has approved that. Absent: whatever it binds.
	//
	// +optional
	Policy LabelName `json:"policy,omitempty"`
}

// PolicyExceptionStatus is whether an exception holds.
type PolicyExceptionStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready is true while it is in force.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Exempt are what it lets go now, at most 32 of them.
	//
	// +optional
	// +listType=atomic
	Exempt []string `json:"exempt,omitempty"`
}
