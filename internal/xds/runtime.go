// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"maps"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// DefaultRuntime are the runtime values that Istio's agent writes into the
// bootstrap of every proxy, as far as they change what becomes of a request
// (pkg/bootstrap/config.go, extractRuntimeFlags). ProxyConfig.runtimeValues can
// change them.
func DefaultRuntime() map[string]string {
	return maps.Clone(map[string]string{"envoy.reloadable_features.http_reject_path_with_fragment": "false"})
}

// RuntimeOf reads the static layers of a bootstrap; what is set in one layer
// replaces what the layers before it say.
func RuntimeOf(bootstrap *bootstrapv3.Bootstrap) map[string]string {
	out := map[string]string{}
	for _, layer := range bootstrap.GetLayeredRuntime().GetLayers() {
		flatten(out, "", layer.GetStaticLayer())
	}
	return out
}

func flatten(out map[string]string, prefix string, s *structpb.Struct) {
	for key, value := range s.GetFields() {
		switch v := value.GetKind().(type) {
		case *structpb.Value_StructValue:
			flatten(out, prefix+key+".", v.StructValue)
		case *structpb.Value_BoolValue, *structpb.Value_NumberValue, *structpb.Value_StringValue:
			out[prefix+key] = fmt.Sprint(value.AsInterface())
		}
	}
}
