// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Names are the workloads of a mesh at one moment, from its objects. It implements Who,
// is immutable and safe for concurrent use.
type Names struct {
	directory *directory.Directory
	addresses map[netip.Addr]*Workload
	pods      map[accesslog.Writer]*Workload
	accounts  map[string]*Workload
}

// NewNames reads all pods, and the WorkloadEntries that stand for workloads without one,
// in any order.
func NewNames(d *directory.Directory, pods []*corev1.Pod, entries []xds.Entry) *Names {
	n := &Names{directory: d, addresses: map[netip.Addr]*Workload{}, pods: map[accesslog.Writer]*Workload{}, accounts: map[string]*Workload{}}
	selected := selections(d, pods)
	atAddress := map[netip.Addr][]string{}
	for _, s := range d.Services() {
		for _, address := range s.Endpoints {
			if !s.External {
				atAddress[address] = append(atAddress[address], nameOf(s))
			}
		}
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b xds.Entry) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	nodes := map[accesslog.Writer]xds.Node{}
	proxies := xds.NodesOf(pods, entries, xds.Common{})
	for _, node := range proxies {
		nodes[accesslog.Writer{Namespace: node.Namespace, Pod: node.Name}] = node
	}
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for _, pod := range pods {
		key := accesslog.Writer{Namespace: pod.Namespace, Pod: pod.Name}
		addresses := addressesOf(pod)
		services := selected[key]
		for _, address := range addresses {
			services = append(services, atAddress[address]...)
		}
		w := &Workload{Name: pod.Namespace + "/" + workloadName(pod), Account: pod.Namespace + "/" + pod.Spec.ServiceAccountName}
		if node, ok := nodes[key]; ok {
			w.Name, w.Kind = w.Account, kindOf(node)
		}
		n.named(w, services)
		n.pods[key] = w
		for _, address := range addresses {
			n.addresses[address] = w
		}
	}
	n.addEntries(proxies, atAddress)
	return n
}

// addEntries adds the workloads that no pod has the address of.
func (n *Names) addEntries(proxies []xds.Node, atAddress map[netip.Addr][]string) {
	for _, node := range proxies {
		for _, address := range node.Addresses {
			if n.addresses[address] == nil {
				account := node.Namespace + "/" + node.ServiceAccount
				w := &Workload{Name: node.Namespace + "/" + cmp.Or(node.ServiceAccount, node.Name), Account: account, Kind: kindOf(node)}
				n.named(w, atAddress[address])
				n.addresses[address] = w
			}
		}
	}
	for address, services := range atAddress {
		if n.addresses[address] == nil {
			w := &Workload{}
			n.named(w, services)
			n.addresses[address] = w
		}
	}
}

// named gives a workload its services, and the name of the first as package mtls takes
// it: in order of namespace and host.
func (n *Names) named(w *Workload, services []string) {
	for i, service := range services {
		if i == 0 || hostOrder(service) < hostOrder(w.Name) {
			w.Name = service
		}
	}
	if len(services) == 0 {
		services = []string{w.Name}
	}
	w.Services = slices.Compact(slices.Sorted(slices.Values(services)))
	if w.Kind != Bare && n.accounts[w.Account] == nil {
		n.accounts[w.Account] = w
	}
}

// hostOrder is what sorts as the hosts of Services do within their namespaces.
func hostOrder(service string) string { return strings.Replace(service, "/", "\x00", 1) + "." }

func nameOf(s *directory.Service) string { return s.Name.Namespace + "/" + s.Name.Name }

func kindOf(n xds.Node) Kind {
	if n.Type == xds.Sidecar {
		return Proxied
	}
	return Gateway
}

// selections are the Services that select each pod.
func selections(d *directory.Directory, pods []*corev1.Pod) map[accesslog.Writer][]string {
	inNamespace := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		inNamespace[pod.Namespace] = append(inNamespace[pod.Namespace], pod)
	}
	out := map[accesslog.Writer][]string{}
	for _, s := range d.Services() {
		if s.External || len(s.Selector) == 0 {
			continue
		}
		for _, pod := range inNamespace[s.Name.Namespace] {
			if model.Selects(s.Selector, pod.Labels) {
				key := accesslog.Writer{Namespace: pod.Namespace, Pod: pod.Name}
				out[key] = append(out[key], nameOf(s))
			}
		}
	}
	return out
}

// addressesOf are the addresses that are a pod's alone: one on the node's network shares
// the node's.
func addressesOf(pod *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	if pod.Spec.HostNetwork {
		return nil
	}
	for _, ip := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		if address, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(out, address.Unmap()) {
			out = append(out, address.Unmap())
		}
	}
	return out
}

// workloadName is the name of a pod without what its controller added to that of the
// workload, which the controller's labels say.
func workloadName(pod *corev1.Pod) string {
	name := pod.Name
	if hash := pod.Labels["pod-template-hash"]; hash != "" {
		before, _, ok := strings.Cut(name, "-"+hash+"-")
		if ok {
			return before
		}
	}
	for _, label := range []string{"batch.kubernetes.io/job-name", "job-name"} {
		if job := pod.Labels[label]; job != "" {
			return job
		}
	}
	if pod.Labels["controller-revision-hash"] != "" && strings.LastIndexByte(name, '-') > 0 {
		return name[:strings.LastIndexByte(name, '-')] // of a StatefulSet or DaemonSet
	}
	return name
}

// At implements Who.
func (n *Names) At(address netip.Addr) *Workload { return n.addresses[address] }

// Pod implements Who.
func (n *Names) Pod(w accesslog.Writer) *Workload { return n.pods[w] }

// Account implements Who.
func (n *Names) Account(name string) *Workload { return n.accounts[name] }

// Service implements Who.
func (n *Names) Service(host string) string {
	s := n.directory.Find(host, "")
	if s == nil || s.External {
		return ""
	}
	return nameOf(s)
}

// Addresses calls yield with each address that is known, in no order.
func (n *Names) Addresses(yield func(netip.Addr, *Workload) bool) {
	for address, w := range n.addresses {
		if !yield(address, w) {
			return
		}
	}
}

// Pods calls yield with each pod, in no order.
func (n *Names) Pods(yield func(accesslog.Writer, *Workload) bool) {
	for pod, w := range n.pods {
		if !yield(pod, w) {
			return
		}
	}
}
