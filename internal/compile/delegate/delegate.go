// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package delegate makes the objects by which other controllers are asked to do a
// part of the work: Certificates of cert-manager and DNSEndpoints of ExternalDNS.
// Like package compile it is pure.
package delegate

import (
	"cmp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// defaultTTL is that of entries, in seconds, as the built-in engine has it.
const defaultTTL = 300

// AnnotationCertificate on a Secret names the ManagedCertificate, or the
// Certificate of the same name, that it was made for. Both engines mark the Secret
// in the same way, so that either takes over what the other one leaves.
const AnnotationCertificate = "trellis.dev/certificate"

// Certificate asks cert-manager for the certificate that the built-in engine would
// get, in the Secret of the same name, which gets the labels. The key is as there
// too; a listener that is new has a temporary certificate until there is a real one.
func Certificate(name model.Name, dnsNames []string, issuer delegation.IssuerRef, labels map[string]string) *delegation.Certificate {
	return &delegation.Certificate{
		TypeMeta: typeMeta(delegation.CertificateKind.ToAPIVersionAndKind()),
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Annotations: map[string]string{
			delegation.TemporaryAnnotation: "true",
		}},
		Spec: delegation.CertificateSpec{
			SecretName: name.Name, DNSNames: dnsNames, IssuerRef: issuer,
			SecretTemplate: delegation.SecretTemplate{Labels: labels, Annotations: map[string]string{AnnotationCertificate: name.Name}},
			PrivateKey:     delegation.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"},
			Usages:         []string{"digital signature", "server auth"},
		},
	}
}

// DNSEndpoint asks ExternalDNS for the entries of a host: those that the built-in
// engine would write, for the addresses of a load balancer or for its name; a TTL
// of 0 is the default. ExternalDNS takes an entry away whose values are gone, so
// without either, what was asked for last is asked for again; known may be nil.
func DNSEndpoint(name model.Name, host string, ttl int32, addresses []string, alias string, known *delegation.DNSEndpoint) *delegation.DNSEndpoint {
	// Never nil, since the definition of a DNSEndpoint takes no null.
	endpoints := []delegation.Endpoint{}
	add := func(kind string, targets []string) {
		if len(targets) > 0 {
			endpoints = append(endpoints, delegation.Endpoint{
				DNSName: host, RecordType: kind, RecordTTL: int64(cmp.Or(ttl, defaultTTL)), Targets: targets,
			})
		}
	}
	var four, six []string
	for _, ip := range addresses {
		if strings.Contains(ip, ":") {
			six = append(six, ip)
		} else {
			four = append(four, ip)
		}
	}
	add("A", four)
	add("AAAA", six)
	if alias != "" {
		add("CNAME", []string{alias})
	}
	if len(endpoints) == 0 && known != nil {
		endpoints = append(endpoints, known.Spec.Endpoints...)
	}
	return &delegation.DNSEndpoint{
		TypeMeta:   typeMeta(delegation.EndpointKind.ToAPIVersionAndKind()),
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
		Spec:       delegation.DNSEndpointSpec{Endpoints: endpoints},
	}
}

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}
