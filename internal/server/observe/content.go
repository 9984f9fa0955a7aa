// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"encoding/json"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/load"
)

// content is what of an object changes something for a proxy: not its status, but
// for the addresses of load balancers.
func content(object client.Object) any {
	common := []any{object.GetLabels(), object.GetAnnotations(), object.GetCreationTimestamp()}
	switch o := object.(type) {
	case *corev1.Namespace:
		return common
	case *corev1.Service:
		return append(common, o.Spec, o.Status.LoadBalancer)
	case *discoveryv1.EndpointSlice:
		return append(common, o.AddressType, o.Endpoints, o.Ports)
	case *networkv1.Ingress:
		return append(common, o.Spec)
	case *networkv1.IngressClass:
		return append(common, o.Spec)
	case *unstructured.Unstructured:
		return append(common, o.Object["spec"])
	}
	// Istio's: their types differ, and their texts are alike.
	raw, err := json.Marshal(object)
	var text struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err != nil || json.Unmarshal(raw, &text) != nil {
		return append(common, object.GetResourceVersion())
	}
	return append(common, text.Spec)
}

// types are the Go types of Istio's objects, by group, version and kind.
var types = map[string]func() client.Object{
	"security.istio.io/v1/AuthorizationPolicy":   func() client.Object { return &securityv1.AuthorizationPolicy{} },
	"security.istio.io/v1/RequestAuthentication": func() client.Object { return &securityv1.RequestAuthentication{} },
	"security.istio.io/v1/PeerAuthentication":    func() client.Object { return &securityv1.PeerAuthentication{} },
	"networking.istio.io/v1/Gateway":             func() client.Object { return &networkingv1.Gateway{} },
	"networking.istio.io/v1/VirtualService":      func() client.Object { return &networkingv1.VirtualService{} },
	"networking.istio.io/v1/DestinationRule":     func() client.Object { return &networkingv1.DestinationRule{} },
	"networking.istio.io/v1/Sidecar":             func() client.Object { return &networkingv1.Sidecar{} },
	"networking.istio.io/v1/ServiceEntry":        func() client.Object { return &networkingv1.ServiceEntry{} },
	"networking.istio.io/v1/WorkloadEntry":       func() client.Object { return &networkingv1.WorkloadEntry{} },
	"networking.istio.io/v1alpha3/EnvoyFilter":   func() client.Object { return &networkingv1alpha3.EnvoyFilter{} },
}

// typed gives Istio's objects their Go types that the compiler looks at, or that rules of
// proxies are found in, and leaves what they cannot read as it is: the generator says what
// is wrong with it.
func typed(u *unstructured.Unstructured) client.Object {
	kind := u.GroupVersionKind()
	made := u.GetLabels()[load.ManagedByLabel] == load.ManagedBy
	empty := types[kind.Group+"/"+kind.Version+"/"+kind.Kind]
	if empty == nil || kind.Kind == "EnvoyFilter" && !made {
		return u
	}
	into := empty()
	raw, err := json.Marshal(u.Object)
	if err != nil || json.Unmarshal(raw, into) != nil {
		return u
	}
	return into
}

// meaning are the annotations of a pod that Istio reads.
func meaning(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range annotations {
		if strings.Contains(name, "istio.io/") {
			out[name] = value
		}
	}
	return out
}
