// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Assertion is a test of access that every Application must pass that a binding is
// about. `trellis test`, `trellis report` and trellis-server run it on the configuration
// that Istio would send to each proxy. It closes nothing that is in force: where one of a
// Mandatory binding in Enforce fails, a new generation of the Application does not come
// into force.
//
// +kubebuilder:validation:XValidation:rule="!has(self.expect.code) || self.expect.verdict != 'Allow'",message="the application answers what is allowed, so no code can be expected"
type Assertion struct {
	// +required
	Name LabelName `json:"name"`
	// When in CEL is asked of each Application; true where the assertion is about it.
	// Absent: it is about all of them.
	//
	// +optional
	When Expression `json:"when,omitempty"`
	// From is who sends the requests.
	//
	// +required
	From AssertionClient `json:"from"`
	// +required
	Request AssertionRequest `json:"request"`
	// Expect is what must become of each request. Deny holds as well where nothing is
	// published, unless a code is expected.
	//
	// +required
	Expect TestExpectation `json:"expect"`
	// Message says what is wrong where it does not hold.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
}

// AssertionClient is who sends the requests of an assertion. Exactly one field is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.internet) != has(self.namespaces)",message="exactly one of internet and namespaces"
type AssertionClient struct {
	// Internet is a client outside of the mesh, who asks at every host that the
	// Application is published at.
	//
	// +optional
	Internet *InternetClient `json:"internet,omitempty"`
	// Namespaces in CEL is asked of each namespace, known as caller; true where its
	// workloads send the requests: one workload with a proxy for each ServiceAccount, to
	// every port that is not TCP.
	//
	// +optional
	Namespaces Expression `json:"namespaces,omitempty"`
}

// AssertionRequest is what is sent: each method with each path, from each client.
type AssertionRequest struct {
	// Methods in CEL is a list of methods, asked of each Application; absent: GET.
	//
	// +optional
	Methods Expression `json:"methods,omitempty"`
	// Paths in CEL is a list of paths, asked of each Application. They are sent as they
	// are.
	//
	// +required
	Paths Expression `json:"paths"`
	// Token is one whose signature is good and whose time is not over. Absent: the
	// requests have none.
	//
	// +optional
	Token *TestToken `json:"token,omitempty"`
}
