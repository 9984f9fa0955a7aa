// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package intent resolves what people stated into one graph of plain data:
// which requests reach which workload, through which host, asking what of a
// token, and from whom. References, claims and conflicts are settled here; what
// cannot be settled is closed and becomes a finding. The package knows no output
// kind: compile turns the graph into Istio objects. It is pure, and every node
// carries the origin that it came from.
package intent

import (
	"slices"
	"strconv"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent/paths"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Graph is the resolved intent of a whole Snapshot, in a fixed order.
type Graph struct {
	Ingresses    []*Ingress
	Applications []*Application
	// Claims are the host claims that must exist before anything is published
	// on their hosts, and do not exist yet.
	Claims   []Claim
	Findings []model.Finding
	// Policies are those that everything was held to.
	Policies *policy.Set
	// Judgements are everything that policies did not find as they have it, and
	// Contributions what they added, in order of the asking. Assertions are what is to be
	// asked of proxies.
	Judgements    []policy.Judgement
	Contributions []*policy.Contribution
	Assertions    []*policy.Assertion
}

// Claim says that a namespace owns a host.
type Claim struct {
	Host      string
	Namespace string
	// Owners are the Applications that made it.
	Owners []model.Reference
}

// Path matches request paths.
type Path = paths.Path

// PathTable holds all paths that compete for requests: those of one host, or of
// one port of an Application.
type PathTable = paths.Table[*Route]

// newPathTable takes routes, each once.
func newPathTable(routes []*Route) *PathTable {
	t := &PathTable{}
	for _, route := range routes {
		t.Add(route, route.Paths)
	}
	t.Sort()
	return t
}

// Pods are the workloads of a namespace that a Service selects.
type Pods struct {
	Namespace string
	Selector  map[string]string
}

// Port is one port of a Service, resolved to the pods.
type Port struct {
	// Name is the Application's name for the port; empty for gateways.
	Name string
	// Number is the Service's port.
	Number int32
	// Target is the port that the proxy listens on; zero when it could not be
	// resolved.
	Target   int32
	Protocol v1alpha1.Protocol
	Origin   model.Origin
}

// key is equal for ports that are one to the proxy: two ports of a Service may
// have one target.
func (p Port) key() string {
	if p.Target != 0 {
		return strconv.Itoa(int(p.Target))
	}
	return p.Name
}

// Ingress is one SecureIngress.
type Ingress struct {
	Ref    model.Reference
	Origin model.Origin
	Spec   *v1alpha1.SecureIngressSpec
	// Closed is true when nothing may be served here: its listeners and routes
	// are left out, what restricts stays.
	Closed bool
	// TLSOrigin is set where a policy asks for the version of TLS, and not the ingress.
	TLSOrigin *model.Origin
	Pods      Pods
	HTTPS     Port
	HTTP      Port
	// Identity is the gateway's own; nil when it could not be resolved.
	Identity *model.Identity
	// Providers that may be used, by name.
	Providers map[string]*Provider
	// Fingerprint of the certificate that is to be served, where it is one for all
	// hosts.
	Fingerprint string
	Hosts       []*Host
	// Certificates are those that Trellis gets, in order; none where the Secret is
	// brought.
	Certificates []*Certificate

	// byName finds Hosts while they are collected.
	byName map[string]*Host
	// gateway is the same number for ingresses on the same pods.
	gateway int
}

// Provider is an identity provider of an Ingress.
type Provider struct {
	Spec   *v1alpha1.IdentityProvider
	Origin model.Origin
}

// Host is one host name on one Ingress.
type Host struct {
	Name    string
	Ingress *Ingress
	// Publications in order of application, route and exposure.
	Publications []*Publication
	// RawPaths lets odd paths through.
	RawPaths bool
	// Paths are those of all its publications, closed ones included.
	Paths *PathTable
	// Certificate is nil where the ingress's Secret is served.
	Certificate *Certificate
}

// Certificate is one that Trellis gets from a certificate authority.
type Certificate struct {
	// For is the host or the domain that it is named after.
	For string
	// DNSNames are what it is for, sorted.
	DNSNames []string
	// Challenge is never Auto.
	Challenge v1alpha1.ChallengeType
	// Hosts are served with it.
	Hosts []*Host
}

// Publication is one route on one host.
type Publication struct {
	Host        *Host
	Application *Application
	Route       *Route
	Exposure    string
	// Domain of the ingress that the host is under.
	Domain string
	CORS   *v1alpha1.CORS
	// Requirement is what a request on this host needs.
	Requirement Requirement
	// Closed is true when every request must be refused: something that the
	// route needs could not be resolved, or the route is not published here and
	// would be covered by a shorter path that is.
	Closed bool
	// ClosedBy is the policy that closes it; nil where something else does, too.
	ClosedBy *model.Origin
	// Unpublished tells a closed route that was never meant to be here. Its Route
	// has only the paths that are closed.
	Unpublished bool
	Origin      model.Origin
}

// Application is one Application.
type Application struct {
	Ref    model.Reference
	Origin model.Origin
	Spec   *v1alpha1.ApplicationSpec
	// Pods is nil when the Service cannot be resolved: nothing is generated.
	Pods *Pods
	// Closed is true when nobody may call: a part of the statement that decides
	// about everything is in conflict, or a policy refuses it.
	Closed bool
	// ClosedBy is the policy that closes it; nil where none does.
	ClosedBy *model.Origin
	Ports    []Port
	Routes   []*Route
	// Publications on all hosts, in order.
	Publications []*Publication
	// Providers are the identity providers of its ingresses whose tokens its own
	// proxy can check: issuers with different keys are left out.
	Providers []*Provider
	Callers   []*Caller
	// Refused are callers that are stated and that policies do not let in.
	Refused []*Caller
	// TrustDomain of the mesh that its callers are in.
	TrustDomain string
	// RawPaths lets odd paths through to the workload.
	RawPaths bool
	// AccessRules are what policies say of callers, beside Callers.
	AccessRules []*AccessRule
	// Egress are what policies say of hosts outside of the mesh, beside its own calls.
	Egress []*policy.Contribution
	// JudgedCalls are what policies say against each of its calls; nil where none is
	// about it.
	JudgedCalls [][]policy.Judgement
	// MutualTLSOrigin is set where a policy states the mode, and not the Application.
	MutualTLSOrigin *model.Origin
	// ClientMutualTLS is true when clients would not use mutual TLS by
	// themselves although the workload demands it.
	ClientMutualTLS bool

	// tables are the paths of each port, by the port's key.
	tables map[string]*PathTable
	// policies are those about it; nil where there are none.
	policies *policy.Application
	// contributions are those of policies that are about callers.
	contributions []*policy.Contribution
	// accessTaken and shadowTaken are about how many bytes AccessRules take.
	accessTaken, shadowTaken int
}

// PathsOn are the paths of all routes on a port.
func (a *Application) PathsOn(p Port) *PathTable { return a.tables[p.key()] }

// AllPaths are those of all ports, in the order of the routes.
func (a *Application) AllPaths() []*PathTable {
	var out []*PathTable
	for _, route := range a.Routes {
		if t := a.PathsOn(route.Port); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// Route is one route of an Application.
type Route struct {
	Name string
	// Spec is what was stated. Read only.
	Spec   *v1alpha1.Route
	Port   Port
	Paths  []Path
	Origin model.Origin
	// Methods is nil for all of them.
	Methods []string
	Mode    v1alpha1.AuthenticationMode
	Timeout time.Duration
	// Retries is how often gateways repeat a request that fails; nil where nobody says.
	Retries *int64
	// AuthenticationOrigin is set where a policy asks for the token, and not the Application.
	AuthenticationOrigin *model.Origin
	// ScopeOrigins are the policies that ask for scopes which the Application does not.
	ScopeOrigins map[string]*model.Origin
	// InMesh is what callers inside the mesh need, one for each ingress of the
	// Application: any of them is enough. Empty closes the route to callers
	// whose token is not waived, unless Mode is None.
	InMesh []Requirement
	// Closed is true when the route itself cannot be used, or a policy refuses it.
	Closed bool
	// ClosedBy is the policy that closes it; nil where something else does, too.
	ClosedBy *model.Origin
}

// Requirement is what a request needs of a token.
type Requirement struct {
	Mode v1alpha1.AuthenticationMode
	// Issuer and Audiences are empty when Mode is None.
	Issuer     string
	Audiences  []string
	ScopeClaim string
	Scopes     []string
	// ScopeOrigins are those of scopes that policies ask for, beside Origin.
	ScopeOrigins map[string]*model.Origin
	Claims       []ClaimRequirement
	// Issuers are all issuers that are accepted on the host; a token of another
	// one is refused even where none is needed.
	Issuers []string
	Origin  model.Origin
}

// ClaimRequirement is one condition on claims.
type ClaimRequirement struct {
	Name   string
	Path   []string
	AnyOf  []string
	Origin model.Origin
}

// Caller is one party that may call an Application inside the mesh.
type Caller struct {
	Name string
	// Any is everybody.
	Any bool
	// Namespace is every workload of a namespace, or empty.
	Namespace string
	// Identity is one account, or nil.
	Identity *model.Identity
	// Routes that it may call; the ports with TCP in TCP.
	Routes []*Route
	TCP    []Port
	// Waived callers need no token.
	Waived bool
	Origin model.Origin
	// RefusedBy is the policy that does not let it in; nil where it is let in.
	RefusedBy *model.Origin
}
