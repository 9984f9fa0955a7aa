// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Policies finds which DestinationRules and PeerAuthentications decide among objects.
// Those that Istio refuses, as problems say, are left out.
func Policies(objects []client.Object, mesh model.Mesh, problems []xds.Problem) *resolve.Resolver {
	in := resolve.Input{RootNamespace: mesh.RootNamespace, Domain: mesh.ClusterDomain, ManualTLS: !mesh.AutoMutualTLS}
	if mesh.PrivateRules {
		in.DefaultExportTo = []string{"."}
	}
	for _, object := range objects {
		switch o := As(object, policies).(type) {
		case *networkingv1.DestinationRule:
			if !refused(problems, "DestinationRule", o) {
				in.DestinationRules = append(in.DestinationRules, dated(o, o.DeepCopy))
			}
		case *securityv1.PeerAuthentication:
			if !refused(problems, "PeerAuthentication", o) {
				in.PeerAuthentications = append(in.PeerAuthentications, dated(o, o.DeepCopy))
			}
		}
	}
	return resolve.New(in)
}

// MadeFor is the statement that Trellis made an object for, as "Application shop/cart";
// empty for objects of others.
func MadeFor(o metav1.Object) string {
	labels := o.GetLabels()
	if labels[compile.LabelManagedBy] != compile.ManagedBy {
		return ""
	}
	return fmt.Sprintf("%s %s/%s", labels[compile.LabelOwnerKind], labels[compile.LabelOwnerNamespace], labels[compile.LabelOwnerName])
}

// refused reports whether Istio's generator left an object out.
func refused(problems []xds.Problem, kind string, o client.Object) bool {
	return slices.ContainsFunc(problems, func(p xds.Problem) bool {
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

// Replaced are objects with some in place of those of their names, or beside them. All of
// the changed ones say their kinds.
func Replaced[T client.Object](objects []client.Object, changed ...T) []client.Object {
	type key struct{ group, kind, namespace, name string }
	of := func(o client.Object) key {
		kind := o.GetObjectKind().GroupVersionKind()
		return key{kind.Group, kind.Kind, o.GetNamespace(), o.GetName()}
	}
	replaced := make(map[key]bool, len(changed))
	for _, o := range changed {
		replaced[of(o)] = true
	}
	out := slices.DeleteFunc(slices.Clone(objects), func(o client.Object) bool { return replaced[of(o)] })
	for _, o := range changed {
		out = append(out, o)
	}
	return out
}
