// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

// Policies finds which DestinationRules and PeerAuthentications decide. False: they
// are not known, since the mesh is known by dumps of proxies alone.
func (m *Mesh) Policies() (*resolve.Resolver, bool) {
	objects := m.Objects
	for _, object := range m.input.Objects {
		objects = append(objects, object)
	}
	if objects == nil {
		return nil, false
	}
	in := resolve.Input{RootNamespace: m.About.RootNamespace, Domain: m.About.ClusterDomain}
	for _, object := range objects {
		switch o := typed(object).(type) {
		case *networkingv1.DestinationRule:
			in.DestinationRules = append(in.DestinationRules, o)
		case *securityv1.PeerAuthentication:
			in.PeerAuthentications = append(in.PeerAuthentications, o)
		}
	}
	return resolve.New(in), true
}

// typed is an object of a file in the form of its kind, where it is one that is looked
// for.
func typed(object runtime.Object) runtime.Object {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object
	}
	var out runtime.Object
	switch u.GetKind() {
	case "DestinationRule":
		out = &networkingv1.DestinationRule{}
	case "PeerAuthentication":
		out = &securityv1.PeerAuthentication{}
	default:
		return nil
	}
	// What cannot be converted is refused by the generator, which says so.
	if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out) != nil {
		return nil
	}
	return out
}
