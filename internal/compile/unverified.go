// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"maps"
	"slices"

	securityapi "istio.io/api/security/v1beta1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// unverifiedRules refuse tokens that no filter has looked at. Istio tells
// Envoy's JWT filter to let whatever looks like a CORS preflight pass, with any
// token that it carries (pilot policy_applier.go, BypassCorsPreflight), so that
// an application where no token is needed would be handed a forged one.
// Browsers send no credentials with a preflight. A token in the query cannot be
// told from other queries here.
func unverifiedRules(base requests, providers []*intent.Provider) []rule {
	base.methods = []string{"OPTIONS"}
	everyPath := coverage{{}}
	s := scope{to: everyPath.on(base)}
	carriers := tokenHeaders(providers)
	var out []rule
	for _, header := range slices.Sorted(maps.Keys(carriers)) {
		var when []*securityapi.Condition
		for _, name := range append(slices.Clone(preflightHeaders), header) {
			when = append(when, &securityapi.Condition{Key: "request.headers[" + name + "]", Values: []string{present}})
		}
		when = append(when, &securityapi.Condition{Key: issuerClaim, NotValues: []string{present}})
		out = append(out, s.rule(carriers[header], provenance.ReasonIssuer, when...))
	}
	return out
}

// tokenHeaders are the request headers that may carry a token, each with the
// provider that says so first.
func tokenHeaders(providers []*intent.Provider) map[string]place {
	out := make(map[string]place)
	add := func(header string, p *intent.Provider) {
		if _, ok := out[header]; !ok {
			out[header] = at(&p.Origin)
		}
	}
	for _, p := range providers {
		for _, s := range p.Spec.TokenSources {
			switch {
			case s.Header != nil:
				add(lower(string(s.Header.Name)), p)
			case s.Cookie != "":
				add("cookie", p)
			}
		}
		if len(p.Spec.TokenSources) == 0 {
			add("authorization", p)
		}
	}
	return out
}

// unverifiedAtGateway refuses them on the hosts of an ingress.
func (b *builder) unverifiedAtGateway(in *intent.Ingress, owners []model.Reference) {
	if len(in.Hosts) == 0 {
		return
	}
	hosts := make([]string, 0, len(in.Hosts))
	for _, h := range in.Hosts {
		hosts = append(hosts, h.Name)
	}
	rules := unverifiedRules(requests{hosts: authorities(hosts...), ports: ports(in.HTTPS)}, providersOf(in))
	b.policy(in.Pods.Namespace, ingressName(in.Ref.Name, "-deny"), in.Pods.Selector, securityapi.AuthorizationPolicy_DENY, rules, owners)
}

// unverifiedAtApplication refuses them on the ports that speak HTTP. Those must
// be named: without them Istio reads the rule on TCP ports as one about
// everything.
func unverifiedAtApplication(a *intent.Application) []rule {
	var base requests
	for _, p := range a.Ports {
		if p.Protocol != v1alpha1.ProtocolTCP {
			base.ports = append(base.ports, ports(p)...)
		}
	}
	if len(base.ports) == 0 {
		return nil
	}
	return unverifiedRules(base, a.Providers)
}
