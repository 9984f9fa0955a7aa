// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// likeness is how much of an object a proxy's configuration shows.
type likeness int

const (
	absent likeness = iota
	// different: the object is there, in another form than was written.
	different
	alike
)

// recogniser finds one object in the configuration of a proxy. It is immutable,
// and keeps the object in its encoded form: there are thousands, and few are
// looked for at any time.
type recogniser struct {
	ref model.Reference
	// key is of the object's spec: what else is in an object never reaches a
	// proxy.
	key [sha256.Size]byte
	// types carry the object to a proxy.
	types []resourceType
	// reaches tells whether the object is for a workload, among the workloads of
	// its owner.
	reaches func(doors gateways, namespace string, labels map[string]string) bool
	// door is a Gateway's selector.
	door map[string]string
	// find also says what is not as written.
	find finder
}

type finder func(*dumpIndex) (likeness, string)

// newRecogniser returns nil for an object that proxies never see.
func newRecogniser(packed compile.Packed) (*recogniser, error) {
	object, err := packed.Unpack()
	if err != nil {
		return nil, err
	}
	r := &recogniser{ref: object.Ref, types: []resourceType{listeners}}
	name := model.Name{Namespace: object.Ref.Namespace, Name: object.Ref.Name}
	switch value := object.Value.(type) {
	case *securityv1.AuthorizationPolicy:
		tried := value.Annotations[compile.AnnotationDryRun] == "true"
		recognise(r, packed.Spec, func(spec *securityapi.AuthorizationPolicy) finder { return authorizationPolicy(name, spec, tried) })
		r.reaches = selected(name.Namespace, value.Spec.GetSelector().GetMatchLabels())
	case *securityv1.RequestAuthentication:
		recognise(r, packed.Spec, requestAuthentication)
		r.reaches = selected(name.Namespace, value.Spec.GetSelector().GetMatchLabels())
	case *securityv1.PeerAuthentication:
		recognise(r, packed.Spec, peerAuthentication)
		r.reaches = selected(name.Namespace, value.Spec.GetSelector().GetMatchLabels())
	case *networkingv1alpha3.EnvoyFilter:
		recognise(r, packed.Spec, envoyFilter)
		r.reaches = selected(name.Namespace, value.Spec.GetWorkloadSelector().GetLabels())
	case *networkingv1.Gateway:
		recognise(r, packed.Spec, func(spec *networkingapi.Gateway) finder { return gateway(name, spec) })
		r.types, r.reaches = []resourceType{listeners, routes}, one(name)
		r.door = value.Spec.GetSelector()
	case *networkingv1.VirtualService:
		recognise(r, packed.Spec, func(spec *networkingapi.VirtualService) finder { return virtualService(name, spec) })
		r.types, r.reaches = []resourceType{routes}, named(name.Namespace, value.Spec.GetGateways())
	case *networkingv1.DestinationRule:
		recognise(r, packed.Spec, func(*networkingapi.DestinationRule) finder { return destinationRule(name) })
		r.types, r.reaches = []resourceType{clusters}, gateways.any
	case *networkingv1.Sidecar:
		recognise(r, packed.Spec, sidecar)
		r.reaches = selected(name.Namespace, value.Spec.GetWorkloadSelector().GetLabels())
	case *networkingv1.ServiceEntry:
		recognise(r, packed.Spec, serviceEntry)
		r.types, r.reaches = []resourceType{clusters}, selected(name.Namespace, nil)
	default:
		return nil, nil
	}
	return r, nil
}

// recognise notes a spec, and how to find it once it is looked for.
func recognise[M any, P interface {
	*M
	proto.Message
}](r *recogniser, raw []byte, find func(P) finder) {
	r.key = sha256.Sum256(raw)
	r.find = func(x *dumpIndex) (likeness, string) {
		spec := P(new(M))
		if err := proto.Unmarshal(raw, spec); err != nil {
			return absent, ""
		}
		return find(spec)(x)
	}
}

func selected(namespace string, selector map[string]string) func(gateways, string, map[string]string) bool {
	return func(_ gateways, workload string, labels map[string]string) bool {
		return workload == namespace && (len(selector) == 0 || model.Selects(selector, labels))
	}
}

// gateways are the selectors of the Gateways that were written. Those of Trellis
// are for pods of their own namespace.
type gateways map[model.Name]map[string]string

func (g gateways) selects(name model.Name, namespace string, labels map[string]string) bool {
	selector, ok := g[name]
	return ok && namespace == name.Namespace && model.Selects(selector, labels)
}

func one(name model.Name) func(gateways, string, map[string]string) bool {
	return func(doors gateways, namespace string, labels map[string]string) bool {
		return doors.selects(name, namespace, labels)
	}
}

// named takes names as a VirtualService has them: NAME or NAMESPACE/NAME.
func named(namespace string, names []string) func(gateways, string, map[string]string) bool {
	return func(doors gateways, workload string, labels map[string]string) bool {
		return slices.ContainsFunc(names, func(full string) bool {
			name := model.Name{Namespace: namespace, Name: full}
			if before, after, ok := strings.Cut(full, "/"); ok {
				name = model.Name{Namespace: before, Name: after}
			}
			return doors.selects(name, workload, labels)
		})
	}
}

func (g gateways) any(namespace string, labels map[string]string) bool {
	for name := range g {
		if g.selects(name, namespace, labels) {
			return true
		}
	}
	return false
}

// authorizationPolicy looks among what proxies enforce, or for one that is only tried
// among what they count: one is no substitute for the other.
func authorizationPolicy(name model.Name, spec *securityapi.AuthorizationPolicy, tried bool) finder {
	rules := make([]set, len(spec.GetRules()))
	for i, rule := range spec.GetRules() {
		rules[i] = ruleLiterals(rule)
	}
	prefix := fmt.Sprintf("ns[%s]-policy[%s]-rule[", name.Namespace, name.Name)
	return func(x *dumpIndex) (likeness, string) {
		in := x.enforced
		if tried {
			in = x.tried
		}
		last := max(0, len(rules)-1)
		if !holdsRule(in.http, prefix, last) {
			// On TCP ports Istio leaves out what only HTTP has.
			if holdsRule(in.tcp, prefix, last) {
				return alike, ""
			}
			return absent, ""
		}
		for i, rule := range rules {
			found := in.http[ruleID(prefix, i)]
			if len(found) == 0 {
				return different, fmt.Sprintf("rule %d is not there", i)
			}
			for _, policy := range found {
				if value := policy.differs(rule); value != "" {
					return different, fmt.Sprintf("rule %d differs in %q", i, value)
				}
			}
		}
		if _, more := in.http[ruleID(prefix, last+1)]; more {
			return different, fmt.Sprintf("rule %d is still there", last+1)
		}
		return alike, ""
	}
}

// ruleID is how Istio names the policy that a rule becomes. An
// AuthorizationPolicy without rules becomes one that never matches, rule 0.
func ruleID(prefix string, rule int) string { return fmt.Sprintf("%s%d]", prefix, rule) }

func holdsRule(policies map[string][]literals, prefix string, last int) bool {
	for i := range last + 1 {
		if _, ok := policies[ruleID(prefix, i)]; ok {
			return true
		}
	}
	return false
}

// requestAuthentication cannot tell whose a provider is: Istio merges all that
// select a proxy. So it finds what must be there, and never what is left over.
func requestAuthentication(spec *securityapi.RequestAuthentication) finder {
	return func(x *dumpIndex) (likeness, string) {
		for _, rule := range spec.GetJwtRules() {
			audiences, ok := x.issuers[rule.GetIssuer()]
			if !ok {
				return absent, ""
			}
			want := newSet(rule.GetAudiences()...)
			if !slices.ContainsFunc(audiences, want.equal) {
				return different, fmt.Sprintf("the audiences of issuer %q differ", rule.GetIssuer())
			}
		}
		return alike, ""
	}
}

func peerAuthentication(spec *securityapi.PeerAuthentication) finder {
	mode := spec.GetMtls().GetMode()
	ports := len(spec.GetPortLevelMtls()) > 0
	return func(x *dumpIndex) (likeness, string) {
		switch {
		case ports:
			return alike, ""
		case mode == securityapi.PeerAuthentication_MutualTLS_STRICT && x.plainChains > 0:
			return different, "plain text is still accepted"
		case mode == securityapi.PeerAuthentication_MutualTLS_PERMISSIVE && x.plainChains == 0:
			return different, "plain text is still refused"
		}
		return alike, ""
	}
}

func gateway(name model.Name, spec *networkingapi.Gateway) finder {
	hosts, secrets := set{}, set{}
	for _, server := range spec.GetServers() {
		if server.GetTls() == nil || server.GetTls().GetHttpsRedirect() {
			continue
		}
		for _, host := range server.GetHosts() {
			if _, after, ok := strings.Cut(host, "/"); ok {
				host = after
			}
			hosts.add(host)
		}
		if secret := server.GetTls().GetCredentialName(); secret != "" {
			secrets.add(secret)
		}
	}
	return func(x *dumpIndex) (likeness, string) {
		marks := x.gateways[name]
		switch {
		case len(hosts) == 0:
			return alike, ""
		case marks == nil:
			return absent, ""
		case !marks.hosts.equal(hosts):
			return different, "its hosts differ"
		case !secretsEqual(marks.secrets, secrets, name.Namespace):
			return different, "its certificates differ"
		}
		return alike, ""
	}
}

// secretsEqual allows for the namespace that Istio may put before a name.
func secretsEqual(got, want set, namespace string) bool {
	trimmed := set{}
	for secret := range got {
		trimmed.add(strings.TrimPrefix(secret, namespace+"/"))
	}
	return trimmed.equal(want)
}

func virtualService(name model.Name, spec *networkingapi.VirtualService) finder {
	want := map[string]set{}
	for _, route := range spec.GetHttp() {
		if len(route.GetMatch()) == 0 {
			addPath(want, route.GetName(), "/")
		}
		for _, match := range route.GetMatch() {
			full := route.GetName()
			if match.GetName() != "" {
				full += "." + match.GetName()
			}
			addPath(want, full, matchedPath(match.GetUri()))
		}
	}
	names := slices.Sorted(maps.Keys(want))
	return func(x *dumpIndex) (likeness, string) {
		got, ok := x.virtualServices[name]
		if !ok && len(names) > 0 {
			return absent, ""
		}
		for _, route := range names {
			if got[route] == nil {
				return different, fmt.Sprintf("route %q is not there", route)
			}
			if !got[route].equal(want[route]) {
				return different, fmt.Sprintf("the paths of route %q differ", route)
			}
		}
		for route := range got {
			if want[route] == nil {
				return different, fmt.Sprintf("route %q is still there", route)
			}
		}
		return alike, ""
	}
}

func addPath(routes map[string]set, name, path string) {
	if routes[name] == nil {
		routes[name] = set{}
	}
	routes[name].add(path)
}

func matchedPath(uri *networkingapi.StringMatch) string {
	switch match := uri.GetMatchType().(type) {
	case *networkingapi.StringMatch_Exact:
		return match.Exact
	case *networkingapi.StringMatch_Prefix:
		return match.Prefix
	case *networkingapi.StringMatch_Regex:
		return match.Regex
	}
	return "/"
}

// envoyFilter finds the HTTP filters that are added, by their names.
func envoyFilter(spec *networkingapi.EnvoyFilter) finder {
	var names []string
	for _, patch := range spec.GetConfigPatches() {
		name := patch.GetPatch().GetValue().GetFields()["name"].GetStringValue()
		if patch.GetApplyTo() == networkingapi.EnvoyFilter_HTTP_FILTER && name != "" {
			names = append(names, name)
		}
	}
	return func(x *dumpIndex) (likeness, string) {
		for _, name := range names {
			if _, ok := x.httpFilters[name]; !ok {
				return absent, ""
			}
		}
		return alike, ""
	}
}

func destinationRule(name model.Name) finder {
	return func(x *dumpIndex) (likeness, string) {
		if !x.destinationRules[name] {
			return absent, ""
		}
		return alike, ""
	}
}
