// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"cmp"
	"fmt"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// IssuerOf is the issuer of cert-manager that a reference names, with what it
// leaves out.
func IssuerOf(ref v1alpha1.CertManagerIssuerReference) delegation.IssuerRef {
	return delegation.IssuerRef{
		Name: ref.Name, Kind: cmp.Or(ref.Kind, delegation.ClusterIssuerKind), Group: cmp.Or(ref.Group, delegation.CertManagerGroup),
	}
}

// resolveDelegation looks at those that an ingress leaves work to. Without
// cert-manager there will be nothing to serve HTTPS with; without ExternalDNS names
// are missing, which closes nothing.
func (r *resolver) resolveDelegation(in *Ingress) {
	if in.Spec.DNS != nil && in.Spec.DNS.ExternalDNS != nil && r.snapshot.ExternalDNSMissing() {
		r.warn(field(in.Origin, "spec.dns.externalDNS"), refusal{"ExternalDNSMissing", MissingExternalDNS, in.Ref.String(), FixExternalDNS})
	}
	manager := in.Spec.TLS.CertManager
	if manager == nil {
		return
	}
	if r.snapshot.CertManagerMissing() {
		in.Closed = true
		r.refuse(field(in.Origin, "spec.tls.certManager"), refusal{"CertManagerMissing", MissingCertManager, in.Ref.String(), FixCertManager})
		return
	}
	r.checkIssuer(in, IssuerOf(manager.IssuerRef))
}

// What a cluster lacks that an ingress leaves work to, and what helps: for findings
// and for conditions.
const (
	MissingCertManager = "the cluster has no " + delegation.CertificateCRD + ", so nobody gets certificates; every host of this ingress is closed, and nothing else"
	FixCertManager     = "install cert-manager with its CustomResourceDefinitions (nothing has to be restarted), or state spec.tls.email instead of spec.tls.certManager"
	MissingExternalDNS = "the cluster has no " + delegation.EndpointCRD + ", so nobody writes the DNS entries of the hosts"
	FixExternalDNS     = "install ExternalDNS with the CustomResourceDefinition of DNSEndpoint and run it with --source=crd (nothing has to be restarted), or name a DNSProvider in spec.dns.providerRef"
)

// checkIssuer warns of an issuer that will not do. Issuers of other groups are
// not Trellis's to judge.
func (r *resolver) checkIssuer(in *Ingress, ref delegation.IssuerRef) {
	if ref.Group != delegation.CertManagerGroup {
		return
	}
	at := field(in.Origin, "spec.tls.certManager.issuerRef")
	issuer, known := r.snapshot.Issuer(ref.Kind, in.Ref.Namespace, ref.Name)
	switch {
	case issuer == nil && known:
		where := ""
		if ref.Kind != delegation.ClusterIssuerKind {
			where = " in namespace " + in.Ref.Namespace
		}
		r.warn(at, refusal{"IssuerNotFound",
			fmt.Sprintf("there is no %s %s%s, so cert-manager cannot issue certificates", ref.Kind, ref.Name, where),
			in.Ref.String(), "create it, or name another one"})
	case issuer != nil && issuer.OnlyHTTP01:
		r.warn(at, refusal{"IssuerNeedsDNS01",
			fmt.Sprintf("all solvers of %s %s use HTTP-01, and what cert-manager puts up for that (an Ingress or HTTPRoute of its own) is not reached at this gateway: its hosts are served by Trellis alone", ref.Kind, ref.Name),
			ref.Kind + " " + ref.Name, "give it a solver for DNS-01, or state spec.tls.email instead of spec.tls.certManager: Trellis answers HTTP-01 at the gateway itself"})
	}
}
