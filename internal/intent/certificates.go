// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// settleCertificates decides which certificates serve the hosts of an ingress
// that brings none, whoever gets them. Proof in the zone allows one for a whole domain; proof at
// the gateway is for each host.
func (r *resolver) settleCertificates(in *Ingress) {
	if in.Spec.TLS.SecretName != "" || in.Closed {
		return
	}
	challenge := challengeOf(in.Spec)
	if challenge == v1alpha1.ChallengeHTTP01 && in.Spec.TLS.CertManager == nil && in.HTTP.Number == 0 && len(in.Hosts) > 0 {
		r.refuse(field(in.Origin, "spec.gateway.service"), refusal{"PlainPortNotFound",
			fmt.Sprintf("Service %s/%s has no HTTP port, and a certificate authority proves control of a host on port 80; no certificate can be had",
				in.Ref.Namespace, in.Spec.Gateway.Service),
			in.Ref.String(), "add a port 80 with appProtocol http to the Service, or state spec.dns and the challenge DNS01"})
	}
	byName := make(map[string]*Certificate)
	for _, h := range in.Hosts {
		name, names := h.Name, []string{h.Name}
		if challenge != v1alpha1.ChallengeHTTP01 {
			if domain := domainOf(in, h.Name); domain != "" {
				name, names = domain, []string{"*." + domain, domain}
			}
		}
		c := byName[name]
		if c == nil {
			c = &Certificate{For: name, DNSNames: names, Challenge: challenge}
			byName[name] = c
			in.Certificates = append(in.Certificates, c)
		}
		h.Certificate = c
		c.Hosts = append(c.Hosts, h)
	}
	slices.SortFunc(in.Certificates, func(a, b *Certificate) int { return strings.Compare(a.For, b.For) })
}

// challengeOf is how names are proven: in the zone where Trellis writes to it. Of
// cert-manager the same certificates are asked for, so that each Secret can change
// hands.
func challengeOf(spec *v1alpha1.SecureIngressSpec) v1alpha1.ChallengeType {
	if b := spec.TLS.BuiltIn; b != nil && b.Challenge != "" && b.Challenge != v1alpha1.ChallengeAuto {
		return b.Challenge
	}
	if spec.DNS != nil && spec.DNS.ExternalDNS == nil && !spec.DNS.DryRun {
		return v1alpha1.ChallengeDNS01
	}
	return v1alpha1.ChallengeHTTP01
}

// domainOf is the domain of the ingress whose wildcard covers a host, or empty:
// a wildcard stands for exactly one label (RFC 9525 section 6.3).
func domainOf(in *Ingress, host string) string {
	for _, d := range in.Spec.Domains {
		if host == d.Domain || model.CoversHost("*."+d.Domain, host) {
			return d.Domain
		}
	}
	return ""
}
