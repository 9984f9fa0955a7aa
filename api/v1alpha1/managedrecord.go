// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ManagedRecord is one name in the DNS that Trellis keeps, and what is known of
// it. Trellis makes it from a SecureIngress; people read it. When it is deleted,
// what was written for it is taken back first.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=trellis
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.name`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ManagedRecord struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec ManagedRecordSpec `json:"spec"`
	// +optional
	Status ManagedRecordStatus `json:"status,omitempty"`
}

// ManagedRecordList is a list of ManagedRecords.
//
// +kubebuilder:object:root=true
type ManagedRecordList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ManagedRecord `json:"items"`
}

// DNSPolicy says what may be done to entries that are ours. What is not ours is
// never touched.
//
// +kubebuilder:validation:Enum=Sync;UpsertOnly;CreateOnly
type DNSPolicy string

// The policies.
const (
	// DNSPolicySync creates, changes and deletes.
	DNSPolicySync DNSPolicy = "Sync"
	// DNSPolicyUpsertOnly creates and changes.
	DNSPolicyUpsertOnly DNSPolicy = "UpsertOnly"
	// DNSPolicyCreateOnly creates.
	DNSPolicyCreateOnly DNSPolicy = "CreateOnly"
)

// DeletionPolicy says what becomes of entries that are withdrawn.
//
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionPolicyDelete DeletionPolicy = "Delete"
	// DeletionPolicyRetain leaves the entry and takes our mark from it, so that
	// somebody else can take it over.
	DeletionPolicyRetain DeletionPolicy = "Retain"
)

// ManagedRecordSpec is what is to be at a name.
//
// +kubebuilder:validation:XValidation:rule="self.name == oldSelf.name && self.providerRef == oldSelf.providerRef",message="name and providerRef cannot change, since what was written would be left behind: make another ManagedRecord and delete this one"
// +kubebuilder:validation:XValidation:rule="!(has(self.addresses) && has(self.host)) && !(has(self.texts) && (has(self.addresses) || has(self.host)))",message="at most one of addresses, host and texts"
// +kubebuilder:validation:XValidation:rule="!(has(self.routing) && has(self.texts))",message="routing is for addresses or a host: texts are answered to everybody"
type ManagedRecordSpec struct {
	// ProviderRef is a DNSProvider in the same namespace.
	//
	// +required
	ProviderRef DNSProviderReference `json:"providerRef"`
	// Name is a domain name, or a wildcard.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// TTL is in seconds; absent: 300.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TTL int32 `json:"ttl,omitempty"`
	// Addresses are where the name leads. With neither addresses, host nor texts,
	// what is there stays as it is: a load balancer that has no address for a
	// moment must not take its names away.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=45
	Addresses []string `json:"addresses,omitempty"`
	// Host is a load balancer's name.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`
	// Routing makes the entry one of several at its name, as of several clusters.
	// Absent: it is alone there.
	//
	// +optional
	Routing *DNSRouting `json:"routing,omitempty"`
	// Texts are TXT values beside those that others may have there, as for the
	// challenges of certificate authorities.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:MaxLength=1024
	Texts []string `json:"texts,omitempty"`
	// Policy; absent: Sync.
	//
	// +optional
	Policy DNSPolicy `json:"policy,omitempty"`
	// DryRun plans, and writes nothing; the plan is in status.
	//
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
	// Adopt takes over what somebody else owns, or nobody.
	//
	// +optional
	Adopt bool `json:"adopt,omitempty"`
	// DeletionPolicy; absent: Delete.
	//
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DNSRouting makes an entry one of several at the same name and type, each with
// an identifier of its own. Providers that cannot refuse it, and write nothing.
//
// +kubebuilder:validation:XValidation:rule="has(self.weighted) != has(self.geographic)",message="exactly one of weighted and geographic"
type DNSRouting struct {
	// SetIdentifier tells this entry from the others at the name. Absent: the
	// cluster's id, which is the UID of its namespace kube-system.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=57
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	SetIdentifier string `json:"setIdentifier,omitempty"`
	// Weighted gives each entry a share of the clients.
	//
	// +optional
	Weighted *WeightedRouting `json:"weighted,omitempty"`
	// Geographic gives each entry the clients of a place.
	//
	// +optional
	Geographic *GeographicRouting `json:"geographic,omitempty"`
}

// WeightedRouting is a share of the clients.
type WeightedRouting struct {
	// Weight is this entry's part of the sum of all weights at the name. Zero: no
	// clients, unless all weights are zero, which then are taken for equal.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	Weight int32 `json:"weight"`
}

// GeographicRouting is a place on Earth. The smallest place that has an entry and
// holds the client decides.
//
// +kubebuilder:validation:XValidation:rule="(has(self.default) && self.default ? 1 : 0) + (has(self.continent) ? 1 : 0) + (has(self.country) ? 1 : 0) == 1",message="exactly one of default: true, continent and country"
// +kubebuilder:validation:XValidation:rule="!has(self.subdivision) || has(self.country)",message="a subdivision needs its country"
type GeographicRouting struct {
	// Default is for the clients of all places without an entry. Where no entry is
	// the default, those find no address.
	//
	// +optional
	Default bool `json:"default,omitempty"`
	// Continent is two letters.
	//
	// +optional
	// +kubebuilder:validation:Enum=AF;AN;AS;EU;NA;OC;SA
	Continent string `json:"continent,omitempty"`
	// Country is two letters of ISO 3166-1.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=2
	// +kubebuilder:validation:Pattern=`^[A-Z]{2}$`
	Country string `json:"country,omitempty"`
	// Subdivision is what follows the country's letters in ISO 3166-2. Route 53 has
	// those of the United States and of Ukraine.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=3
	// +kubebuilder:validation:Pattern=`^[A-Z0-9]{1,3}$`
	Subdivision string `json:"subdivision,omitempty"`
}

// DNSProviderReference is a DNSProvider in the same namespace.
type DNSProviderReference struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ManagedRecordStatus is how far it has come.
type ManagedRecordStatus struct {
	// ObservedGeneration is that of the spec which the rest is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is Done, Held, Planned, Blocked or Waiting. Waiting goes away by
	// itself; Blocked needs somebody.
	//
	// +optional
	Phase string `json:"phase,omitempty"`
	// Conditions: Ready.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Zone is where the name belongs.
	//
	// +optional
	Zone *DNSZone `json:"zone,omitempty"`
	// Plan is what would be done, where it is not.
	//
	// +optional
	// +listType=atomic
	Plan []string `json:"plan,omitempty"`
	// Confirm is the token of a mass change that waits for somebody's word: it
	// happens once the token is in spec.confirmed of the DNSProvider.
	//
	// +optional
	Confirm string `json:"confirm,omitempty"`
	// Owned are the record sets that are ours, as they were last written. They
	// prove what is ours where the mark in the zone was lost.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Owned []OwnedRecordSet `json:"owned,omitempty"`
	// NextTry is when to look again, where something is awaited.
	//
	// +optional
	NextTry *metav1.Time `json:"nextTry,omitempty"`
	// Spread is true once all of the provider's servers have the last change.
	//
	// +optional
	Spread bool `json:"spread,omitempty"`
	// Receipt is the provider's id of the last change; "lost@" and a time where a
	// crash may have kept one from being written down.
	//
	// +optional
	Receipt string `json:"receipt,omitempty"`
}

// OwnedRecordSet is a record set of ours.
type OwnedRecordSet struct {
	Type string `json:"type"`
	// SetIdentifier and Routing are of one of several entries at the name.
	//
	// +optional
	SetIdentifier string `json:"setIdentifier,omitempty"`
	// +optional
	Routing *DNSRouting `json:"routing,omitempty"`
	// +optional
	TTL int64 `json:"ttl,omitempty"`
	// +optional
	// +listType=atomic
	Values []string `json:"values,omitempty"`
	// Alias is the name whose addresses the provider answers with, and AliasZone
	// the provider's id of its zone.
	//
	// +optional
	Alias string `json:"alias,omitempty"`
	// +optional
	AliasZone string `json:"aliasZone,omitempty"`
}
