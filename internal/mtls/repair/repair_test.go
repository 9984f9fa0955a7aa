// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

const host = "cart.shop.svc.cluster.local"

func rule(t *testing.T, text string) *networkingv1.DestinationRule {
	t.Helper()
	out := &networkingv1.DestinationRule{}
	if err := yaml.Unmarshal([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func propose(row *mtls.Row, rules ...*networkingv1.DestinationRule) []Proposal {
	r := resolve.New(resolve.Input{DestinationRules: rules})
	return Propose(row, r, resolve.Client{Namespace: "web"}, resolve.Service{Host: host, Namespace: "shop"})
}

var conflict = &mtls.Row{Client: "web/frontend", Host: host, Port: 80, Status: mtls.Conflict, Accepts: []decide.Transport{decide.MutualTLS}, Sends: []decide.Transport{decide.Plaintext}}

// full has every kind of setting, for many hosts.
const full = `
metadata: {name: everything, namespace: web}
spec:
  host: "*.local"
  exportTo: ["*"]
  workloadSelector: {matchLabels: {}}
  trafficPolicy:
    loadBalancer: {simple: LEAST_CONN, localityLbSetting: {enabled: true}}
    connectionPool: {tcp: {maxConnections: 3}, http: {http2MaxRequests: 4}}
    outlierDetection: {consecutive5xxErrors: 5}
    tls: {mode: DISABLE}
    portLevelSettings:
    - port: {number: 81}
      loadBalancer: {simple: LEAST_CONN}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy: {outlierDetection: {consecutive5xxErrors: 6}, tls: {mode: SIMPLE, sni: other}}
  - name: v2
    labels: {version: v2}
`

func TestARuleBesideOneForManyHostsHasAllOfItsSettings(t *testing.T) {
	old := rule(t, full)
	old.Spec.WorkloadSelector = nil
	all := propose(conflict, old)
	if len(all) == 0 || !all[0].Adds || all[0].Object.Namespace != "web" {
		t.Fatalf("%v", all)
	}
	got := all[0].Object.Spec.DeepCopy()
	if mode := got.GetTrafficPolicy().GetTls().GetMode(); mode != networkingapi.ClientTLSSettings_ISTIO_MUTUAL {
		t.Errorf("it says %s", mode)
	}
	want := old.Spec.DeepCopy()
	want.Host = host
	want.TrafficPolicy.Tls, got.TrafficPolicy.Tls = nil, nil
	// Istio takes both names for the same, and a new rule has the new one.
	for _, lb := range []*networkingapi.LoadBalancerSettings{want.GetTrafficPolicy().GetLoadBalancer(), want.GetTrafficPolicy().GetPortLevelSettings()[0].GetLoadBalancer()} {
		lb.LbPolicy = &networkingapi.LoadBalancerSettings_Simple{Simple: networkingapi.LoadBalancerSettings_LEAST_REQUEST}
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if !proto.Equal(&old.Spec, func() *networkingapi.DestinationRule {
		r := rule(t, full)
		r.Spec.WorkloadSelector = nil
		return &r.Spec
	}()) {
		t.Error("the old rule was changed")
	}
}

func TestTheSmallestChangeComesFirst(t *testing.T) {
	own := rule(t, "metadata: {name: cart, namespace: shop}\nspec: {host: cart, trafficPolicy: {tls: {mode: DISABLE}, loadBalancer: {simple: RANDOM}}}")
	port := rule(t, "metadata: {name: cart, namespace: shop}\nspec: {host: cart, trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}")
	silent := rule(t, "metadata: {name: cart, namespace: shop}\nspec: {host: cart, subsets: [{name: v1, labels: {version: v1}}]}")
	wide := rule(t, strings.Replace(full, "  workloadSelector: {matchLabels: {}}\n", "", 1))
	plaintext := *conflict
	plaintext.Accepts, plaintext.Sends = []decide.Transport{decide.Plaintext}, []decide.Transport{decide.MutualTLS}
	partial := *conflict
	partial.Status = mtls.Partial
	subset := *conflict
	subset.Subset = "v1"
	mutual := rule(t, "metadata: {name: cart, namespace: shop}\nspec: {host: cart, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}")
	for name, c := range map[string]struct {
		row   *mtls.Row
		rules []*networkingv1.DestinationRule
		want  string
	}{
		"an edit of the rule for the host":                   {conflict, []*networkingv1.DestinationRule{own}, "change spec.trafficPolicy.tls of DestinationRule shop/cart from DISABLE to ISTIO_MUTUAL"},
		"an edit of what it says for the port":               {conflict, []*networkingv1.DestinationRule{port}, "change spec.trafficPolicy.portLevelSettings[0].tls of DestinationRule shop/cart from SIMPLE to ISTIO_MUTUAL"},
		"a setting where it says nothing":                    {conflict, []*networkingv1.DestinationRule{silent}, "set spec.trafficPolicy.tls of DestinationRule shop/cart to ISTIO_MUTUAL"},
		"a rule beside one for many hosts":                   {conflict, []*networkingv1.DestinationRule{wide}, "add DestinationRule web/cart-shop-mutual-tls, which has all settings of web/everything and sets spec.trafficPolicy.tls to ISTIO_MUTUAL"},
		"and in the subset that speaks for itself":           {&subset, []*networkingv1.DestinationRule{wide}, "add DestinationRule web/cart-shop-mutual-tls, which has all settings of web/everything and sets spec.subsets[0].trafficPolicy.tls to ISTIO_MUTUAL"},
		"a rule where there is none":                         {conflict, nil, "add DestinationRule shop/cart-shop-mutual-tls, which sets spec.trafficPolicy.tls to ISTIO_MUTUAL"},
		"nothing said, where a server takes plaintext":       {&plaintext, []*networkingv1.DestinationRule{mutual}, "take spec.trafficPolicy.tls (ISTIO_MUTUAL) out of DestinationRule shop/cart, so that Istio decides for each endpoint"},
		"nothing said, where endpoints take different kinds": {&partial, []*networkingv1.DestinationRule{own}, "take spec.trafficPolicy.tls (DISABLE) out of DestinationRule shop/cart, so that Istio decides for each endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			all := propose(c.row, c.rules...)
			if len(all) == 0 || all[0].String() != c.want {
				t.Errorf("got %v, want %s", all, c.want)
			}
			var said []string
			for _, p := range all {
				if slices.Contains(said, p.String()) {
					t.Errorf("twice: %s", p.String())
				}
				said = append(said, p.String())
			}
		})
	}
}

func TestWhatIsEmptyWithoutTLSGoesWithIt(t *testing.T) {
	for field, text := range map[string]string{
		"spec.trafficPolicy.tls":                                 "spec: {host: cart, trafficPolicy: {tls: {mode: SIMPLE}}}",
		"spec.subsets[0].trafficPolicy.tls":                      "spec: {host: cart, subsets: [{name: v1, trafficPolicy: {tls: {mode: SIMPLE}}}]}",
		"spec.trafficPolicy.portLevelSettings[0].tls":            "spec: {host: cart, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}",
		"spec.subsets[0].trafficPolicy.portLevelSettings[0].tls": "spec: {host: cart, subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}]}",
	} {
		r := rule(t, text)
		if !set(&r.Spec, field, auto) || r.Spec.GetTrafficPolicy() != nil || len(r.Spec.GetSubsets()) > 0 && r.Spec.GetSubsets()[0].GetTrafficPolicy() != nil {
			t.Errorf("%s: %v", field, &r.Spec)
		}
	}
	for _, field := range []string{"", "spec.host", "spec.subsets[0].trafficPolicy.tls", "spec.trafficPolicy.portLevelSettings[7].tls", "spec.subsets[99999999999999999999].trafficPolicy.tls"} {
		if r := rule(t, "spec: {host: cart}"); set(&r.Spec, field, mutual) {
			t.Errorf("%q is a field: %v", field, &r.Spec)
		}
	}
}

func TestOnlyTLSMayChangeOfAClientsClusters(t *testing.T) {
	config := func(change func(*clusterv3.Cluster)) *xds.Config {
		c := &clusterv3.Cluster{Name: "outbound|80||" + host, ConnectTimeout: durationpb.New(1)}
		change(c)
		return xds.NewConfig(xds.Node{}, xds.Provenance{}, xds.Resources{Clusters: []*clusterv3.Cluster{c}})
	}
	none := config(func(*clusterv3.Cluster) {})
	for name, c := range map[string]struct {
		after *xds.Config
		other int
	}{
		"TLS": {config(func(c *clusterv3.Cluster) { c.TransportSocket = &corev3.TransportSocket{Name: "tls"} }), 0},
		"the name of the rule": {config(func(c *clusterv3.Cluster) {
			c.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": {}}}
		}), 0},
		"a timeout":         {config(func(c *clusterv3.Cluster) { c.ConnectTimeout = durationpb.New(2) }), 1},
		"another cluster":   {config(func(c *clusterv3.Cluster) { c.Name = "outbound|80|v1|" + host }), 2},
		"an inbound socket": {config(func(c *clusterv3.Cluster) { c.Name = "inbound|80||" }), 2},
	} {
		e := &Effect{}
		e.CompareConfigs("web/frontend", none, c.after)
		if len(e.Other) != c.other {
			t.Errorf("%s: %v", name, e.Other)
		}
	}
}

func TestARowThatSucceededAndDoesNotAnyMoreIsBroken(t *testing.T) {
	ok, fails, gone := mtls.Row{Client: "a", Host: "h", Port: 1, Status: mtls.OK}, mtls.Row{Client: "b", Host: "h", Port: 1, Status: mtls.Conflict}, mtls.Row{Client: "c", Host: "h", Port: 1, Status: mtls.OK}
	e := &Effect{}
	after := []mtls.Row{ok, fails}
	after[0].Status, after[1].Status = mtls.Unknown, mtls.OK
	e.CompareRows([]mtls.Row{ok, fails, gone}, after)
	if !slices.Equal(e.Broken, []string{"a to h:1", "c to h:1"}) || !slices.Equal(e.Resolved, []string{"b to h:1"}) || e.Clean() {
		t.Errorf("%+v", e)
	}
}
