// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package egress makes the objects by which proxies are told whom their workload may
// call: a Sidecar for the workload, and ServiceEntries for hosts outside of the mesh.
// Like package compile it is pure.
package egress

import (
	"slices"
	"strconv"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/intent/calls"
	"github.com/trellis-mesh/trellis/internal/model"
)

const apiVersion = "networking.istio.io/v1"

// DNS is the Service of a cluster's name server, which Kubernetes calls so whatever runs
// behind it. Queries over UDP pass no proxy, and those that are repeated over TCP, for
// answers that are too long, would be refused.
func DNS() model.Name { return model.Name{Namespace: "kube-system", Name: "kube-dns"} }

// ServiceHost is a Service as Sidecars name it.
func ServiceHost(name model.Name, clusterDomain string) string {
	return name.Namespace + "/" + name.Name + "." + name.Namespace + ".svc." + clusterDomain
}

// ExternalHost is a host outside of the mesh as Sidecars name it: the ServiceEntry of the
// namespace itself, and not one that others export.
func ExternalHost(host string) string { return "./" + host }

// PatternHost are hosts as Sidecars name them, where a star stands for all.
func PatternHost(p calls.Pattern) string { return p.Namespace + "/" + p.Name }

// Sidecar lets the pods call the hosts alone. Istio's control plane is not among them:
// the agent beside the proxy connects to it, and past the rules of its proxy. Hosts must
// not be empty: Istio takes none for all.
func Sidecar(name model.Name, selector map[string]string, hosts []string) *networkingv1.Sidecar {
	value := &networkingv1.Sidecar{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: "Sidecar"},
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
	}
	value.Spec.WorkloadSelector = &networkingapi.WorkloadSelector{Labels: selector}
	value.Spec.Egress = []*networkingapi.IstioEgressListener{{Hosts: hosts}}
	// What is on none of the listed hosts ends in a cluster without endpoints.
	value.Spec.OutboundTrafficPolicy = &networkingapi.OutboundTrafficPolicy{Mode: networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY}
	return value
}

// ServiceEntry makes a host outside of the mesh known to its namespace. Hosts are found
// by DNS; a connection to a TCP host goes to the address to which it was opened, so that
// nobody else's connections on that port are led there.
func ServiceEntry(name string, x *calls.External) *networkingv1.ServiceEntry {
	value := &networkingv1.ServiceEntry{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: "ServiceEntry"},
		ObjectMeta: metav1.ObjectMeta{Namespace: x.Namespace, Name: name},
	}
	value.Spec.Hosts = []string{x.Host}
	value.Spec.ExportTo = []string{"."}
	value.Spec.Location = networkingapi.ServiceEntry_MESH_EXTERNAL
	value.Spec.Resolution = networkingapi.ServiceEntry_DNS
	if len(x.Addresses) > 0 {
		value.Spec.Addresses = slices.Clone(x.Addresses)
		value.Spec.Resolution = networkingapi.ServiceEntry_NONE
	}
	for _, p := range x.Ports {
		value.Spec.Ports = append(value.Spec.Ports, &networkingapi.ServicePort{
			Number: uint32(p.Number), Name: strings.ToLower(p.Protocol) + "-" + strconv.Itoa(int(p.Number)), Protocol: p.Protocol,
		})
	}
	return value
}
