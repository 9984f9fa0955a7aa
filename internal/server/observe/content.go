// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"encoding/json"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
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

// typed gives Istio's objects that the compiler looks at their Go types, and leaves
// what they cannot read as it is: the generator says what is wrong with it.
func typed(u *unstructured.Unstructured) client.Object {
	kind := u.GroupVersionKind()
	if kind.Version != "v1" || u.GetLabels()[load.ManagedByLabel] == load.ManagedBy {
		return u
	}
	var into client.Object
	switch kind.Group + "/" + kind.Kind {
	case "security.istio.io/AuthorizationPolicy":
		into = &securityv1.AuthorizationPolicy{}
	case "security.istio.io/RequestAuthentication":
		into = &securityv1.RequestAuthentication{}
	case "security.istio.io/PeerAuthentication":
		into = &securityv1.PeerAuthentication{}
	case "networking.istio.io/Gateway":
		into = &networkingv1.Gateway{}
	case "networking.istio.io/VirtualService":
		into = &networkingv1.VirtualService{}
	case "networking.istio.io/DestinationRule":
		into = &networkingv1.DestinationRule{}
	case "networking.istio.io/WorkloadEntry":
		into = &networkingv1.WorkloadEntry{}
	default:
		return u
	}
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
