// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package load turns typed Kubernetes and Istio objects into model.Input. It is
// the one translation for files and for clusters, so that the same objects mean
// the same wherever they come from. It is a pure function of its input and talks
// to nothing; it lives outside internal/model because it reads certificates. Of
// Secrets it keeps names, fingerprints and the probe key, never a private key.
package load

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

const (
	// ManagedByLabel with the value ManagedBy marks what Trellis made.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of ManagedByLabel on objects of Trellis.
	ManagedBy = "trellis"
	// ProbeSecretName is the Secret that holds the probe header's value, under
	// ProbeSecretKey.
	ProbeSecretName = "trellis-probe"
	// ProbeSecretKey is the key of the probe header's value.
	ProbeSecretKey = "key"
)

// Builder collects objects. It keeps pointers to Trellis's own kinds, which
// nobody may change afterwards, and copies what it needs of all others. A
// Builder is for one goroutine; add each object once.
type Builder struct {
	// ProbeNamespace is the only namespace whose probe Secret is believed.
	// Empty believes any, and takes the first in order of namespaces: right for
	// files alone, where the reader wrote them all.
	ProbeNamespace string

	in       model.Input
	root     string
	probeKey map[string]string
	rollouts []*v1alpha1.MutualTLSRollout
}

// NewBuilder begins with what is known of the mesh. The ConfigMap istio of the
// mesh's root namespace, when it is added, replaces what it states.
func NewBuilder(mesh model.Mesh) *Builder {
	return &Builder{
		in:       model.Input{Mesh: mesh},
		root:     mesh.RootNamespace,
		probeKey: map[string]string{},
	}
}

// Add takes one object and reports whether its kind matters to Trellis. An
// object of a kind that does matter may still say nothing, such as a pod that
// has ended.
func (b *Builder) Add(obj runtime.Object) (recognised bool) {
	switch o := obj.(type) {
	case *v1alpha1.Application:
		b.in.Applications = append(b.in.Applications, o)
	case *v1alpha1.SecureIngress:
		b.in.SecureIngresses = append(b.in.SecureIngresses, o)
	case *v1alpha1.HostClaim:
		b.in.HostClaims = append(b.in.HostClaims, o)
	case *v1alpha1.ManagedCertificate:
		b.in.ManagedCertificates = append(b.in.ManagedCertificates, o)
	case *v1alpha1.ManagedRecord:
		b.in.ManagedRecords = append(b.in.ManagedRecords, o)
	case *v1alpha1.MutualTLSRollout:
		b.rollouts = append(b.rollouts, o)
	case *v1alpha1.DNSProvider:
		// Its controller says in the status of entries what it cannot do.
	case *corev1.Namespace:
		b.in.Namespaces = append(b.in.Namespaces, model.Namespace{Name: o.Name, Labels: o.Labels})
	case *corev1.Service:
		b.in.Services = append(b.in.Services, service(b.ref("", "Service", o), o))
	case *corev1.Secret:
		b.secret(o)
	case *corev1.ConfigMap:
		b.configMap(o)
	default:
		return b.addPolicy(obj) || b.addDelegated(obj) || b.addWorkload(obj) || b.addForeign(obj)
	}
	return true
}

// addPolicy takes what security and compliance state.
func (b *Builder) addPolicy(obj runtime.Object) bool {
	switch o := obj.(type) {
	case *v1alpha1.Goal:
		b.in.Policies.Goals = append(b.in.Policies.Goals, o)
	case *v1alpha1.PolicyTemplate:
		b.in.Policies.Templates = append(b.in.Policies.Templates, o)
	case *v1alpha1.ClusterPolicyBinding:
		b.in.Policies.ClusterBindings = append(b.in.Policies.ClusterBindings, o)
	case *v1alpha1.PolicyBinding:
		b.in.Policies.Bindings = append(b.in.Policies.Bindings, o)
	case *v1alpha1.PolicyException:
		b.in.Policies.Exceptions = append(b.in.Policies.Exceptions, o)
	default:
		return false
	}
	return true
}

// addDelegated takes what other controllers do for Trellis.
func (b *Builder) addDelegated(obj runtime.Object) bool {
	switch o := obj.(type) {
	case *delegation.Certificate:
		b.in.Delegated.Certificates = append(b.in.Delegated.Certificates, o)
	case *delegation.DNSEndpoint:
		b.in.Delegated.Endpoints = append(b.in.Delegated.Endpoints, o)
	default:
		return false
	}
	return true
}

// addWorkload takes what has labels and an identity.
func (b *Builder) addWorkload(obj runtime.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		if running(o) {
			b.in.Workloads = append(b.in.Workloads, pod(b.ref("", "Pod", o), o))
		}
	case *appsv1.Deployment:
		b.template(b.ref(appsv1.GroupName, "Deployment", o), &o.Spec.Template)
	case *appsv1.StatefulSet:
		b.template(b.ref(appsv1.GroupName, "StatefulSet", o), &o.Spec.Template)
	case *appsv1.DaemonSet:
		b.template(b.ref(appsv1.GroupName, "DaemonSet", o), &o.Spec.Template)
	case *batchv1.Job:
		b.template(b.ref(batchv1.GroupName, "Job", o), &o.Spec.Template)
	case *batchv1.CronJob:
		b.template(b.ref(batchv1.GroupName, "CronJob", o), &o.Spec.JobTemplate.Spec.Template)
	case *networkingv1.WorkloadEntry:
		b.in.Workloads = append(b.in.Workloads, workloadEntry(b.ref(networkingGroup, "WorkloadEntry", o), o))
	default:
		return false
	}
	return true
}

// addForeign takes the Istio objects that bear on what Trellis generates.
func (b *Builder) addForeign(obj runtime.Object) bool {
	var found []model.Foreign
	var meta metav1.Object
	switch o := obj.(type) {
	case *securityv1.AuthorizationPolicy:
		meta, found = o, authorizationPolicy(b.ref(securityGroup, "AuthorizationPolicy", o), o)
	case *securityv1.RequestAuthentication:
		meta, found = o, requestAuthentication(b.ref(securityGroup, "RequestAuthentication", o), o)
	case *securityv1.PeerAuthentication:
		meta, found = o, peerAuthentication(b.ref(securityGroup, "PeerAuthentication", o), o)
	case *networkingv1.Gateway:
		meta, found = o, gateway(b.ref(networkingGroup, "Gateway", o), o)
	case *networkingv1.VirtualService:
		meta, found = o, virtualService(b.ref(networkingGroup, "VirtualService", o), o)
	case *networkingv1.DestinationRule:
		meta, found = o, destinationRule(b.ref(networkingGroup, "DestinationRule", o), o)
	case *networkingv1.Sidecar:
		meta, found = o, sidecar(b.ref(networkingGroup, "Sidecar", o), o)
	case *networkingv1.ServiceEntry:
		meta, found = o, serviceEntry(b.ref(networkingGroup, "ServiceEntry", o), o)
	default:
		return false
	}
	if meta.GetLabels()[ManagedByLabel] != ManagedBy {
		b.in.Foreign = append(b.in.Foreign, found...)
	}
	return true
}

// MutualTLSRollouts are those that were added, in order: nothing is compiled from them.
func (b *Builder) MutualTLSRollouts() []*v1alpha1.MutualTLSRollout {
	return sorted(b.rollouts, byName)
}

// Input is everything that was added, in a fixed order whatever the order of
// adding. Positions is left to the caller.
func (b *Builder) Input() model.Input {
	in := b.in
	in.Applications = sorted(in.Applications, byName)
	in.SecureIngresses = sorted(in.SecureIngresses, byName)
	in.HostClaims = sorted(in.HostClaims, byName)
	in.ManagedCertificates = sorted(in.ManagedCertificates, byName)
	in.ManagedRecords = sorted(in.ManagedRecords, byName)
	in.Policies.Goals = sorted(in.Policies.Goals, byName)
	in.Policies.Templates = sorted(in.Policies.Templates, byName)
	in.Policies.ClusterBindings = sorted(in.Policies.ClusterBindings, byName)
	in.Policies.Bindings = sorted(in.Policies.Bindings, byName)
	in.Policies.Exceptions = sorted(in.Policies.Exceptions, byName)
	in.Namespaces = sorted(in.Namespaces, func(a, b model.Namespace) int { return strings.Compare(a.Name, b.Name) })
	in.Services = sorted(in.Services, func(a, b model.Service) int { return a.Ref.Compare(b.Ref) })
	in.Workloads = sorted(in.Workloads, model.CompareWorkloads)
	in.Certificates = sorted(in.Certificates, func(a, b model.Certificate) int { return a.Ref.Compare(b.Ref) })
	in.Foreign = sorted(in.Foreign, func(a, b model.Foreign) int { return a.Ref.Compare(b.Ref) })
	for _, namespace := range slices.Sorted(maps.Keys(b.probeKey)) {
		in.ProbeKey = b.probeKey[namespace]
		break
	}
	return in
}

// ref names an object of the mesh's own cluster.
func (b *Builder) ref(group, kind string, o metav1.Object) model.Reference {
	return model.Reference{
		Cluster: b.in.Mesh.Cluster, Group: group, Kind: kind,
		Namespace: o.GetNamespace(), Name: o.GetName(),
	}
}

func byName[T metav1.Object](a, b T) int {
	return cmp.Or(
		strings.Compare(a.GetNamespace(), b.GetNamespace()),
		strings.Compare(a.GetName(), b.GetName()),
	)
}

func sorted[T any](in []T, compare func(a, b T) int) []T {
	out := slices.Clone(in)
	slices.SortStableFunc(out, compare)
	return out
}
