// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Complete replaces templates by a pod each, and adds what else the controllers of
// a cluster would make of typed objects that were written by people. Given objects
// are not changed. The result depends on nothing but the objects, whatever their
// order.
func Complete(objects []client.Object) []client.Object {
	c := &completion{
		pods: netip.MustParseAddr("198.18.0.1"), services: netip.MustParseAddr("198.19.0.1"),
		injected: map[string]bool{}, forbidden: map[string]bool{}, sliced: map[model.Name]bool{},
	}
	objects = slices.Clone(objects)
	slices.SortStableFunc(objects, func(a, b client.Object) int {
		return strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
	})
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.Namespace:
			c.forbidden[o.Name] = o.Labels["istio-injection"] == "disabled"
			c.injected[o.Name] = o.Labels["istio-injection"] == "enabled" ||
				o.Labels["istio.io/rev"] != "" && o.Labels["istio-injection"] != "disabled"
		case *discoveryv1.EndpointSlice:
			c.sliced[model.Name{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}] = true
		}
	}
	var out []client.Object
	var services []*corev1.Service
	for _, object := range objects {
		if template, name := templateOf(object); template != nil {
			out = append(out, c.podOf(object.GetNamespace(), name, template))
			continue
		}
		switch o := object.(type) {
		case *corev1.Pod:
			out = append(out, c.pod(o.DeepCopy()))
		case *corev1.Service:
			o = c.service(o.DeepCopy())
			services = append(services, o)
			out = append(out, o)
		default:
			out = append(out, object)
		}
	}
	for _, service := range services {
		if !c.sliced[model.Name{Namespace: service.Namespace, Name: service.Name}] && len(service.Spec.Selector) > 0 {
			out = append(out, c.slices(service)...)
		}
	}
	return out
}

type completion struct {
	// pods and services are the next free addresses.
	pods, services netip.Addr
	// injected are namespaces whose pods get a sidecar.
	injected map[string]bool
	// forbidden are namespaces whose pods get none, whatever they ask for.
	forbidden map[string]bool
	// sliced are Services that have an EndpointSlice already.
	sliced map[model.Name]bool
	all    []*corev1.Pod
}

func take(next *netip.Addr) string {
	address := *next
	*next = next.Next()
	return address.String()
}

func templateOf(object client.Object) (*corev1.PodTemplateSpec, string) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template, o.Name
	case *appsv1.StatefulSet:
		return &o.Spec.Template, o.Name
	case *appsv1.DaemonSet:
		return &o.Spec.Template, o.Name
	case *appsv1.ReplicaSet:
		return &o.Spec.Template, o.Name
	case *batchv1.Job:
		return &o.Spec.Template, o.Name
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template, o.Name
	}
	return nil, ""
}

// podOf is one pod for all replicas: they are configured alike.
func (c *completion) podOf(namespace, name string, template *corev1.PodTemplateSpec) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	pod.Namespace, pod.Name = namespace, name
	return c.pod(pod)
}

// injectName is a label, and was an annotation before.
const injectName = "sidecar.istio.io/inject"

// pod takes the injector's decision (pkg/kube/inject/inject.go, injectRequired): the
// pod's label over its annotation, and both over its namespace's label. An annotation
// alone does not lead a pod to the injector.
func (c *completion) pod(pod *corev1.Pod) *corev1.Pod {
	inject := c.injected[pod.Namespace]
	switch cmp.Or(pod.Labels[injectName], pod.Annotations[injectName]) {
	case "true":
		// It takes a label of the pod or of its namespace to come to the injector.
		inject = inject || pod.Labels[injectName] == "true" && !c.forbidden[pod.Namespace]
	case "false":
		inject = false
	}
	// A pod that runs has what it has.
	if inject && !pod.Spec.HostNetwork && pod.Status.PodIP == "" {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		// The injector's template for gateways leaves it out: what a gateway listens to says
		// its Gateway, and not the mesh
		// (manifests/charts/istio-control/istio-discovery/files/gateway-injection-template.yaml).
		if pod.Labels[tlsModeLabel] == "" && !xds.IsGateway(pod) {
			pod.Labels[tlsModeLabel] = "istio"
		}
	}
	if pod.Status.PodIP == "" {
		pod.Status.PodIP = take(&c.pods)
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	if pod.Status.Phase == "" {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	nameProtocols(pod)
	c.all = append(c.all, pod)
	return pod
}

// nameProtocols sets what the API server would default: istiod finds a target port by
// its name and its protocol.
func nameProtocols(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		for j := range pod.Spec.Containers[i].Ports {
			if port := &pod.Spec.Containers[i].Ports[j]; port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
		}
	}
}

// service sets what the API server would default.
func (c *completion) service(service *corev1.Service) *corev1.Service {
	if service.Spec.Type == "" {
		service.Spec.Type = corev1.ServiceTypeClusterIP
	}
	if service.Spec.ClusterIP == "" && service.Spec.Type != corev1.ServiceTypeExternalName {
		service.Spec.ClusterIP = take(&c.services)
		service.Spec.ClusterIPs = []string{service.Spec.ClusterIP}
	}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		if port.TargetPort == (intstr.IntOrString{}) {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	return service
}

// slices are what the endpoint controller would make: pods whose named target ports
// have different numbers are in different ones, and so are those that lack a port. Those
// that have none of the ports are no endpoints.
func (c *completion) slices(service *corev1.Service) []client.Object {
	var out []*discoveryv1.EndpointSlice
	for _, pod := range c.all {
		if pod.Namespace != service.Namespace || !model.Selects(service.Spec.Selector, pod.Labels) {
			continue
		}
		ports := endpointPorts(service, pod)
		if len(ports) == 0 && len(service.Spec.Ports) > 0 {
			continue
		}
		at := slices.IndexFunc(out, func(s *discoveryv1.EndpointSlice) bool { return slices.EqualFunc(ports, s.Ports, samePort) })
		if at < 0 {
			at = len(out)
			out = append(out, newSlice(service, at, ports))
		}
		ready := true
		out[at].Endpoints = append(out[at].Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{pod.Status.PodIP},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name},
		})
	}
	if len(out) == 0 {
		out = append(out, newSlice(service, 0, nil))
	}
	objects := make([]client.Object, len(out))
	for i := range out {
		objects[i] = out[i]
	}
	return objects
}

// newSlice is the one of this number of a Service, without endpoints.
func newSlice(service *corev1.Service, number int, ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: service.Namespace, Name: service.Name,
			Labels: map[string]string{discoveryv1.LabelServiceName: service.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: ports,
	}
	if number > 0 {
		out.Name = fmt.Sprintf("%s-%d", service.Name, number)
	}
	return out
}

func samePort(a, b discoveryv1.EndpointPort) bool { return *a.Name == *b.Name && *a.Port == *b.Port }

// endpointPorts leaves out named ports that the pod does not have.
func endpointPorts(service *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, port := range service.Spec.Ports {
		number := port.TargetPort.IntVal
		if port.TargetPort.Type == intstr.String {
			number = containerPort(pod, port.TargetPort.StrVal)
		}
		if number == 0 {
			continue
		}
		out = append(out, discoveryv1.EndpointPort{Name: &port.Name, Protocol: &port.Protocol, Port: &number, AppProtocol: port.AppProtocol})
	}
	return out
}

func containerPort(pod *corev1.Pod, name string) int32 {
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.Name == name {
				return port.ContainerPort
			}
		}
	}
	return 0
}
