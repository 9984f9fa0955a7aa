// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/internal/xds"
)

const (
	tlsModeLabel = "security.istio.io/tlsMode"
	proxyName    = "istio-proxy"
	managedLabel = "gateway.istio.io/managed"
	// meshManaged is the value of managedLabel on waypoints
	// (pkg/config/constants, ManagedGatewayMeshControllerLabel).
	meshManaged = "istio.io-mesh-controller"
)

// nodes are the proxies that the objects show: pods with one, and
// WorkloadEntries that have an identity and no pod at their address.
func nodes(g *gathered, cluster string) []xds.Node {
	var out []xds.Node
	taken := map[netip.Addr]bool{}
	for _, pod := range g.pods {
		if n, ok := podNode(pod); ok {
			n.TrustDomain, n.ClusterDomain, n.Cluster = g.mesh.GetTrustDomain(), clusterDomain, cluster
			for _, a := range n.Addresses {
				taken[a] = true
			}
			if n.Type == xds.Sidecar && n.Interception == "" {
				n.Interception = xds.Interception(g.mesh.GetDefaultConfig().GetInterceptionMode().String())
			}
			out = append(out, n)
		}
	}
	for _, c := range g.configs {
		if c.GroupVersionKind != gvk.WorkloadEntry {
			continue
		}
		n, ok := entryNode(c)
		if ok && !taken[n.Addresses[0]] {
			n.TrustDomain, n.ClusterDomain, n.Cluster = g.mesh.GetTrustDomain(), clusterDomain, cluster
			out = append(out, n)
		}
	}
	return out
}

func podNode(pod *corev1.Pod) (xds.Node, bool) {
	proxy, alone := proxyContainer(pod)
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		proxy == nil && pod.Labels[tlsModeLabel] != "istio" {
		return xds.Node{}, false
	}
	n := xds.Node{
		Type: xds.Sidecar, Name: pod.Name, Namespace: pod.Namespace,
		ServiceAccount: pod.Spec.ServiceAccountName, Labels: pod.Labels,
		Interception: xds.Interception(pod.Annotations["sidecar.istio.io/interceptionMode"]),
	}
	switch {
	case pod.Labels[managedLabel] == meshManaged:
		n.Type = xds.Waypoint
	case alone || proxy != nil && slices.Contains(proxy.Args, string(xds.Router)) ||
		strings.Contains(pod.Annotations["inject.istio.io/templates"], "gateway"):
		n.Type = xds.Router
	}
	if n.Type != xds.Sidecar {
		n.Interception = ""
	}
	for _, ip := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		if a, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(n.Addresses, a) {
			n.Addresses = append(n.Addresses, a)
		}
	}
	return n, len(n.Addresses) > 0
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
func entryNode(c config.Config) (xds.Node, bool) {
	entry, ok := c.Spec.(*networkingapi.WorkloadEntry)
	if !ok {
		return xds.Node{}, false
	}
	labels := map[string]string{}
	maps.Copy(labels, entry.GetLabels())
	maps.Copy(labels, c.Labels)
	address, err := netip.ParseAddr(entry.GetAddress())
	if err != nil || entry.GetServiceAccount() == "" && labels[tlsModeLabel] != "istio" {
		return xds.Node{}, false
	}
	return xds.Node{
		Type: xds.Sidecar, Name: c.Name, Namespace: c.Namespace, ServiceAccount: entry.GetServiceAccount(),
		Labels: labels, Addresses: []netip.Addr{address}, Interception: xds.InterceptionRedirect,
	}, true
}
