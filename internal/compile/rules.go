// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

const (
	issuerClaim   = "request.auth.claims[iss]"
	audienceClaim = "request.auth.claims[aud]"
	// present matches every value that is there.
	present = "*"
)

// rule is one rule of an AuthorizationPolicy with its stamp.
type rule struct {
	value *securityapi.Rule
	stamp stamp
}

// scope is which requests rules are about. The rules of a scope share it.
type scope struct {
	// to are operations, joined by or.
	to []*securityapi.Rule_To
	// from limits who; nil is everybody.
	from []*securityapi.Rule_From
}

func (s scope) rule(at place, reason Reason, when ...*securityapi.Condition) rule {
	return rule{&securityapi.Rule{From: s.from, To: s.to, When: when}, stamp{at, reason}}
}

// requests says which requests a rule is about, but for the paths.
type requests struct {
	hosts, notHosts, ports, notPorts, methods, notMethods []string
}

// coverage are the requests of a route by their paths, in Istio's terms. An
// empty one must make no rule: that would be about everything.
type coverage []stretch

// stretch is some paths and what is taken out of them.
type stretch struct{ paths, notPaths []string }

// cover writes the paths of a route where the longest path of the table decides.
// Each path gets what has to be taken out of it and no more: taking one path's
// exceptions out of another would let requests escape.
func cover(route *intent.Route, table *intent.PathTable) coverage {
	var out coverage
	plain := -1
	for _, p := range route.Paths {
		subtract, some := table.Subtract(p, route)
		switch {
		case !some:
			continue
		case len(subtract) > 0:
			one := stretch{paths: pathPatterns(nil, p), notPaths: make([]string, 0, 2*len(subtract))}
			for _, q := range subtract {
				one.notPaths = pathPatterns(one.notPaths, q)
			}
			out = append(out, one)
			continue
		case plain < 0:
			plain = len(out)
			out = append(out, stretch{})
		}
		out[plain].paths = pathPatterns(out[plain].paths, p)
	}
	return out
}

// on are the operations for these paths on hosts, ports and methods.
func (c coverage) on(base requests) []*securityapi.Rule_To {
	out := make([]*securityapi.Rule_To, 0, len(c))
	for _, one := range c {
		out = append(out, &securityapi.Rule_To{Operation: &securityapi.Operation{
			Hosts: base.hosts, NotHosts: base.notHosts, Ports: base.ports, NotPorts: base.notPorts,
			Methods: base.methods, NotMethods: base.notMethods,
			Paths: one.paths, NotPaths: one.notPaths,
		}})
	}
	return out
}

// pathPatterns appends a path as AuthorizationPolicy writes it: a trailing
// asterisk is a prefix.
func pathPatterns(to []string, p intent.Path) []string {
	switch {
	case !p.Prefix:
		return append(to, p.Value)
	case p.Value == "/":
		return append(to, "/*")
	default:
		return append(to, p.Value, p.Value+"/*")
	}
}

// authorities are the values of the authority that mean a host: routing ignores
// the port, RBAC reads it.
func authorities(hosts ...string) []string {
	out := make([]string, 0, 2*len(hosts))
	for _, h := range hosts {
		out = append(out, h, h+":*")
	}
	return out
}

func claim(path ...string) string {
	var b strings.Builder
	b.WriteString("request.auth.claims")
	for _, p := range path {
		b.WriteString("[" + p + "]")
	}
	return b.String()
}

// tokenRules deny what does not meet a requirement. Several requirements are
// joined by or, by issuer: a token must meet that of its own issuer. The rules
// exclude each other, so that a denial has one reason.
func tokenRules(s scope, requirements ...*intent.Requirement) []rule {
	if len(requirements) == 0 {
		return nil
	}
	first := requirements[0]
	accepted := issuersOf(requirements)
	foreign := &securityapi.Condition{Key: issuerClaim, Values: []string{present}, NotValues: accepted}
	if first.Mode == v1alpha1.AuthenticationNone {
		return []rule{s.rule(at(&first.Origin), provenance.ReasonIssuer, foreign)}
	}
	out := make([]rule, 0, 3+len(first.Scopes)+len(first.Claims))
	if first.Mode == v1alpha1.AuthenticationRequired {
		out = append(out, s.rule(at(&first.Origin), provenance.ReasonNoToken, &securityapi.Condition{Key: issuerClaim, NotValues: []string{present}}))
	}
	out = append(out, s.rule(at(&first.Origin), provenance.ReasonIssuer, foreign))
	for _, q := range byIssuer(requirements) {
		out = issuerRules(out, s, q)
	}
	return out
}

func issuersOf(requirements []*intent.Requirement) []string {
	var out []string
	for _, q := range requirements {
		if q.Mode == v1alpha1.AuthenticationNone {
			out = append(out, q.Issuers...)
		} else {
			out = append(out, q.Issuer)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// byIssuer joins requirements of one issuer: the audiences of all of them.
func byIssuer(requirements []*intent.Requirement) []*intent.Requirement {
	if len(requirements) == 1 {
		return requirements
	}
	var out []*intent.Requirement
	for _, q := range requirements {
		i := slices.IndexFunc(out, func(o *intent.Requirement) bool { return o.Issuer == q.Issuer && o.ScopeClaim == q.ScopeClaim })
		if i < 0 {
			one := *q
			out = append(out, &one)
			continue
		}
		joined := slices.Concat(out[i].Audiences, q.Audiences)
		slices.Sort(joined)
		out[i].Audiences = slices.Compact(joined)
	}
	return out
}

func issuerRules(out []rule, s scope, q *intent.Requirement) []rule {
	issuer := &securityapi.Condition{Key: issuerClaim, Values: []string{q.Issuer}}
	out = append(out, s.rule(at(&q.Origin), provenance.ReasonAudience, issuer, &securityapi.Condition{Key: audienceClaim, NotValues: q.Audiences}))
	if len(q.Scopes)+len(q.Claims) == 0 {
		return out
	}
	audience := &securityapi.Condition{Key: audienceClaim, Values: q.Audiences}
	for _, name := range q.Scopes {
		out = append(out, s.rule(statedAt(q.ScopeOrigins[name], &q.Origin), provenance.ReasonScope, issuer, audience,
			&securityapi.Condition{Key: claim(q.ScopeClaim), NotValues: []string{name}}))
	}
	for i := range q.Claims {
		c := &q.Claims[i]
		out = append(out, s.rule(at(&c.Origin), provenance.ReasonClaim, issuer, audience,
			&securityapi.Condition{Key: claim(c.Path...), NotValues: c.AnyOf}))
	}
	return out
}

// policy makes an AuthorizationPolicy. ALLOW without rules allows nothing, and
// is made; DENY without rules denies nothing, and is not.
func (b *builder) policy(namespace, name string, selector map[string]string, action securityapi.AuthorizationPolicy_Action, rules []rule, owners []model.Reference) {
	if len(rules) == 0 && action == securityapi.AuthorizationPolicy_DENY {
		return
	}
	value := &securityv1.AuthorizationPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	}
	b.finishPolicy(value, selector, action, rules, owners)
}

// finishPolicy fills in an AuthorizationPolicy whose name is there.
func (b *builder) finishPolicy(value *securityv1.AuthorizationPolicy, selector map[string]string, action securityapi.AuthorizationPolicy_Action, rules []rule, owners []model.Reference) {
	value.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: selector}
	value.Spec.Action = action
	value.Spec.Rules = make([]*securityapi.Rule, 0, len(rules))
	stamps := make([]stamp, 0, len(rules))
	for _, r := range rules {
		value.Spec.Rules = append(value.Spec.Rules, r.value)
		stamps = append(stamps, r.stamp)
	}
	b.object(value, "AuthorizationPolicy", "security.istio.io", owners, stamps)
}

func decimal(n int32) string { return strconv.Itoa(int(n)) }

// ports is the port list of an operation; none when the port is unknown: that
// restricts more.
func ports(p intent.Port) []string {
	if p.Target == 0 {
		return nil
	}
	return []string{decimal(p.Target)}
}
