// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"maps"
	"slices"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// ingress makes what belongs to one SecureIngress. A closed one keeps its
// restrictions and loses its listeners and routes.
func (b *builder) ingress(in *intent.Ingress) {
	if in.Pods.Selector == nil {
		return
	}
	owners := []model.Reference{in.Ref}
	b.requestAuthentication(in.Pods, ingressName(in.Ref.Name, ""), providersOf(in), owners)
	b.unverifiedAtGateway(in, owners)
	if in.Spec.Gateway.Exclusive {
		b.exclusive(in, owners)
	}
	for _, h := range in.Hosts {
		b.hostPolicies(h)
		if !in.Closed {
			b.virtualService(h)
		}
	}
	if !in.Closed && len(in.Hosts) > 0 {
		b.gateway(in, owners)
		b.certificates(in)
		b.records(in)
	}
}

func providersOf(in *intent.Ingress) []*intent.Provider {
	var out []*intent.Provider
	for _, name := range slices.Sorted(maps.Keys(in.Providers)) {
		out = append(out, in.Providers[name])
	}
	return out
}

// requestAuthentication tells proxies whose tokens to check. It never asks for
// an audience: a check in the filter would refuse the tokens of others on the
// same pods; the authorization rules check issuer and audience for each host.
func (b *builder) requestAuthentication(pods intent.Pods, name string, providers []*intent.Provider, owners []model.Reference) {
	if len(providers) == 0 {
		return
	}
	value := &securityv1.RequestAuthentication{
		TypeMeta:   metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "RequestAuthentication"},
		ObjectMeta: metav1.ObjectMeta{Namespace: pods.Namespace, Name: name},
	}
	value.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: pods.Selector}
	var stamps []stamp
	for _, p := range providers {
		value.Spec.JwtRules = append(value.Spec.JwtRules, jwtRule(p.Spec))
		stamps = append(stamps, stamp{at(&p.Origin), provenance.ReasonKeys})
	}
	b.object(value, "RequestAuthentication", "security.istio.io", owners, stamps)
}

func jwtRule(p *v1alpha1.IdentityProvider) *securityapi.JWTRule {
	rule := &securityapi.JWTRule{
		Issuer: string(p.Issuer), JwksUri: p.JWKSURI, Jwks: p.JWKS,
		// The application's own proxy checks the token again.
		ForwardOriginalToken: true,
	}
	if p.ScopeClaim != "" && p.ScopeClaim != intent.DefaultScopeClaim {
		rule.SpaceDelimitedClaims = []string{p.ScopeClaim}
	}
	for _, s := range p.TokenSources {
		switch {
		case s.Header != nil:
			rule.FromHeaders = append(rule.FromHeaders, &securityapi.JWTHeader{Name: string(s.Header.Name), Prefix: s.Header.Prefix})
		case s.Cookie != "":
			rule.FromCookies = append(rule.FromCookies, s.Cookie)
		case s.Query != "":
			rule.FromParams = append(rule.FromParams, s.Query)
		}
	}
	if len(p.TokenSources) == 0 {
		// Without a word, Envoy looks at the query parameter access_token too.
		rule.FromHeaders = []*securityapi.JWTHeader{{Name: "Authorization", Prefix: "Bearer "}}
	}
	return rule
}

// gateway opens the listeners. Hosts begin with "./", so that only a
// VirtualService of this namespace can serve them.
func (b *builder) gateway(in *intent.Ingress, owners []model.Reference) {
	value := &networkingv1.Gateway{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "Gateway"},
		ObjectMeta: metav1.ObjectMeta{Namespace: in.Ref.Namespace, Name: gatewayName(in.Ref.Name)},
	}
	hosts := make([]string, 0, len(in.Hosts))
	for _, h := range in.Hosts {
		hosts = append(hosts, "./"+h.Name)
	}
	if in.Spec.DNS != nil {
		value.Annotations = notForExternalDNS
	}
	value.Spec.Selector = in.Pods.Selector
	var stamps []stamp
	stated := below(&in.Origin, "spec.tls")
	if in.TLSOrigin != nil {
		stated = at(in.TLSOrigin)
	}
	for _, s := range b.httpsServers(in, hosts) {
		value.Spec.Servers = append(value.Spec.Servers, s)
		stamps = append(stamps, stamp{stated, provenance.ReasonTLS})
	}
	if in.HTTP.Number != 0 {
		value.Spec.Servers = append(value.Spec.Servers, &networkingapi.Server{
			Name:  "http",
			Port:  &networkingapi.Port{Number: uint32(in.HTTP.Number), Name: "http-" + in.Ref.Name, Protocol: "HTTP"},
			Hosts: hosts,
		})
		stamps = append(stamps, stamp{below(&in.Origin, "spec.insecureRequests"), provenance.ReasonPlain})
	}
	b.object(value, "Gateway", "networking.istio.io", owners, stamps)
}

func minimumVersion(v v1alpha1.TLSVersion) networkingapi.ServerTLSSettings_TLSProtocol {
	if v == v1alpha1.TLSv13 {
		return networkingapi.ServerTLSSettings_TLSV1_3
	}
	return networkingapi.ServerTLSSettings_TLSV1_2
}

// exclusive turns on default deny on the gateway's pods, by an ALLOW policy that
// allows plain HTTP to its hosts: that port answers by itself. Each host adds
// what it allows.
func (b *builder) exclusive(in *intent.Ingress, owners []model.Reference) {
	var rules []rule
	if in.HTTP.Target != 0 && len(in.Hosts) > 0 {
		hosts := make([]string, 0, len(in.Hosts))
		for _, h := range in.Hosts {
			hosts = append(hosts, h.Name)
		}
		s := scope{to: []*securityapi.Rule_To{{Operation: &securityapi.Operation{Hosts: authorities(hosts...), Ports: ports(in.HTTP)}}}}
		rules = append(rules, s.rule(below(&in.Origin, "spec.insecureRequests"), provenance.ReasonPlain))
	}
	b.policy(in.Pods.Namespace, ingressName(in.Ref.Name, "-allow"), in.Pods.Selector, securityapi.AuthorizationPolicy_ALLOW, rules, owners)
}

// hostPolicies makes the rules of one host, a policy for each Application on
// it, so that a change of one leaves those of the others as they are.
func (b *builder) hostPolicies(h *intent.Host) {
	in := h.Ingress
	base := requests{hosts: authorities(h.Name)}
	for i := 0; i < len(h.Publications); {
		app := h.Publications[i].Application
		j := i
		var deny, allow []rule
		for ; j < len(h.Publications) && h.Publications[j].Application == app; j++ {
			p := h.Publications[j]
			covered := cover(p.Route, h.Paths)
			if len(covered) == 0 {
				continue
			}
			deny = append(deny, denyAtGateway(p, covered, base)...)
			if in.Spec.Gateway.Exclusive && !p.Closed {
				allow = append(allow, allowAtGateway(p, covered, base))
			}
		}
		owners := []model.Reference{app.Ref, in.Ref}
		b.policy(in.Pods.Namespace, hostPolicyName(in.Ref.Name, h.Name, app.Ref, "-deny"), in.Pods.Selector, securityapi.AuthorizationPolicy_DENY, deny, owners)
		if len(allow) > 0 {
			b.policy(in.Pods.Namespace, hostPolicyName(in.Ref.Name, h.Name, app.Ref, "-allow"), in.Pods.Selector, securityapi.AuthorizationPolicy_ALLOW, allow, owners)
		}
		i = j
	}
}

func denyAtGateway(p *intent.Publication, covered coverage, base requests) []rule {
	// The plain port answers by itself: rules leave it alone. Without a port they
	// would refuse everything on TCP ports of these pods, where Istio drops paths.
	base.ports = ports(p.Host.Ingress.HTTPS)
	if p.Closed {
		return []rule{scope{to: covered.on(base)}.rule(statedAt(p.ClosedBy, &p.Origin), provenance.ReasonPolicy)}
	}
	if p.CORS == nil {
		return append(methodRules(p.Route, covered, base, nil), tokenRules(scope{to: covered.on(base)}, &p.Requirement)...)
	}
	// A preflight carries no token: it is answered by the gateway, never
	// forwarded. Whatever else is OPTIONS is held to the rules.
	out := methodRules(p.Route, covered, base, []string{"OPTIONS"})
	tokens := base
	tokens.notMethods = []string{"OPTIONS"}
	out = append(out, tokenRules(scope{to: covered.on(tokens)}, &p.Requirement)...)
	return append(out, notPreflight(p, covered, base)...)
}

// preflightHeaders are what makes an OPTIONS request a preflight.
var preflightHeaders = []string{"origin", "access-control-request-method"}

// notPreflight denies OPTIONS requests that lack what makes a preflight
// (WHATWG Fetch), where the route does not serve OPTIONS or asks for a token.
func notPreflight(p *intent.Publication, covered coverage, base requests) []rule {
	served := p.Route.Methods == nil || slices.Contains(p.Route.Methods, "OPTIONS")
	base.methods = []string{"OPTIONS"}
	s := scope{to: covered.on(base)}
	var out []rule
	for _, header := range preflightHeaders {
		missing := &securityapi.Condition{Key: "request.headers[" + header + "]", NotValues: []string{present}}
		if !served {
			out = append(out, s.rule(below(&p.Route.Origin, "methods"), provenance.ReasonMethod, missing))
			continue
		}
		for _, r := range tokenRules(s, &p.Requirement) {
			r.value.When = append(r.value.When, missing)
			out = append(out, r)
		}
	}
	return out
}

// methodRules deny the methods that a route does not list.
func methodRules(route *intent.Route, covered coverage, base requests, except []string) []rule {
	if route.Methods == nil {
		return nil
	}
	base.notMethods = route.Methods
	if len(except) > 0 {
		base.notMethods = slices.Concat(route.Methods, except)
	}
	return []rule{scope{to: covered.on(base)}.rule(below(&route.Origin, "methods"), provenance.ReasonMethod)}
}

// allowAtGateway lets a route's requests through default deny.
func allowAtGateway(p *intent.Publication, covered coverage, base requests) rule {
	base.methods = p.Route.Methods
	if p.CORS != nil && base.methods != nil {
		base.methods = slices.Concat(base.methods, []string{"OPTIONS"})
	}
	return scope{to: covered.on(base)}.rule(at(&p.Origin), provenance.ReasonRoute)
}
