// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile/oddpath"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// application makes what the application's own proxy enforces: the same rules
// as the gateway, and who may call.
func (b *builder) application(a *intent.Application) {
	if a.Pods == nil {
		return
	}
	owners := []model.Reference{a.Ref}
	b.peerAuthentication(a, owners)
	b.destinationRule(a, owners)
	if !a.RawPaths && len(a.Routes) > 0 {
		b.pathGuard(a, owners)
	}
	b.requestAuthentication(*a.Pods, applicationName(a.Ref.Name, ""), a.Providers, owners)
	var deny, allow []rule
	if a.Closed {
		// ALLOW policies of others are joined with ours, so leaving ours empty refuses
		// nobody whom they let in.
		deny = []rule{scope{}.rule(statedAt(a.ClosedBy, &a.Origin), provenance.ReasonPolicy)}
	} else {
		deny, allow = applicationRules(a)
	}
	b.policy(a.Pods.Namespace, applicationName(a.Ref.Name, "-deny"), a.Pods.Selector, securityapi.AuthorizationPolicy_DENY, deny, owners)
	b.accessPolicies(a, owners)
	b.policy(a.Pods.Namespace, applicationName(a.Ref.Name, "-allow"), a.Pods.Selector, securityapi.AuthorizationPolicy_ALLOW, allow, owners)
}

// pathGuard refuses paths that the application may read otherwise than its proxy.
func (b *builder) pathGuard(a *intent.Application, owners []model.Reference) {
	name := model.Name{Namespace: a.Pods.Namespace, Name: applicationName(a.Ref.Name, "-paths")}
	value, err := oddpath.Guard(name, a.Pods.Selector, a.AllPaths())
	if err != nil {
		b.broken = append(b.broken, err)
		return
	}
	b.object(value, "EnvoyFilter", "networking.istio.io", owners, []stamp{{below(&a.Origin, "spec.routes"), provenance.ReasonPath}})
}

func (b *builder) peerAuthentication(a *intent.Application, owners []model.Reference) {
	if a.Spec.Access == nil || a.Spec.Access.MutualTLS == "" {
		return
	}
	mode := securityapi.PeerAuthentication_MutualTLS_STRICT
	if a.Spec.Access.MutualTLS == v1alpha1.MutualTLSPermissive {
		mode = securityapi.PeerAuthentication_MutualTLS_PERMISSIVE
	}
	value := &securityv1.PeerAuthentication{
		TypeMeta:   metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "PeerAuthentication"},
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Pods.Namespace, Name: applicationName(a.Ref.Name, "")},
	}
	value.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: a.Pods.Selector}
	value.Spec.Mtls = &securityapi.PeerAuthentication_MutualTLS{Mode: mode}
	b.object(value, "PeerAuthentication", "security.istio.io", owners, []stamp{{mutualTLSStated(a), provenance.ReasonPeerTLS}})
}

// mutualTLSStated is where mutual TLS is asked for: by a policy, or the Application.
func mutualTLSStated(a *intent.Application) place {
	if a.MutualTLSOrigin != nil {
		return at(a.MutualTLSOrigin)
	}
	return below(&a.Origin, "spec.access.mutualTLS")
}

// destinationRule tells clients to use mutual TLS where they would not by
// themselves. Anywhere else it would only be in the way of other settings.
func (b *builder) destinationRule(a *intent.Application, owners []model.Reference) {
	if !a.ClientMutualTLS {
		return
	}
	value := &networkingv1.DestinationRule{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "DestinationRule"},
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Pods.Namespace, Name: applicationName(a.Ref.Name, "")},
	}
	value.Spec.Host = a.ServiceHost(b.snapshot.Mesh())
	value.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{Tls: &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_ISTIO_MUTUAL}}
	b.object(value, "DestinationRule", "networking.istio.io", owners, []stamp{{mutualTLSStated(a), provenance.ReasonPeerTLS}})
}

func applicationRules(a *intent.Application) (deny, allow []rule) {
	byRoute := make(map[*intent.Route]*routeView, len(a.Routes))
	for _, v := range views(a, byRoute) {
		if len(v.covered) > 0 {
			deny = append(deny, v.deny()...)
			allow = append(allow, v.allowGateways()...)
		}
	}
	for i := range a.Ports {
		p := &a.Ports[i]
		if p.Protocol == v1alpha1.ProtocolTCP && p.Target != 0 {
			deny = append(deny, tcpRules(a, p)...)
		}
	}
	deny = append(deny, unverifiedAtApplication(a)...)
	for _, c := range a.Callers {
		allow = append(allow, allowCaller(a, c, byRoute)...)
	}
	return deny, allow
}

// routeView is a route as the application's own proxy sees it.
type routeView struct {
	app   *intent.Application
	route *intent.Route
	// covered are its paths, where the longest path on its port decides.
	covered coverage
	// published are the open publications of the route.
	published []*intent.Publication
	// gateways are the principals through which it is published.
	gateways []string
	// waived and needing are the callers by whether they need a token, and refused those
	// that policies do not let in.
	waived, needing, refused []*intent.Caller
}

// views are those of all routes of an Application, in order. They are put into
// byRoute, too.
func views(a *intent.Application, byRoute map[*intent.Route]*routeView) []*routeView {
	out := make([]*routeView, 0, len(a.Routes))
	for _, route := range a.Routes {
		v := &routeView{app: a, route: route, covered: cover(route, a.PathsOn(route.Port))}
		byRoute[route] = v
		out = append(out, v)
	}
	for _, p := range a.Publications {
		if v := byRoute[p.Route]; !p.Closed && p.Host.Ingress.Identity != nil {
			v.published = append(v.published, p)
			v.gateways = append(v.gateways, p.Host.Ingress.Identity.Principal())
		}
	}
	for _, c := range a.Callers {
		for _, route := range c.Routes {
			if v := byRoute[route]; c.Waived {
				v.waived = append(v.waived, c)
			} else {
				v.needing = append(v.needing, c)
			}
		}
	}
	for _, c := range a.Refused {
		for _, route := range c.Routes {
			byRoute[route].refused = append(byRoute[route].refused, c)
		}
	}
	for _, v := range out {
		slices.Sort(v.gateways)
		v.gateways = slices.Compact(v.gateways)
	}
	return out
}

// deny are the rules that refuse: closed routes, other methods, other callers,
// and tokens that do not do.
func (v *routeView) deny() []rule {
	if v.route.Closed {
		return []rule{scope{to: v.covered.on(closedPort(v.app, v.route))}.rule(statedAt(v.route.ClosedBy, &v.route.Origin), provenance.ReasonPolicy)}
	}
	base := requests{ports: ports(v.route.Port)}
	s := scope{to: v.covered.on(base)}
	out := methodRules(v.route, v.covered, base, nil)
	out = append(out, v.denyCallers(s)...)
	return append(out, v.denyTokens(s, base)...)
}

// statedAt is the policy that asks for something, or else where that was stated.
func statedAt(policy, stated *model.Origin) place {
	if policy != nil {
		return at(policy)
	}
	return at(stated)
}

// closedPort is where a closed route is refused: on its port, or, when nobody
// knows which that is, on every port that is not another one's. A rule about
// every port would close routes that are in order, and TCP ports with them,
// where rules lose their paths.
func closedPort(a *intent.Application, route *intent.Route) requests {
	if route.Port.Target != 0 {
		return requests{ports: ports(route.Port)}
	}
	var known []string
	for _, p := range a.Ports {
		if p.Target != 0 {
			known = append(known, decimal(p.Target))
		}
	}
	slices.Sort(known)
	return requests{notPorts: slices.Compact(known)}
}

// denyTokens holds requests to what the route asks of a token. Where all hosts
// and the mesh ask the same, one set of rules holds for all; else each host has
// its own, for requests that come through its gateway, and the mesh one more.
func (v *routeView) denyTokens(s scope, base requests) []rule {
	var all []*intent.Requirement
	for _, p := range v.published {
		all = append(all, &p.Requirement)
	}
	inMesh := len(all)
	for i := range v.route.InMesh {
		all = append(all, &v.route.InMesh[i])
	}
	waived, everybody := principals(v.waived, v.app.TrustDomain)
	if len(all) == 0 {
		return v.denyWithoutProvider(s, waived, everybody)
	}
	// Where no token is needed, those of others are refused on the hosts alone.
	hostsAlone := everybody || v.route.Mode == v1alpha1.AuthenticationNone
	if alike(all) {
		switch {
		case hostsAlone && len(v.gateways) == 0:
			return nil
		case hostsAlone:
			s.from = from(v.gateways)
		case len(waived) > 0:
			s.from = notFrom(waived)
			if len(v.gateways) > 0 {
				// A gateway brings the requests of others: it is never waived.
				s.from = append(s.from, from(v.gateways)...)
			}
		}
		return tokenRules(s, all[0])
	}
	out := v.denyTokensAtHosts(base)
	if everybody || len(v.route.InMesh) == 0 {
		return out
	}
	exempt := slices.Concat(waived, v.gateways)
	slices.Sort(exempt)
	s.from = notFrom(slices.Compact(exempt))
	return append(out, tokenRules(s, all[inMesh:]...)...)
}

// denyTokensAtHosts are the rules for requests that gateways bring: what each
// host asks, and on hosts that are not ours what any of the gateway's asks.
func (v *routeView) denyTokensAtHosts(base requests) []rule {
	hosts := make(map[string][]string)
	asked := make(map[string][]*intent.Requirement)
	var out []rule
	for _, p := range v.published {
		who := p.Host.Ingress.Identity.Principal()
		hosts[who] = append(hosts[who], p.Host.Name)
		asked[who] = append(asked[who], &p.Requirement)
		host := base
		host.hosts = authorities(p.Host.Name)
		out = append(out, tokenRules(scope{to: v.covered.on(host), from: from([]string{who})}, &p.Requirement)...)
	}
	for _, who := range v.gateways {
		others := base
		slices.Sort(hosts[who])
		others.notHosts = authorities(slices.Compact(hosts[who])...)
		out = append(out, tokenRules(scope{to: v.covered.on(others), from: from([]string{who})}, asked[who]...)...)
	}
	return out
}

// denyWithoutProvider closes a route that asks for a token to callers that would
// need one, when nobody says whose tokens count.
func (v *routeView) denyWithoutProvider(s scope, waived []string, everybody bool) []rule {
	if v.route.Mode == v1alpha1.AuthenticationNone || everybody || len(v.needing) == 0 {
		return nil
	}
	s.from = notFrom(waived)
	return []rule{s.rule(below(&v.route.Origin, "authentication"), provenance.ReasonPolicy)}
}

func alike(all []*intent.Requirement) bool {
	for _, q := range all[1:] {
		if q.Issuer != all[0].Issuer || q.ScopeClaim != all[0].ScopeClaim ||
			!slices.Equal(q.Audiences, all[0].Audiences) || !slices.Equal(q.Issuers, all[0].Issuers) {
			return false
		}
	}
	return true
}

// allowGateways lets the gateways of the route's hosts call it, each for its
// own hosts.
func (v *routeView) allowGateways() []rule {
	hosts := make(map[string][]string)
	origin := make(map[string]place)
	for _, p := range v.published {
		who := p.Host.Ingress.Identity.Principal()
		if len(hosts[who]) == 0 {
			origin[who] = at(&p.Origin)
		}
		hosts[who] = append(hosts[who], p.Host.Name)
	}
	var out []rule
	for _, who := range v.gateways {
		list := hosts[who]
		slices.Sort(list)
		base := requests{hosts: authorities(slices.Compact(list)...), ports: ports(v.route.Port), methods: v.route.Methods}
		out = append(out, scope{to: v.covered.on(base), from: from([]string{who})}.rule(origin[who], provenance.ReasonRoute))
	}
	return out
}
