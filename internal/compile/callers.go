// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"

	securityapi "istio.io/api/security/v1beta1"

	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// principals of callers; any reports whether one of them is everybody.
func principals(callers []*intent.Caller, trustDomain string) (list []string, any bool) {
	for _, c := range callers {
		switch {
		case c.Any:
			any = true
		case c.Namespace != "":
			list = append(list, trustDomain+"/ns/"+c.Namespace+"/*")
		case c.Identity != nil:
			list = append(list, c.Identity.Principal())
		}
	}
	slices.Sort(list)
	return slices.Compact(list), any
}

// denyCallers refuses whoever is not let in. The ALLOW policy alone would do
// the same, until somebody adds another one: those are joined by or.
func (v *routeView) denyCallers(s scope) []rule {
	list, any := principals(slices.Concat(v.waived, v.needing), v.app.TrustDomain)
	if any {
		return nil
	}
	return callerRules(s, slices.Concat(list, v.gateways), v.refused, v.app.TrustDomain, below(&v.app.Origin, "spec.access.callers"))
}

// callerRules refuse everybody but let. Callers that are stated and that a policy refuses
// have a rule of that policy, so that it is what a denial names. The rules exclude each
// other, and together are about everybody but let, whoever is refused by name.
func callerRules(s scope, let []string, refused []*intent.Caller, trustDomain string, stated place) []rule {
	slices.Sort(let)
	let = slices.Compact(let)
	var out []rule
	excluded := slices.Clone(let)
	for i, c := range refused {
		if slices.ContainsFunc(refused[:i], func(o *intent.Caller) bool { return *o.RefusedBy == *c.RefusedBy }) {
			continue
		}
		names := refusedBy(c.RefusedBy, refused[i:], trustDomain)
		// Who is let in under another name, such as that of the whole namespace, is let in.
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(let, name) })
		if len(names) == 0 {
			continue
		}
		s.from = []*securityapi.Rule_From{{Source: &securityapi.Source{Principals: names, NotPrincipals: excluded}}}
		out = append(out, s.rule(at(c.RefusedBy), provenance.ReasonPolicy))
		excluded = slices.Concat(excluded, names)
		slices.Sort(excluded)
	}
	s.from = notFrom(excluded)
	return append(out, s.rule(stated, provenance.ReasonCaller))
}

func notFrom(principals []string) []*securityapi.Rule_From {
	if len(principals) == 0 {
		return nil
	}
	return []*securityapi.Rule_From{{Source: &securityapi.Source{NotPrincipals: principals}}}
}

func from(principals []string) []*securityapi.Rule_From {
	return []*securityapi.Rule_From{{Source: &securityapi.Source{Principals: principals}}}
}

// refusedBy are the principals of those callers that one policy refuses.
func refusedBy(policy *model.Origin, refused []*intent.Caller, trustDomain string) []string {
	var of []*intent.Caller
	for _, c := range refused {
		if *c.RefusedBy == *policy {
			of = append(of, c)
		}
	}
	names, any := principals(of, trustDomain)
	if any {
		return []string{present}
	}
	return names
}

// allowCaller lets one caller in: one rule for what has paths, one for TCP,
// where a rule with paths would not count.
func allowCaller(a *intent.Application, c *intent.Caller, byRoute map[*intent.Route]*routeView) []rule {
	list, any := principals([]*intent.Caller{c}, a.TrustDomain)
	var who []*securityapi.Rule_From
	switch {
	case any:
	case len(list) == 0:
		return nil
	default:
		who = from(list)
	}
	http := scope{from: who}
	for _, route := range c.Routes {
		if !route.Closed {
			base := requests{ports: ports(route.Port), methods: route.Methods}
			http.to = append(http.to, byRoute[route].covered.on(base)...)
		}
	}
	var out []rule
	if len(http.to) > 0 {
		out = append(out, http.rule(at(&c.Origin), provenance.ReasonCaller))
	}
	if len(c.TCP) > 0 {
		everything := &securityapi.Operation{}
		for _, p := range c.TCP {
			everything.Ports = append(everything.Ports, decimal(p.Target))
		}
		s := scope{from: who, to: []*securityapi.Rule_To{{Operation: everything}}}
		out = append(out, s.rule(at(&c.Origin), provenance.ReasonCaller))
	}
	return out
}

// tcpRules refuse whoever is not let in on a TCP port.
func tcpRules(a *intent.Application, p *intent.Port) []rule {
	list, any := principals(callersOf(a.Callers, p), a.TrustDomain)
	if any {
		return nil
	}
	s := scope{to: []*securityapi.Rule_To{{Operation: &securityapi.Operation{Ports: []string{decimal(p.Target)}}}}}
	return callerRules(s, list, callersOf(a.Refused, p), a.TrustDomain, at(&p.Origin))
}

// callersOf are those that call a TCP port.
func callersOf(list []*intent.Caller, p *intent.Port) []*intent.Caller {
	var out []*intent.Caller
	for _, c := range list {
		if slices.ContainsFunc(c.TCP, func(o intent.Port) bool { return o.Name == p.Name }) {
			out = append(out, c)
		}
	}
	return out
}
