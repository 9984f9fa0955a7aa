// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"github.com/trellis-mesh/trellis/internal/compile/delegate"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// delegatedCertificates ask cert-manager for those that the built-in engine would
// get, in the same Secrets.
func (b *builder) delegatedCertificates(in *intent.Ingress) {
	issuer := delegation.IssuerOf(in.Spec.TLS.CertManager.IssuerRef)
	for _, c := range in.Certificates {
		name := model.Name{Namespace: in.Ref.Namespace, Name: certificateName(in.Ref.Name, c.For)}
		value := delegate.Certificate(name, c.DNSNames, issuer, map[string]string{LabelManagedBy: ManagedBy})
		b.object(value, delegation.CertificateKind.Kind, delegation.CertManagerGroup, ownersOf(in, c.Hosts),
			[]stamp{{below(&in.Origin, "spec.tls"), provenance.ReasonTLS}})
	}
}

// delegatedRecords ask ExternalDNS for the entries of the hosts, one object for
// each.
func (b *builder) delegatedRecords(in *intent.Ingress) {
	if b.snapshot.ExternalDNSMissing() {
		return
	}
	service, _ := b.snapshot.Service(model.Name{Namespace: in.Ref.Namespace, Name: in.Spec.Gateway.Service})
	addresses, alias := target(service.Addresses)
	for _, h := range in.Hosts {
		name := model.Name{Namespace: in.Ref.Namespace, Name: shorten("trellis-endpoint-" + in.Ref.Name + "." + h.Name)}
		value := delegate.DNSEndpoint(name, h.Name, in.Spec.DNS.TTL, addresses, alias, b.snapshot.DelegatedEndpoint(name))
		b.object(value, delegation.EndpointKind.Kind, delegation.ExternalDNSGroup, ownersOf(in, []*intent.Host{h}),
			[]stamp{{below(&in.Origin, "spec.dns"), provenance.ReasonRoute}})
	}
}
