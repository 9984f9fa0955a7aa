// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting_test

import (
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/xds"
)

func service(namespace, name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(9080)}}},
	}
}

// pod has the app of its labels as account; its containers are named.
func pod(namespace, name, address string, labels map[string]string, containers ...string) *corev1.Pod {
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{ServiceAccountName: labels["app"]},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address},
	}
	for _, c := range containers {
		out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c})
	}
	return out
}

func app(name string, more ...string) map[string]string {
	out := map[string]string{"app": name}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// names is a mesh: cart, which two Services select, a web shop and a worker with proxies, a
// gateway, a job and a Service without, and machines that are no pods.
func names(t *testing.T) *sighting.Names {
	t.Helper()
	onNode := pod("legacy", "node-agent", "10.0.9.9", app("agent"), "agent")
	onNode.Spec.HostNetwork = true
	manual := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "legacy", Name: "old-1", Labels: map[string]string{discoveryv1.LabelServiceName: "old"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.7"}}},
	}
	pods := []*corev1.Pod{
		pod("shop", "cart-5d8c-x1", "10.0.0.1", app("cart", "pod-template-hash", "5d8c"), "main", "istio-proxy"),
		pod("shop", "web-77f4-x2", "10.0.0.2", app("web", "pod-template-hash", "77f4"), "main", "istio-proxy"),
		pod("shop", "worker-9-x3", "10.0.0.3", app("worker"), "main", "istio-proxy"),
		pod("istio-ingress", "gateway-1", "10.0.0.4", app("gateway"), "istio-proxy"),
		pod("legacy", "report-66b5-x4", "10.0.1.1", app("report", "pod-template-hash", "66b5"), "main"),
		pod("legacy", "nightly-28394-abcde", "10.0.1.2", app("default", "job-name", "nightly-28394"), "main"),
		pod("legacy", "store-0", "10.0.1.3", app("store", "controller-revision-hash", "store-1"), "main"),
		pod("legacy", "shop-0", "10.0.1.4", app("shop"), "main"),
		onNode,
	}
	entries := []xds.Entry{{Namespace: "shop", Name: "vm", Spec: &networkingapi.WorkloadEntry{Address: "10.0.2.1", ServiceAccount: "vm"}}}
	d := directory.New([]runtime.Object{
		service("shop", "cart", app("cart")), service("shop", "cart-v2", app("cart")), service("shop", "web", app("web")),
		service("istio-ingress", "gateway", app("gateway")), service("legacy", "shop", app("shop")), service("legacy", "old", nil), manual,
	}, "")
	return sighting.NewNames(d, pods, entries)
}

func TestNamesOfWorkloads(t *testing.T) {
	n := names(t)
	for _, c := range []struct {
		pod, want string
		kind      sighting.Kind
	}{
		// The first by its host, as for package mtls.
		{"shop/cart-5d8c-x1", "shop/cart-v2", sighting.Proxied},
		{"shop/worker-9-x3", "shop/worker", sighting.Proxied},
		{"istio-ingress/gateway-1", "istio-ingress/gateway", sighting.Gateway},
		{"legacy/report-66b5-x4", "legacy/report", sighting.Bare},
		{"legacy/nightly-28394-abcde", "legacy/nightly-28394", sighting.Bare},
		{"legacy/store-0", "legacy/store", sighting.Bare},
		{"legacy/shop-0", "legacy/shop", sighting.Bare},
		{"legacy/node-agent", "legacy/node-agent", sighting.Bare},
	} {
		w := n.Pod(writer(c.pod))
		if w == nil || w.Name != c.want || w.Kind != c.kind {
			t.Errorf("%s: %+v, want %s, %d", c.pod, w, c.want, c.kind)
		}
	}
	for address, want := range map[string]string{"10.0.0.1": "shop/cart-v2", "10.0.2.1": "shop/vm", "192.0.2.7": "legacy/old", "10.0.9.9": "", "10.9.9.9": ""} {
		got := ""
		if w := n.At(at(address + ":1").Addr()); w != nil {
			got = w.Name
		}
		if got != want {
			t.Errorf("%s is %q, want %q", address, got, want)
		}
	}
	if got := n.Service("cart.shop.svc.cluster.local"); got != "shop/cart" {
		t.Errorf("the host is of %q", got)
	}
}

func writer(pod string) accesslog.Writer {
	for i := range pod {
		if pod[i] == '/' {
			return accesslog.Writer{Namespace: pod[:i], Pod: pod[i+1:]}
		}
	}
	return accesslog.Writer{}
}
