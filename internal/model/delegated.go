// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"

	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// Delegated is what is known of the work that other controllers do for Trellis:
// cert-manager and ExternalDNS.
type Delegated struct {
	// Certificates and Endpoints are those that Trellis made, as they are now.
	Certificates []*delegation.Certificate
	Endpoints    []*delegation.DNSEndpoint
	// Issuers are cert-manager's own, as far as they may be read.
	Issuers []*delegation.Issuer
	// Missing are the names of the definitions (CRDs) of their kinds that the
	// cluster lacks. Files say nothing of that: there it is empty.
	Missing []string
	// IssuersKnown is true where all issuers were read, so that one which is not
	// there does not exist.
	IssuersKnown bool
}

// delegated indexes it.
type delegated struct {
	certificates map[Name]*delegation.Certificate
	endpoints    map[Name]*delegation.DNSEndpoint
	issuers      map[issuerName]*delegation.Issuer
	missing      []string
	issuersKnown bool
}

// issuerName has no namespace for a ClusterIssuer.
type issuerName struct{ kind, namespace, name string }

func newDelegated(in Delegated) delegated {
	d := delegated{
		certificates: make(map[Name]*delegation.Certificate, len(in.Certificates)),
		endpoints:    make(map[Name]*delegation.DNSEndpoint, len(in.Endpoints)),
		issuers:      make(map[issuerName]*delegation.Issuer, len(in.Issuers)),
		missing:      in.Missing, issuersKnown: in.IssuersKnown,
	}
	for _, c := range in.Certificates {
		d.certificates[Name{c.Namespace, c.Name}] = c
	}
	for _, e := range in.Endpoints {
		d.endpoints[Name{e.Namespace, e.Name}] = e
	}
	for _, i := range in.Issuers {
		d.issuers[issuerName{i.Kind, i.Namespace, i.Name}] = i
	}
	return d
}

// CertManagerMissing and ExternalDNSMissing report that the cluster is known to
// lack the kind that is needed to hand work over.
func (s *Snapshot) CertManagerMissing() bool {
	return slices.Contains(s.delegated.missing, delegation.CertificateCRD)
}

// ExternalDNSMissing is CertManagerMissing for DNSEndpoints.
func (s *Snapshot) ExternalDNSMissing() bool {
	return slices.Contains(s.delegated.missing, delegation.EndpointCRD)
}

// DelegatedCertificate finds a Certificate that Trellis made, or returns nil.
func (s *Snapshot) DelegatedCertificate(n Name) *delegation.Certificate {
	return s.delegated.certificates[n]
}

// DelegatedEndpoint finds a DNSEndpoint that Trellis made, or returns nil.
func (s *Snapshot) DelegatedEndpoint(n Name) *delegation.DNSEndpoint {
	return s.delegated.endpoints[n]
}

// Issuer finds an issuer of cert-manager; the namespace is of no matter to a
// ClusterIssuer. Known is false where nobody could tell whether it exists.
func (s *Snapshot) Issuer(kind, namespace, name string) (issuer *delegation.Issuer, known bool) {
	if kind == delegation.ClusterIssuerKind {
		namespace = ""
	}
	return s.delegated.issuers[issuerName{kind, namespace, name}], s.delegated.issuersKnown
}
