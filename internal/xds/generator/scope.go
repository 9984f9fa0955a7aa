// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingapi "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/labels"
	"istio.io/istio/pkg/config/schema/gvk"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// Scopes are what limits whom sidecars let their workloads call, by the objects alone: to have
// Istio say it, it would have to find out all that each workload sees
// (pilot/pkg/model/push_context.go, initSidecarScopes and doGetSidecarScope).
type Scopes struct {
	in *gathered
	// sidecars are those of each namespace in the order in which Istio takes them.
	sidecars map[string][]*config.Config
	// everywhere is the one for the whole mesh; nil: there is none.
	everywhere *config.Config
	// filters are EnvoyFilters that choose workloads by their labels, and touch what those
	// call; labelled: there are routes that do.
	filters  map[string][]*config.Config
	labelled bool
}

// Scopes reads the Sidecars.
func (g *Generator) Scopes() *Scopes {
	s := &Scopes{in: g.input, sidecars: map[string][]*config.Config{}, filters: map[string][]*config.Config{}}
	var all []*config.Config
	for i := range g.input.configs {
		one := &g.input.configs[i]
		switch spec := one.Spec.(type) {
		case *networkingapi.Sidecar:
			all = append(all, one)
		case *networkingapi.EnvoyFilter:
			if spec.GetWorkloadSelector() != nil && slices.ContainsFunc(spec.GetConfigPatches(), touchesCalls) {
				s.filters[one.Namespace] = append(s.filters[one.Namespace], one)
			}
		case *networkingapi.VirtualService:
			s.labelled = s.labelled || bySource(spec)
		}
	}
	whole := func(c *config.Config) int {
		if selectorOf(c) == nil {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b *config.Config) int {
		return cmp.Or(whole(a)-whole(b), a.CreationTimestamp.Compare(b.CreationTimestamp), strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
	for _, one := range all {
		s.sidecars[one.Namespace] = append(s.sidecars[one.Namespace], one)
		if s.everywhere == nil && one.Namespace == g.input.mesh.GetRootNamespace() && selectorOf(one) == nil {
			s.everywhere = one
		}
	}
	return s
}

// Of is what limits one sidecar.
func (s *Scopes) Of(node xds.Node) xds.Scope {
	out := xds.Scope{Registry: s.in.mesh.GetOutboundTrafficPolicy().GetMode() == meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY}
	found := s.everywhere
	for _, one := range s.sidecars[node.Namespace] {
		if selector := selectorOf(one); selector == nil || labels.Instance(selector.GetLabels()).SubsetOf(node.Labels) {
			found = one
			break
		}
	}
	out.Own = s.own(node)
	spec := specOf(found)
	if spec == nil {
		return out
	}
	out.Namespace, out.Name, out.Egress = found.Namespace, found.Name, spec.GetEgress()
	if own := spec.GetOutboundTrafficPolicy(); own != nil {
		out.Registry = own.GetMode() == networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY
	}
	return out
}

func (s *Scopes) own(node xds.Node) string {
	var out strings.Builder
	if s.labelled {
		out.WriteString(node.Likeness())
	}
	for _, one := range slices.Concat(s.filters[node.Namespace], s.filters[s.in.mesh.GetRootNamespace()]) {
		filter, _ := one.Spec.(*networkingapi.EnvoyFilter)
		if labels.Instance(filter.GetWorkloadSelector().GetLabels()).SubsetOf(node.Labels) {
			out.WriteString(one.Namespace + "/" + one.Name + "\n")
		}
	}
	return out.String()
}

func touchesCalls(p *networkingapi.EnvoyFilter_EnvoyConfigObjectPatch) bool {
	context := p.GetMatch().GetContext()
	return context == networkingapi.EnvoyFilter_ANY || context == networkingapi.EnvoyFilter_SIDECAR_OUTBOUND
}

// bySource reports whether routes are chosen by the labels of whoever calls.
func bySource(v *networkingapi.VirtualService) bool {
	labelled := false
	for _, r := range v.GetHttp() {
		labelled = labelled || slices.ContainsFunc(r.GetMatch(), func(m *networkingapi.HTTPMatchRequest) bool { return len(m.GetSourceLabels()) > 0 })
	}
	for _, r := range v.GetTcp() {
		labelled = labelled || slices.ContainsFunc(r.GetMatch(), func(m *networkingapi.L4MatchAttributes) bool { return len(m.GetSourceLabels()) > 0 })
	}
	for _, r := range v.GetTls() {
		labelled = labelled || slices.ContainsFunc(r.GetMatch(), func(m *networkingapi.TLSMatchAttributes) bool { return len(m.GetSourceLabels()) > 0 })
	}
	return labelled
}

func specOf(c *config.Config) *networkingapi.Sidecar {
	if c == nil {
		return nil
	}
	spec, _ := c.Spec.(*networkingapi.Sidecar)
	return spec
}

func selectorOf(c *config.Config) *networkingapi.WorkloadSelector {
	return specOf(c).GetWorkloadSelector()
}

// Outgoing is what is different between two inputs for workloads that call others.
type Outgoing struct {
	// Everywhere: it may concern whatever anybody calls.
	Everywhere bool
	// Scopes: there are Sidecars that are not the same.
	Scopes bool
	// Hosts are those of Services and ServiceEntries that are not the same, in order.
	Hosts []string
}

// OutgoingBetween compares two inputs by their objects alone.
func OutgoingBetween(before, after *Generator) Outgoing {
	a, b := before.input, after.input
	out := Outgoing{Everywhere: a.domain != b.domain || !proto.Equal(a.mesh, b.mesh) || !proto.Equal(a.networks, b.networks)}
	hosts := map[string]bool{}
	changed := map[configKey]bool{}
	for _, one := range changedFrom(before, after) {
		changed[keyOf(one)] = true
		out.Scopes = out.Scopes || one.GroupVersionKind == gvk.Sidecar
	}
	for _, side := range []*gathered{a, b} {
		for _, one := range side.configs {
			if entry, is := one.Spec.(*networkingapi.ServiceEntry); is && changed[keyOf(one)] {
				for _, host := range entry.GetHosts() {
					hosts[host] = true
				}
			}
		}
	}
	was, is := servicesOf(a), servicesOf(b)
	for host, service := range was {
		if other := is[host]; other == nil || !sameToCallers(service, other) {
			hosts[host] = true
		}
	}
	for host := range is {
		if was[host] == nil {
			hosts[host] = true
		}
	}
	out.Hosts = slices.Sorted(maps.Keys(hosts))
	return out
}

func servicesOf(in *gathered) map[string]*corev1.Service {
	out := map[string]*corev1.Service{}
	for _, object := range in.kube {
		if s, ok := object.(*corev1.Service); ok {
			out[s.Name+"."+s.Namespace+".svc."+in.domain] = s
		}
	}
	return out
}

// sameToCallers leaves out addresses: what was written has those that were free.
func sameToCallers(a, b *corev1.Service) bool {
	headless := func(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }
	return a == b || headless(a) == headless(b) && a.Spec.Type == b.Spec.Type && a.Spec.ExternalName == b.Spec.ExternalName &&
		equality.Semantic.DeepEqual(a.Spec.Ports, b.Spec.Ports) && maps.Equal(ofIstio(a.Annotations), ofIstio(b.Annotations))
}
