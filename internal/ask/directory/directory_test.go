// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"net/netip"
	"slices"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/model"
)

func sliceOf(name, address string, port int32) *discoveryv1.EndpointSlice {
	of := "web"
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "search"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{address}}},
		Ports:      []discoveryv1.EndpointPort{{Name: &of, Port: &port}},
	}
}

func entryOf(name, address string, ports map[string]uint32) *networkingv1.WorkloadEntry {
	out := &networkingv1.WorkloadEntry{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	out.Spec = networkingapi.WorkloadEntry{Address: address, Labels: map[string]string{"app": "search"}, Ports: ports}
	return out
}

func TestEachEndpointHasItsOwnNumberOfAPortByName(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "search"}}
	service.Spec.Selector = map[string]string{"app": "search"}
	service.Spec.Ports = []corev1.ServicePort{
		{Name: "web", Port: 80, TargetPort: intstr.FromString("http")},
		{Name: "admin", Port: 81, TargetPort: intstr.FromInt32(8081)},
	}
	d := directory.New([]runtime.Object{
		service, sliceOf("one", "10.0.0.1", 8080), sliceOf("two", "10.0.0.2", 9090),
		// Istio looks for the name of the target in an entry, not for that of the port.
		entryOf("three", "10.0.0.3", map[string]uint32{"http": 7070}),
		entryOf("four", "10.0.0.4", map[string]uint32{"web": 6060, "admin": 6061}),
	}, "")
	s, _ := d.Service(model.Name{Namespace: "shop", Name: "search"})
	web, admin := s.Ports[0], s.Ports[1]
	for address, want := range map[string][2]uint16{
		"10.0.0.1": {8080, 8081}, "10.0.0.2": {9090, 8081}, "10.0.0.3": {7070, 8081}, "10.0.0.4": {0, 6061},
	} {
		at := netip.MustParseAddr(address)
		if got := [2]uint16{s.TargetAt(web, at), s.TargetAt(admin, at)}; got != want {
			t.Errorf("the ports of %s are %v, want %v", address, got, want)
		}
	}
	if got := s.Targets(web); !slices.Equal(got, []uint16{7070, 8080, 9090}) {
		t.Errorf("the numbers are %v", got)
	}
}
