// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// AccessTest is one request and what must become of it. `trellis test` and
// trellis-server run it on the configuration that Istio would send to each proxy.
//
// +kubebuilder:validation:XValidation:rule="has(self.from.internet) ? !has(self.request.port) : !has(self.request.host) && !has(self.request.scheme)",message="host and scheme are of requests from the internet, port is of those from inside the mesh"
// +kubebuilder:validation:XValidation:rule="!has(self.expect.code) || self.expect.verdict != 'Allow'",message="the application answers what is allowed, so no code can be expected"
type AccessTest struct {
	// Name says what the test shows, for example "nobody reads the API without a
	// login".
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[^\s\x00-\x1f\x7f]+( [^\s\x00-\x1f\x7f]+)*$`
	Name string `json:"name"`
	// From is who sends the request.
	//
	// +required
	From TestClient `json:"from"`
	// +required
	Request TestRequest `json:"request"`
	// +required
	Expect TestExpectation `json:"expect"`
}

// TestClient is who sends a request. Exactly one field is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.internet), has(self.application), has(self.serviceAccount)].filter(x, x).size() == 1",message="exactly one of internet, application and serviceAccount"
type TestClient struct {
	// Internet is a client outside of the mesh, who comes in through the
	// ingresses of the exposures.
	//
	// +optional
	Internet *InternetClient `json:"internet,omitempty"`
	// Application is the workload of another Application, or of this one.
	//
	// +optional
	Application *NamespacedName `json:"application,omitempty"`
	// ServiceAccount is a workload that runs as this account.
	//
	// +optional
	ServiceAccount *NamespacedName `json:"serviceAccount,omitempty"`
}

// InternetClient is written {}.
type InternetClient struct{}

// URLScheme is the scheme of a request from the internet.
//
// +kubebuilder:validation:Enum=https;http
type URLScheme string

// TestRequest is what is sent.
type TestRequest struct {
	// Method; absent: GET.
	//
	// +optional
	Method Method `json:"method,omitempty"`
	// Path as it is sent, with the query if there is one. It is not cleaned up:
	// "//", "%2F" and dot segments arrive as they are written here.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^/[!-~]*$`
	Path string `json:"path"`
	// Host that a client on the internet asks for. Absent: every host that the
	// Application is published at, and the test must hold for each of them.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`
	Host string `json:"host,omitempty"`
	// Scheme that a client on the internet uses. Absent: https.
	//
	// +optional
	Scheme URLScheme `json:"scheme,omitempty"`
	// Port is the name of one of spec.ports, for a request from inside the mesh.
	// Absent: the only one that is not TCP.
	//
	// +optional
	Port LabelName `json:"port,omitempty"`
	// Headers that are sent beside those that every client sends.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Headers []TestHeader `json:"headers,omitempty"`
	// Token is one whose signature is good and whose time is not over. Absent:
	// the request has none.
	//
	// +optional
	Token *TestToken `json:"token,omitempty"`
}

// TestHeader is one header of a request.
type TestHeader struct {
	// +required
	Name HeaderName `json:"name"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[ -~]*$`
	Value string `json:"value,omitempty"`
}

// TestToken is what a token of a test claims.
type TestToken struct {
	// Issuer (claim iss).
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Issuer string `json:"issuer"`
	// Subject (claim sub). Absent: "test".
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Subject string `json:"subject,omitempty"`
	// Audiences (claim aud).
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Audiences []ClaimValue `json:"audiences,omitempty"`
	// Scopes (claim scope, separated by spaces as in RFC 8693 section 4.2).
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Scopes []ClaimValue `json:"scopes,omitempty"`
	// Claims beside these.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Claims []TestClaim `json:"claims,omitempty"`
}

// TestClaim is one claim of a token.
type TestClaim struct {
	// +required
	Name LabelName `json:"name"`
	// Path leads to the claim through nested objects.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Path []string `json:"path"`
	// Values: one is written as a string into the token, several as a list.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	Values []string `json:"values"`
}

// TestVerdict is what becomes of a request.
//
// +kubebuilder:validation:Enum=Allow;Deny;Answered;NoRoute;Fails
type TestVerdict string

// The verdicts that a test may expect. What is not known is none of them: such a
// test has not passed.
const (
	// VerdictAllow: it reaches the application.
	VerdictAllow TestVerdict = "Allow"
	// VerdictDeny: a proxy refuses it.
	VerdictDeny TestVerdict = "Deny"
	// VerdictAnswered: a proxy answers as it was told to, for example by a
	// redirect.
	VerdictAnswered TestVerdict = "Answered"
	// VerdictNoRoute: nothing is published there.
	VerdictNoRoute TestVerdict = "NoRoute"
	// VerdictFails: it should be delivered and cannot be.
	VerdictFails TestVerdict = "Fails"
)

// TestExpectation is what must become of a request.
type TestExpectation struct {
	// +required
	Verdict TestVerdict `json:"verdict"`
	// Code is the HTTP status that a proxy answers with. Absent: any. It cannot be
	// told for Allow, where the application answers.
	//
	// +optional
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Code int32 `json:"code,omitempty"`
}
