// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"encoding/json"
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/controller/openreports"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
)

// A strip turns an object as it was received into what is kept of it. It never
// fails on what an object says: an object that cannot be read is kept by name.
type strip func(runtime.Object) (*entry, error)

// stripOwn keeps an object of Trellis's own kinds, without what only servers and
// kubectl need.
func stripOwn(obj runtime.Object) (*entry, error) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return nil, fmt.Errorf("keeping an object of Trellis: %T has no metadata", obj)
	}
	e := newEntry(m)
	m.SetManagedFields(nil)
	annotations := m.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if len(annotations) == 0 {
		annotations = nil
	}
	m.SetAnnotations(annotations)
	e.object = obj
	return e, nil
}

// stripClaim keeps a HostClaim in both its roles: who owns the host, and an
// object that was generated.
func stripClaim(cluster string) strip {
	return func(obj runtime.Object) (*entry, error) {
		e, err := stripOwn(obj)
		if err != nil {
			return nil, err
		}
		e.live = &apply.Live{
			Ref: model.Reference{Cluster: cluster, Group: "trellis.dev", Kind: "HostClaim", Name: e.Name},
			UID: e.UID, ResourceVersion: e.ResourceVersion, Ours: true,
		}
		return e, nil
	}
}

func stripNamespace(obj runtime.Object) (*entry, error) {
	n, ok := obj.(*corev1.Namespace)
	if !ok {
		return nil, unexpected(obj)
	}
	e := newEntry(n)
	e.object = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}
	return e, nil
}

func stripService(obj runtime.Object) (*entry, error) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return nil, unexpected(obj)
	}
	e := newEntry(s)
	e.object = &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name},
		Spec:       corev1.ServiceSpec{Type: s.Spec.Type, ExternalName: s.Spec.ExternalName, Selector: s.Spec.Selector, Ports: s.Spec.Ports},
		Status:     corev1.ServiceStatus{LoadBalancer: s.Status.LoadBalancer},
	}
	return e, nil
}

func stripPod(obj runtime.Object) (*entry, error) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, unexpected(obj)
	}
	e := newEntry(p)
	kept := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, DeletionTimestamp: p.DeletionTimestamp},
		Spec: corev1.PodSpec{
			ServiceAccountName: p.Spec.ServiceAccountName,
			Containers:         stripContainers(p.Spec.Containers),
			InitContainers:     stripContainers(p.Spec.InitContainers),
		},
		Status: corev1.PodStatus{Phase: p.Status.Phase, PodIP: p.Status.PodIP},
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			kept.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	e.object = kept
	return e, nil
}

// stripContainers keeps named ports, and whether an init container keeps running.
func stripContainers(containers []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for i := range containers {
		c := corev1.Container{RestartPolicy: containers[i].RestartPolicy}
		for _, p := range containers[i].Ports {
			if p.Name != "" {
				c.Ports = append(c.Ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort})
			}
		}
		if len(c.Ports) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// stripSecret reads the certificate and lets go of everything else at once.
func stripSecret(cluster string) strip {
	return func(obj runtime.Object) (*entry, error) {
		s, ok := obj.(*corev1.Secret)
		if !ok {
			return nil, unexpected(obj)
		}
		e := newEntry(s)
		c := load.Certificate(model.Reference{Cluster: cluster, Kind: "Secret", Namespace: s.Namespace, Name: s.Name}, s)
		e.certificate = &c
		for key := range s.Data {
			clear(s.Data[key])
		}
		return e, nil
	}
}

// stripMeshConfig keeps Istio's mesh configuration under the name and namespace
// where package load looks for it; an installation with revisions has another.
func stripMeshConfig(rootNamespace string) strip {
	return func(obj runtime.Object) (*entry, error) {
		c, ok := obj.(*corev1.ConfigMap)
		if !ok {
			return nil, unexpected(obj)
		}
		e := newEntry(c)
		e.object = &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: rootNamespace, Name: "istio"},
			Data:       map[string]string{"mesh": c.Data["mesh"]},
		}
		return e, nil
	}
}

// stripName keeps the name alone: that a CRD exists is all that matters of it.
func stripName(obj runtime.Object) (*entry, error) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return nil, unexpected(obj)
	}
	return newEntry(m), nil
}

// stripGenerated keeps a digest of what is ours, and of what is not as much as
// package load reads. Objects come as they are in storage, not as Go types: one
// that this version of Istio's types cannot read must not stop the whole watch.
func stripGenerated(cluster string) strip {
	return func(obj runtime.Object) (*entry, error) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil, unexpected(obj)
		}
		e := newEntry(u)
		live, err := apply.LiveOf(cluster, u)
		if err != nil {
			return nil, fmt.Errorf("keeping %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
		}
		e.live = &live
		if !live.Ours {
			e.object = typed(u)
		}
		return e, nil
	}
}

// stripManaged keeps of a ManagedCertificate or ManagedRecord what compiling and
// statuses need. One that another controller made is not ours to prune.
func stripManaged(cluster string) strip {
	return func(obj runtime.Object) (*entry, error) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil, unexpected(obj)
		}
		e, err := stripGenerated(cluster)(u)
		if err != nil {
			return nil, err
		}
		if metav1.GetControllerOf(u) != nil {
			e.live.Ours = false
			return e, nil
		}
		// Without a generation entries are compared as a whole: the status is what
		// matters here.
		meta := metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName()}
		if u.GetKind() == "ManagedRecord" {
			record := &v1alpha1.ManagedRecord{}
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, record)
			e.object = &v1alpha1.ManagedRecord{ObjectMeta: meta, Status: v1alpha1.ManagedRecordStatus{Conditions: record.Status.Conditions}}
		} else {
			c := &v1alpha1.ManagedCertificate{}
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, c)
			e.object = &v1alpha1.ManagedCertificate{ObjectMeta: meta, Spec: c.Spec, Status: v1alpha1.ManagedCertificateStatus{
				Conditions: c.Status.Conditions, Fingerprint: c.Status.Fingerprint, Challenges: c.Status.Challenges, NotAfter: c.Status.NotAfter,
			}}
		}
		if err != nil {
			// One that cannot be read says nothing, and is compared all the same.
			e.object = nil
		}
		return e, nil
	}
}

// stripWorkloadEntry keeps what package load reads.
func stripWorkloadEntry(obj runtime.Object) (*entry, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, unexpected(obj)
	}
	e := newEntry(u)
	e.object = typed(u)
	return e, nil
}

// typed reads an Istio object without its status and most of its metadata. What
// cannot be read is nil: istiod, which reads it by the same types, ignores it.
func typed(u *unstructured.Unstructured) runtime.Object {
	raw, err := json.Marshal(map[string]any{"spec": u.Object["spec"]})
	if err != nil {
		return nil
	}
	object := metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName(), DeletionTimestamp: u.GetDeletionTimestamp()}
	switch u.GetKind() {
	case "AuthorizationPolicy":
		return reduced(raw, object, &securityv1.AuthorizationPolicy{}, func(p *securityv1.AuthorizationPolicy) { p.Spec.Rules = nil })
	case "RequestAuthentication":
		return reduced(raw, object, &securityv1.RequestAuthentication{}, func(p *securityv1.RequestAuthentication) { p.Spec.JwtRules = nil })
	case "PeerAuthentication":
		return reduced(raw, object, &securityv1.PeerAuthentication{}, func(*securityv1.PeerAuthentication) {})
	case "Gateway":
		return reduced(raw, object, &networkingv1.Gateway{}, func(*networkingv1.Gateway) {})
	case "VirtualService":
		return reduced(raw, object, &networkingv1.VirtualService{}, func(v *networkingv1.VirtualService) {
			v.Spec.Http, v.Spec.Tls, v.Spec.Tcp = nil, nil, nil
		})
	case "DestinationRule":
		return reduced(raw, object, &networkingv1.DestinationRule{}, func(d *networkingv1.DestinationRule) {
			d.Spec.Subsets, d.Spec.TrafficPolicy = nil, nil
		})
	case "Sidecar":
		return reduced(raw, object, &networkingv1.Sidecar{}, func(s *networkingv1.Sidecar) {
			s.Spec.Ingress, s.Spec.OutboundTrafficPolicy, s.Spec.InboundConnectionPool = nil, nil, nil
		})
	case "ServiceEntry":
		return reduced(raw, object, &networkingv1.ServiceEntry{}, func(e *networkingv1.ServiceEntry) {
			e.Spec.Addresses, e.Spec.Ports, e.Spec.Endpoints, e.Spec.SubjectAltNames = nil, nil, nil, nil
		})
	case "WorkloadEntry":
		object.Labels = u.GetLabels()
		return reduced(raw, object, &networkingv1.WorkloadEntry{}, func(*networkingv1.WorkloadEntry) {})
	}
	return nil
}

// kept is a pointer to an Istio object.
type kept[T any] interface {
	*T
	runtime.Object
	metav1.ObjectMetaAccessor
}

func reduced[T any, P kept[T]](raw []byte, object metav1.ObjectMeta, into P, drop func(P)) runtime.Object {
	if err := json.Unmarshal(raw, into); err != nil {
		return nil
	}
	if m, ok := into.GetObjectMeta().(*metav1.ObjectMeta); ok {
		*m = object
	}
	drop(into)
	return into
}

// stripRecord keeps what a ControllerRevision says of an Application; of one that
// says nothing the name.
func stripRecord(obj runtime.Object) (*entry, error) {
	r, ok := obj.(*appsv1.ControllerRevision)
	if !ok {
		return nil, unexpected(obj)
	}
	e := newEntry(r)
	if record, ok := inforce.Read(r); ok {
		e.record = &record
	}
	return e, nil
}

func unexpected(obj runtime.Object) error {
	return fmt.Errorf("keeping an object: a watch gave %T", obj)
}

// stripReport keeps by what a report can be told from another one.
func stripReport(obj runtime.Object) (*entry, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, unexpected(obj)
	}
	e := newEntry(u)
	seen := openreports.See(u)
	e.report = &seen
	return e, nil
}
