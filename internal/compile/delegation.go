// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// defaultTTL is that of entries, in seconds, as the built-in engine has it.
const defaultTTL = 300

// AnnotationCertificate on a Secret names the ManagedCertificate, or the
// Certificate of the same name, that it was made for. Both engines mark the Secret
// in the same way, so that either takes over what the other one leaves.
const AnnotationCertificate = "trellis.dev/certificate"

// delegatedCertificates ask cert-manager for the certificates that the built-in
// engine would get, in the same Secrets. The key is as there too; a listener that
// is new has a temporary certificate until there is a real one.
func (b *builder) delegatedCertificates(in *intent.Ingress) {
	issuer := intent.IssuerOf(in.Spec.TLS.CertManager.IssuerRef)
	for _, c := range in.Certificates {
		name := certificateName(in.Ref.Name, c.For)
		value := &delegation.Certificate{
			TypeMeta: typeMeta(delegation.CertificateKind.ToAPIVersionAndKind()),
			ObjectMeta: metav1.ObjectMeta{Namespace: in.Ref.Namespace, Name: name, Annotations: map[string]string{
				delegation.TemporaryAnnotation: "true",
			}},
			Spec: delegation.CertificateSpec{
				SecretName: name, DNSNames: c.DNSNames, IssuerRef: issuer,
				SecretTemplate: delegation.SecretTemplate{
					Labels:      map[string]string{LabelManagedBy: ManagedBy},
					Annotations: map[string]string{AnnotationCertificate: name},
				},
				PrivateKey: delegation.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"},
				Usages:     []string{"digital signature", "server auth"},
			},
		}
		b.object(value, delegation.CertificateKind.Kind, delegation.CertManagerGroup, ownersOf(in, c.Hosts),
			[]stamp{{below(&in.Origin, "spec.tls"), ReasonTLS}})
	}
}

// delegatedRecords ask ExternalDNS for the entries of the hosts, one object for
// each. It takes an entry away whose values are gone, so that those of a gateway
// whose load balancer has no address are said again.
func (b *builder) delegatedRecords(in *intent.Ingress) {
	if b.snapshot.ExternalDNSMissing() {
		return
	}
	service, _ := b.snapshot.Service(model.Name{Namespace: in.Ref.Namespace, Name: in.Spec.Gateway.Service})
	for _, h := range in.Hosts {
		name := endpointName(in.Ref.Name, h.Name)
		endpoints := endpointsOf(h.Name, service.Addresses, in.Spec.DNS)
		if len(endpoints) == 0 {
			if known := b.snapshot.DelegatedEndpoint(model.Name{Namespace: in.Ref.Namespace, Name: name}); known != nil {
				endpoints = append(endpoints, known.Spec.Endpoints...)
			}
		}
		value := &delegation.DNSEndpoint{
			TypeMeta:   typeMeta(delegation.EndpointKind.ToAPIVersionAndKind()),
			ObjectMeta: metav1.ObjectMeta{Namespace: in.Ref.Namespace, Name: name},
			Spec:       delegation.DNSEndpointSpec{Endpoints: endpoints},
		}
		b.object(value, delegation.EndpointKind.Kind, delegation.ExternalDNSGroup, ownersOf(in, []*intent.Host{h}),
			[]stamp{{below(&in.Origin, "spec.dns"), ReasonRoute}})
	}
}

// endpointsOf are the entries of a host: those that the built-in engine would
// write, in its order of types. The list is never nil, since the definition of a
// DNSEndpoint takes no null.
func endpointsOf(host string, addresses []string, dns *v1alpha1.IngressDNS) []delegation.Endpoint {
	out := []delegation.Endpoint{}
	add := func(kind string, targets []string) {
		if len(targets) > 0 {
			out = append(out, delegation.Endpoint{
				DNSName: host, RecordType: kind, RecordTTL: int64(cmp.Or(dns.TTL, defaultTTL)), Targets: targets,
			})
		}
	}
	ips, name := target(addresses)
	var four, six []string
	for _, ip := range ips {
		if strings.Contains(ip, ":") {
			six = append(six, ip)
		} else {
			four = append(four, ip)
		}
	}
	add("A", four)
	add("AAAA", six)
	if name != "" {
		add("CNAME", []string{name})
	}
	return out
}

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func endpointName(ingress, host string) string {
	return shorten("trellis-endpoint-" + ingress + "." + host)
}
