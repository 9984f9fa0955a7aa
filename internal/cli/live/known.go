// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// knownHost is what proxies know of a host.
type knownHost struct {
	// ports are the target ports, 0 where no endpoint tells, by the numbers.
	ports     map[uint16]uint16
	endpoints []string
	addresses []string
}

// knownTo are the Services that proxies have in their own configurations, for where
// there is nothing else: their names and ports by those of clusters, their workloads
// by endpoints, and their virtual addresses by the domains of routes. Domain is the
// DNS suffix of Services. Hosts outside of it are ServiceEntries.
func knownTo(configs []*xds.Config, domain string) []runtime.Object {
	hosts := map[string]*knownHost{}
	for _, c := range configs {
		for _, cluster := range c.Resources().Clusters {
			// Subsets have the same endpoints.
			number, subset, host, ok := xds.ParseOutbound(cluster.GetName())
			if !ok || subset != "" || number == 0 {
				continue
			}
			if hosts[host] == nil {
				hosts[host] = &knownHost{ports: map[uint16]uint16{}}
			}
			hosts[host].add(c, cluster.GetName(), number)
		}
	}
	for _, c := range configs {
		addVirtual(hosts, c)
	}
	var out []runtime.Object
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		out = append(out, hosts[host].objects(host, domain)...)
	}
	return out
}

func (h *knownHost) add(c *xds.Config, cluster string, number uint16) {
	target := h.ports[number]
	assignment, _ := c.Endpoints(cluster)
	for _, locality := range assignment.GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			at, ok := xds.AddrPort(e.GetEndpoint().GetAddress())
			if !ok {
				continue
			}
			target = cmp.Or(target, at.Port())
			if !slices.Contains(h.endpoints, at.Addr().String()) {
				h.endpoints = append(h.endpoints, at.Addr().String())
			}
		}
	}
	h.ports[number] = target
}

// addVirtual adds the addresses that routes know a host by.
func addVirtual(hosts map[string]*knownHost, c *xds.Config) {
	for _, routes := range c.Resources().Routes {
		for _, virtual := range routes.GetVirtualHosts() {
			at := slices.IndexFunc(virtual.GetDomains(), func(domain string) bool { return hosts[domain] != nil })
			if at < 0 {
				continue
			}
			host := hosts[virtual.GetDomains()[at]]
			for _, domain := range virtual.GetDomains() {
				if _, err := netip.ParseAddr(domain); err == nil && !slices.Contains(host.addresses, domain) && !slices.Contains(host.endpoints, domain) {
					host.addresses = append(host.addresses, domain)
				}
			}
		}
	}
}

func (h *knownHost) objects(host, domain string) []runtime.Object {
	parts := strings.Split(strings.TrimSuffix(host, ".svc."+domain), ".")
	numbers := slices.Sorted(maps.Keys(h.ports))
	if !strings.HasSuffix(host, ".svc."+domain) || len(parts) != 2 {
		entry := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Name: host}}
		entry.Spec.Hosts, entry.Spec.Addresses = []string{host}, h.addresses
		for _, number := range numbers {
			entry.Spec.Ports = append(entry.Spec.Ports, &networkingapi.ServicePort{
				Name: fmt.Sprint(number), Number: uint32(number), TargetPort: uint32(h.ports[number]),
			})
		}
		return []runtime.Object{entry}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: parts[1], Name: parts[0]}}
	service.Spec.ClusterIPs = h.addresses
	for _, number := range numbers {
		port := corev1.ServicePort{Name: fmt.Sprint(number), Port: int32(number), TargetPort: intstr.FromString("unknown")}
		if target := h.ports[number]; target > 0 {
			port.TargetPort = intstr.FromInt32(int32(target))
		}
		service.Spec.Ports = append(service.Spec.Ports, port)
	}
	return []runtime.Object{service, slice(service.Namespace, service.Name, h.endpoints, nil)}
}
