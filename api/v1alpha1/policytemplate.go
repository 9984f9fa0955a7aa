// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// PolicyTemplate is one version of a policy that bindings apply: what it checks, what
// it adds, and the tests that show that it does. It never changes; another version is
// another PolicyTemplate.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=trellis,shortName=ptmpl
// +kubebuilder:validation:XValidation:rule="self.metadata.name == self.spec.policy + '-' + self.spec.version",message="the name of a PolicyTemplate is its spec.policy, a dash and its spec.version"
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.spec.policy`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Severity",type=string,JSONPath=`.spec.severity`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Bindings",type=integer,JSONPath=`.status.bindings`
// +kubebuilder:printcolumn:name="Title",type=string,JSONPath=`.spec.title`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PolicyTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec PolicyTemplateSpec `json:"spec"`
	// +optional
	Status PolicyTemplateStatus `json:"status,omitempty"`
}

// PolicyTemplateList is a list of PolicyTemplates.
//
// +kubebuilder:object:root=true
type PolicyTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicyTemplate `json:"items"`
}

// PolicyTemplateSpec is a version of a policy.
//
// +kubebuilder:validation:XValidation:rule="has(self.constraints) || has(self.contributions) || has(self.assertions)",message="a policy has constraints, contributions or assertions"
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a version of a policy never changes; make another version"
type PolicyTemplateSpec struct {
	// Policy is the name that all versions share.
	//
	// +required
	Policy LabelName `json:"policy"`
	// Version by semver.org, without build metadata.
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9a-z.-]+)?$`
	Version string `json:"version"`
	// Title says in one line what is true where the policy holds.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Title string `json:"title"`
	// Description says why one wants that, and what it costs.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description,omitempty"`
	// +required
	Severity PolicySeverity `json:"severity"`
	// Controls are those of catalogs of controls that the policy helps to meet.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Controls []Control `json:"controls,omitempty"`
	// Remediation says what to do where it does not hold.
	//
	// +required
	Remediation Remediation `json:"remediation"`
	// Parameters are what a binding may set.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Parameters []PolicyParameter `json:"parameters,omitempty"`
	// Constraints are checked of everything that a binding is about.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Constraints []Constraint `json:"constraints,omitempty"`
	// Contributions are added to what a binding is about.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Contributions []Contribution `json:"contributions,omitempty"`
	// Assertions are tests of access that every Application must pass that a binding is
	// about. Its owner cannot take them away.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Assertions []Assertion `json:"assertions,omitempty"`
	// Tests show what the policy finds. They are run before it is admitted.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Tests []PolicyTest `json:"tests,omitempty"`
}

// PolicySeverity is how bad it is when a policy does not hold.
//
// +kubebuilder:validation:Enum=Low;Medium;High;Critical
type PolicySeverity string

// The severities.
const (
	SeverityLow      PolicySeverity = "Low"
	SeverityMedium   PolicySeverity = "Medium"
	SeverityHigh     PolicySeverity = "High"
	SeverityCritical PolicySeverity = "Critical"
)

// Remediation is what to do where a policy does not hold.
type Remediation struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Text string `json:"text"`
	// +optional
	Link Link `json:"link,omitempty"`
}

// PolicyParameter is what a binding may set.
type PolicyParameter struct {
	// Name by which expressions know it: params.NAME.
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z][A-Za-z0-9]*$`
	Name string `json:"name"`
	// +required
	Type ParameterType `json:"type"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`
	// Required parameters have no default: a template in which one has both cannot be
	// bound. Definitions cannot look into a value without a type, so Trellis holds
	// templates to that, not the API server.
	//
	// +optional
	Required bool `json:"required,omitempty"`
	// Default holds where a binding says nothing. Without one, and not required: the
	// empty value of the type.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Default *JSON `json:"default,omitempty"`
	// OneOf are the values that a String, or each of Strings, may have.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	OneOf []string `json:"oneOf,omitempty"`
}

// ParameterType is the type of a parameter. A Duration is a string such as 30s, Strings
// is a list of them, and Labels a map of them.
//
// +kubebuilder:validation:Enum=String;Strings;Integer;Boolean;Duration;Labels
type ParameterType string

// The types of parameters.
const (
	ParameterString   ParameterType = "String"
	ParameterStrings  ParameterType = "Strings"
	ParameterInteger  ParameterType = "Integer"
	ParameterBoolean  ParameterType = "Boolean"
	ParameterDuration ParameterType = "Duration"
	ParameterLabels   ParameterType = "Labels"
)

// Constraint is a condition on everything of one sort. What breaks it is closed, and no
// more than that.
type Constraint struct {
	// +required
	Name LabelName `json:"name"`
	// Subject is what the condition is about.
	//
	// +required
	Subject PolicySubject `json:"subject"`
	// Expression in CEL that is true where the constraint holds.
	//
	// +required
	Expression Expression `json:"expression"`
	// When in CEL says whether the constraint is about a subject at all.
	//
	// +optional
	When Expression `json:"when,omitempty"`
	// Message says what is wrong where it does not hold.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
	// Field is the field of the subject that is to be changed, below the subject's own.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.\[\]]+$`
	Field string `json:"field,omitempty"`
}

// Expression is one in CEL. Its cost is bounded.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=4096
type Expression string

// PolicySubject is what a constraint is asked of.
//
// +kubebuilder:validation:Enum=Application;Route;Exposure;Caller;Call;SecureIngress;IstioObject;PolicyException
type PolicySubject string

// The subjects.
const (
	SubjectApplication PolicySubject = "Application"
	// SubjectRoute is each of spec.routes of an Application.
	SubjectRoute PolicySubject = "Route"
	// SubjectExposure is each of spec.exposures of an Application.
	SubjectExposure PolicySubject = "Exposure"
	// SubjectCaller is each of spec.access.callers of an Application.
	SubjectCaller PolicySubject = "Caller"
	// SubjectCall is each of spec.access.calls of an Application.
	SubjectCall          PolicySubject = "Call"
	SubjectSecureIngress PolicySubject = "SecureIngress"
	// SubjectIstioObject is an Istio object that Trellis did not make. It is reported and
	// left as it is.
	SubjectIstioObject     PolicySubject = "IstioObject"
	SubjectPolicyException PolicySubject = "PolicyException"
)

// Contribution is added to what a binding is about. Exactly one field beside the name is
// set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.denyAccess), has(self.restrictAccess), has(self.mutualTLS), has(self.authentication), has(self.timeout), has(self.tls), has(self.egress), has(self.retries)].filter(x, x).size() == 1",message="exactly one of denyAccess, restrictAccess, mutualTLS, authentication, timeout, tls, egress and retries"
type Contribution struct {
	// +required
	Name LabelName `json:"name"`
	// DenyAccess refuses requests of some callers, and those without an identity.
	//
	// +optional
	DenyAccess *AccessContribution `json:"denyAccess,omitempty"`
	// RestrictAccess refuses requests of all but some callers. Gateways through which an
	// Application is exposed may always call it.
	//
	// +optional
	RestrictAccess *AccessContribution `json:"restrictAccess,omitempty"`
	// MutualTLS makes workloads take mutual TLS alone.
	//
	// +optional
	MutualTLS *MutualTLSContribution `json:"mutualTLS,omitempty"`
	// Authentication makes routes ask for a token.
	//
	// +optional
	Authentication *AuthenticationContribution `json:"authentication,omitempty"`
	// Timeout bounds how long routes may take.
	//
	// +optional
	Timeout *TimeoutContribution `json:"timeout,omitempty"`
	// TLS is about what gateways accept.
	//
	// +optional
	TLS *TLSContribution `json:"tls,omitempty"`
	// Egress bounds which hosts outside of the mesh workloads call.
	//
	// +optional
	Egress *EgressContribution `json:"egress,omitempty"`
	// Retries bounds how often gateways repeat a request.
	//
	// +optional
	Retries *RetriesContribution `json:"retries,omitempty"`
}

// AccessContribution chooses callers, by their namespaces or by Applications.
//
// +kubebuilder:validation:XValidation:rule="has(self.from) != has(self.applications)",message="exactly one of from and applications"
type AccessContribution struct {
	// From in CEL is asked of each namespace, known as caller; true where it is meant.
	//
	// +optional
	From Expression `json:"from,omitempty"`
	// Applications in CEL is asked of each Application, known as caller, whose namespace is
	// callerNamespace; true where it is meant. Requests are an Application's that come from
	// the ServiceAccount of its pods.
	//
	// +optional
	Applications Expression `json:"applications,omitempty"`
}

// MutualTLSContribution is what workloads take.
type MutualTLSContribution struct {
	// +required
	// +kubebuilder:validation:Enum=Strict
	Mode MutualTLSMode `json:"mode"`
}

// AuthenticationContribution is what routes ask for.
type AuthenticationContribution struct {
	// When in CEL is asked of each route; absent: all of them.
	//
	// +optional
	When Expression `json:"when,omitempty"`
	// Scopes in CEL is a list of scopes that a token must have, beside the route's own.
	//
	// +optional
	Scopes Expression `json:"scopes,omitempty"`
}

// TimeoutContribution bounds how long routes may take.
//
// +kubebuilder:validation:XValidation:rule="has(self.maximum) || has(self.fallback)",message="at least one of maximum and fallback"
type TimeoutContribution struct {
	// Maximum in CEL is a duration that no route passes; it is that of routes that say
	// nothing, or more.
	//
	// +optional
	Maximum Expression `json:"maximum,omitempty"`
	// Fallback in CEL is the duration of routes that say nothing.
	//
	// +optional
	Fallback Expression `json:"fallback,omitempty"`
}

// TLSContribution is about what gateways accept.
type TLSContribution struct {
	// MinimumVersion in CEL is TLSv1_2 or TLSv1_3 as a string; a SecureIngress may ask more.
	//
	// +required
	MinimumVersion Expression `json:"minimumVersion"`
}

// EgressContribution bounds which hosts outside of the mesh workloads call.
type EgressContribution struct {
	// Hosts in CEL is a list of all that may be called: DNS names in full, *. and a DNS name
	// for all below it, and IP addresses for what is called by TCP, which carries no name.
	// Services of the mesh are not meant. An empty list is nothing outside of it.
	//
	// +required
	Hosts Expression `json:"hosts"`
}

// RetriesContribution bounds how often gateways repeat a request that fails.
type RetriesContribution struct {
	// Maximum in CEL is a number that is not negative. Zero repeats nothing. Of more than 2,
	// which is what Istio does where nothing is said, 2 are made.
	//
	// +required
	Maximum Expression `json:"maximum"`
}

// PolicyTest is what a policy must find of some objects.
type PolicyTest struct {
	// Name says what the test shows.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Parameters []ParameterValue `json:"parameters,omitempty"`
	// Objects that the policy is asked of, written as they would be applied.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Objects []runtime.RawExtension `json:"objects"`
	// Violations are all that the policy refuses. Absent: nothing.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Violations []ExpectedViolation `json:"violations,omitempty"`
	// Effects are what it adds; all of them. Absent: nothing.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Effects []ExpectedEffect `json:"effects,omitempty"`
}

// ExpectedViolation is something that a policy must refuse.
type ExpectedViolation struct {
	// Constraint by name.
	//
	// +required
	Constraint LabelName `json:"constraint"`
	// Subject as a person would name it, such as Application shop/cart or
	// Application shop/cart spec.routes[0].
	//
	// +required
	// +kubebuilder:validation:MaxLength=512
	Subject string `json:"subject"`
}

// ExpectedEffect is something that a policy must add.
type ExpectedEffect struct {
	// Contribution by name, or an assertion: what it asks is its effect.
	//
	// +required
	Contribution LabelName `json:"contribution"`
	// Subject as a person would name it, such as Application shop/cart.
	//
	// +required
	// +kubebuilder:validation:MaxLength=512
	Subject string `json:"subject"`
	// Effect in words, as trellis catalog test prints them.
	//
	// +required
	// +kubebuilder:validation:MaxLength=512
	Effect string `json:"effect"`
}

// PolicyTemplateStatus is whether a template can be bound.
type PolicyTemplateStatus struct {
	// ObservedGeneration is the generation that this status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Bindings is how many bind this version.
	//
	// +optional
	Bindings int32 `json:"bindings"`
	// Problems are everything that keeps it from being used.
	//
	// +optional
	// +listType=atomic
	Problems []Problem `json:"problems,omitempty"`
}
