// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// serving is a certificate and the hosts that it is served for.
type serving struct {
	// of is what the certificate is for: a host, or the domain of a wildcard.
	of string
	// name is the ManagedCertificate's, and its Secret's.
	name  string
	hosts []*intent.Host
	// kept is set for one that nobody wants any more, and that is still the best
	// that its hosts have.
	kept *v1alpha1.ManagedCertificate
}

// servings are the certificates that hosts are served with. A host that changes
// from a certificate of its own to a wildcard, or back, is served with the one that
// it has until the other one is issued: a placeholder would be an outage.
func (b *builder) servings(in *intent.Ingress) []serving {
	byName := make(map[string]*serving, len(in.Certificates))
	put := func(of string, h *intent.Host, kept *v1alpha1.ManagedCertificate) {
		name := certificateName(in.Ref.Name, of)
		if byName[name] == nil {
			byName[name] = &serving{of: of, name: name, kept: kept}
		}
		byName[name].hosts = append(byName[name].hosts, h)
	}
	for _, c := range in.Certificates {
		for _, h := range c.Hosts {
			if of, kept := b.standIn(in, h); kept != nil {
				put(of, h, kept)
			} else {
				put(c.For, h, nil)
			}
		}
	}
	out := make([]serving, 0, len(byName))
	for _, s := range byName {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b serving) int { return strings.Compare(a.of, b.of) })
	return out
}

// standIn is the issued certificate that a host has while its own is not issued;
// nil where it is, or where there is no other.
func (b *builder) standIn(in *intent.Ingress, h *intent.Host) (string, *v1alpha1.ManagedCertificate) {
	if in.Spec.TLS.CertManager != nil || issued(b.certificateOf(in, h.Certificate.For)) {
		return "", nil
	}
	candidates := []string{h.Name}
	for _, d := range in.Spec.Domains {
		candidates = append(candidates, d.Domain)
	}
	for _, of := range candidates {
		if of == h.Certificate.For {
			continue
		}
		if c := b.certificateOf(in, of); issued(c) && slices.ContainsFunc(c.Spec.DNSNames, func(n string) bool { return model.CoversHost(n, h.Name) }) {
			return of, c
		}
	}
	return "", nil
}

// certificateOf is what is known of the certificate for a host or domain; nil where
// there is none.
func (b *builder) certificateOf(in *intent.Ingress, of string) *v1alpha1.ManagedCertificate {
	return b.snapshot.ManagedCertificate(model.Name{Namespace: in.Ref.Namespace, Name: certificateName(in.Ref.Name, of)})
}

// issued reports whether an authority has issued it once: it has a last good pair.
func issued(c *v1alpha1.ManagedCertificate) bool { return c != nil && c.Status.NotAfter != nil }
