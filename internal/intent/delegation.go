// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"

	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// resolveDelegation looks at those that an ingress leaves work to. Without
// cert-manager there will be nothing to serve HTTPS with; without ExternalDNS names
// are missing, which closes nothing.
func (r *resolver) resolveDelegation(in *Ingress) {
	if in.Spec.DNS != nil && in.Spec.DNS.ExternalDNS != nil && r.snapshot.ExternalDNSMissing() {
		r.warn(field(in.Origin, "spec.dns.externalDNS"), refusal{"ExternalDNSMissing", delegation.MissingExternalDNS, in.Ref.String(), delegation.FixExternalDNS})
	}
	manager := in.Spec.TLS.CertManager
	if manager == nil {
		return
	}
	if r.snapshot.CertManagerMissing() {
		in.Closed = true
		r.refuse(field(in.Origin, "spec.tls.certManager"), refusal{"CertManagerMissing", delegation.MissingCertManager, in.Ref.String(), delegation.FixCertManager})
		return
	}
	r.checkIssuer(in, delegation.IssuerOf(manager.IssuerRef))
}

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
