// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"strings"

	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/model"
)

// gatewayNameLabel is on the pods that Istio deploys for a Gateway of the
// Gateway API; a policy that targets the Gateway applies to those pods.
const gatewayNameLabel = "gateway.networking.k8s.io/gateway-name"

func authorizationPolicy(ref model.Reference, p *securityv1.AuthorizationPolicy) []model.Foreign {
	// The zero value of Istio's enum is ALLOW.
	one := model.Foreign{Ref: ref, Action: p.Spec.GetAction().String()}
	return targeted(one, p.Spec.GetSelector(), p.Spec.GetTargetRef(), p.Spec.GetTargetRefs())
}

func requestAuthentication(ref model.Reference, p *securityv1.RequestAuthentication) []model.Foreign {
	return targeted(model.Foreign{Ref: ref}, p.Spec.GetSelector(), p.Spec.GetTargetRef(), p.Spec.GetTargetRefs())
}

func peerAuthentication(ref model.Reference, p *securityv1.PeerAuthentication) []model.Foreign {
	mode := p.Spec.GetMtls().GetMode().String()
	return []model.Foreign{{Ref: ref, Selector: p.Spec.GetSelector().GetMatchLabels(), Mode: mode}}
}

// targeted says which pods a policy is for. A policy with target references and
// no selector is for those targets alone: a Gateway of the Gateway API is its
// pods, and Services and GatewayClasses are waypoints, which Trellis does not
// configure. Reading it as an empty selector would make it a policy for all.
func targeted(one model.Foreign, selector *typev1beta1.WorkloadSelector, ref *typev1beta1.PolicyTargetReference, refs []*typev1beta1.PolicyTargetReference) []model.Foreign {
	if ref != nil {
		refs = append([]*typev1beta1.PolicyTargetReference{ref}, refs...)
	}
	if len(refs) == 0 {
		one.Selector = selector.GetMatchLabels()
		return []model.Foreign{one}
	}
	var out []model.Foreign
	for _, r := range refs {
		if r.GetKind() == "Gateway" && r.GetGroup() == "gateway.networking.k8s.io" {
			one.Selector = map[string]string{gatewayNameLabel: r.GetName()}
			out = append(out, one)
		}
	}
	return out
}

func gateway(ref model.Reference, g *networkingv1.Gateway) []model.Foreign {
	out := model.Foreign{Ref: ref, Selector: g.Spec.GetSelector()}
	for _, server := range g.Spec.GetServers() {
		for _, host := range server.GetHosts() {
			if _, name, qualified := strings.Cut(host, "/"); qualified {
				host = name
			}
			out.Hosts = append(out.Hosts, host)
		}
	}
	return []model.Foreign{out}
}

func virtualService(ref model.Reference, v *networkingv1.VirtualService) []model.Foreign {
	out := model.Foreign{Ref: ref, Hosts: v.Spec.GetHosts()}
	for _, name := range v.Spec.GetGateways() {
		switch {
		case name == "mesh":
			continue
		case !strings.Contains(name, "/"):
			name = ref.Namespace + "/" + name
		case strings.HasPrefix(name, "./"):
			name = ref.Namespace + strings.TrimPrefix(name, ".")
		}
		out.Gateways = append(out.Gateways, name)
	}
	return []model.Foreign{out}
}

func sidecar(ref model.Reference, s *networkingv1.Sidecar) []model.Foreign {
	out := model.Foreign{Ref: ref, Selector: s.Spec.GetWorkloadSelector().GetLabels()}
	for _, listener := range s.Spec.GetEgress() {
		if listener.GetPort() == nil {
			out.Hosts = append(out.Hosts, listener.GetHosts()...)
		} else {
			out.AtPort = append(out.AtPort, listener.GetHosts()...)
		}
	}
	return []model.Foreign{out}
}

func serviceEntry(ref model.Reference, e *networkingv1.ServiceEntry) []model.Foreign {
	return []model.Foreign{{Ref: ref, Hosts: e.Spec.GetHosts()}}
}

func destinationRule(ref model.Reference, d *networkingv1.DestinationRule) []model.Foreign {
	return []model.Foreign{{Ref: ref, Hosts: []string{d.Spec.GetHost()}}}
}
