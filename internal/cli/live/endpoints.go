// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"maps"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/model"
)

// endpointsOf are the workloads of Services that no EndpointSlice of the cluster has,
// as EndpointSlices: WorkloadEntries that a Service selects, which istiod takes
// (PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES), and where nothing keeps EndpointSlices
// the pods themselves.
func endpointsOf(read *objects) []runtime.Object {
	var out []runtime.Object
	sliced := map[model.Name]bool{}
	for _, slice := range of[*discoveryv1.EndpointSlice](read) {
		if len(slice.Endpoints) > 0 {
			sliced[model.Name{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}] = true
		}
	}
	for _, service := range of[*corev1.Service](read) {
		var found []runtime.Object
		for _, entry := range of[*networkingv1.WorkloadEntry](read) {
			labels := map[string]string{}
			maps.Copy(labels, entry.Spec.GetLabels())
			maps.Copy(labels, entry.Labels)
			if entry.Namespace == service.Namespace && model.Selects(service.Spec.Selector, labels) {
				found = append(found, slice(service.Namespace, service.Name, []string{entry.Spec.GetAddress()}, entry.Spec.GetPorts()))
			}
		}
		for _, pod := range of[*corev1.Pod](read) {
			if len(found) == 0 && !sliced[model.Name{Namespace: service.Namespace, Name: service.Name}] &&
				pod.Namespace == service.Namespace && pod.Status.PodIP != "" && model.Selects(service.Spec.Selector, pod.Labels) {
				out = append(out, slice(service.Namespace, service.Name, []string{pod.Status.PodIP}, nil))
			}
		}
		out = append(out, found...)
	}
	return out
}

func slice(namespace, service string, addresses []string, ports map[string]uint32) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: addresses}},
	}
	for name, number := range ports {
		port := int32(number)
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port})
	}
	return out
}
