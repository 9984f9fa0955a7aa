// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The condition types of Application and SecureIngress. Reconciling and Stalled
// are abnormal-true and absent in the normal state, as kstatus reads them.
const (
	// ConditionAccepted is about the statement: schema, references, conflicts.
	ConditionAccepted = "Accepted"
	// ConditionProgrammed is about the control plane: every selected proxy has
	// acknowledged a configuration that is newer than our last write.
	ConditionProgrammed = "Programmed"
	// ConditionEnforced is about the data plane: seen working by probes.
	ConditionEnforced = "Enforced"
	// ConditionReady is all that apply.
	ConditionReady = "Ready"
	// ConditionReconciling is true while a change is on its way.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when only a person can help.
	ConditionStalled = "Stalled"
	// ConditionMet of a Goal is true when everything that its bindings are about passes or
	// is exempt.
	ConditionMet = "Met"
	// ConditionHolds of a binding is the same for the binding.
	ConditionHolds = "Holds"
	// ConditionProgressing of a binding with a rollout is false where trouble has stopped it.
	ConditionProgressing = "Progressing"
)

// PausedAnnotation set to "true" on an Application or SecureIngress stops the
// repair of what was generated for it; probes go on.
const PausedAnnotation = "trellis.dev/paused"

// SourceAnnotation says where an object came from, for example a repository, a
// commit and a path. Trellis carries it into the provenance of what it generates.
const SourceAnnotation = "trellis.dev/source"

// ApplicationStatus is what became of an Application.
type ApplicationStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Addresses are the URLs at which the application answers.
	//
	// +optional
	// +listType=atomic
	Addresses []Address `json:"addresses,omitempty"`
	// Generated are the objects that the Application became.
	//
	// +optional
	// +listType=atomic
	Generated []GeneratedObject `json:"generated,omitempty"`
	// Policies are those that the Application is held to, at most 64 of them.
	//
	// +optional
	// +listType=atomic
	Policies []BoundPolicy `json:"policies,omitempty"`
	// Problems are everything that keeps it from being accepted, and warnings.
	//
	// +optional
	// +listType=atomic
	Problems []Problem `json:"problems,omitempty"`
}

// BoundPolicy is a policy that an object is held to, as far as whoever owns the object
// has to know it.
type BoundPolicy struct {
	// Binding with its kind, such as ClusterPolicyBinding no-anonymous-routes.
	//
	// +required
	Binding string `json:"binding"`
	// Title of the policy; empty where it does not exist.
	//
	// +optional
	Title string `json:"title,omitempty"`
	// Tier is Mandatory, Namespace or Default.
	//
	// +required
	Tier string `json:"tier"`
	// +required
	Mode PolicyMode `json:"mode"`
	// State is Passing, Failing, Exempt or Unknown.
	//
	// +required
	State PolicyState `json:"state"`
	// Contact is whom to ask.
	//
	// +optional
	Contact string `json:"contact,omitempty"`
}

// PolicyState is what a policy found.
//
// +kubebuilder:validation:Enum=Passing;Failing;Exempt;Unknown
type PolicyState string

// The states.
const (
	StatePassing PolicyState = "Passing"
	StateFailing PolicyState = "Failing"
	// StateExempt would be failing, and an exception lets it go.
	StateExempt  PolicyState = "Exempt"
	StateUnknown PolicyState = "Unknown"
)

// SecureIngressStatus is what became of a SecureIngress.
type SecureIngressStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// HostCount is the number of hosts that are published here.
	//
	// +optional
	HostCount int32 `json:"hostCount,omitempty"`
	// Hosts are the hosts that are published here, at most 256 of them.
	//
	// +optional
	// +listType=atomic
	Hosts []string `json:"hosts,omitempty"`
	// DNSEntries are to be made by you, where spec.dns is absent; at most 256.
	//
	// +optional
	// +listType=atomic
	DNSEntries []DNSEntry `json:"dnsEntries,omitempty"`
	// Generated are the objects that the SecureIngress became.
	//
	// +optional
	// +listType=atomic
	Generated []GeneratedObject `json:"generated,omitempty"`
	// Problems are everything that keeps it from being accepted, and warnings.
	//
	// +optional
	// +listType=atomic
	Problems []Problem `json:"problems,omitempty"`
}

// Address is one URL of an Application.
type Address struct {
	// +required
	URL string `json:"url"`
	// Exposure is the name of the exposure that it comes from.
	//
	// +required
	Exposure string `json:"exposure"`
}

// GeneratedObject names an object that Trellis made.
type GeneratedObject struct {
	// +required
	APIVersion string `json:"apiVersion"`
	// +required
	Kind string `json:"kind"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// +required
	Name string `json:"name"`
}

// Problem is one refusal or warning: what, why, whose rule, and what to do.
type Problem struct {
	// Severity is Error or Warning.
	//
	// +required
	Severity string `json:"severity"`
	// Field is the path of the field, for example spec.routes[2].paths[0].exact.
	//
	// +optional
	Field string `json:"field,omitempty"`
	// Reason is a word for machines.
	//
	// +required
	Reason string `json:"reason"`
	// Message says what is wrong and why.
	//
	// +required
	Message string `json:"message"`
	// Owner is whose rule it is, for example SecureIngress istio-ingress/public.
	//
	// +optional
	Owner string `json:"owner,omitempty"`
	// Fix says what to do, and where.
	//
	// +optional
	Fix string `json:"fix,omitempty"`
}

// Annotations by which people tell the controllers of certificates and entries
// what to do. They are not part of what is generated, and are never reverted.
const (
	// RenewAnnotation on a ManagedCertificate asks for another certificate each
	// time its text changes.
	RenewAnnotation = "trellis.dev/renew"
	// RetryAnnotation on a ManagedCertificate lifts every wait but the certificate
	// authority's own each time its text changes. On a MutualTLSRollout it lets the
	// stages go on that were taken back, whose window begins anew with that.
	RetryAnnotation = "trellis.dev/retry"
	// RotateAccountKeyAnnotation on a ManagedCertificate changes the key of the
	// account at its authority, which other certificates share, each time its text
	// changes.
	RotateAccountKeyAnnotation = "trellis.dev/rotate-account-key"
	// SkipSelfCheckAnnotation set to "true" on a ManagedCertificate lets the
	// authority look without looking ourselves first.
	SkipSelfCheckAnnotation = "trellis.dev/skip-self-check"
)

// InstructionAnnotations are all of these.
var InstructionAnnotations = []string{RenewAnnotation, RetryAnnotation, RotateAccountKeyAnnotation, SkipSelfCheckAnnotation}

// The conditions of a SecureIngress or Application about what Trellis keeps for
// it outside of the mesh.
const (
	// ConditionCertificatesReady is true when every certificate was issued.
	ConditionCertificatesReady = "CertificatesReady"
	// ConditionDNSReady is true when every entry is in its zone.
	ConditionDNSReady = "DNSReady"
)

// ConditionTestsPassed is about spec.tests of an Application, and absent without
// them. False makes Ready false. Unknown does not by itself: what is in force has
// passed its tests, or Accepted says that it is not in force.
const ConditionTestsPassed = "TestsPassed"
