// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/trellis-mesh/trellis/internal/compile/generated"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Labels and annotations of every generated object.
const (
	// LabelManagedBy is how generated objects are found.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is its value.
	ManagedBy = "trellis"
	// LabelOwnerKind, LabelOwnerNamespace and LabelOwnerName name the first
	// owner: the object to edit instead of this one.
	LabelOwnerKind      = "trellis.dev/owner-kind"
	LabelOwnerNamespace = "trellis.dev/owner-namespace"
	LabelOwnerName      = "trellis.dev/owner-name"
	// AnnotationOrigin holds the provenance of every rule.
	AnnotationOrigin = generated.AnnotationOrigin
)

// Annotations that ExternalDNS reads, before and since its version 0.22: an object
// that names another controller is left alone.
const (
	AnnotationExternalDNS       = "external-dns.kubernetes.io/controller"
	AnnotationExternalDNSBefore = "external-dns.alpha.kubernetes.io/controller"
)

// notForExternalDNS keeps a cluster's ExternalDNS from publishing what Trellis
// publishes.
var notForExternalDNS = map[string]string{AnnotationExternalDNS: ManagedBy, AnnotationExternalDNSBefore: ManagedBy}

// Names are made of the names of what an object was generated for. Application
// and SecureIngress names are DNS labels, hosts are domain names, and the order
// below keeps different parts from spelling the same name.

func applicationName(name, suffix string) string {
	return shorten("trellis-application-" + name + suffix)
}

func ingressName(name, suffix string) string { return shorten("trellis-ingress-" + name + suffix) }

// gatewayName is one DNS label, as Istio demands of Gateways.
func gatewayName(ingress string) string { return shortenTo(63, "trellis-ingress-"+ingress) }

func hostName(ingress, host string) string { return shorten("trellis-host-" + ingress + "." + host) }

func hostPolicyName(ingress, host string, app model.Reference, suffix string) string {
	return shorten("trellis-host-" + ingress + "." + host + "." + app.Name + "." + app.Namespace + suffix)
}

func certificateName(ingress, of string) string {
	return shorten("trellis-certificate-" + ingress + "." + of)
}

// recordName holds the provider, since an entry cannot move to another one: it is
// taken back there and made here.
func recordName(ingress, provider, host string) string {
	return shorten("trellis-record-" + ingress + "." + provider + "." + host)
}

// shorten keeps a name within what Kubernetes takes (253 characters), and keeps
// names apart that would be cut to the same text.
func shorten(name string) string { return shortenTo(253, name) }

func shortenTo(most int, name string) string {
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	digest := hex.EncodeToString(sum[:8])
	return strings.TrimRight(name[:most-1-len(digest)], "-.") + "-" + digest
}
