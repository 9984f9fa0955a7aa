// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// PolicyOf reads the AuthorizationPolicy out of the name of an RBAC rule; nil
// where it is none of Istio's.
func PolicyOf(rule string) *Object {
	external, is := strings.CutPrefix(rule, "istio-ext-authz-")
	if !is {
		return policyNamed(rule)
	}
	// The provider's name may be anything, so the last one that fits is it.
	for end := len(external); ; {
		at := strings.LastIndex(external[:end], "-ns[")
		if at < 0 {
			return nil
		}
		if out := policyNamed(external[at+1:]); out != nil && !strings.Contains(external[:at], "\n") {
			return out
		}
		end = at + len("-ns[") - 1
	}
}

// policyNamed reads a name as Istio gives it to the rules of AuthorizationPolicies in
// Envoy, "ns[NAMESPACE]-policy[NAME]-rule[INDEX]", and what may follow
// (pilot/pkg/security/authz/builder/builder.go, policyName).
func policyNamed(rule string) *Object {
	out := &Object{Kind: "AuthorizationPolicy"}
	index := ""
	for _, part := range [...]struct {
		before string
		to     *string
	}{{"ns[", &out.Namespace}, {"-policy[", &out.Name}, {"-rule[", &index}} {
		rest, is := strings.CutPrefix(rule, part.before)
		if !is {
			return nil
		}
		if *part.to, rule, is = strings.Cut(rest, "]"); !is {
			return nil
		}
	}
	n, err := strconv.ParseUint(index, 10, 63)
	if err != nil {
		return nil
	}
	out.Rule = int(n)
	return out
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
