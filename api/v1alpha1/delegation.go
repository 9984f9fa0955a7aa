// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CertManagerCertificates leave the certificates to the cluster's cert-manager:
// Trellis makes its Certificates, and cert-manager gets, renews and stores what
// they ask for.
type CertManagerCertificates struct {
	// IssuerRef is who issues them.
	//
	// +required
	IssuerRef CertManagerIssuerReference `json:"issuerRef"`
}

// CertManagerIssuerReference names an issuer of cert-manager.
//
// +kubebuilder:validation:XValidation:rule="has(self.group) || !has(self.kind) || self.kind in ['Issuer', 'ClusterIssuer']",message="kind is Issuer or ClusterIssuer; issuers of other kinds need their group"
type CertManagerIssuerReference struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
	// Kind is ClusterIssuer, or Issuer for one in the SecureIngress's namespace, or
	// what the group defines. Absent: ClusterIssuer.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Kind string `json:"kind,omitempty"`
	// Group is that of an issuer which is not cert-manager's own. Absent:
	// cert-manager.io.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$`
	Group string `json:"group,omitempty"`
}

// ExternalDNSEntries leave the entries to the cluster's ExternalDNS: Trellis makes
// its DNSEndpoints, and ExternalDNS (with --source=crd) writes them by its own
// configuration.
type ExternalDNSEntries struct{}
