// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/intent/paths"
	"github.com/trellis-mesh/trellis/internal/model"
)

// httpsServers are the TLS listeners: one for each certificate. Hosts are those
// of the Gateway, in the ingress's order.
func (b *builder) httpsServers(in *intent.Ingress, hosts []string) []*networkingapi.Server {
	server := func(name, secret string, hosts []string) *networkingapi.Server {
		return &networkingapi.Server{
			Name:  name,
			Port:  &networkingapi.Port{Number: uint32(in.HTTPS.Number), Name: name + "-" + in.Ref.Name, Protocol: "HTTPS"},
			Hosts: hosts,
			Tls: &networkingapi.ServerTLSSettings{
				Mode:               networkingapi.ServerTLSSettings_SIMPLE,
				CredentialName:     secret,
				MinProtocolVersion: minimumVersion(in.Spec.TLS.MinimumVersion),
			},
		}
	}
	if in.Spec.TLS.SecretName != "" {
		return []*networkingapi.Server{server("https", in.Spec.TLS.SecretName, hosts)}
	}
	out := make([]*networkingapi.Server, 0, len(in.Certificates))
	for _, c := range b.servings(in) {
		var own []string
		for _, h := range c.hosts {
			own = append(own, "./"+h.Name)
		}
		out = append(out, server("https-"+c.of, c.name, own))
	}
	return out
}

// certificates asks for those that Trellis gets, and keeps those that are served
// until then. The Secret has the name of the ManagedCertificate.
func (b *builder) certificates(in *intent.Ingress) {
	if in.Spec.TLS.CertManager != nil {
		b.delegatedCertificates(in)
		return
	}
	for _, c := range in.Certificates {
		name := certificateName(in.Ref.Name, c.For)
		value := &v1alpha1.ManagedCertificate{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ManagedCertificate"},
			ObjectMeta: metav1.ObjectMeta{Namespace: in.Ref.Namespace, Name: name},
			Spec: v1alpha1.ManagedCertificateSpec{
				DNSNames: c.DNSNames, SecretName: name, Challenge: string(c.Challenge), Email: in.Spec.TLS.Email,
			},
		}
		if in.Spec.TLS.BuiltIn != nil {
			value.Spec.BuiltInCertificates = in.Spec.TLS.BuiltIn.BuiltInCertificates
		}
		if in.Spec.DNS != nil && c.Challenge != v1alpha1.ChallengeHTTP01 {
			value.Spec.ProviderRef = &in.Spec.DNS.ProviderRef
		}
		b.object(value, "ManagedCertificate", v1alpha1.GroupName, ownersOf(in, c.Hosts), []stamp{{below(&in.Origin, "spec.tls"), provenance.ReasonTLS}})
	}
	for _, c := range b.servings(in) {
		if c.kept == nil {
			continue
		}
		value := &v1alpha1.ManagedCertificate{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ManagedCertificate"},
			ObjectMeta: metav1.ObjectMeta{Namespace: in.Ref.Namespace, Name: c.name},
			Spec:       *c.kept.Spec.DeepCopy(),
		}
		b.object(value, "ManagedCertificate", v1alpha1.GroupName, ownersOf(in, c.hosts), []stamp{{below(&in.Origin, "spec.tls"), provenance.ReasonTLS}})
	}
}

// records asks for the DNS entries of the hosts. A gateway whose load balancer
// has no address gets entries without a target, which keep what is there.
func (b *builder) records(in *intent.Ingress) {
	dns := in.Spec.DNS
	switch {
	case dns == nil:
		return
	case dns.ExternalDNS != nil:
		b.delegatedRecords(in)
		return
	}
	service, _ := b.snapshot.Service(model.Name{Namespace: in.Ref.Namespace, Name: in.Spec.Gateway.Service})
	addresses, host := target(service.Addresses)
	for _, h := range in.Hosts {
		value := &v1alpha1.ManagedRecord{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ManagedRecord"},
			ObjectMeta: metav1.ObjectMeta{Namespace: in.Ref.Namespace, Name: recordName(in.Ref.Name, dns.ProviderRef.Name, h.Name)},
			Spec: v1alpha1.ManagedRecordSpec{
				ProviderRef: dns.ProviderRef, Name: h.Name, TTL: dns.TTL, Addresses: addresses, Host: host,
				Routing: dns.Routing, Policy: dns.Policy, DryRun: dns.DryRun, Adopt: dns.Adopt, DeletionPolicy: dns.DeletionPolicy,
			},
		}
		b.object(value, "ManagedRecord", v1alpha1.GroupName, ownersOf(in, []*intent.Host{h}), []stamp{{below(&in.Origin, "spec.dns"), provenance.ReasonRoute}})
	}
}

// entriesToMake are what the DNS needs, where Trellis does not write it.
func (b *builder) entriesToMake(in *intent.Ingress) []v1alpha1.DNSEntry {
	if in.Spec.DNS != nil {
		return nil
	}
	service, _ := b.snapshot.Service(model.Name{Namespace: in.Ref.Namespace, Name: in.Spec.Gateway.Service})
	addresses, host := target(service.Addresses)
	var out []v1alpha1.DNSEntry
	for _, h := range in.Hosts {
		if host != "" {
			out = append(out, v1alpha1.DNSEntry{Name: h.Name, Type: "CNAME", Value: host})
		}
		for _, a := range addresses {
			kind := "A"
			if strings.Contains(a, ":") {
				kind = "AAAA"
			}
			out = append(out, v1alpha1.DNSEntry{Name: h.Name, Type: kind, Value: a})
		}
	}
	return out
}

// target is the addresses of a load balancer, or its name where it has none:
// names may stand for many addresses that change.
func target(addresses []string) (ips []string, host string) {
	for _, a := range addresses {
		if _, err := netip.ParseAddr(a); err == nil {
			ips = append(ips, a)
		} else if host == "" || a < host {
			host = a
		}
	}
	if len(ips) > 0 {
		slices.Sort(ips)
		return slices.Compact(ips), ""
	}
	return nil, strings.TrimSuffix(strings.ToLower(host), ".")
}

// ownersOf are the ingress, and the Applications on hosts.
func ownersOf(in *intent.Ingress, hosts []*intent.Host) []model.Reference {
	owners := []model.Reference{in.Ref}
	for _, h := range hosts {
		for _, p := range h.Publications {
			if !slices.Contains(owners, p.Application.Ref) {
				owners = append(owners, p.Application.Ref)
			}
		}
	}
	return owners
}

// managed is what is known of the certificate that Trellis keeps for a host, or
// nil.
func (b *builder) managed(h *intent.Host) *v1alpha1.ManagedCertificate {
	// What is left of the built-in engine is on its way out.
	if h.Certificate == nil || h.Ingress.Spec.TLS.CertManager != nil {
		return nil
	}
	return b.certificateOf(h.Ingress, h.Certificate.For)
}

// fingerprint is of the certificate that must be served for a host; empty while
// nobody knows.
func (b *builder) fingerprint(h *intent.Host) string {
	if h.Certificate == nil {
		return h.Ingress.Fingerprint
	}
	if _, kept := b.standIn(h.Ingress, h); kept != nil {
		return kept.Status.Fingerprint
	}
	if c := b.managed(h); c != nil {
		return c.Status.Fingerprint
	}
	return ""
}

// challengeEntries answer a certificate authority on plain HTTP (RFC 8555 section
// 8.3): the exact path of a token that is awaited, and no other.
func (b *builder) challengeEntries(e *entries, h *intent.Host) {
	var awaited []v1alpha1.HTTPChallenge
	if c := b.managed(h); c != nil {
		awaited = append(awaited, c.Status.Challenges...)
	}
	if h.Certificate != nil {
		// What is still served is renewed, too.
		if _, kept := b.standIn(h.Ingress, h); kept != nil {
			awaited = append(awaited, kept.Status.Challenges...)
		}
	}
	for _, answered := range awaited {
		if answered.Host != h.Name || !strings.HasPrefix(answered.Path, paths.Acme+"/") {
			continue
		}
		e.add(below(&h.Ingress.Origin, "spec.tls"), provenance.ReasonTLS, answer("acme-challenge-token", 200, answered.Body, &networkingapi.HTTPMatchRequest{
			Uri: exact(answered.Path), Port: uint32(h.Ingress.HTTP.Number),
		}))
	}
}
