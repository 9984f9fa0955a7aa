// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"regexp"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// policyID is how Istio names the rules of AuthorizationPolicies in Envoy
// (pilot/pkg/security/authz/builder/builder.go, policyName), with what an
// external provider puts before it.
var policyID = regexp.MustCompile(`^(?:istio-ext-authz-.*-)?ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]`)

// PolicyOf reads the AuthorizationPolicy out of the name of an RBAC rule; nil
// where it is none of Istio's.
func PolicyOf(rule string) *Object {
	m := policyID.FindStringSubmatch(rule)
	if m == nil {
		return nil
	}
	index, err := strconv.Atoi(m[3])
	if err != nil {
		return nil
	}
	return &Object{Kind: "AuthorizationPolicy", Namespace: m[1], Name: m[2], Rule: index}
}

// kinds of the resources that istiod notes in its configuration.
var kinds = map[string]string{
	"virtual-service": "VirtualService", "destination-rule": "DestinationRule", "gateway": "Gateway",
	"service-entry": "ServiceEntry", "sidecar": "Sidecar", "envoy-filter": "EnvoyFilter", "http-route": "HTTPRoute",
	"virtualservice": "VirtualService", "destinationrule": "DestinationRule", "httproute": "HTTPRoute",
}

// objectOf reads the Istio object that a part of the configuration was made from:
// metadata "istio", key "config", a path of the API
// (pilot/pkg/networking/util/util.go, BuildConfigInfoMetadata).
func objectOf(metadata *corev3.Metadata) *Object {
	path := metadata.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
	// /apis/GROUP/VERSION/namespaces/NAMESPACE/KIND/NAME
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) != 7 || parts[3] != "namespaces" {
		return nil
	}
	kind, ok := kinds[parts[5]]
	if !ok {
		kind = parts[5]
	}
	return &Object{Kind: kind, Namespace: parts[4], Name: parts[6], Rule: -1}
}
