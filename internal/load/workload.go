// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"maps"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/trellis-mesh/trellis/internal/model"
)

// defaultServiceAccount is what a pod runs as when it names no account.
const defaultServiceAccount = "default"

// service reads a Service. Fields that the API server would default (protocol,
// target port) are read as their defaults, since files leave them out.
func service(ref model.Reference, s *corev1.Service) model.Service {
	out := model.Service{Ref: ref}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = s.Spec.ExternalName
	} else {
		out.Selector = s.Spec.Selector
	}
	for _, p := range s.Spec.Ports {
		port := model.ServicePort{Name: p.Name, Number: p.Port, Transport: string(p.Protocol)}
		if port.Transport == "" {
			port.Transport = string(corev1.ProtocolTCP)
		}
		if p.AppProtocol != nil {
			port.AppProtocol = *p.AppProtocol
		}
		switch {
		case p.TargetPort.Type == intstr.String && p.TargetPort.StrVal != "":
			port.TargetName = p.TargetPort.StrVal
		case p.TargetPort.IntVal != 0:
			port.TargetNumber = p.TargetPort.IntVal
		default:
			port.TargetNumber = p.Port
		}
		out.Ports = append(out.Ports, port)
	}
	for _, a := range s.Status.LoadBalancer.Ingress {
		if a.IP != "" {
			out.Addresses = append(out.Addresses, a.IP)
		}
		if a.Hostname != "" {
			out.Addresses = append(out.Addresses, a.Hostname)
		}
	}
	return out
}

// running reports whether a pod takes traffic or may come to take it.
func running(p *corev1.Pod) bool {
	ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	return p.DeletionTimestamp == nil && !ended
}

func pod(ref model.Reference, p *corev1.Pod) model.Workload {
	return model.Workload{
		Ref: ref, Labels: p.Labels, ServiceAccount: serviceAccount(&p.Spec),
		Ports: containerPorts(&p.Spec), Address: p.Status.PodIP, Ready: ready(p),
	}
}

// ready is the pod's Ready condition. A pod without any status was written by
// hand and counts as ready, as a template does.
func ready(p *corev1.Pod) bool {
	if p.Status.Phase == "" && len(p.Status.Conditions) == 0 {
		return true
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// template takes the pods that a controller would make. In a cluster the pods
// themselves are added instead.
func (b *Builder) template(ref model.Reference, t *corev1.PodTemplateSpec) {
	b.in.Workloads = append(b.in.Workloads, model.Workload{
		Ref: ref, Labels: t.Labels, ServiceAccount: serviceAccount(&t.Spec),
		Ports: containerPorts(&t.Spec), Ready: true,
	})
}

func serviceAccount(spec *corev1.PodSpec) string {
	switch {
	case spec.ServiceAccountName != "":
		return spec.ServiceAccountName
	case spec.DeprecatedServiceAccount != "":
		return spec.DeprecatedServiceAccount
	}
	return defaultServiceAccount
}

// containerPorts are the named ports. Kubernetes resolves a target port's name
// to the first container that has it, then to init containers that keep running.
func containerPorts(spec *corev1.PodSpec) map[string]int32 {
	ports := map[string]int32{}
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if _, taken := ports[p.Name]; p.Name != "" && !taken {
				ports[p.Name] = p.ContainerPort
			}
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return ports
}

// workloadEntry reads a machine outside Kubernetes. As in Istio, labels of the
// metadata win over those of the spec. Without a service account it has no
// identity: it gets none from its namespace.
func workloadEntry(ref model.Reference, e *networkingv1.WorkloadEntry) model.Workload {
	out := model.Workload{
		Ref: ref, Labels: map[string]string{}, Ports: map[string]int32{},
		ServiceAccount: e.Spec.ServiceAccount, Address: e.Spec.Address, Ready: e.DeletionTimestamp == nil,
	}
	maps.Copy(out.Labels, e.Spec.Labels)
	maps.Copy(out.Labels, e.Labels)
	for name, number := range e.Spec.Ports {
		out.Ports[name] = int32(number)
	}
	return out
}
