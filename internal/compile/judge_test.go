// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// The judge reads generated objects the way that istiod and Envoy do, as far as
// they use it. It is a model in a test, never the product: real Envoys judge the
// same in test/oracle.

// request is one HTTP request as a proxy sees it, its path normalised.
type request struct {
	host, method, path string
	headers            map[string]string
	token              *token
	// peer is the principal of the client's mutual TLS identity, or empty.
	peer string
	// port is the port that the proxy listens on.
	port int32
}

// token is a JSON Web Token with a good signature of its issuer.
type token struct {
	issuer   string
	audience []string
	scopes   []string
	roles    []string
}

func (t *token) claim(key string) []string {
	if t == nil {
		return nil
	}
	switch key {
	case "request.auth.claims[iss]":
		return []string{t.issuer}
	case "request.auth.claims[aud]":
		return t.audience
	case "request.auth.claims[scope]":
		return t.scopes
	case "request.auth.claims[realm][roles]":
		return t.roles
	}
	return nil
}

// preflight is what Envoy's JWT and CORS filters take for one.
func (r *request) preflight() bool {
	return r.method == "OPTIONS" && r.headers["origin"] != "" && r.headers["access-control-request-method"] != ""
}

// proxy is one workload's configuration.
type proxy struct {
	issuers     []string
	deny, allow []*securityv1.AuthorizationPolicy
	guards      []*regexp.Regexp
	gateways    []*networkingv1.Gateway
	services    []*networkingv1.VirtualService
	// allowAll adds an ALLOW policy of somebody else for everything.
	allowAll bool
}

func newProxy(outcome *compile.Outcome, namespace string, labels map[string]string) *proxy {
	p := &proxy{}
	mine := func(ns string, selector map[string]string) bool {
		return ns == namespace && model.Selects(selector, labels)
	}
	for _, o := range outcome.Objects {
		switch v := o.Value.(type) {
		case *securityv1.RequestAuthentication:
			if mine(v.Namespace, v.Spec.Selector.MatchLabels) {
				for _, r := range v.Spec.JwtRules {
					p.issuers = append(p.issuers, r.Issuer)
				}
			}
		case *securityv1.AuthorizationPolicy:
			if !mine(v.Namespace, v.Spec.Selector.MatchLabels) || v.Annotations[compile.AnnotationDryRun] == "true" {
				continue
			}
			if v.Spec.Action == securityapi.AuthorizationPolicy_DENY {
				p.deny = append(p.deny, v)
			} else {
				p.allow = append(p.allow, v)
			}
		case *networkingv1alpha3.EnvoyFilter:
			if mine(v.Namespace, v.Spec.WorkloadSelector.Labels) {
				p.guards = append(p.guards, guardOf(v))
			}
		case *networkingv1.Gateway:
			if model.Selects(v.Spec.Selector, labels) {
				p.gateways = append(p.gateways, v)
			}
		case *networkingv1.VirtualService:
			p.services = append(p.services, v)
		}
	}
	return p
}

// guardOf finds the regular expression of a path guard.
func guardOf(f *networkingv1alpha3.EnvoyFilter) *regexp.Regexp {
	text, err := f.Spec.ConfigPatches[0].Patch.Value.MarshalJSON()
	if err != nil {
		panic(err)
	}
	_, after, _ := strings.Cut(string(text), `"regex":`)
	quoted, err := strconv.QuotedPrefix(strings.TrimSpace(after))
	if err != nil {
		panic(err)
	}
	pattern, err := strconv.Unquote(quoted)
	if err != nil {
		panic(err)
	}
	return whole(pattern)
}

var (
	wholesLock sync.Mutex
	wholes     = map[string]*regexp.Regexp{}
)

// whole compiles an expression that the whole text has to match, once.
func whole(pattern string) *regexp.Regexp {
	wholesLock.Lock()
	defer wholesLock.Unlock()
	r := wholes[pattern]
	if r == nil {
		r = regexp.MustCompile(`^(?:` + pattern + `)$`)
		wholes[pattern] = r
	}
	return r
}

// admit runs the filters before the router: tokens, guards, DENY, ALLOW.
func (p *proxy) admit(r *request) (bool, string) {
	for _, g := range p.guards {
		if g.MatchString(r.path) {
			return false, "path guard"
		}
	}
	seen := *r
	if len(p.issuers) == 0 || r.preflight() {
		seen.token = nil
	} else if r.token != nil && !slices.Contains(p.issuers, r.token.issuer) {
		return false, "401"
	}
	for _, policy := range p.deny {
		for i, rule := range policy.Spec.Rules {
			if matchRule(rule, &seen) {
				return false, policy.Name + " " + strconv.Itoa(i)
			}
		}
	}
	if p.allowAll {
		return true, "somebody else's ALLOW"
	}
	for _, policy := range p.allow {
		for i, rule := range policy.Spec.Rules {
			if matchRule(rule, &seen) {
				return true, policy.Name + " " + strconv.Itoa(i)
			}
		}
	}
	return len(p.allow) == 0, "no ALLOW"
}

// denies reports whether a request is refused although somebody else allows it:
// ALLOW policies are joined by or.
func (p *proxy) denies(r *request) bool {
	open := *p
	open.allowAll = true
	ok, _ := open.admit(r)
	return !ok
}

func matchRule(rule *securityapi.Rule, r *request) bool {
	from := len(rule.From) == 0
	for _, f := range rule.From {
		s := f.Source
		principal := func(v string) bool { return matchText(v, r.peer) }
		namespace := func(v string) bool { return strings.HasPrefix(r.peer, "cluster.local/ns/"+v+"/") }
		from = from || anyOf(s.Principals, principal) && noneOf(s.NotPrincipals, principal) && anyOf(s.Namespaces, namespace) && noneOf(s.NotNamespaces, namespace)
	}
	to := len(rule.To) == 0
	for _, t := range rule.To {
		to = to || matchOperation(t.Operation, r)
	}
	for _, c := range rule.When {
		if !matchCondition(c, r) {
			return false
		}
	}
	return from && to
}

func matchOperation(o *securityapi.Operation, r *request) bool {
	host := func(v string) bool { return matchText(strings.ToLower(v), strings.ToLower(r.host)) }
	path := func(v string) bool { return matchText(v, r.path) }
	method := func(v string) bool { return v == r.method }
	port := func(v string) bool { return v == strconv.Itoa(int(r.port)) }
	return anyOf(o.Hosts, host) && noneOf(o.NotHosts, host) && anyOf(o.Paths, path) && noneOf(o.NotPaths, path) &&
		anyOf(o.Methods, method) && noneOf(o.NotMethods, method) && anyOf(o.Ports, port) && noneOf(o.NotPorts, port)
}

func matchCondition(c *securityapi.Condition, r *request) bool {
	holds := func(v string) bool {
		if header, ok := strings.CutPrefix(c.Key, "request.headers["); ok {
			value, there := r.headers[strings.TrimSuffix(header, "]")]
			return there && (v == "*" || matchText(v, value))
		}
		return slices.ContainsFunc(r.token.claim(c.Key), func(have string) bool { return matchText(v, have) })
	}
	return anyOf(c.Values, holds) && noneOf(c.NotValues, holds)
}

func anyOf(list []string, f func(string) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, f)
}
func noneOf(list []string, f func(string) bool) bool {
	return !slices.ContainsFunc(list, f)
}

func matchText(pattern, value string) bool {
	if pattern == "*" {
		return value != ""
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(value, prefix)
	}
	return pattern == value
}

// answer is what a gateway does with an admitted request: it forwards it, or
// answers by itself.
type answer struct {
	service string
	port    uint32
	status  uint32
	entry   string
}

// route finds the entry of a host. serverPort is the Service's port that the
// request came in by.
func (p *proxy) route(r *request, serverPort uint32) answer {
	host, _, _ := strings.Cut(strings.ToLower(r.host), ":")
	for _, g := range p.gateways {
		for _, s := range g.Spec.Servers {
			if s.Port.Number != serverPort || !slices.Contains(s.Hosts, "./"+host) {
				continue
			}
			for _, v := range p.services {
				if v.Namespace == g.Namespace && slices.Contains(v.Spec.Gateways, g.Name) && slices.Contains(v.Spec.Hosts, host) {
					return routeIn(v, r, serverPort)
				}
			}
		}
	}
	return answer{status: 404, entry: "no host"}
}

func routeIn(v *networkingv1.VirtualService, r *request, serverPort uint32) answer {
	for _, h := range v.Spec.Http {
		if !slices.ContainsFunc(h.Match, func(m *networkingapi.HTTPMatchRequest) bool { return matchHTTP(m, r, serverPort) }) {
			continue
		}
		switch {
		case h.CorsPolicy != nil && r.preflight():
			return answer{status: 200, entry: "cors"}
		case h.Redirect != nil:
			return answer{status: h.Redirect.RedirectCode, entry: h.Name}
		case h.DirectResponse != nil:
			return answer{status: h.DirectResponse.Status, entry: h.Name}
		default:
			d := h.Route[0].Destination
			return answer{service: d.Host, port: d.Port.Number, entry: h.Name}
		}
	}
	return answer{status: 404, entry: "no entry"}
}

func matchHTTP(m *networkingapi.HTTPMatchRequest, r *request, serverPort uint32) bool {
	if m.Port != 0 && m.Port != serverPort {
		return false
	}
	if len(m.QueryParams) > 0 || (m.Uri != nil && !matchString(m.Uri, r.path)) || (m.Method != nil && !matchString(m.Method, r.method)) {
		return false
	}
	for name, want := range m.Headers {
		value, there := r.headers[name]
		if name == "authorization" && r.token != nil {
			value, there = "Bearer token", true
		}
		if !there || (want.MatchType != nil && !matchString(want, value)) {
			return false
		}
	}
	return true
}

func matchString(m *networkingapi.StringMatch, value string) bool {
	switch t := m.MatchType.(type) {
	case *networkingapi.StringMatch_Exact:
		return value == t.Exact
	case *networkingapi.StringMatch_Prefix:
		return strings.HasPrefix(value, t.Prefix)
	case *networkingapi.StringMatch_Regex:
		return whole(t.Regex).MatchString(value)
	}
	return false
}
