// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// LetOut says of which Sidecars it was not compared what they let out: changes are found by
// what the proxies of servers and gateways do, and a request that its own sender's proxy
// keeps in never gets there.
func LetOut(before, after []client.Object) []string {
	was, is := sidecars(before), sidecars(after)
	names := maps.Clone(is)
	maps.Copy(names, was)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := was[name], is[name]
		if a == nil || b == nil || !proto.Equal(&a.Spec, &b.Spec) {
			out = append(out, "Sidecar "+name+" changes, and what workloads call with it is not compared; ask of one with trellis can --from")
		}
	}
	return out
}

func sidecars(objects []client.Object) map[string]*networkingv1.Sidecar {
	out := map[string]*networkingv1.Sidecar{}
	for _, o := range objects {
		if s, ok := As(o, sidecarKind).(*networkingv1.Sidecar); ok {
			out[s.Namespace+"/"+s.Name] = s
		}
	}
	return out
}

var sidecarKind = map[string]func() runtime.Object{"Sidecar": func() runtime.Object { return &networkingv1.Sidecar{} }}
