// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// credentials are the field of a DNSProvider that names a Secret, and the keys
// that the Secret has to have.
func credentials(spec v1alpha1.DNSProviderSpec) (field, keys string) {
	switch {
	case spec.Route53 != nil:
		return "spec.route53.credentialsSecretRef", "accessKeyID and secretAccessKey"
	case spec.RFC2136 != nil:
		return "spec.rfc2136.tsigSecretRef", "name, algorithm and secret"
	case spec.Azure != nil:
		return "spec.azure.credentialsSecretRef", "clientSecret"
	case spec.Google != nil:
		return "spec.google.credentialsSecretRef", "key.json"
	}
	return "spec.cloudflare.tokenSecretRef", "token"
}

// secretNotFound says who names the Secret, and what it is to hold.
func (at *round) secretNotFound(name types.NamespacedName) *trouble {
	field, keys := credentials(at.provider.Spec)
	return &trouble{reasonSecretNotFound, fmt.Sprintf(
		"the Secret %s does not exist, and %s of the DNSProvider %s names it: make it with %s, or name another one", name, field, at.key, keys)}
}

// secretForbidden says whose rule it is: the chart gives the operator the Secrets
// of the namespaces of gateways, and no others.
func (at *round) secretForbidden(name types.NamespacedName) *trouble {
	return &trouble{reasonSecretForbidden, fmt.Sprintf(
		"the operator may not read the Secret %s: add %s to the value gatewayNamespaces of the chart trellis and upgrade it", name, name.Namespace)}
}

// identityForbidden says whose rule it is that the pod's identity is not for all.
func (at *round) identityForbidden() *trouble {
	field, keys := credentials(at.provider.Spec)
	allowed := "no namespace"
	if len(at.ambient) > 0 {
		allowed = "these namespaces only: " + some(at.ambient)
	}
	return &trouble{reasonForbidden, fmt.Sprintf(
		"the DNSProvider %s names no Secret, and the operator lends the identity of its own pod to DNSProviders of %s; name a Secret with %s in %s, or let whoever runs the operator add %s to the value dns.identityNamespaces of the chart trellis",
		at.key, allowed, keys, field, at.key.Namespace)}
}

// noZones is an account in which nothing can be written; nil where that is not said
// to be wrong.
func (at *round) noZones() *trouble {
	spec := at.provider.Spec
	what := "these credentials see no zone: make one, or let them see it"
	switch {
	case spec.RFC2136 != nil:
		what = fmt.Sprintf("%s has none of the zones in spec.rfc2136.zones: make one there, or correct the names", spec.RFC2136.Server)
	case len(spec.Zones) > 0:
		what = "these credentials see none of the zones in spec.zones: correct the ids, or let them see one"
	}
	if spec.Private {
		what += "; spec.private is set, so public zones do not count"
	}
	return &trouble{reasonZoneNotFound, what}
}
