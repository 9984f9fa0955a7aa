// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
)

const (
	tlsModeLabel = "security.istio.io/tlsMode"
	proxyName    = "istio-proxy"
	managedLabel = "gateway.istio.io/managed"
	// meshManaged is the value of managedLabel on waypoints
	// (pkg/config/constants, ManagedGatewayMeshControllerLabel).
	meshManaged = "istio.io-mesh-controller"
)

// Entry is a WorkloadEntry: the parts that tell whether a proxy is there.
type Entry struct {
	Namespace, Name string
	Labels          map[string]string
	Spec            *networkingapi.WorkloadEntry
}

// Common is what is true of all proxies of a cluster.
type Common struct {
	TrustDomain, ClusterDomain, Cluster string
	// Interception is that of sidecars whose pod does not say it.
	Interception Interception
}

// NodesOf are the proxies that objects show: of pods that have one, and of
// WorkloadEntries that have an identity and no pod at their address.
func NodesOf(pods []*corev1.Pod, entries []Entry, common Common) []Node {
	var out []Node
	taken := map[netip.Addr]bool{}
	add := func(n Node) {
		n.TrustDomain, n.ClusterDomain, n.Cluster = common.TrustDomain, common.ClusterDomain, common.Cluster
		if n.Type == Sidecar && n.Interception == "" {
			n.Interception = common.Interception
		}
		out = append(out, n)
	}
	for _, pod := range pods {
		if n, ok := podNode(pod); ok {
			for _, a := range n.Addresses {
				taken[a] = true
			}
			add(n)
		}
	}
	for _, e := range entries {
		if n, ok := entryNode(e); ok && !taken[n.Addresses[0]] {
			add(n)
		}
	}
	return out
}

func podNode(pod *corev1.Pod) (Node, bool) {
	proxy, _ := proxyContainer(pod)
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		proxy == nil && pod.Labels[tlsModeLabel] != "istio" {
		return Node{}, false
	}
	n := Node{
		Type: Sidecar, Name: pod.Name, Namespace: pod.Namespace,
		ServiceAccount: pod.Spec.ServiceAccountName, Labels: pod.Labels,
		Interception: Interception(pod.Annotations["sidecar.istio.io/interceptionMode"]), Capture: captureOf(pod.Annotations),
	}
	switch {
	case pod.Labels[managedLabel] == meshManaged:
		n.Type = Waypoint
	case IsGateway(pod):
		n.Type = Router
	}
	if n.Type != Sidecar {
		n.Interception = ""
	}
	for _, ip := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		if a, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(n.Addresses, a) {
			n.Addresses = append(n.Addresses, a)
		}
	}
	return n, len(n.Addresses) > 0
}

// IsGateway reports whether a pod is a gateway's: it runs a proxy and nothing else, or
// asks for one by the injector's template for gateways.
func IsGateway(pod *corev1.Pod) bool {
	proxy, alone := proxyContainer(pod)
	return alone || proxy != nil && slices.Contains(proxy.Args, string(Router)) ||
		strings.Contains(pod.Annotations["inject.istio.io/templates"], "gateway")
}

// proxyContainer also tells whether the proxy is all that the pod runs: then it
// is a gateway.
func proxyContainer(pod *corev1.Pod) (proxy *corev1.Container, alone bool) {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == proxyName {
			return &pod.Spec.InitContainers[i], false
		}
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == proxyName {
			return &pod.Spec.Containers[i], len(pod.Spec.Containers) == 1
		}
	}
	return nil, false
}

// entryNode: an entry with an account or a TLS mode is one with a proxy
// (facts of pilot/pkg/serviceregistry/serviceentry, GetTLSModeFromWorkloadEntry).
func entryNode(e Entry) (Node, bool) {
	labels := map[string]string{}
	maps.Copy(labels, e.Spec.GetLabels())
	maps.Copy(labels, e.Labels)
	address, err := netip.ParseAddr(e.Spec.GetAddress())
	if err != nil || e.Spec.GetServiceAccount() == "" && labels[tlsModeLabel] != "istio" {
		return Node{}, false
	}
	return Node{
		Type: Sidecar, Name: e.Name, Namespace: e.Namespace, ServiceAccount: e.Spec.GetServiceAccount(),
		Labels: labels, Addresses: []netip.Addr{address}, Interception: InterceptionRedirect,
	}, true
}
