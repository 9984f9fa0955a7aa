// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package directory knows the names of a mesh, and what they lead to: addresses,
// ports and workloads of Services and of hosts of ServiceEntries.
package directory

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Directory knows the names of a mesh: which addresses and ports a host has for a
// client inside of it. It is immutable and safe for concurrent use.
type Directory struct {
	domain   string
	services map[model.Name]*Service
	// hosts are those of ServiceEntries.
	hosts   map[string]*Service
	order   []*Service
	pods    []Pod
	ambient ambient
}

// Service is a Kubernetes Service or one host of a ServiceEntry.
type Service struct {
	Name model.Name
	// Host is the name that it is found by.
	Host string
	// Selector are the labels of its workloads; nil where it has none, and for hosts of
	// ServiceEntries. Read only.
	Selector map[string]string
	// Addresses are virtual IPs; none for a headless Service.
	Addresses []netip.Addr
	Ports     []Port
	// Endpoints are the addresses of its workloads.
	Endpoints []netip.Addr
	// External is true for hosts of ServiceEntries.
	External bool
	// Outside is true for those of them that are said to be outside of the mesh.
	Outside bool
	// Headless Services have no address of their own: clients find those of their
	// workloads by their name.
	Headless bool

	// numbers are those of ports that the Service has by name.
	numbers map[endpointPort]uint16
}

// endpointPort is a port of a Service, by its number there, at one of its endpoints.
type endpointPort struct {
	address netip.Addr
	port    uint16
}

// Port is a port of a Service.
type Port struct {
	Name   string
	Number uint16
	// Target is the port of its workloads; 0 where it is not known. Where workloads have
	// the port by name, their numbers may be different: this is the first one's, and
	// TargetAt knows the others.
	Target uint16
	// targetName is the target where it is one; empty for a number.
	targetName string
	// Protocol is as the Service says it: appProtocol, or the part of the name
	// before the dash; empty for none.
	Protocol string
}

// passed are protocols of which Istio passes bytes on, and named those of them whose
// clients send the name of the host before all else.
var (
	passed = []string{"tcp", "tls", "mongo", "mysql", "redis", "https"}
	named  = []string{"tls", "https"}
)

// Scheme is how clients write what a port speaks: https where it is told by a name, tcp
// where it is bytes, and else http.
func (p Port) Scheme() string {
	switch protocol := strings.ToLower(p.Protocol); {
	case slices.Contains(named, protocol):
		return "https"
	case slices.Contains(passed, protocol):
		return "tcp"
	}
	return "http"
}

// New reads Services, EndpointSlices, ServiceEntries and WorkloadEntries, and Namespaces and
// Pods for ambient mode; other objects are left out. Domain is the DNS suffix of Services;
// empty is cluster.local.
func New(objects []runtime.Object, domain string) *Directory {
	d := &Directory{domain: cmp.Or(domain, "cluster.local"), services: map[model.Name]*Service{}, hosts: map[string]*Service{}}
	d.ambient = newAmbient(objects)
	for _, object := range objects {
		switch o := object.(type) {
		case *corev1.Service:
			d.addService(o)
		case *networkingv1.ServiceEntry:
			d.addEntry(o)
		case *corev1.Pod:
			d.addPod(o)
		}
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *discoveryv1.EndpointSlice:
			d.addEndpoints(o)
		case *networkingv1.WorkloadEntry:
			d.addWorkload(o, objects)
		}
	}
	d.addAmbient(objects)
	slices.SortFunc(d.order, func(a, b *Service) int {
		return cmp.Or(strings.Compare(a.Name.Namespace, b.Name.Namespace), strings.Compare(a.Host, b.Host))
	})
	return d
}

func (d *Directory) addService(o *corev1.Service) {
	if o.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	s := &Service{Name: model.Name{Namespace: o.Namespace, Name: o.Name}, Selector: o.Spec.Selector, Headless: o.Spec.ClusterIP == corev1.ClusterIPNone}
	s.Host = o.Name + "." + o.Namespace + ".svc." + d.domain
	for _, ip := range append([]string{o.Spec.ClusterIP}, o.Spec.ClusterIPs...) {
		if address, err := netip.ParseAddr(ip); err == nil && !slices.Contains(s.Addresses, address) {
			s.Addresses = append(s.Addresses, address)
		}
	}
	for _, p := range o.Spec.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			// What is asked about goes over TCP.
			continue
		}
		port := Port{Name: p.Name, Number: uint16(p.Port), Target: uint16(p.TargetPort.IntVal), targetName: p.TargetPort.StrVal}
		if port.Target == 0 && port.targetName == "" {
			port.Target = port.Number
		}
		port.Protocol, _, _ = strings.Cut(p.Name, "-")
		if p.AppProtocol != nil {
			port.Protocol = *p.AppProtocol
		}
		s.Ports = append(s.Ports, port)
	}
	d.services[s.Name] = s
	d.order = append(d.order, s)
}

func (d *Directory) addEntry(o *networkingv1.ServiceEntry) {
	for _, host := range o.Spec.GetHosts() {
		s := &Service{Name: model.Name{Namespace: o.Namespace, Name: o.Name}, Host: host, External: true,
			Outside: o.Spec.GetLocation() == networkingapi.ServiceEntry_MESH_EXTERNAL}
		for _, ip := range o.Spec.GetAddresses() {
			if address, err := netip.ParseAddr(ip); err == nil {
				s.Addresses = append(s.Addresses, address)
			}
		}
		for _, a := range o.Status.GetAddresses() {
			if address, err := netip.ParseAddr(a.GetValue()); err == nil && len(o.Spec.GetAddresses()) == 0 {
				s.Addresses = append(s.Addresses, address)
			}
		}
		for _, p := range o.Spec.GetPorts() {
			s.Ports = append(s.Ports, Port{
				Name: p.GetName(), Number: uint16(p.GetNumber()), Target: uint16(cmp.Or(p.GetTargetPort(), p.GetNumber())),
				Protocol: strings.ToLower(p.GetProtocol()),
			})
		}
		// Names are the same whatever their case; Istio keeps the one that is written.
		d.hosts[strings.ToLower(host)] = s
		d.order = append(d.order, s)
	}
}

// addEndpoints fills in addresses, and the ports that Services have by name.
func (d *Directory) addEndpoints(o *discoveryv1.EndpointSlice) {
	s := d.services[model.Name{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}]
	if s == nil {
		return
	}
	for _, e := range o.Endpoints {
		for _, ip := range e.Addresses {
			if address, err := netip.ParseAddr(ip); err == nil {
				s.addEndpoint(address, o.Ports)
			}
		}
	}
}

// addEndpoint notes an address, and which numbers the ports have there that the
// Service has by name. No ports: nobody says.
func (s *Service) addEndpoint(address netip.Addr, ports []discoveryv1.EndpointPort) {
	if !slices.Contains(s.Endpoints, address) {
		s.Endpoints = append(s.Endpoints, address)
	}
	for i := range s.Ports {
		if s.Ports[i].targetName == "" || len(ports) == 0 {
			continue
		}
		number := uint16(0)
		for _, p := range ports {
			if p.Port != nil && p.Name != nil && *p.Name == s.Ports[i].Name {
				number = uint16(*p.Port)
			}
		}
		s.note(&s.Ports[i], address, number)
	}
}

// note notes the number of a port at an endpoint; 0: it does not have it.
func (s *Service) note(p *Port, address netip.Addr, number uint16) {
	if s.numbers == nil {
		s.numbers = map[endpointPort]uint16{}
	}
	at := endpointPort{address, p.Number}
	s.numbers[at] = cmp.Or(s.numbers[at], number)
	p.Target = cmp.Or(p.Target, number)
}

// TargetAt is the number that a port has at an endpoint; 0: it does not have the port,
// or the number is not known.
func (s *Service) TargetAt(p Port, address netip.Addr) uint16 {
	if number, noted := s.numbers[endpointPort{address, p.Number}]; noted {
		return number
	}
	return p.Target
}

// Targets are the numbers that a port has at the endpoints, in order.
func (s *Service) Targets(p Port) []uint16 {
	var out []uint16
	for _, address := range s.Endpoints {
		if number := s.TargetAt(p, address); number != 0 && !slices.Contains(out, number) {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

// addWorkload notes a WorkloadEntry as an endpoint of the Services that select it
// (pilot/pkg/serviceregistry/kube/controller, PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES).
// It is none of a headless one's (collectWorkloadInstanceEndpoints).
func (d *Directory) addWorkload(entry *networkingv1.WorkloadEntry, objects []runtime.Object) {
	address, err := netip.ParseAddr(entry.Spec.GetAddress())
	if err != nil {
		return
	}
	labels := over(entry.Labels, entry.Spec.GetLabels())
	for _, object := range objects {
		o, ok := object.(*corev1.Service)
		if !ok || o.Namespace != entry.Namespace || len(o.Spec.Selector) == 0 || !model.Selects(o.Spec.Selector, labels) {
			continue
		}
		s := d.services[model.Name{Namespace: o.Namespace, Name: o.Name}]
		if s == nil || s.Headless {
			continue
		}
		s.addEndpoint(address, nil)
		for i := range s.Ports {
			// A port of the entry is found by the name of the target, else by that of the
			// Service's port (serviceInstanceFromWorkloadInstance).
			port := &s.Ports[i]
			number := uint16(entry.Spec.GetPorts()[cmp.Or(port.targetName, port.Name)])
			if number != 0 || port.targetName != "" {
				s.note(port, address, number)
			}
		}
	}
}

// over are labels with others over them.
func over(labels, others map[string]string) map[string]string {
	out := make(map[string]string, len(labels)+len(others))
	maps.Copy(out, labels)
	maps.Copy(out, others)
	return out
}

// Virtual is the Service of the mesh that has a virtual address, which is no
// workload's.
func (d *Directory) Virtual(address netip.Addr) *Service {
	at := slices.IndexFunc(d.order, func(s *Service) bool { return !s.External && slices.Contains(s.Addresses, address) })
	if at < 0 {
		return nil
	}
	return d.order[at]
}

// Service finds a Kubernetes Service by its name.
func (d *Directory) Service(name model.Name) (*Service, bool) {
	s, ok := d.services[name]
	return s, ok
}

// Services are all, in order of namespace and host. Read only.
func (d *Directory) Services() []*Service { return d.order }

// Find finds what a host means to a client in a namespace: "cart", "cart.shop",
// "cart.shop.svc", the whole name, or the host of a ServiceEntry, wildcards
// included. Nil: nothing in the mesh has that name.
func (d *Directory) Find(host, namespace string) *Service {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if s, ok := d.hosts[host]; ok {
		return s
	}
	short := strings.TrimSuffix(strings.TrimSuffix(host, ".svc."+d.domain), ".svc")
	switch parts := strings.Split(short, "."); len(parts) {
	case 1:
		if s, ok := d.services[model.Name{Namespace: namespace, Name: parts[0]}]; ok {
			return s
		}
	case 2:
		if s, ok := d.services[model.Name{Namespace: parts[1], Name: parts[0]}]; ok {
			return s
		}
	}
	for rest := host; ; {
		_, after, found := strings.Cut(rest, ".")
		if !found {
			return nil
		}
		if s, ok := d.hosts["*."+after]; ok {
			return s
		}
		rest = after
	}
}

// Port finds a port by its number or name.
func (s *Service) Port(number uint16) (Port, bool) {
	for _, p := range s.Ports {
		if p.Number == number {
			return p, true
		}
	}
	return Port{}, false
}

// Local reports whether a host can only be a name of a Service: one label, a name
// below the domain of Services, or one in a namespace that has Services.
func (d *Directory) Local(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	parts := strings.Split(host, ".")
	if len(parts) == 1 || strings.HasSuffix(host, ".svc."+d.domain) || strings.HasSuffix(host, ".svc") {
		return true
	}
	return len(parts) == 2 && slices.ContainsFunc(d.order, func(s *Service) bool { return !s.External && s.Name.Namespace == parts[1] })
}
