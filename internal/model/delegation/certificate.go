// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package delegation

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// CertificateKind is the kind, and CertificateCRD the name of what defines it.
var CertificateKind = schema.GroupVersionKind{Group: CertManagerGroup, Version: "v1", Kind: "Certificate"}

// CertManagerGroup is the API group of cert-manager, also of its own issuers.
const (
	CertManagerGroup = "cert-manager.io"
	CertificateCRD   = "certificates.cert-manager.io"
)

// What cert-manager puts on objects, and reads there
// (cert-manager.io/docs/reference/annotations).
const (
	// TemporaryAnnotation on a Certificate lets cert-manager serve a self-signed
	// one while the Secret has no pair at all. It never replaces one that is there.
	TemporaryAnnotation = "cert-manager.io/issue-temporary-certificate"
	// CertificateNameAnnotation on a Secret names the Certificate that filled it.
	CertificateNameAnnotation = "cert-manager.io/certificate-name"
	// IssuerNameAnnotation, IssuerKindAnnotation and IssuerGroupAnnotation say who
	// issued the pair of a Secret. Where that is not who is asked now, cert-manager
	// gets another one at once.
	IssuerNameAnnotation  = "cert-manager.io/issuer-name"
	IssuerKindAnnotation  = "cert-manager.io/issuer-kind"
	IssuerGroupAnnotation = "cert-manager.io/issuer-group"
)

// The conditions of a Certificate.
const (
	CertificateReady   = "Ready"
	CertificateIssuing = "Issuing"
)

// Certificate asks cert-manager for a certificate in a Secret.
type Certificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   CertificateSpec   `json:"spec"`
	Status CertificateStatus `json:"status,omitzero"`
}

// CertificateSpec is what Trellis states of it. All that cert-manager would fill in
// is stated, so that what is stored is what was sent.
type CertificateSpec struct {
	SecretName     string         `json:"secretName"`
	SecretTemplate SecretTemplate `json:"secretTemplate"`
	DNSNames       []string       `json:"dnsNames"`
	IssuerRef      IssuerRef      `json:"issuerRef"`
	PrivateKey     PrivateKey     `json:"privateKey"`
	Usages         []string       `json:"usages"`
}

// SecretTemplate is what the Secret is marked with.
type SecretTemplate struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// IssuerRef names an issuer.
type IssuerRef struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Group string `json:"group"`
}

// PrivateKey says what key is made, and that each certificate has a new one.
type PrivateKey struct {
	Algorithm      string `json:"algorithm"`
	Size           int    `json:"size"`
	RotationPolicy string `json:"rotationPolicy"`
}

// CertificateStatus is what cert-manager says of it.
type CertificateStatus struct {
	Conditions             []metav1.Condition `json:"conditions,omitempty"`
	NotBefore              *metav1.Time       `json:"notBefore,omitempty"`
	NotAfter               *metav1.Time       `json:"notAfter,omitempty"`
	RenewalTime            *metav1.Time       `json:"renewalTime,omitempty"`
	LastFailureTime        *metav1.Time       `json:"lastFailureTime,omitempty"`
	FailedIssuanceAttempts int                `json:"failedIssuanceAttempts,omitempty"`
}

// DeepCopyObject copies all of it.
func (c *Certificate) DeepCopyObject() runtime.Object {
	out := *c
	out.ObjectMeta = *c.DeepCopy()
	t := c.Spec.SecretTemplate
	out.Spec.SecretTemplate = SecretTemplate{Labels: maps.Clone(t.Labels), Annotations: maps.Clone(t.Annotations)}
	out.Spec.DNSNames, out.Spec.Usages = slices.Clone(c.Spec.DNSNames), slices.Clone(c.Spec.Usages)
	out.Status.Conditions = slices.Clone(c.Status.Conditions)
	s := &out.Status
	s.NotBefore, s.NotAfter = s.NotBefore.DeepCopy(), s.NotAfter.DeepCopy()
	s.RenewalTime, s.LastFailureTime = s.RenewalTime.DeepCopy(), s.LastFailureTime.DeepCopy()
	return &out
}
