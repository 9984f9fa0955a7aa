// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SecureIngress is what a platform operator states about one way into the mesh:
// domains, gateway, certificate, identity providers, and who may be exposed. It
// lives in the namespace of the gateway's pods.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=singress,categories=trellis
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Domain",type=string,JSONPath=`.spec.domains[0].domain`
// +kubebuilder:printcolumn:name="Hosts",type=integer,JSONPath=`.status.hostCount`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a SecureIngress has at most 63 characters: generated names are made from it"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.contains('.')",message="the name of a SecureIngress is one DNS label, without dots: generated names are made from it"
type SecureIngress struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec SecureIngressSpec `json:"spec"`
	// +optional
	Status SecureIngressStatus `json:"status,omitempty"`
}

// SecureIngressList is a list of SecureIngresses.
//
// +kubebuilder:object:root=true
type SecureIngressList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecureIngress `json:"items"`
}

// SecureIngressSpec is the platform operator's statement.
//
// +kubebuilder:validation:XValidation:rule="!has(self.identityProviders) || self.identityProviders.filter(p, has(p.default) && p.default).size() <= 1",message="at most one identity provider is the default"
// +kubebuilder:validation:XValidation:rule="(has(self.dns) && has(self.dns.providerRef)) || !(has(self.tls.builtIn) && has(self.tls.builtIn.challenge) && self.tls.builtIn.challenge in ['DNS01', 'DNSPersist01'])",message="a DNS challenge needs dns.providerRef: without it nothing can be written to the zone"
// +kubebuilder:validation:XValidation:rule="!(has(self.dns) && has(self.dns.dryRun) && self.dns.dryRun) || !(has(self.tls.builtIn) && has(self.tls.builtIn.challenge) && self.tls.builtIn.challenge in ['DNS01', 'DNSPersist01'])",message="a DNS challenge writes to the zone, and dns.dryRun promises that nothing is written: take out dns.dryRun, or tls.builtIn.challenge for as long as it is tried out"
type SecureIngressSpec struct {
	// Domains are the domains under which applications get host names.
	//
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Domains []IngressDomain `json:"domains"`
	// +required
	Gateway IngressGateway `json:"gateway"`
	// InsecureRequests says what happens to plain HTTP. Absent: Redirect.
	//
	// +optional
	InsecureRequests InsecureRequests `json:"insecureRequests,omitempty"`
	// +required
	TLS IngressTLS `json:"tls"`
	// DNS lets Trellis write the DNS entries of the hosts, or hand them over to
	// ExternalDNS. Absent: nothing is written, and status lists the entries to make.
	//
	// +optional
	DNS *IngressDNS `json:"dns,omitempty"`
	// IdentityProviders issue the tokens that are accepted on these domains.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	IdentityProviders []IdentityProvider `json:"identityProviders,omitempty"`
	// Applications say who may be exposed here, and under which names. Absent:
	// nobody.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Applications []ApplicationAdmission `json:"applications,omitempty"`
}

// IngressDomain is one domain.
type IngressDomain struct {
	// +required
	Name LabelName `json:"name"`
	// Domain in lower case; an internationalised name as its A-label (xn--…).
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=190
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$`
	Domain string `json:"domain"`
}

// IngressGateway names the gateway's pods.
type IngressGateway struct {
	// Service is a Service with a selector in the SecureIngress's namespace.
	// The gateway's pods and ports are read from it.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Service string `json:"service"`
	// Exclusive says that nobody else configures these pods: what no route
	// allows is then refused by default. SecureIngresses on the same pods must
	// agree.
	//
	// +optional
	Exclusive bool `json:"exclusive,omitempty"`
}

// InsecureRequests is the answer to plain HTTP.
//
// +kubebuilder:validation:Enum=Redirect;Reject
type InsecureRequests string

const (
	// InsecureRequestsRedirect answers 308 to the same URL over HTTPS; a
	// request that carries a token is answered 400, since the token has leaked.
	InsecureRequestsRedirect InsecureRequests = "Redirect"
	// InsecureRequestsReject answers 403.
	InsecureRequestsReject InsecureRequests = "Reject"
)

// TLSVersion is a protocol version.
//
// +kubebuilder:validation:Enum=TLSv1_2;TLSv1_3
type TLSVersion string

// The TLS versions that a gateway may be held to (RFC 8996 retires older ones).
const (
	TLSv12 TLSVersion = "TLSv1_2"
	TLSv13 TLSVersion = "TLSv1_3"
)

// IngressTLS is how the gateway proves who it is: by a certificate that you bring
// (secretName), by one that Trellis gets and renews (email or builtIn), or by one
// that cert-manager does (certManager).
//
// +kubebuilder:validation:XValidation:rule="[has(self.secretName), has(self.email) || has(self.builtIn), has(self.certManager)].filter(x, x).size() == 1",message="exactly one of secretName (a certificate that you bring), email or builtIn (one that Trellis gets), and certManager (one that cert-manager gets)"
type IngressTLS struct {
	// SecretName is a Secret of type kubernetes.io/tls in the SecureIngress's
	// namespace. Its certificate covers every host of the domains in use.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
	// Email alone lets Trellis get certificates from Let's Encrypt and renew them
	// for ever. The authority may write to it; Trellis tells of trouble itself.
	//
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[^@\s]+@[^@\s]+$`
	Email string `json:"email,omitempty"`
	// BuiltIn says more about how Trellis gets certificates.
	//
	// +optional
	BuiltIn *IngressCertificates `json:"builtIn,omitempty"`
	// CertManager lets cert-manager get the certificates.
	//
	// +optional
	CertManager *CertManagerCertificates `json:"certManager,omitempty"`
	// MinimumVersion; absent: TLSv1_2.
	//
	// +optional
	MinimumVersion TLSVersion `json:"minimumVersion,omitempty"`
	// HSTS tells browsers to use HTTPS alone (RFC 6797). Absent: not sent.
	//
	// +optional
	HSTS *HSTS `json:"hsts,omitempty"`
}

// ChallengeType is a way to prove control of a name to a certificate authority.
//
// +kubebuilder:validation:Enum=Auto;HTTP01;DNS01;DNSPersist01
type ChallengeType string

// The challenges.
const (
	// ChallengeAuto is DNS01 where Trellis writes DNS entries, and else HTTP01.
	ChallengeAuto ChallengeType = "Auto"
	// ChallengeHTTP01 answers at the gateway, on plain HTTP. Each host has a
	// certificate of its own.
	ChallengeHTTP01 ChallengeType = "HTTP01"
	// ChallengeDNS01 answers in the zone, which allows one wildcard certificate for
	// each domain.
	ChallengeDNS01 ChallengeType = "DNS01"
	// ChallengeDNSPersist01 is one standing entry in the zone
	// (draft-ietf-acme-dns-persist). Not every authority has it.
	ChallengeDNSPersist01 ChallengeType = "DNSPersist01"
)

// IngressCertificates say how Trellis gets certificates.
type IngressCertificates struct {
	BuiltInCertificates `json:",inline"`
	// Challenge; absent: Auto.
	//
	// +optional
	Challenge ChallengeType `json:"challenge,omitempty"`
}

// IngressDNS says how the hosts get into the DNS: written by Trellis (providerRef),
// or by the cluster's ExternalDNS (externalDNS).
//
// +kubebuilder:validation:XValidation:rule="has(self.providerRef) != has(self.externalDNS)",message="exactly one of providerRef (Trellis writes the entries) and externalDNS (ExternalDNS does)"
// +kubebuilder:validation:XValidation:rule="!has(self.externalDNS) || ![has(self.policy), has(self.dryRun), has(self.adopt), has(self.deletionPolicy), has(self.routing)].exists(x, x)",message="policy, dryRun, adopt, deletionPolicy and routing are for providerRef: ExternalDNS goes by its own flags (--policy, --dry-run, --txt-owner-id); take them out"
type IngressDNS struct {
	// ProviderRef is a DNSProvider in the SecureIngress's namespace.
	//
	// +optional
	ProviderRef DNSProviderReference `json:"providerRef,omitzero"`
	// ExternalDNS leaves the entries to ExternalDNS.
	//
	// +optional
	ExternalDNS *ExternalDNSEntries `json:"externalDNS,omitempty"`
	// TTL is in seconds; absent: 300.
	//
	// +optional
	// +kubebuilder:validation:Minimum=30
	// +kubebuilder:validation:Maximum=86400
	TTL int32 `json:"ttl,omitempty"`
	// Routing shares the hosts with other clusters that publish them, each with a
	// SecureIngress of its own. Absent: the hosts are this cluster's alone.
	//
	// +optional
	Routing *DNSRouting `json:"routing,omitempty"`
	// Policy; absent: Sync.
	//
	// +optional
	Policy DNSPolicy `json:"policy,omitempty"`
	// DryRun plans, and writes nothing; the plans are in the status of the
	// ManagedRecords.
	//
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
	// Adopt takes over entries that somebody else owns, or nobody. Without it they
	// are a conflict, and stay.
	//
	// +optional
	Adopt bool `json:"adopt,omitempty"`
	// DeletionPolicy; absent: Delete.
	//
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DNSEntry is one entry of a zone.
type DNSEntry struct {
	Name string `json:"name"`
	// Type is A, AAAA or CNAME.
	Type string `json:"type"`
	// Value is an address of the gateway's load balancer, or its name.
	Value string `json:"value"`
}

// HSTS is the Strict-Transport-Security header (RFC 6797).
type HSTS struct {
	// MaxAge is how long browsers remember.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('87600h')",message="maxAge is between 0s and 87600h (ten years)"
	MaxAge metav1.Duration `json:"maxAge"`
	// IncludeSubdomains extends it to every name below the host.
	//
	// +optional
	IncludeSubdomains bool `json:"includeSubdomains,omitempty"`
}

// IdentityProvider issues tokens (JWT, RFC 7519).
//
// +kubebuilder:validation:XValidation:rule="has(self.jwksURI) != has(self.jwks)",message="exactly one of jwksURI and jwks"
type IdentityProvider struct {
	// +required
	Name LabelName `json:"name"`
	// Issuer is compared with the token's iss claim, literally.
	//
	// +required
	Issuer ClaimValue `json:"issuer"`
	// JWKSURI is where the keys are (RFC 7517), over HTTPS, or over HTTP inside
	// the cluster (a host that ends in .svc or .svc.cluster.local).
	//
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^(https://[^/?#\s@]+|http://[a-z0-9.-]+\.svc(\.cluster\.local)?(:[0-9]+)?)(/[^\s#]*)?$`
	JWKSURI string `json:"jwksURI,omitempty"`
	// JWKS are the keys themselves, as JSON.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	JWKS string `json:"jwks,omitempty"`
	// Audiences: a token is for one of these (its aud claim), or refused.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Audiences []ClaimValue `json:"audiences"`
	// Default marks the provider of routes that name none.
	//
	// +optional
	Default bool `json:"default,omitempty"`
	// TokenSources are where tokens are looked for. Absent: the Authorization
	// header with the Bearer scheme, and nowhere else.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	TokenSources []TokenSource `json:"tokenSources,omitempty"`
	// ScopeClaim is the claim that lists scopes, separated by spaces or as a
	// list. Absent: scope (RFC 8693 section 4.2).
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[^\[\]*\s]+$`
	ScopeClaim string `json:"scopeClaim,omitempty"`
}

// TokenSource is one place where a token may be. Exactly one field is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.header), has(self.cookie), has(self.query)].filter(x, x).size() == 1",message="exactly one of header, cookie and query"
type TokenSource struct {
	// +optional
	Header *TokenHeader `json:"header,omitempty"`
	// Cookie is the name of a cookie.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9!#$%&'*+.^_|~-]+$`
	Cookie string `json:"cookie,omitempty"`
	// Query is the name of a query parameter. Tokens in URLs end up in logs:
	// for WebSockets of browsers, which cannot send headers.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+$`
	Query string `json:"query,omitempty"`
}

// TokenHeader is a request header that carries a token.
type TokenHeader struct {
	// +required
	Name HeaderName `json:"name"`
	// Prefix before the token, with its space, for example "Bearer ". Absent: none.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Prefix string `json:"prefix,omitempty"`
}

// ApplicationAdmission admits Applications of namespaces under host names.
type ApplicationAdmission struct {
	// +required
	Name LabelName `json:"name"`
	// NamespaceSelector selects namespaces by their labels. {} is all of them.
	//
	// +required
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	// Hostnames are the names that these namespaces may use, on every domain:
	// labels as in an exposure, "@" for the domain itself, or "*" for every
	// name but "@".
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=190
	// +kubebuilder:validation:items:Pattern=`^(\*|@|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*)$`
	Hostnames []string `json:"hostnames"`
	// Reserved keeps these names from every other entry, "*" included.
	//
	// +optional
	Reserved bool `json:"reserved,omitempty"`
}
