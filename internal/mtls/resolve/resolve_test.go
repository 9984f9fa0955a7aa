// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

const cart = "cart.shop.svc.cluster.local"

// named are name and time of an object called "namespace/name"; age counts the days
// that it is younger than the first, below 0 it has no time, as in a file.
func named(name string, age int) metav1.ObjectMeta {
	namespace, name, _ := strings.Cut(name, "/")
	m := metav1.ObjectMeta{Namespace: namespace, Name: name}
	if age >= 0 {
		m.CreationTimestamp = metav1.NewTime(time.Unix(1_700_000_000, 0).AddDate(0, 0, age))
	}
	return m
}

type part func(*networkingv1.DestinationRule)

func rule(name string, age int, host string, parts ...part) *networkingv1.DestinationRule {
	o := &networkingv1.DestinationRule{ObjectMeta: named(name, age)}
	o.Spec.Host = host
	for _, add := range parts {
		add(o)
	}
	return o
}

func exportTo(namespaces ...string) part {
	return func(o *networkingv1.DestinationRule) { o.Spec.ExportTo = namespaces }
}

func selector(app string) part {
	return func(o *networkingv1.DestinationRule) { o.Spec.WorkloadSelector = appIs(app) }
}

func appIs(app string) *typeapi.WorkloadSelector {
	return &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": app}}
}

func settings(mode string) *networkingapi.ClientTLSSettings {
	if mode == "" {
		return nil
	}
	return &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_TLSmode(networkingapi.ClientTLSSettings_TLSmode_value[mode])}
}

func tls(mode string) part {
	return func(o *networkingv1.DestinationRule) { policyOf(&o.Spec.TrafficPolicy).Tls = settings(mode) }
}

func policyOf(at **networkingapi.TrafficPolicy) *networkingapi.TrafficPolicy {
	if *at == nil {
		*at = &networkingapi.TrafficPolicy{}
	}
	return *at
}

func portTLS(port uint32, mode string) part {
	return func(o *networkingv1.DestinationRule) { addPort(policyOf(&o.Spec.TrafficPolicy), port, mode) }
}

func addPort(p *networkingapi.TrafficPolicy, port uint32, mode string) {
	p.PortLevelSettings = append(p.PortLevelSettings, &networkingapi.TrafficPolicy_PortTrafficPolicy{
		Port: &networkingapi.PortSelector{Number: port}, Tls: settings(mode),
	})
}

// subset has a mode of its own unless that is empty.
func subset(name, mode string) part {
	return func(o *networkingv1.DestinationRule) {
		s := &networkingapi.Subset{Name: name}
		if mode != "" {
			s.TrafficPolicy = &networkingapi.TrafficPolicy{Tls: settings(mode)}
		}
		o.Spec.Subsets = append(o.Spec.Subsets, s)
	}
}

func subsetPort(port uint32, mode string) part {
	return func(o *networkingv1.DestinationRule) {
		addPort(policyOf(&o.Spec.Subsets[len(o.Spec.Subsets)-1].TrafficPolicy), port, mode)
	}
}

func fullName(n model.Name) string {
	if n.Name == "" {
		return ""
	}
	return n.Namespace + "/" + n.Name
}

func TestTheRuleInForceAndWhyTheOthersAreNot(t *testing.T) {
	for _, c := range []struct {
		name   string
		client resolve.Client
		input  resolve.Input
		rules  []*networkingv1.DestinationRule
		// want is the rule in force, then those merged into it; empty for none.
		want string
		// why are place and sentence of each candidate.
		why []string
	}{
		{
			name: "nothing is said", client: resolve.Client{Namespace: "front"}, why: nil,
		},
		{
			name: "a rule of the client's namespace comes before a more specific one of the service's", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("front/all", 1, "*.local"), rule("shop/cart", 0, cart), rule("istio-system/mesh", 0, "*")},
			want:  "front/all",
			why: []string{
				"client namespace front/all: It is in force: it is for *.local and in the client namespace front.",
				"service namespace shop/cart: The client namespace front comes first and has a rule for the host: front/all.",
				"root namespace istio-system/mesh: The client namespace front comes first and has a rule for the host: front/all.",
			},
		},
		{
			name: "a rule that is exported elsewhere hides a public one with a wildcard", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("shop/cart", 0, cart, exportTo("other")), rule("shop/all", 0, "*.shop.svc.cluster.local")},
			want:  "",
			why: []string{
				"service namespace shop/cart: It is exported to other, and not to the client's namespace front.",
				"service namespace shop/all: Its host *.shop.svc.cluster.local is less specific than cart.shop.svc.cluster.local of shop/cart, which hides it although that is not exported to the client's namespace front.",
			},
		},
		{
			name: "and the root namespace is asked then", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("shop/cart", 0, cart, exportTo("other")), rule("istio-system/mesh", 0, "*.local"), rule("istio-system/world", 0, "*")},
			want:  "istio-system/mesh",
			why: []string{
				"service namespace shop/cart: It is exported to other, and not to the client's namespace front.",
				"root namespace istio-system/mesh: It is in force: it is for *.local and in the root namespace istio-system.",
				"root namespace istio-system/world: Its host * is less specific than *.local of istio-system/mesh.",
			},
		},
		{
			name: "rules for other workloads leave nothing, and no other namespace is asked", client: resolve.Client{Namespace: "front", Labels: map[string]string{"app": "web"}},
			rules: []*networkingv1.DestinationRule{rule("front/cart", 0, cart, selector("job")), rule("shop/cart", 0, cart)},
			want:  "",
			why: []string{
				"client namespace front/cart: Its workloadSelector (app=job) does not select the client, and nothing else is taken instead.",
				"service namespace shop/cart: The client namespace front comes first and has a rule for the host: front/cart.",
			},
		},
		{
			name: "a selected workload loses the subsets of the rule for all", client: resolve.Client{Namespace: "shop", Labels: map[string]string{"app": "web"}},
			rules: []*networkingv1.DestinationRule{rule("shop/web", 1, cart, selector("web")), rule("shop/cart", 0, cart, subset("v1", ""))},
			want:  "shop/web",
			why: []string{
				"client namespace shop/web: It is in force: it is for cart.shop.svc.cluster.local and in the client namespace shop, and its workloadSelector (app=web) selects the client.",
				"client namespace shop/cart: shop/web has a workloadSelector that selects the client, and so comes before rules for all.",
			},
		},
		{
			name: "and keeps them where that is private", client: resolve.Client{Namespace: "shop", Labels: map[string]string{"app": "web"}},
			rules: []*networkingv1.DestinationRule{rule("shop/web", 1, cart, selector("web"), tls("DISABLE")), rule("shop/cart", 0, cart, exportTo("."), tls("SIMPLE"), subset("v1", ""))},
			want:  "shop/web shop/cart",
			why: []string{
				"client namespace shop/web: It is in force: it is for cart.shop.svc.cluster.local and in the client namespace shop, and its workloadSelector (app=web) selects the client.",
				"client namespace shop/cart: Merged into shop/web, which is one with a workloadSelector; its trafficPolicy is ignored, since shop/web has one; its subsets are added: v1.",
			},
		},
		{
			name: "but then the others have no rule", client: resolve.Client{Namespace: "shop", Labels: map[string]string{"app": "job"}},
			rules: []*networkingv1.DestinationRule{rule("shop/web", 1, cart, selector("web")), rule("shop/cart", 0, cart, exportTo("."), subset("v1", ""))},
			want:  "",
			why: []string{
				"client namespace shop/web: Its workloadSelector (app=web) does not select the client, and nothing else is taken instead.",
				"client namespace shop/cart: It has the exportTo of rules with a workloadSelector (.), so it is merged into shop/web (app=web) and does not stand by itself; that one does not select the client.",
			},
		},
		{
			name: "of two rules with different exportTo the newer one counts", client: resolve.Client{Namespace: "shop"},
			rules: []*networkingv1.DestinationRule{rule("shop/old", 0, cart, exportTo("*")), rule("shop/new", 1, cart, exportTo("."))},
			want:  "shop/new",
			why: []string{
				"client namespace shop/old: Of rules with different exportTo the last one counts, and shop/new is newer.",
				"client namespace shop/new: It is in force: it is for cart.shop.svc.cluster.local and in the client namespace shop, and it is the last of those with different exportTo.",
			},
		},
		{
			name: "of two rules with the same exportTo the older one counts, and has the new subsets", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("shop/new", 1, cart, tls("SIMPLE"), subset("v1", ""), subset("v2", "")), rule("shop/old", 0, cart, tls("DISABLE"), subset("v1", ""))},
			want:  "shop/old shop/new",
			why: []string{
				"service namespace shop/old: It is in force: it is for cart.shop.svc.cluster.local and in the service namespace shop.",
				"service namespace shop/new: Merged into shop/old, which is older; its trafficPolicy is ignored, since shop/old has one; its subsets are added: v2; subsets whose names are taken are ignored: v1.",
			},
		},
		{
			name: "in files the first name counts", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("shop/b", -1, cart, tls("SIMPLE")), rule("shop/a", -1, cart)},
			want:  "shop/a shop/b",
			why: []string{
				"service namespace shop/a: It is in force: it is for cart.shop.svc.cluster.local and in the service namespace shop.",
				"service namespace shop/b: Merged into shop/a, which is as old and first by name; its trafficPolicy is used, since that has none.",
			},
		},
		{
			name: "a rule that is exported further is lost in an older, narrower one", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("shop/old", 0, cart, exportTo("store")), rule("shop/new", 1, cart, exportTo("store", "front"))},
			want:  "",
			why: []string{
				"service namespace shop/old: It is exported to store, and not to the client's namespace front.",
				"service namespace shop/new: It is merged into shop/old and does not stand by itself; that one is not exported to the client's namespace front.",
			},
		},
		{
			name: "a short host is one of the rule's own namespace, and one with a dot is whole", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("front/cart", 0, "cart"), rule("shop/cart", 0, "cart.shop"), rule("other/cart", 0, "cart")},
			want:  "",
			why: []string{
				"client namespace front/cart: Its host cart means cart.front.svc.cluster.local, since a name without a dot is taken from the rule's own namespace.",
				"service namespace shop/cart: Its host cart.shop is taken as it is, since it has a dot, and is not cart.shop.svc.cluster.local.",
			},
		},
		{
			name: "private rules and those of other namespaces are not found", client: resolve.Client{Namespace: "front"},
			rules: []*networkingv1.DestinationRule{rule("shop/cart", 0, "cart", exportTo(".")), rule("shop/web", 0, "cart", selector("web")), rule("other/cart", 0, cart), rule("other/own", 0, cart, exportTo("."))},
			want:  "",
			why: []string{
				"service namespace shop/web: It has a workloadSelector, so it is only for workloads of its own namespace shop.",
				"service namespace shop/cart: It is private to its namespace shop.",
				"other namespace other/cart: Namespace other is not looked at: only those of the client (front), of the service (shop) and the root namespace (istio-system) are.",
			},
		},
		{
			name: "the mesh may make rules private by default", client: resolve.Client{Namespace: "front"}, input: resolve.Input{DefaultExportTo: []string{"."}},
			rules: []*networkingv1.DestinationRule{rule("shop/cart", 0, cart)},
			want:  "",
			why: []string{
				"service namespace shop/cart: It has no exportTo, and by the mesh's default rules are private to their namespace, here shop.",
			},
		},
		{
			name: "a rule may not be for its own namespace", client: resolve.Client{Namespace: "shop"},
			rules: []*networkingv1.DestinationRule{rule("shop/cart", 0, cart, exportTo("front"))},
			want:  "",
			why: []string{
				"client namespace shop/cart: It is exported to front, and not to its own namespace shop.",
			},
		},
		{
			name: "a gateway in the root namespace has rules of services before those of the mesh, and private ones before all", client: resolve.Client{Namespace: "istio-system", Gateway: true},
			rules: []*networkingv1.DestinationRule{rule("istio-system/mesh", 0, "*.local"), rule("shop/cart", 0, cart)},
			want:  "shop/cart",
			why: []string{
				"service namespace shop/cart: It is in force: it is for cart.shop.svc.cluster.local and in the service namespace shop.",
				"root namespace istio-system/mesh: The service namespace shop comes first and has a rule for the host: shop/cart.",
			},
		},
		{
			name: "two selectors that select", client: resolve.Client{Namespace: "shop", Labels: map[string]string{"app": "web", "tier": "x"}},
			rules: []*networkingv1.DestinationRule{rule("shop/a", 0, cart, selector("web")), rule("shop/b", 0, cart, func(o *networkingv1.DestinationRule) {
				o.Spec.WorkloadSelector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"tier": "x"}}
			})},
			want: "shop/a",
			why: []string{
				"client namespace shop/a: It is in force: it is for cart.shop.svc.cluster.local and in the client namespace shop, and its workloadSelector (app=web) selects the client.",
				"client namespace shop/b: shop/a selects the client too, and is as old and first by name.",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.input.DestinationRules = c.rules
			trace := resolve.New(c.input).DestinationRule(c.client, resolve.Service{Host: cart, Namespace: "shop"})
			var got []string
			if trace.Rule != nil {
				got = append(got, fullName(trace.Rule.Name))
				for _, name := range trace.Rule.Merged {
					got = append(got, fullName(name))
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("in force is %q, want %q", text, c.want)
			}
			var why []string
			for _, one := range trace.Candidates() {
				why = append(why, string(one.Place)+" "+fullName(one.Name)+": "+one.Why)
			}
			if !slices.Equal(why, c.why) {
				t.Errorf("candidates\n%s\nwant\n%s", strings.Join(why, "\n"), strings.Join(c.why, "\n"))
			}
		})
	}
}

func TestTheRuleInForceInOneSentence(t *testing.T) {
	private := rule("shop/cart", 0, cart, exportTo("."))
	r := resolve.New(resolve.Input{DestinationRules: []*networkingv1.DestinationRule{
		rule("shop/web", 0, cart, selector("web")), private, rule("front/cart", 0, cart), rule("front/more", 1, cart), rule("front/most", 2, cart),
	}})
	to := resolve.Service{Host: cart, Namespace: "shop"}
	for want, client := range map[string]resolve.Client{
		"DestinationRule front/cart, with front/more, front/most merged into it, is in force (client namespace).":                  {Namespace: "front"},
		"DestinationRule shop/web, with shop/cart merged into it, is in force (client namespace).":                                 {Namespace: "shop", Labels: map[string]string{"app": "web"}},
		"No DestinationRule is in force: those that the client namespace shop has for the host are for other workloads.":           {Namespace: "shop"},
		"No DestinationRule is in force: the namespaces that are looked at have none for the host that clients of store may have.": {Namespace: "store"},
	} {
		if got := r.DestinationRule(client, to).Why(); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}

func TestWhatARuleSaysOfTLS(t *testing.T) {
	sidecar := resolve.Client{Namespace: "front", Labels: map[string]string{"app": "web"}}
	secret := func(o *networkingv1.DestinationRule) { o.Spec.TrafficPolicy.Tls.CredentialName = "partner" }
	for _, c := range []struct {
		name   string
		client resolve.Client
		rule   *networkingv1.DestinationRule
		subset string
		// cluster and endpoints are mode and part.
		cluster, endpoints, why string
	}{
		{
			name: "no rule", client: sidecar, cluster: " ", endpoints: " ",
			why: "No DestinationRule is in force, so Istio decides about TLS by itself.",
		},
		{
			name: "a subset without a rule", client: sidecar, subset: "v1", cluster: " ", endpoints: " ",
			why: "No DestinationRule is in force, so there is no subset v1.",
		},
		{
			name: "a subset that the rule does not have", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), subset("v2", "")), subset: "v1", cluster: " ", endpoints: " ",
			why: "DestinationRule front/cart has no subset v1.",
		},
		{
			name: "nothing of TLS", client: sidecar, rule: rule("front/cart", 0, cart), cluster: " ", endpoints: " ",
			why: "DestinationRule front/cart says nothing of TLS for port 80, so Istio decides by itself.",
		},
		{
			name: "top level", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), portTLS(443, "SIMPLE")),
			cluster: "DISABLE top level", endpoints: "DISABLE top level",
			why: "For port 80 it is DISABLE (front/cart, spec.trafficPolicy.tls).",
		},
		{
			name: "port level", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), portTLS(80, "ISTIO_MUTUAL")),
			cluster: "ISTIO_MUTUAL port level", endpoints: "ISTIO_MUTUAL port level",
			why: "For port 80 it is ISTIO_MUTUAL (front/cart, spec.trafficPolicy.portLevelSettings[0].tls).",
		},
		{
			name: "a port entry without tls is read in two ways", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), portTLS(80, "")),
			cluster: " port level", endpoints: "DISABLE top level",
			why: "For port 80 the client's cluster is made with no TLS setting, since the entry for the port has none (front/cart, spec.trafficPolicy.portLevelSettings[0]), but its endpoints are marked by DISABLE (front/cart, spec.trafficPolicy.tls).",
		},
		{
			name: "subset", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), portTLS(80, "SIMPLE"), subset("v1", "ISTIO_MUTUAL")), subset: "v1",
			cluster: "ISTIO_MUTUAL subset", endpoints: "ISTIO_MUTUAL subset",
			why: "For port 80 it is ISTIO_MUTUAL (front/cart, spec.subsets[0].trafficPolicy.tls).",
		},
		{
			name: "subset port level", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), subset("v1", "SIMPLE"), subsetPort(80, "ISTIO_MUTUAL")), subset: "v1",
			cluster: "ISTIO_MUTUAL subset port level", endpoints: "ISTIO_MUTUAL subset port level",
			why: "For port 80 it is ISTIO_MUTUAL (front/cart, spec.subsets[0].trafficPolicy.portLevelSettings[0].tls).",
		},
		{
			name: "a subset's port entry without tls is read in two ways", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), subset("v1", ""), subsetPort(80, "")), subset: "v1",
			cluster: " subset port level", endpoints: "DISABLE top level",
			why: "For port 80 the client's cluster is made with no TLS setting, since the entry for the port has none (front/cart, spec.subsets[0].trafficPolicy.portLevelSettings[0]), but its endpoints are marked by DISABLE (front/cart, spec.trafficPolicy.tls).",
		},
		{
			name: "a subset that says nothing", client: sidecar, rule: rule("front/cart", 0, cart, tls("DISABLE"), subset("v1", "")), subset: "v1",
			cluster: "DISABLE top level", endpoints: "DISABLE top level",
			why: "For port 80 it is DISABLE (front/cart, spec.trafficPolicy.tls).",
		},
		{
			name: "a secret without a workloadSelector", client: sidecar, rule: rule("front/cart", 0, cart, tls("SIMPLE"), secret),
			cluster: "SIMPLE top level", endpoints: "SIMPLE top level",
			why: "For port 80 it is SIMPLE (front/cart, spec.trafficPolicy.tls); sidecars get the secret of a credentialName only by a rule with a workloadSelector, so there is no TLS at all.",
		},
		{
			name: "a secret with a workloadSelector", client: sidecar, rule: rule("front/cart", 0, cart, tls("SIMPLE"), secret, selector("web")),
			cluster: "SIMPLE top level", endpoints: "SIMPLE top level",
			why: "For port 80 it is SIMPLE (front/cart, spec.trafficPolicy.tls).",
		},
		{
			name: "a secret at a gateway", client: resolve.Client{Namespace: "front", Gateway: true}, rule: rule("front/cart", 0, cart, tls("MUTUAL"), secret),
			cluster: "MUTUAL top level", endpoints: "MUTUAL top level",
			why: "For port 80 it is MUTUAL (front/cart, spec.trafficPolicy.tls).",
		},
		{
			name: "MUTUAL without a certificate", client: sidecar, rule: rule("front/cart", 0, cart, tls("MUTUAL")),
			cluster: "MUTUAL top level", endpoints: "MUTUAL top level",
			why: "For port 80 it is MUTUAL (front/cart, spec.trafficPolicy.tls); MUTUAL needs a client certificate and its key, so there is no TLS at all.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := resolve.Input{}
			if c.rule != nil {
				in.DestinationRules = append(in.DestinationRules, c.rule)
			}
			got := resolve.New(in).DestinationRule(c.client, resolve.Service{Host: cart, Namespace: "shop"}).TLS(80, c.subset)
			if text := got.Cluster.Mode() + " " + string(got.Cluster.Part); text != c.cluster {
				t.Errorf("the cluster has %q, want %q", text, c.cluster)
			}
			if text := got.Endpoints.Mode() + " " + string(got.Endpoints.Part); text != c.endpoints {
				t.Errorf("the endpoints have %q, want %q", text, c.endpoints)
			}
			if why := got.Why(); why != c.why {
				t.Errorf("why\n%s\nwant\n%s", why, c.why)
			}
		})
	}
}

// accept is a PeerAuthentication for an app, or for all; ports are "8080 DISABLE".
func accept(name string, age int, app, mode string, ports ...string) *securityv1.PeerAuthentication {
	modeOf := func(mode string) *securityapi.PeerAuthentication_MutualTLS {
		return &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_Mode(securityapi.PeerAuthentication_MutualTLS_Mode_value[mode])}
	}
	o := &securityv1.PeerAuthentication{ObjectMeta: named(name, age)}
	if app != "" {
		o.Spec.Selector = appIs(app)
	}
	if mode != "" {
		o.Spec.Mtls = modeOf(mode)
	}
	for _, mode := range ports {
		o.Spec.PortLevelMtls = map[uint32]*securityapi.PeerAuthentication_MutualTLS{8080: modeOf(mode)}
	}
	return o
}

func TestTheModeAndWhoSaysIt(t *testing.T) {
	for _, c := range []struct {
		name     string
		policies []*securityv1.PeerAuthentication
		// want is mode, level and object; whole is the same of the namespace.
		want, whole string
		why         []string
	}{
		{name: "nothing is said", want: "PERMISSIVE  ", whole: "PERMISSIVE  "},
		{
			name:     "the narrowest level decides",
			policies: []*securityv1.PeerAuthentication{accept("istio-system/mesh", 0, "", "STRICT"), accept("shop/all", 0, "", "PERMISSIVE"), accept("shop/cart", 0, "cart", "DISABLE"), accept("front/all", 0, "", "STRICT")},
			want:     "DISABLE workload shop/cart", whole: "PERMISSIVE namespace shop/all",
			why: []string{
				"istio-system/mesh: shop/cart is of the narrower workload level and decides instead.",
				"shop/all: shop/cart is of the narrower workload level and decides instead.",
				"shop/cart: It decides: it says DISABLE for the workload level, and nothing narrower does.",
			},
		},
		{
			name:     "the mesh says DISABLE and the workload STRICT",
			policies: []*securityv1.PeerAuthentication{accept("istio-system/mesh", 0, "", "DISABLE"), accept("shop/cart", 0, "cart", "STRICT")},
			want:     "STRICT workload shop/cart", whole: "DISABLE mesh istio-system/mesh",
			why: []string{
				"istio-system/mesh: shop/cart is of the narrower workload level and decides instead.",
				"shop/cart: It decides: it says STRICT for the workload level, and nothing narrower does.",
			},
		},
		{
			name:     "what says no mode inherits",
			policies: []*securityv1.PeerAuthentication{accept("istio-system/mesh", 0, "", "STRICT"), accept("shop/all", 0, "", "UNSET", "DISABLE"), accept("shop/cart", 0, "cart", "", "UNSET")},
			want:     "STRICT mesh istio-system/mesh", whole: "STRICT mesh istio-system/mesh",
			why: []string{
				"istio-system/mesh: It decides: it says STRICT for the mesh level, and nothing narrower does.",
				"shop/all: It says no mode, so that istio-system/mesh decides. What it says for single ports does not count, since it has no selector.",
				"shop/cart: It says no mode, so that istio-system/mesh decides.",
			},
		},
		{
			name:     "a port comes before the workload",
			policies: []*securityv1.PeerAuthentication{accept("shop/cart", 0, "cart", "STRICT", "DISABLE"), accept("shop/older", 1, "cart", "DISABLE", "STRICT")},
			want:     "DISABLE port shop/cart", whole: "PERMISSIVE  ",
			why: []string{
				"shop/cart: It decides: it says DISABLE for port 8080.",
				"shop/older: shop/cart selects the workload too and is older; only one counts. What it says for single ports does not count either.",
			},
		},
		{
			name:     "a port that says no mode has the workload's",
			policies: []*securityv1.PeerAuthentication{accept("shop/cart", 0, "cart", "STRICT", "UNSET")},
			want:     "STRICT workload shop/cart", whole: "PERMISSIVE  ",
			why: []string{"shop/cart: It decides: it says STRICT, and its entry for port 8080 says no mode."},
		},
		{
			name:     "of two for all only one counts, in files the first by name",
			policies: []*securityv1.PeerAuthentication{accept("shop/b", -1, "", "STRICT"), accept("shop/a", -1, "", "UNSET"), accept("istio-system/young", 1, "", "STRICT"), accept("istio-system/old", 0, "", "DISABLE")},
			want:     "DISABLE mesh istio-system/old", whole: "DISABLE mesh istio-system/old",
			why: []string{
				"istio-system/old: It decides: it says DISABLE for the mesh level, and nothing narrower does.",
				"istio-system/young: istio-system/old is for all workloads too and is older; only one counts.",
				"shop/a: It says no mode, so that istio-system/old decides.",
				"shop/b: shop/a is for all workloads too and is as old and first by name; only one counts.",
			},
		},
		{
			name:     "a selector in the root namespace and one for others",
			policies: []*securityv1.PeerAuthentication{accept("istio-system/cart", 0, "cart", "STRICT"), accept("shop/job", 0, "job", "STRICT")},
			want:     "PERMISSIVE  ", whole: "PERMISSIVE  ",
			why: []string{
				"istio-system/cart: It has a selector (app=cart) and is in the root namespace, where only PeerAuthentications without one count.",
				"shop/job: Its selector (app=job) does not select the workload.",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := resolve.New(resolve.Input{PeerAuthentications: c.policies})
			text := func(trace *resolve.ModeTrace) string {
				name := ""
				if trace.Policy != nil {
					name = trace.Policy.Namespace + "/" + trace.Policy.Name
				}
				return string(trace.Mode) + " " + string(trace.Level) + " " + name
			}
			trace := r.PeerAuthentication(resolve.Workload{Namespace: "shop", Labels: map[string]string{"app": "cart"}}, 8080)
			if got := text(trace); got != c.want {
				t.Errorf("the workload has %q, want %q", got, c.want)
			}
			if got := text(r.NamespaceMode("shop")); got != c.whole {
				t.Errorf("the namespace has %q, want %q", got, c.whole)
			}
			var why []string
			for _, one := range trace.Candidates() {
				why = append(why, fullName(one.Name)+": "+one.Why)
			}
			if !slices.Equal(why, c.why) {
				t.Errorf("candidates\n%s\nwant\n%s", strings.Join(why, "\n"), strings.Join(c.why, "\n"))
			}
		})
	}
}

func TestTheModeInOneSentence(t *testing.T) {
	r := resolve.New(resolve.Input{PeerAuthentications: []*securityv1.PeerAuthentication{accept("shop/cart", 0, "cart", "STRICT", "DISABLE")}})
	of := resolve.Workload{Namespace: "shop", Labels: map[string]string{"app": "cart"}}
	for want, got := range map[string]string{
		"PeerAuthentication shop/cart says DISABLE (port level, port 8080).":       r.PeerAuthentication(of, 8080).Why(),
		"PeerAuthentication shop/cart says STRICT (workload level).":               r.PeerAuthentication(of, 0).Why(),
		"No PeerAuthentication says a mode, so it is Istio's default, PERMISSIVE.": r.NamespaceMode("shop").Why(),
	} {
		if got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}
