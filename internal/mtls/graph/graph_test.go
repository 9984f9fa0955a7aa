// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package graph_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/graph"
)

// shop has conflicts, clients without a proxy, a Sidecar, a gateway and a host outside.
const shop = "../../cli/testdata/answers/a-graph-of-who-may-use-which-service/in.yaml"

func checker(t *testing.T, files ...string) *mtls.Checker {
	t.Helper()
	m, err := mesh.Open(t.Context(), &source.Options{Files: files}, nil, time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	policies, _ := m.Policies()
	return mtls.New(m.World, policies)
}

func shopChecker(t *testing.T) *mtls.Checker {
	t.Helper()
	return checker(t, "../../cli/testdata/answers/mesh", shop)
}

func find(g *graph.Graph, from, to string) *graph.Edge {
	at := slices.IndexFunc(g.Edges, func(e graph.Edge) bool { return e.From == from && e.To == to })
	if at < 0 {
		return nil
	}
	return &g.Edges[at]
}

func TestAllHasAnEdgeForEveryRowOfTheCheck(t *testing.T) {
	c := shopChecker(t)
	g, _ := graph.Of(c, graph.Options{All: true})
	rows := 0
	for _, client := range c.Clients() {
		for _, target := range c.Targets() {
			for _, r := range c.Check(client, target) {
				rows++
				to := "service:" + target.Service.Name.Namespace + "/" + target.Service.Name.Name
				if target.Service.External {
					to = "outside:" + target.Service.Name.Namespace + "/" + target.Service.Host
				}
				e := find(g, "service:"+client.String(), to)
				if e == nil {
					t.Errorf("no edge for %+v", r)
					continue
				}
				if !slices.ContainsFunc(e.Ports, func(p graph.Port) bool {
					return p.Port == r.Port && p.Subset == r.Subset && p.Status == r.Status && slices.Equal(p.Accepts, r.Accepts) && slices.Equal(p.Sends, r.Sends)
				}) {
					t.Errorf("edge %+v lacks %+v", e, r)
				}
			}
		}
	}
	ports := 0
	for _, e := range g.Edges {
		ports += len(e.Ports)
	}
	if rows == 0 || ports != rows {
		t.Errorf("%d rows are %d ports of edges", rows, ports)
	}
}

func TestWhatIsDrawnIsAmongAllThatThereIs(t *testing.T) {
	c := shopChecker(t)
	all, _ := graph.Of(c, graph.Options{All: true})
	g, _ := graph.Of(c, graph.Options{})
	for _, e := range g.Edges {
		ends := []string{e.From}
		if len(e.Clients) > 0 {
			ends = nil
			for _, name := range e.Clients {
				ends = append(ends, "service:"+name)
			}
		}
		for _, from := range ends {
			one := find(all, from, e.To)
			if one == nil || one.Reason == graph.None {
				t.Errorf("%s to %s is not among all: %+v", from, e.To, one)
			}
			if len(e.Clients) > 0 && (one.Status == mtls.Conflict || one.Status == mtls.Partial) {
				t.Errorf("the conflict of %s and %s is not drawn by itself", from, e.To)
			}
		}
	}
	for _, e := range all.Edges {
		if e.Reason != graph.None && e.Status == mtls.Conflict && find(g, e.From, e.To) == nil {
			t.Errorf("a conflict is left out: %+v", e)
		}
	}
}

func TestBothEndsOfEveryEdgeAreNodes(t *testing.T) {
	c := shopChecker(t)
	for _, o := range []graph.Options{{}, {All: true}, {Conflicts: true}, {Namespace: "shop"}, {ClientNamespace: "legacy"}, {Namespace: "nowhere"}} {
		g, _ := graph.Of(c, o)
		nodes := map[string]bool{}
		for _, n := range g.Nodes {
			if nodes[n.ID] {
				t.Errorf("%+v: two nodes are %s", o, n.ID)
			}
			nodes[n.ID] = true
		}
		for i, e := range g.Edges {
			if !nodes[e.From] || !nodes[e.To] || len(e.Ports) == 0 {
				t.Errorf("%+v: %+v", o, e)
			}
			if i > 0 && g.Edges[i-1].From == e.From && g.Edges[i-1].To == e.To {
				t.Errorf("%+v: two edges are from %s to %s", o, e.From, e.To)
			}
		}
	}
}

func TestTheSameMeshIsTheSameGraph(t *testing.T) {
	first, _ := graph.Of(shopChecker(t), graph.Options{})
	again, _ := graph.Of(shopChecker(t), graph.Options{})
	if !reflect.DeepEqual(first, again) {
		t.Errorf("%+v\n%+v", first, again)
	}
}

func TestAGatewayHasEdgesOnlyToWhatItHasRoutesFor(t *testing.T) {
	g, _ := graph.Of(shopChecker(t), graph.Options{})
	var got []string
	for _, e := range g.Edges {
		if e.From == "service:istio-ingress/gateway" {
			got = append(got, fmt.Sprint(e.To, " ", e.Reason))
		}
	}
	if fmt.Sprint(got) != "[service:shop/cart ByRoute]" {
		t.Error(got)
	}
}

func TestWhatASidecarKeepsFromAWorkloadIsNoEdge(t *testing.T) {
	g, _ := graph.Of(shopChecker(t), graph.Options{ClientNamespace: "shop"})
	if e := find(g, "service:shop/till", "service:shop/stock"); e != nil {
		t.Errorf("the till does not know the stock: %+v", e)
	}
	if e := find(g, "service:shop/cart", "service:shop/stock"); e == nil || e.Reason != graph.ByName || e.Status != mtls.Conflict || e.Security != graph.Plaintext {
		t.Errorf("the cart is named, and sends plaintext: %+v", e)
	}
}

func TestTLSOfAnApplicationIsNotPlaintext(t *testing.T) {
	g, _ := graph.Of(shopChecker(t), graph.Options{ClientNamespace: "shop"})
	for _, e := range g.Edges {
		if e.To == "outside:shop/api.pay.example" && e.Security != graph.TLS {
			t.Errorf("%+v", e)
		}
	}
}
