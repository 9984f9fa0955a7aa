// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package configdump_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/configdump"
)

func dump(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/sidecar.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func problems(c *xds.Config) []string {
	var out []string
	for _, p := range c.Problems() {
		out = append(out, strings.Join(strings.Fields(string(p.Kind)+" "+p.Type+" "+p.Resource+" "+p.TypeURL), " "))
	}
	slices.Sort(out)
	return out
}

func TestADumpSaysWhatTheProxyHas(t *testing.T) {
	c, err := configdump.Read(strings.NewReader(dump(t)), configdump.Options{Name: "sidecar.json"})
	if err != nil {
		t.Fatal(err)
	}
	node := c.Node()
	if node.String() != "sidecar shop/cart" || node.ServiceAccount != "cart" || node.Labels["app"] != "cart" ||
		node.Addresses[0] != netip.MustParseAddr("10.0.0.7") {
		t.Errorf("the node is %+v", node)
	}
	if got := c.Provenance(); got.Source != xds.FromDump || got.Version != "2026-11-23T10:00:00Z/7" || got.Time.IsZero() {
		t.Errorf("the provenance is %+v", got)
	}
	if l, ok := c.Inbound(netip.MustParseAddrPort("10.0.0.7:8080")); !ok || l.GetName() != xds.VirtualInbound {
		t.Errorf("the inbound listener is %v", l)
	}
	if l, ok := c.Outbound(netip.MustParseAddrPort("10.1.0.1:80")); !ok || l.GetName() != "0.0.0.0_80" {
		t.Errorf("the outbound listener is %v", l)
	}
	if _, ok := c.RouteConfiguration("80"); !ok {
		t.Error("route configuration 80 is missing")
	}
	if e, ok := c.Endpoints("outbound|80||cart.shop.svc.cluster.local"); !ok || len(e.GetEndpoints()) != 1 {
		t.Errorf("the endpoints of cart are %v", e)
	}
	if e, ok := c.Endpoints("xds-grpc"); !ok || e == nil {
		t.Error("the endpoints inside of a static cluster are not found")
	}
	if got := c.Resources().Secrets; !slices.Equal(got, []string{"default"}) {
		t.Errorf("secrets %v", got)
	}
	want := []string{
		"Missing ClusterLoadAssignment outbound|80||late.shop.svc.cluster.local",
		"Refused Listener 0.0.0.0_80",
		"UnknownField Cluster outbound|80||cart.shop.svc.cluster.local",
		"Unresolved RouteConfiguration 80 type.googleapis.com/example.v1.Mystery",
		"Unresolved bootstrap type.googleapis.com/istio.workload.BootstrapExtension",
		"Unresolved type.googleapis.com/envoy.admin.v9.Future",
		"Warming Cluster outbound|80||new.shop.svc.cluster.local",
		"Warming Secret ROOTCA",
	}
	if got := problems(c); !slices.Equal(got, want) {
		t.Errorf("problems\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAnUnknownExtensionIsKeptUnread(t *testing.T) {
	c, err := configdump.Read(strings.NewReader(dump(t)), configdump.Options{Name: "sidecar.json"})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := c.RouteConfiguration("80")
	kept := r.GetTypedPerFilterConfig()["example.mystery"]
	if kept.GetTypeUrl() != "type.googleapis.com/xds.type.v3.TypedStruct" || !strings.Contains(string(kept.GetValue()), "example.v1.Mystery") {
		t.Errorf("it is kept as %v", kept)
	}
}

func TestAFileThatIsNoDumpIsRefusedWithTheReason(t *testing.T) {
	whole := dump(t)
	withoutBootstrap := whole[:strings.Index(whole, "{\n   \"@type\": \"type.googleapis.com/envoy.admin.v3.Bootstrap")] +
		whole[strings.Index(whole, "{\n   \"@type\": \"type.googleapis.com/envoy.admin.v3.Listeners"):]
	for _, test := range []struct{ name, text, want string }{
		{"an empty file", " \n", "it is empty"},
		{"a truncated file", whole[:len(whole)/2], "ends in the middle"},
		{"another kind of JSON", `[{"name": "x"}]`, "not the JSON of Envoy's"},
		{"an object of another kind", `{"items": []}`, `no "configs"`},
		{"text", "listeners: none", "not the JSON"},
		{"a part without a type", `{"configs": [{}]}`, `its part 1: it has no "@type"`},
		{"a dump of one part", `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump"}]}`, "neither listeners nor clusters"},
		{"a dump without bootstrap", withoutBootstrap, "does not say which proxy"},
		{"a part that contradicts its type", `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": 3}]}`, "cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := configdump.Read(strings.NewReader(test.text), configdump.Options{Name: "some.json"})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "some.json") {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	node := xds.Node{Type: xds.Sidecar, Name: "cart", Namespace: "shop"}
	if _, err := configdump.Read(strings.NewReader(withoutBootstrap), configdump.Options{Node: &node}); err != nil {
		t.Errorf("with the proxy named: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(dump(f)))
	f.Add([]byte(`{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{"active_state": {"listener": {"@type": "x"}}}]}]}`))
	f.Add([]byte(`{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "x": {"@type": 1}}}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := configdump.Read(strings.NewReader(string(text)), configdump.Options{Name: "fuzz"})
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v, error %v", c, err)
		}
		if err != nil {
			return
		}
		for _, l := range c.Resources().Listeners {
			for _, at := range xds.Addresses(l) {
				c.Inbound(at)
				c.Outbound(at)
			}
		}
		for _, cluster := range c.Resources().Clusters {
			c.Endpoints(cluster.GetName())
		}
	})
}
