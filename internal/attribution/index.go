// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/origin"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Input is one moment of a mesh.
type Input struct {
	// Objects are Istio's, those that Trellis made and those of others, each with its kind
	// set; ConfigMaps that hold provenance are among them. Others are left out.
	Objects      []runtime.Object
	Applications []*v1alpha1.Application
	// Proxies are all that write entries.
	Proxies []xds.Node
	// RootNamespace is where policies are for the whole mesh; empty is istio-system.
	RootNamespace string
	// TrustDomains are those of the mesh, whose names are left out of peers; none is
	// cluster.local.
	TrustDomains []string
}

// Index knows where the rules of proxies came from. It is immutable and safe for
// concurrent use.
type Index struct {
	policies     map[model.Name]*object
	routes       map[string][]route
	pods         map[accesslog.Writer]*workload
	addresses    map[netip.Addr]*workload
	served       map[model.Name]served
	alike        map[string]*workload
	trustDomains []string
	past         history
}

// workload is what is known of proxies that are alike: of one namespace, kind, account
// and set of labels.
type workload struct {
	place     hits.Place
	namespace string
	account   string
	labels    map[string]string
	// application is whose workload it is, and several that it is of more than one.
	application model.Name
	several     bool
	// What decides without naming a rule.
	byDefault, wouldByDefault, byToken, byAuthorizer, byMutualTLS, byCalls whole
}

// whole is what objects state together that select a workload.
type whole struct {
	key   hits.Key
	why   Why // empty: it is known
	among []string
	past  []past[whole]
}

// New makes an Index.
func New(in Input) *Index {
	x := &Index{
		policies: map[model.Name]*object{}, routes: map[string][]route{}, pods: map[accesslog.Writer]*workload{}, addresses: map[netip.Addr]*workload{},
		served: map[model.Name]served{}, alike: map[string]*workload{},
		trustDomains: in.TrustDomains,
	}
	if len(x.trustDomains) == 0 {
		x.trustDomains = []string{"cluster.local"}
	}
	stated := applications{}
	for _, a := range in.Applications {
		name := model.Name{Namespace: a.Namespace, Name: a.Name}
		stated[name], x.served[name] = a, servedBy(a)
	}
	origins := origin.New(in.Objects, nil)
	inNamespace := map[string][]*object{}
	for _, one := range in.Objects {
		if service, ok := one.(*networkingv1.VirtualService); ok {
			routesOf(service, origins, stated, x.routes)
		}
		o := objectOf(one)
		if o == nil {
			continue
		}
		o.describe(origins, stated)
		inNamespace[o.namespace] = append(inNamespace[o.namespace], o)
		name := model.Name{Namespace: o.namespace, Name: o.name}
		switch o.kind {
		case "AuthorizationPolicy":
			x.policies[name] = o
		case "EnvoyFilter":
			if x.policies[name] == nil {
				x.policies[name] = o
			}
		}
	}
	for _, list := range inNamespace {
		slices.SortFunc(list, func(a, b *object) int {
			return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
		})
	}
	x.addProxies(in.Proxies, inNamespace, cmp.Or(in.RootNamespace, "istio-system"))
	return x
}

// addProxies judges proxies that are alike once.
func (x *Index) addProxies(proxies []xds.Node, inNamespace map[string][]*object, root string) {
	for _, node := range proxies {
		if node.Type != xds.Sidecar && node.Type != xds.Router {
			continue
		}
		key := node.Likeness()
		w := x.alike[key]
		if w == nil {
			w = newWorkload(node, inNamespace, root)
			x.alike[key] = w
		}
		x.pods[accesslog.Writer{Namespace: node.Namespace, Pod: node.Name}] = w
		for _, address := range node.Addresses {
			x.addresses[address.Unmap()] = w
		}
	}
}

func newWorkload(n xds.Node, inNamespace map[string][]*object, root string) *workload {
	w := &workload{place: hits.Workload, namespace: n.Namespace, account: n.Namespace + "/" + n.ServiceAccount, labels: n.Labels}
	if n.Type == xds.Router {
		w.place = hits.Gateway
	}
	found := slices.Clone(inNamespace[n.Namespace])
	if n.Namespace != root {
		for _, o := range inNamespace[root] {
			// A selector of the root namespace is for the whole mesh with policies and tokens alone.
			if len(o.selector) == 0 || o.action != mutual && o.action != calls {
				found = append(found, o)
			}
		}
	}
	found = slices.DeleteFunc(found, func(o *object) bool { return !o.selects(n.Labels) })
	of := func(a action, tried bool) []*object {
		return slices.DeleteFunc(slices.Clone(found), func(o *object) bool { return o.action != a || o.tried != tried })
	}
	for _, o := range found {
		if !slices.Contains(o.places, w.place) {
			o.places = append(o.places, w.place)
		}
		w.belongs(o)
	}
	w.byDefault = w.defaultOf(of(allows, false))
	w.wouldByDefault = w.defaultOf(of(allows, true))
	w.byToken = w.together(of(tokens, false), ReasonToken)
	w.byAuthorizer = w.together(of(asks, false), ReasonAuthorizer)
	w.byMutualTLS = w.together(closest(of(mutual, false), n.Namespace), "")
	w.byCalls = w.together(closest(of(calls, false), n.Namespace), "")
	return w
}

// belongs notes the Application that an object was made for as the workload's. What
// gateways have is for Applications that are reached through them.
func (w *workload) belongs(o *object) {
	if w.place != hits.Workload || o.owner == (model.Name{}) || o.owner.Namespace != w.namespace {
		return
	}
	if w.application != (model.Name{}) && w.application != o.owner {
		w.several = true
	}
	w.application = o.owner
}

// key is what is known of every request of the workload.
func (w *workload) key() hits.Key {
	key := hits.Key{Rule: -1, Place: w.place}
	if w.place == hits.Workload {
		key.Namespace = w.namespace
		if !w.several {
			key.Application = w.application.Name
		}
	}
	return key
}

// defaultOf is what refuses where none of the policies that allow has a rule that matches:
// all of them, and the one alone where there is one.
func (w *workload) defaultOf(all []*object) whole {
	out := whole{key: w.key()}
	out.key.Reason = ReasonDefault
	if len(all) == 0 {
		out.why = NoPolicy
		return out
	}
	for _, o := range all {
		out.among = append(out.among, o.String())
	}
	if len(all) > 1 {
		out.why = SeveralPolicies
	}
	first := all[0]
	if slices.ContainsFunc(all, func(o *object) bool { return o.owner != first.owner }) {
		return out
	}
	if len(all) == 1 {
		out.key.Object = first.String()
	}
	switch {
	case first.owner != (model.Name{}):
		out.key.Namespace, out.key.Application = first.owner.Namespace, first.owner.Name
		out.key.Statement, out.why = "Application "+first.owner.Namespace+"/"+first.owner.Name, ""
	case len(all) == 1:
		out.key.Statement = first.String()
		if len(first.rules) > 0 && first.rules[0].Reason != ReasonByHand {
			out.key.Statement = first.rules[0].Statement
		}
	}
	return out
}

// together is what rules state, any of which may have decided: what they have in common.
func (w *workload) together(all []*object, reason string) whole {
	out := whole{key: w.key()}
	var rules []hits.Key
	for _, o := range all {
		out.among = append(out.among, o.String())
		rules = append(rules, o.rules...)
	}
	if len(rules) == 0 {
		out.why = NoPolicy
		out.key.Reason = reason
		return out
	}
	first := rules[0]
	common := func(of func(hits.Key) string) string {
		if slices.ContainsFunc(rules, func(k hits.Key) bool { return of(k) != of(first) }) {
			return ""
		}
		return of(first)
	}
	out.key.Object = common(func(k hits.Key) string { return k.Object })
	out.key.Statement = common(func(k hits.Key) string { return k.Statement })
	if out.key.Statement != "" {
		out.key.Field = common(func(k hits.Key) string { return k.Field })
	} else {
		out.why = SeveralPolicies
	}
	if len(rules) == 1 {
		out.key.Rule = first.Rule
	}
	out.key.Reason = cmp.Or(reason, common(func(k hits.Key) string { return k.Reason }))
	return out
}

// closest are those that go before the others: with a selector, then of the namespace,
// then of the mesh.
func closest(all []*object, namespace string) []*object {
	for _, is := range []func(*object) bool{
		func(o *object) bool { return len(o.selector) > 0 },
		func(o *object) bool { return o.namespace == namespace },
	} {
		if some := slices.DeleteFunc(slices.Clone(all), func(o *object) bool { return !is(o) }); len(some) > 0 {
			return some
		}
	}
	return all
}
