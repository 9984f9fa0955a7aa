// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/model"
)

// settleSharedGateways looks at ingresses that configure the same pods. They
// must agree on what belongs to the pods; where they do not, all are closed.
func (r *resolver) settleSharedGateways() {
	for _, group := range r.groupGateways() {
		if len(group) == 1 {
			continue
		}
		r.settleExclusive(group)
		r.settleIssuers(group)
		r.settleDomains(group)
	}
}

// groupGateways puts ingresses together that may configure the same pods: one
// selects what the other asks for, or both select a pod that is there.
func (r *resolver) groupGateways() [][]*Ingress {
	var groups [][]*Ingress
	for _, in := range r.graph.Ingresses {
		if in.Pods.Selector == nil {
			continue
		}
		joined := []*Ingress{in}
		groups = slices.DeleteFunc(groups, func(group []*Ingress) bool {
			shared := slices.ContainsFunc(group, func(o *Ingress) bool { return r.samePods(in, o) })
			if shared {
				joined = append(joined, group...)
			}
			return shared
		})
		slices.SortFunc(joined, func(a, b *Ingress) int { return a.Ref.Compare(b.Ref) })
		groups = append(groups, joined)
	}
	for i, group := range groups {
		for _, in := range group {
			in.gateway = i
		}
	}
	return groups
}

func (r *resolver) samePods(a, b *Ingress) bool {
	if a.Pods.Namespace != b.Pods.Namespace {
		return false
	}
	if model.Selects(a.Pods.Selector, b.Pods.Selector) || model.Selects(b.Pods.Selector, a.Pods.Selector) {
		return true
	}
	return slices.ContainsFunc(r.snapshot.Selected(a.Pods.Namespace, a.Pods.Selector), func(w model.Workload) bool {
		return model.Selects(b.Pods.Selector, w.Labels)
	})
}

func (r *resolver) settleExclusive(group []*Ingress) {
	for _, in := range group[1:] {
		if in.Spec.Gateway.Exclusive == group[0].Spec.Gateway.Exclusive {
			continue
		}
		for _, one := range group {
			one.Closed = true
			r.refuse(field(one.Origin, "spec.gateway.exclusive"), refusal{"Conflicted",
				fmt.Sprintf("%s configure the same gateway pods and do not agree on exclusive, which belongs to the pods; all of them are closed", names(group)),
				names(group), "set exclusive alike in all of them, or give each its own gateway"})
		}
		return
	}
}

// settleIssuers closes the providers of one issuer that is stated with
// different keys on the same pods: a proxy cannot tell which key to trust for
// which host.
func (r *resolver) settleIssuers(group []*Ingress) {
	type statement struct {
		ingress  *Ingress
		provider *Provider
	}
	byIssuer := make(map[string][]statement)
	for _, in := range group {
		for _, name := range slices.Sorted(maps.Keys(in.Providers)) {
			p := in.Providers[name]
			byIssuer[string(p.Spec.Issuer)] = append(byIssuer[string(p.Spec.Issuer)], statement{in, p})
		}
	}
	for _, issuer := range slices.Sorted(maps.Keys(byIssuer)) {
		all := byIssuer[issuer]
		same := !slices.ContainsFunc(all, func(s statement) bool {
			return s.provider.Spec.JWKS != all[0].provider.Spec.JWKS || s.provider.Spec.JWKSURI != all[0].provider.Spec.JWKSURI
		})
		if same {
			continue
		}
		for _, s := range all {
			delete(s.ingress.Providers, string(s.provider.Spec.Name))
			r.refuse(field(s.provider.Origin, "issuer"), refusal{"IssuerConflict",
				fmt.Sprintf("issuer %s is stated with different keys by %s on the same gateway pods; routes that need its tokens are closed", issuer, names(group)),
				names(group), "state the same jwksURI or jwks everywhere, or give each ingress its own gateway"})
		}
	}
}

// settleDomains closes ingresses on the same pods that state the same domain.
func (r *resolver) settleDomains(group []*Ingress) {
	byDomain := make(map[string][]*Ingress)
	for _, in := range group {
		for _, d := range in.Spec.Domains {
			if !slices.Contains(byDomain[d.Domain], in) {
				byDomain[d.Domain] = append(byDomain[d.Domain], in)
			}
		}
	}
	for _, in := range group {
		for i, d := range in.Spec.Domains {
			if all := byDomain[d.Domain]; len(all) > 1 {
				in.Closed = true
				r.refuse(field(in.Origin, "spec.domains[%d].domain", i), refusal{"Conflicted",
					fmt.Sprintf("domain %s is stated by %s on the same gateway pods; all of them are closed", d.Domain, names(all)),
					names(all), "keep the domain in one of them"})
			}
		}
	}
}

func names(group []*Ingress) string {
	out := make([]string, 0, len(group))
	for _, in := range group {
		out = append(out, in.Ref.String())
	}
	return strings.Join(out, " and ")
}

// reportForeign warns of what others configure on pods that were said to be
// exclusive: it may open what no route allows.
func (r *resolver) reportForeign(in *Ingress) {
	if !in.Spec.Gateway.Exclusive {
		return
	}
	at := field(in.Origin, "spec.gateway.exclusive")
	for _, f := range r.snapshot.Foreign("AuthorizationPolicy") {
		if f.Action != "ALLOW" || !r.appliesTo(f, in) {
			continue
		}
		r.warn(at, refusal{"ForeignAllow",
			fmt.Sprintf("%s allows requests on pods that are exclusive to this ingress, so what no route allows may be allowed by it", f.Ref),
			in.Ref.String(), "delete that policy, or set exclusive to false"})
	}
	gateways := make(map[string]bool)
	for _, f := range r.snapshot.Foreign("Gateway") {
		if r.selectsPods(f.Selector, in) {
			gateways[f.Ref.Namespace+"/"+f.Ref.Name] = true
			r.warn(at, refusal{"ForeignRoute",
				fmt.Sprintf("%s opens ports on pods that are exclusive to this ingress", f.Ref),
				in.Ref.String(), "delete that Gateway, or set exclusive to false"})
		}
	}
	for _, f := range r.snapshot.Foreign("VirtualService") {
		if slices.ContainsFunc(f.Gateways, func(g string) bool { return gateways[g] }) {
			r.warn(at, refusal{"ForeignRoute",
				fmt.Sprintf("%s routes %s on pods that are exclusive to this ingress", f.Ref, strings.Join(f.Hosts, ", ")),
				in.Ref.String(), "delete that VirtualService, or set exclusive to false"})
		}
	}
}

// appliesTo reports whether a foreign policy selects the pods of an ingress.
func (r *resolver) appliesTo(f model.Foreign, in *Ingress) bool {
	if f.Ref.Namespace != in.Pods.Namespace && f.Ref.Namespace != r.snapshot.Mesh().RootNamespace {
		return false
	}
	return len(f.Selector) == 0 || r.selectsPods(f.Selector, in)
}

// selectsPods looks at what the gateway's Service asks for and at the pods
// themselves: they may have more labels.
func (r *resolver) selectsPods(selector map[string]string, in *Ingress) bool {
	return model.Selects(selector, in.Pods.Selector) ||
		slices.ContainsFunc(r.snapshot.Selected(in.Pods.Namespace, in.Pods.Selector), func(w model.Workload) bool { return model.Selects(selector, w.Labels) })
}
