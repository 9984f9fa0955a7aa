// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package delegation

import (
	"cmp"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// The kinds of cert-manager's own issuers, and the names of what defines them.
const (
	IssuerKind        = "Issuer"
	ClusterIssuerKind = "ClusterIssuer"
	IssuerCRD         = "issuers.cert-manager.io"
	ClusterIssuerCRD  = "clusterissuers.cert-manager.io"
)

// Issuer is what Trellis wants to know of one of cert-manager's own issuers.
type Issuer struct {
	Kind string
	// Namespace is empty for a ClusterIssuer.
	Namespace, Name string
	// OnlyHTTP01 is true for an ACME issuer all of whose solvers answer by HTTP.
	OnlyHTTP01 bool
}

// IssuerOf is the issuer of cert-manager that a reference names, with what it
// leaves out.
func IssuerOf(ref v1alpha1.CertManagerIssuerReference) IssuerRef {
	return IssuerRef{
		Name: ref.Name, Kind: cmp.Or(ref.Kind, ClusterIssuerKind), Group: cmp.Or(ref.Group, CertManagerGroup),
	}
}

// What a cluster lacks that an ingress leaves work to, and what helps: for findings
// and for conditions.
const (
	MissingCertManager = "the cluster has no " + CertificateCRD + ", so nobody gets certificates; every host of this ingress is closed, and nothing else"
	FixCertManager     = "install cert-manager with its CustomResourceDefinitions (nothing has to be restarted), or state spec.tls.email instead of spec.tls.certManager"
	MissingExternalDNS = "the cluster has no " + EndpointCRD + ", so nobody writes the DNS entries of the hosts"
	FixExternalDNS     = "install ExternalDNS with the CustomResourceDefinition of DNSEndpoint and run it with --source=crd (nothing has to be restarted), or name a DNSProvider in spec.dns.providerRef"
)
