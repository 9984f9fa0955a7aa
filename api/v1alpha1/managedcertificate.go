// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ManagedCertificate is one certificate that Trellis gets and renews, and what is
// known of it. Trellis makes it from a SecureIngress; people read it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=trellis
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.spec.secretName`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.notAfter`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ManagedCertificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec ManagedCertificateSpec `json:"spec"`
	// +optional
	Status ManagedCertificateStatus `json:"status,omitempty"`
}

// ManagedCertificateList is a list of ManagedCertificates.
//
// +kubebuilder:object:root=true
type ManagedCertificateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ManagedCertificate `json:"items"`
}

// ManagedCertificateSpec is the certificate that is wanted.
type ManagedCertificateSpec struct {
	// DNSNames are what it is for; a wildcard needs a DNS challenge.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	DNSNames []string `json:"dnsNames"`
	// SecretName is a Secret of type kubernetes.io/tls in the same namespace, which
	// Trellis makes and keeps. It cannot be changed, because the old one would be left
	// behind: make another ManagedCertificate.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="secretName cannot be changed: make another ManagedCertificate"
	SecretName string `json:"secretName"`
	// ProviderRef is the DNSProvider for DNS challenges.
	//
	// +optional
	ProviderRef *DNSProviderReference `json:"providerRef,omitempty"`
	// Challenge is how names are proven.
	//
	// +required
	// +kubebuilder:validation:Enum=HTTP01;DNS01;DNSPersist01
	Challenge string `json:"challenge"`

	BuiltInCertificates `json:",inline"`
	// Email is told to the certificate authority. Let's Encrypt keeps none and
	// sends no mail.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=254
	Email string `json:"email,omitempty"`
}

// BuiltInCertificates say which certificate authority to ask (ACME, RFC 8555).
//
// +kubebuilder:validation:XValidation:rule="!has(self.preflight) || !self.preflight || has(self.preflightDirectory) || !has(self.directory) || self.directory == 'https://acme-v02.api.letsencrypt.org/directory'",message="preflight needs preflightDirectory, the directory that your authority has for tests: it is known of Let's Encrypt only"
// +kubebuilder:validation:XValidation:rule="!has(self.preflightDirectory) || (has(self.preflight) && self.preflight)",message="preflightDirectory has no effect without preflight: true"
// +kubebuilder:validation:XValidation:rule="!has(self.preflightDirectory) || self.preflightDirectory != (has(self.directory) ? self.directory : 'https://acme-v02.api.letsencrypt.org/directory')",message="preflightDirectory must be another directory than the one that the certificate is from"
// +kubebuilder:validation:XValidation:rule="!has(self.preflight) || !self.preflight || !has(self.externalAccount)",message="preflight cannot be had with externalAccount: the account is bound at the authority itself, and not at its directory for tests"
type BuiltInCertificates struct {
	// Directory is its URL; absent: Let's Encrypt.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://`
	Directory string `json:"directory,omitempty"`
	// Profile is one of the authority's, for example shortlived.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Profile string `json:"profile,omitempty"`
	// ExternalAccount binds our account to one that exists there.
	//
	// +optional
	ExternalAccount *ExternalAccount `json:"externalAccount,omitempty"`
	// Preflight orders at PreflightDirectory first, and at Directory only after that
	// has worked: before the first certificate, and whenever names, challenge, key,
	// profile or directory have changed. What is issued there is never served.
	//
	// +optional
	Preflight bool `json:"preflight,omitempty"`
	// PreflightDirectory is the authority's for tests; absent: that of Let's Encrypt,
	// where Directory is Let's Encrypt's.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://`
	PreflightDirectory string `json:"preflightDirectory,omitempty"`
	// Key; absent: ECDSA-P256. It is new at each issue.
	//
	// +optional
	// +kubebuilder:validation:Enum=ECDSA-P256;ECDSA-P384;RSA-2048;RSA-3072;RSA-4096
	Key string `json:"key,omitempty"`
}

// ExternalAccount is an external account binding (RFC 8555 §7.3.4).
type ExternalAccount struct {
	// KeyID is the authority's name for the key.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	KeyID string `json:"keyID"`
	// KeySecretRef has the key secret: the key as the authority gave it, base64url.
	//
	// +required
	KeySecretRef SecretReference `json:"keySecretRef"`
}

// ManagedCertificateStatus is how far it has come.
type ManagedCertificateStatus struct {
	// ObservedGeneration is that of the spec which the rest is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase of the present order, or Issued, Waiting or Failed.
	//
	// +optional
	Phase string `json:"phase,omitempty"`
	// Conditions: Ready; Expiring where it was not renewed in time.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Fingerprint is SHA-256 of the certificate in the Secret, a placeholder's
	// included.
	//
	// +optional
	Fingerprint string `json:"fingerprint,omitempty"`
	// Serial, NotBefore, NotAfter and RenewAt are about the certificate that was
	// issued last.
	//
	// +optional
	Serial string `json:"serial,omitempty"`
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// +optional
	RenewAt *metav1.Time `json:"renewAt,omitempty"`
	// NextTry is when to go on, where something is awaited.
	//
	// +optional
	NextTry *metav1.Time `json:"nextTry,omitempty"`
	// Challenges are what the gateway answers on plain HTTP for the present order.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Challenges []HTTPChallenge `json:"challenges,omitempty"`
	// State is the engine's own record of account, order and renewal, as JSON: what
	// makes an order go on after a restart. It holds no secret.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=524288
	State string `json:"state,omitempty"`
}

// HTTPChallenge is an answer to a certificate authority (RFC 8555 §8.3).
type HTTPChallenge struct {
	Host string `json:"host"`
	Path string `json:"path"`
	Body string `json:"body"`
}
