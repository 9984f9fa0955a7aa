// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package headless makes headless Services for the workloads of a stack.
package headless

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/trellis-mesh/trellis/test/stack"
)

// Options describe a Service without an address of its own, before workloads
// that have others.
type Options struct {
	Namespace, Name string
	Selector        map[string]string
	Ports           []Port
	// Applications are the workloads that Selector selects.
	Applications []*stack.Application
}

// Port is a port of a headless Service. Clients use Port at the address of a
// pod, and only what finds endpoints by itself, such as a gateway, uses Target.
type Port struct {
	Name     string
	Port     int
	Target   int
	Protocol string // appProtocol
}

// Create makes a headless Service with its EndpointSlice: WorkloadEntries, which are
// the endpoints of the stack's other Services, are none of a headless one's
// (pilot/pkg/serviceregistry/kube/controller, collectWorkloadInstanceEndpoints).
func Create(ctx context.Context, s *stack.Stack, options Options) error {
	meta := metav1.ObjectMeta{Namespace: options.Namespace, Name: options.Name}
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: options.Selector, ClusterIP: corev1.ClusterIPNone}}
	slice := &discoveryv1.EndpointSlice{
		TypeMeta:   metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"},
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4,
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: options.Name, corev1.IsHeadlessService: ""}
	slice.UID, slice.CreationTimestamp = uuid.NewUUID(), metav1.Now()
	for _, port := range options.Ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name: port.Name, Port: int32(port.Port), TargetPort: intstr.FromInt(port.Target), AppProtocol: &port.Protocol,
		})
		target, protocol := int32(port.Target), corev1.ProtocolTCP
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &target, Protocol: &protocol, AppProtocol: &port.Protocol})
	}
	ready := true
	for _, a := range options.Applications {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{a.Address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: a.Namespace, Name: a.Name},
		})
	}
	if err := s.Client().Create(ctx, service); err != nil {
		return fmt.Errorf("making the headless Service %s/%s: %w", options.Namespace, options.Name, err)
	}
	return store(ctx, s, types.NamespacedName{Namespace: meta.Namespace, Name: meta.Name}, slice)
}

// store writes a new EndpointSlice where the API server keeps them, since it takes
// none with loopback addresses (pkg/apis/core/validation, ValidateNonSpecialIP). What
// it has stored it serves. etcd speaks JSON at /v3.
func store(ctx context.Context, s *stack.Stack, name types.NamespacedName, slice *discoveryv1.EndpointSlice) error {
	value, err := json.Marshal(slice)
	if err != nil {
		return fmt.Errorf("storing the EndpointSlice %s: %w", name, err)
	}
	body, err := json.Marshal(map[string][]byte{"key": []byte("/registry/endpointslices/" + name.String()), "value": value})
	if err != nil {
		return fmt.Errorf("storing the EndpointSlice %s: %w", name, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Etcd()+"/v3/kv/put", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("storing the EndpointSlice %s: %w", name, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("storing the EndpointSlice %s: %w", name, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body) // it only adds to the error
		return fmt.Errorf("storing the EndpointSlice %s: %s: %s", name, response.Status, text)
	}
	return nil
}
