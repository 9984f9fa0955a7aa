// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// Role is what an object does to requests. It decides the order of writing.
type Role int

const (
	// RoleClaim is a HostClaim: created once, never changed or pruned from here.
	RoleClaim Role = iota
	// RoleHost makes a host outside of the mesh known. It comes before what limits calls
	// to known hosts, which would refuse calls of it for a moment.
	RoleHost
	// RoleRestriction refuses requests.
	RoleRestriction
	// RoleConnection says how proxies talk to each other, keeps a record, or asks
	// for an entry or a certificate.
	RoleConnection
	// RoleRoute lets requests in.
	RoleRoute
)

// Kind is a kind of object that Trellis generates.
type Kind struct {
	schema.GroupVersionKind
	// Resource is the plural, as in a URL and in a CRD's name.
	Resource string
	Role     Role
	// Foreign is true for a kind of another controller that a cluster may lack; its
	// objects are then neither generated nor looked for.
	Foreign bool
}

const (
	networkingGroup = "networking.istio.io"
	securityGroup   = "security.istio.io"
)

// Kinds are the kinds that Trellis generates, in the order of writing.
func Kinds() []Kind {
	v1 := func(group, kind, resource string, role Role) Kind {
		return Kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind}, Resource: resource, Role: role}
	}
	own := func(kind, resource string, role Role) Kind {
		return Kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind(kind), Resource: resource, Role: role}
	}
	return []Kind{
		own("HostClaim", "hostclaims", RoleClaim),
		v1(networkingGroup, "ServiceEntry", "serviceentries", RoleHost),
		{GroupVersionKind: schema.GroupVersionKind{Group: networkingGroup, Version: "v1alpha3", Kind: "EnvoyFilter"}, Resource: "envoyfilters", Role: RoleRestriction},
		v1(securityGroup, "PeerAuthentication", "peerauthentications", RoleRestriction),
		v1(securityGroup, "RequestAuthentication", "requestauthentications", RoleRestriction),
		v1(securityGroup, "AuthorizationPolicy", "authorizationpolicies", RoleRestriction),
		v1(networkingGroup, "Sidecar", "sidecars", RoleRestriction),
		v1(networkingGroup, "DestinationRule", "destinationrules", RoleConnection),
		v1("", "ConfigMap", "configmaps", RoleConnection),
		own("ManagedCertificate", "managedcertificates", RoleConnection),
		own("ManagedRecord", "managedrecords", RoleConnection),
		{GroupVersionKind: delegation.CertificateKind, Resource: "certificates", Role: RoleConnection, Foreign: true},
		{GroupVersionKind: delegation.EndpointKind, Resource: "dnsendpoints", Role: RoleConnection, Foreign: true},
		v1(networkingGroup, "Gateway", "gateways", RoleRoute),
		v1(networkingGroup, "VirtualService", "virtualservices", RoleRoute),
	}
}

// Custom reports whether the kind is defined by a CRD.
func (k Kind) Custom() bool { return k.Group != "" }

// CRD is the name of the CRD that defines the kind.
func (k Kind) CRD() string { return k.Resource + "." + k.Group }

func kindOf(group, name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Group == group && k.Kind == name {
			return k, true
		}
	}
	return Kind{}, false
}

// Restricts reports whether an object refuses requests.
func Restricts(ref model.Reference) bool {
	kind, ok := kindOf(ref.Group, ref.Kind)
	return ok && kind.Role == RoleRestriction
}

// Routes reports whether an object lets requests in.
func Routes(ref model.Reference) bool {
	kind, ok := kindOf(ref.Group, ref.Kind)
	return ok && kind.Role == RoleRoute
}

// Introduces reports whether an object makes a host outside of the mesh known.
func Introduces(ref model.Reference) bool {
	kind, ok := kindOf(ref.Group, ref.Kind)
	return ok && kind.Role == RoleHost
}

// Outside reports whether an object asks for something outside of the mesh, which
// costs time and money to get again: a certificate or a DNS entry.
func Outside(ref model.Reference) bool {
	switch (schema.GroupKind{Group: ref.Group, Kind: ref.Kind}) {
	case v1alpha1.GroupVersion.WithKind("ManagedCertificate").GroupKind(), v1alpha1.GroupVersion.WithKind("ManagedRecord").GroupKind(),
		delegation.CertificateKind.GroupKind(), delegation.EndpointKind.GroupKind():
		return true
	}
	return false
}
