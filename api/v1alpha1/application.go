// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Application is what an application developer states about one workload: its
// ports, the paths that it serves and what each needs, where it is exposed, and
// who may call it inside the mesh. It lives in the application's repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tapp,categories=trellis
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.addresses[0].url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of an Application has at most 63 characters: it is the default host name"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.contains('.')",message="the name of an Application is one DNS label, without dots: it is the default host name"
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec ApplicationSpec `json:"spec"`
	// +optional
	Status ApplicationStatus `json:"status,omitempty"`
}

// ApplicationList is a list of Applications.
//
// +kubebuilder:object:root=true
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Application `json:"items"`
}

// ApplicationSpec is the developer's statement.
//
// +kubebuilder:validation:XValidation:rule="!has(self.routes) || self.routes.all(r, self.ports.exists(p, p.name == r.port))",message="every route names one of spec.ports"
// +kubebuilder:validation:XValidation:rule="!has(self.exposures) || self.exposures.all(e, has(self.routes) && e.routes.all(n, self.routes.exists(r, r.name == n)))",message="every exposure names routes that spec.routes declares"
// +kubebuilder:validation:XValidation:rule="!has(self.access) || !has(self.access.callers) || self.access.callers.all(c, !has(c.routes) || (has(self.routes) && c.routes.all(n, self.routes.exists(r, r.name == n))))",message="every caller names routes that spec.routes declares"
// +kubebuilder:validation:XValidation:rule="!has(self.tests) || self.tests.all(t, !has(t.request.port) || self.ports.exists(p, p.name == t.request.port && p.protocol != 'TCP'))",message="every test names a port of spec.ports that is not TCP"
type ApplicationSpec struct {
	// Service is the name of a Kubernetes Service with a selector in the
	// Application's namespace. It names the workload.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Service string `json:"service"`

	// Ports are the ports of the Service that the application serves. A port of
	// the Service that is not listed here is closed.
	//
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Ports []ApplicationPort `json:"ports"`

	// Routes are what the application serves over HTTP, HTTP/2 and gRPC.
	// Exposures and callers refer to them by name. A request that no route
	// covers is refused.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Routes []Route `json:"routes,omitempty"`

	// Exposures say where routes can be reached from outside the mesh. Absent:
	// nowhere.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Exposures []Exposure `json:"exposures,omitempty"`

	// Access says who may call the application inside the mesh. Absent: only
	// the gateways through which it is exposed.
	//
	// +optional
	Access *Access `json:"access,omitempty"`

	// Tests are requests and what must become of them. `trellis test` runs them on
	// these files, and trellis-server, where it is installed, in the cluster: a change
	// that breaks one is refused, and none is in force before all of them have passed.
	// The condition TestsPassed says what came of them.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Tests []AccessTest `json:"tests,omitempty"`
}

// Protocol is the application protocol of a port. It must equal what the
// Service declares by appProtocol or by its port's name.
//
// +kubebuilder:validation:Enum=HTTP;HTTP2;GRPC;TCP
type Protocol string

// The protocols of an ApplicationPort.
const (
	ProtocolHTTP  Protocol = "HTTP"
	ProtocolHTTP2 Protocol = "HTTP2"
	ProtocolGRPC  Protocol = "GRPC"
	ProtocolTCP   Protocol = "TCP"
)

// ApplicationPort is one port of the Service.
type ApplicationPort struct {
	// Name identifies the port inside this Application; it need not equal the
	// name of the Service's port.
	//
	// +required
	Name LabelName `json:"name"`
	// Port is the number of the Service's port (not the container's).
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// +required
	Protocol Protocol `json:"protocol"`
}

// LabelName names a list item: one DNS label (RFC 1123).
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type LabelName string

// Route is a set of requests that share what they need: a login, a timeout.
type Route struct {
	// +required
	Name LabelName `json:"name"`
	// Port is the name of one of spec.ports; its protocol is not TCP.
	//
	// +required
	Port LabelName `json:"port"`
	// Paths are the paths of the route. The longest path that matches decides
	// the route, before the method.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Paths []PathMatch `json:"paths"`
	// Methods are the methods that the route serves. Absent: all of them, or
	// POST alone on a gRPC port. Another method is refused, never tried on a
	// shorter path.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=9
	Methods []Method `json:"methods,omitempty"`
	// Authentication is what a request needs. Absent: Required, by the
	// ingress's default provider.
	//
	// +optional
	Authentication *Authentication `json:"authentication,omitempty"`
	// Timeout is how long the gateway waits for the whole answer. Absent: no
	// limit by us.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('24h')",message="a timeout is between 1ms and 24h"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// RawPaths lets through paths that gateway and application may read
	// differently (%2F, %5C, backslash, //, ;, %00, dot segments, double
	// encoding). Only where all routes of the Application and of its hosts ask
	// the same authentication.
	//
	// +optional
	RawPaths bool `json:"rawPaths,omitempty"`
}

// Method is an HTTP method (RFC 9110 section 9, RFC 5789).
//
// +kubebuilder:validation:Enum=GET;HEAD;POST;PUT;PATCH;DELETE;OPTIONS;CONNECT;TRACE
type Method string

// PathMatch matches paths, without the query. Exactly one field is set. Paths
// are case-sensitive and written as the application reads them: decoded, with
// no percent-encoding, no wildcard and no regular expression.
//
// +kubebuilder:validation:XValidation:rule="has(self.exact) != has(self.prefix)",message="exactly one of exact and prefix"
type PathMatch struct {
	// Exact matches this path alone.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Exact *string `json:"exact,omitempty"`
	// Prefix matches whole segments: /api is /api and /api/x, never /apix.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Prefix *string `json:"prefix,omitempty"`
}

// AuthenticationMode says whether a token is needed.
//
// +kubebuilder:validation:Enum=Required;Optional;None
type AuthenticationMode string

const (
	// AuthenticationRequired refuses a request without a valid token.
	AuthenticationRequired AuthenticationMode = "Required"
	// AuthenticationOptional lets requests without a token in, and holds a
	// request with one to everything that the route asks of it.
	AuthenticationOptional AuthenticationMode = "Optional"
	// AuthenticationNone needs no token. An invalid token is refused all the same.
	AuthenticationNone AuthenticationMode = "None"
)

// Authentication is what a route asks of a token.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'None' || (!has(self.provider) && !has(self.audiences) && !has(self.scopes) && !has(self.claims))",message="mode None takes no provider, audiences, scopes or claims"
type Authentication struct {
	// Mode; absent: Required.
	//
	// +optional
	Mode AuthenticationMode `json:"mode,omitempty"`
	// Provider is the name of one of the ingress's identity providers. Absent:
	// the one that is marked default.
	//
	// +optional
	Provider LabelName `json:"provider,omitempty"`
	// Audiences narrow the provider's audiences: any one of them is enough.
	// Absent: the provider's.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Audiences []ClaimValue `json:"audiences,omitempty"`
	// Scopes must all be granted.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Scopes []ClaimValue `json:"scopes,omitempty"`
	// Claims must all hold.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Claims []ClaimRequirement `json:"claims,omitempty"`
}

// ClaimValue is a literal string in a token. An asterisk would be read as a
// wildcard by the proxy and is refused.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:Pattern=`^[^*\s]+$`
type ClaimValue string

// ClaimRequirement is one condition on a token's claims.
type ClaimRequirement struct {
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
	// +kubebuilder:validation:items:Pattern=`^[^\[\]*]+$`
	Path []string `json:"path"`
	// AnyOf holds when the claim is one of these strings, or a list that holds
	// one of them.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	AnyOf []ClaimValue `json:"anyOf"`
}

// Exposure publishes routes at host names of a SecureIngress.
type Exposure struct {
	// +required
	Name LabelName `json:"name"`
	// Ingress is the SecureIngress. Absent: the only one that admits this
	// namespace; where several do, it must be said.
	//
	// +optional
	Ingress *NamespacedName `json:"ingress,omitempty"`
	// Hostnames are labels under the ingress's domains, for example shop or
	// api.shop; "@" is the domain itself. Absent: the Application's name.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Hostnames []Hostname `json:"hostnames,omitempty"`
	// Domains are names of the ingress's domains. Absent: all of them.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Domains []LabelName `json:"domains,omitempty"`
	// Routes are the names of the routes to publish.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Routes []LabelName `json:"routes"`
	// CORS lets browsers of other origins in. The preflight is answered at the
	// gateway. Absent: no cross-origin headers by us.
	//
	// +optional
	CORS *CORS `json:"cors,omitempty"`
	// ShareHostWith are Applications of other namespaces that may publish on
	// these hosts too; Applications of this namespace always may.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ShareHostWith []NamespacedName `json:"shareHostWith,omitempty"`
}

// Hostname is one or more DNS labels in lower case, or "@".
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=190
// +kubebuilder:validation:Pattern=`^(@|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*)$`
type Hostname string

// NamespacedName names an object of a known kind in a namespace.
type NamespacedName struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// +required
	Namespace LabelName `json:"namespace"`
}

// CORS is what browsers are told about other origins (WHATWG Fetch, "HTTP CORS
// protocol").
type CORS struct {
	// Origins are scheme and host, with a port where it is not the scheme's own.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:Pattern=`^https?://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$`
	Origins []string `json:"origins"`
	// Methods that other origins may use. Absent: those of the route.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=9
	Methods []Method `json:"methods,omitempty"`
	// Headers that other origins may send.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Headers []HeaderName `json:"headers,omitempty"`
	// ExposeHeaders are response headers that scripts of other origins may read.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	ExposeHeaders []HeaderName `json:"exposeHeaders,omitempty"`
	// AllowCredentials lets browsers send cookies.
	//
	// +optional
	AllowCredentials bool `json:"allowCredentials,omitempty"`
	// MaxAge is how long a browser may keep the answer to a preflight.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="maxAge is between 1s and 24h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// HeaderName is the name of an HTTP header in lower case (RFC 9110 section 5.1).
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:Pattern=`^[a-z0-9!#$%&'*+.^_|~-]+$`
type HeaderName string

// HTTPPorts are the ports that are not TCP.
func (s *ApplicationSpec) HTTPPorts() []ApplicationPort {
	var out []ApplicationPort
	for _, p := range s.Ports {
		if p.Protocol != ProtocolTCP {
			out = append(out, p)
		}
	}
	return out
}
