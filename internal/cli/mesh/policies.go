// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// PoliciesUnknown is what answers note where Policies is false.
const PoliciesUnknown = "which PeerAuthentications decide is not known: proxies are not told"

// Policies finds which DestinationRules and PeerAuthentications decide, of those that
// Istio takes. False: they are not known, since the mesh is known by dumps of proxies
// alone.
func (m *Mesh) Policies() (*resolve.Resolver, bool) {
	if m.generated == nil && m.Objects == nil {
		return nil, false
	}
	in := resolve.Input{RootNamespace: m.About.RootNamespace, Domain: m.About.ClusterDomain, ManualTLS: !m.About.AutoMutualTLS}
	if m.About.PrivateRules {
		in.DefaultExportTo = []string{"."}
	}
	for _, object := range slices.Concat(m.Objects, m.input.Objects) {
		switch o := world.As(object, policies).(type) {
		case *networkingv1.DestinationRule:
			if !m.refused("DestinationRule", o) {
				in.DestinationRules = append(in.DestinationRules, dated(o, o.DeepCopy))
			}
		case *securityv1.PeerAuthentication:
			if !m.refused("PeerAuthentication", o) {
				in.PeerAuthentications = append(in.PeerAuthentications, dated(o, o.DeepCopy))
			}
		}
	}
	return resolve.New(in), true
}

// refused reports whether Istio's generator left an object out.
func (m *Mesh) refused(kind string, o client.Object) bool {
	return slices.ContainsFunc(m.Problems, func(p xds.Problem) bool {
		return p.Kind == xds.Refused && p.Type == kind && p.Resource == o.GetNamespace()+"/"+o.GetName()
	})
}

// latest is after all dates of objects.
var latest = metav1.Unix(1<<40, 0)

// dated is an object with a date: what somebody has just written is newer than what is
// there (internal/xds/generator does the same).
func dated[T client.Object](o T, copied func() T) T {
	if created := o.GetCreationTimestamp(); !created.IsZero() {
		return o
	}
	out := copied()
	out.SetCreationTimestamp(latest)
	return out
}

// policies are the kinds that are looked for.
var policies = map[string]func() runtime.Object{
	"DestinationRule":    func() runtime.Object { return &networkingv1.DestinationRule{} },
	"PeerAuthentication": func() runtime.Object { return &securityv1.PeerAuthentication{} },
}
