// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package oddpath knows paths that a gateway and an application may read differently, and
// how a proxy refuses them. Like package compile it is pure.
package oddpath

import (
	"fmt"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/intent/paths"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Pattern matches paths that gateway and application may read differently:
// encoded or doubled slashes, backslashes, path parameters, NUL, dot segments,
// double encoding, and bytes that begin no character (overlong UTF-8). Proxies
// decode letters, digits and -._~ before they match, and leave other characters
// as they are: where a route's path holds such a one, its encoded form would be
// read as that route by the application alone, and is odd too. RE2, and the
// whole path has to match.
func Pattern(tables ...*intent.PathTable) string {
	var encoded strings.Builder
	for _, c := range paths.Characters("!$&'+,:@=", tables...) {
		hex := fmt.Sprintf("%02X", c)
		if lower := strings.ToLower(hex); lower != hex {
			hex = hex[:1] + "[" + lower[1:] + hex[1:] + "]"
		}
		encoded.WriteString("|%" + hex)
	}
	return `.*(//|\\|;|%2[fF]|%5[cC]|%3[bB]|%00|%2[eE]|%25[0-9a-fA-F]{2}|%[cC][01]|/\.\.?(/|$)` + encoded.String() + `).*`
}

// Guard refuses odd paths at the proxies of an application's own pods. Requests from
// inside the mesh never pass the gateway's routes, and AuthorizationPolicy can
// match the beginning and the end of a path but not what is in it: without the
// guard, /open/..%2fclosed matches the rules of /open and is served as /closed
// by an application that decodes. It is an ordinary RBAC filter before Istio's
// own, in Envoy's stable API.
func Guard(name model.Name, pods map[string]string, tables []*intent.PathTable) (*networkingv1alpha3.EnvoyFilter, error) {
	value := &networkingv1alpha3.EnvoyFilter{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1alpha3", Kind: "EnvoyFilter"},
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
	}
	id := "ns[" + value.Namespace + "]-policy[" + value.Name + "]-rule[0]"
	filter, err := structpb.NewStruct(map[string]any{
		"name": "trellis.path_guard",
		"typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
			"rules": map[string]any{
				"action": "DENY",
				"policies": map[string]any{id: map[string]any{
					"permissions": []any{map[string]any{"url_path": map[string]any{"path": map[string]any{"safe_regex": map[string]any{"regex": Pattern(tables...)}}}}},
					"principals":  []any{map[string]any{"any": true}},
				}},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the path guard: %w", err)
	}
	value.Spec.WorkloadSelector = &networkingapi.WorkloadSelector{Labels: pods}
	value.Spec.ConfigPatches = []*networkingapi.EnvoyFilter_EnvoyConfigObjectPatch{{
		ApplyTo: networkingapi.EnvoyFilter_HTTP_FILTER,
		Match: &networkingapi.EnvoyFilter_EnvoyConfigObjectMatch{
			Context: networkingapi.EnvoyFilter_SIDECAR_INBOUND,
			ObjectTypes: &networkingapi.EnvoyFilter_EnvoyConfigObjectMatch_Listener{Listener: &networkingapi.EnvoyFilter_ListenerMatch{
				FilterChain: &networkingapi.EnvoyFilter_ListenerMatch_FilterChainMatch{
					Filter: &networkingapi.EnvoyFilter_ListenerMatch_FilterMatch{Name: "envoy.filters.network.http_connection_manager"},
				},
			}},
		},
		Patch: &networkingapi.EnvoyFilter_Patch{Operation: networkingapi.EnvoyFilter_Patch_INSERT_FIRST, Value: filter},
	}}
	return value, nil
}
