// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"strings"
	"time"
)

// Mesh is what is true of the whole mesh.
type Mesh struct {
	// Cluster is Istio's id of the cluster that the objects are in.
	Cluster string
	// TrustDomain is the mesh's SPIFFE trust domain.
	TrustDomain string
	// ClusterDomain is the DNS suffix of Services, without dots at its ends.
	ClusterDomain string
	// RootNamespace is where mesh-wide Istio objects live.
	RootNamespace string
	// AutoMutualTLS is Istio's enableAutoMtls: clients use mutual TLS where the
	// server can.
	AutoMutualTLS bool
	// PrivateRules says that DestinationRules without exportTo are for their own namespace
	// alone (defaultDestinationRuleExportTo).
	PrivateRules bool
}

// DefaultMesh is a mesh with Istio's own defaults.
func DefaultMesh() Mesh {
	return Mesh{
		Cluster: "Kubernetes", TrustDomain: "cluster.local", ClusterDomain: "cluster.local",
		RootNamespace: "istio-system", AutoMutualTLS: true,
	}
}

// Namespace is a Kubernetes namespace.
type Namespace struct {
	Name   string
	Labels map[string]string
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name        string
	Number      int32
	AppProtocol string
	// Transport is TCP, UDP or SCTP.
	Transport string
	// TargetNumber is the numeric target port; zero when TargetName is used.
	TargetNumber int32
	TargetName   string
}

// Service is a Kubernetes Service.
type Service struct {
	Ref Reference
	// Selector is empty for Services without one.
	Selector map[string]string
	// ExternalName is the type ExternalName's target, or empty.
	ExternalName string
	Ports        []ServicePort
	// Addresses are load-balancer addresses: IPs or host names.
	Addresses []string
}

// Workload is something with labels and an identity: a pod, the pod template of
// a Deployment or the like (when only files are known), or a WorkloadEntry.
type Workload struct {
	Ref            Reference
	Labels         map[string]string
	ServiceAccount string
	// Ports are named container ports (or a WorkloadEntry's ports) by name.
	Ports map[string]int32
	// Address is the IP, empty when unknown (templates) or not running.
	Address string
	// Ready tells whether it takes traffic; templates count as ready.
	Ready bool
}

// Certificate is what may be known of a TLS Secret. It never holds the key.
type Certificate struct {
	Ref Reference
	// Names are the DNS names that the leaf covers, wildcards as written.
	Names []string
	// Fingerprint is the SHA-256 of the leaf certificate, in lower-case hex.
	Fingerprint string
	// NotBefore and NotAfter are when the leaf is valid; zero where it cannot be read.
	// Nothing is decided by them: a proxy serves a certificate that has expired.
	NotBefore, NotAfter time.Time
	// Problem says why the Secret cannot be used: no such keys, not PEM, key
	// and certificate do not belong together. Empty when it can.
	Problem string
}

// Foreign is an Istio object that Trellis did not make, as far as it matters to
// what Trellis makes.
type Foreign struct {
	Ref Reference
	// Selector is the workload selector (AuthorizationPolicy,
	// RequestAuthentication, PeerAuthentication, Gateway, Sidecar); empty selects all
	// workloads of the namespace.
	Selector map[string]string
	// Action of an AuthorizationPolicy: ALLOW, DENY, AUDIT or CUSTOM.
	Action string
	// Mode of a PeerAuthentication: STRICT, PERMISSIVE, DISABLE or UNSET.
	Mode string
	// Gateways of a VirtualService as namespace/name, "mesh" aside.
	Gateways []string
	// Hosts of a VirtualService, Gateway (without namespace part),
	// ServiceEntry or DestinationRule (one); those that a Sidecar lets out, with the
	// namespace part.
	Hosts []string
	// AtPort are the hosts that a Sidecar lets out at one port alone.
	AtPort []string
}

// Selects reports whether a Kubernetes equality selector selects labels. An
// empty selector selects nothing, as for a Service.
func Selects(selector, labels map[string]string) bool {
	if len(selector) == 0 {
		return false
	}
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// CompareWorkloads orders workloads by their reference.
func CompareWorkloads(a, b Workload) int { return a.Ref.Compare(b.Ref) }

func sortedBy[T any](in []T, compare func(a, b T) int) []T {
	out := slices.Clone(in)
	slices.SortStableFunc(out, compare)
	return out
}

// CoversHost reports whether a name of a certificate stands for a host, which is in
// lower case without a dot at its end: itself, or a wildcard for exactly one label
// (RFC 9525 section 6.3).
func CoversHost(name, host string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		_, parent, found := strings.Cut(host, ".")
		return found && parent == rest
	}
	return name == host
}
