// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/configdump"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
	"github.com/trellis-mesh/trellis/test/stack"
)

// TestARealEnvoySaysWhatItWasSent runs a gateway and a sidecar with policies of
// every kind, and compares what they say with what istiod sends for the node that
// they say they are, and that with the generator.
func TestARealEnvoySaysWhatItWasSent(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, name := range []string{"dump-edge", "dump-shop"} {
		if err := mesh.Namespace(ctx, name, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := mesh.Certificate(ctx, "dump-edge", "wildcard", "*.example.com"); err != nil {
		t.Fatal(err)
	}
	gateway, err := mesh.Gateway(ctx, stack.GatewayOptions{Namespace: "dump-edge", Name: "door"})
	if err != nil {
		t.Fatal(err)
	}
	cart, err := mesh.Application(ctx, stack.ApplicationOptions{Namespace: "dump-shop", Name: "cart"})
	if err != nil {
		t.Fatal(err)
	}
	create(ctx, t, policies(t, "dump-shop", "dump-edge"))
	seen := map[string]int{}
	for name, proxy := range map[string]*stack.Proxy{"gateway": gateway.Proxy, "sidecar": cart.Proxy} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			err := stack.Until(ctx, "Envoy, istiod and the generator to agree", func(ctx context.Context) error {
				return agreeWithDump(ctx, t, proxy, name, seen)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("expected differences: %v", seen)
}

// policies are those of the file in the given namespaces, with real keys: an
// Envoy refuses a listener whose keys it cannot read.
func policies(t *testing.T, namespaces ...string) []client.Object {
	t.Helper()
	issuer, err := stack.NewIssuer("https://a.example.com")
	if err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(documents(t, "testdata/policies.yaml"), func(o client.Object) bool {
		return !slices.Contains(namespaces, o.GetNamespace())
	})
	for _, object := range all {
		raw, ok := object.(*unstructured.Unstructured)
		if !ok || raw.GetKind() != "RequestAuthentication" {
			continue
		}
		rules, _, _ := unstructured.NestedSlice(raw.Object, "spec", "jwtRules")
		rule, ok := rules[0].(map[string]any)
		if !ok {
			t.Fatalf("the first rule is %v", rules[0])
		}
		rule["jwks"] = issuer.JWKS()
		if err := unstructured.SetNestedSlice(raw.Object, rules, "spec", "jwtRules"); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func agreeWithDump(ctx context.Context, t *testing.T, proxy *stack.Proxy, name string, seen map[string]int) error {
	t.Helper()
	text, err := proxy.Admin(ctx, "/config_dump?include_eds")
	if err != nil {
		return err
	}
	has, err := configdump.Read(bytes.NewReader(text), configdump.Options{Name: name})
	if err != nil {
		return err
	}
	for _, p := range has.Problems() {
		if p.Kind != xds.Missing {
			return fmt.Errorf("the dump has a problem: %+v", p)
		}
	}
	sent, err := asking(t).Config(ctx, has.Node())
	if err != nil {
		return err
	}
	if found := compare(dynamic(has, sent), sent, dumped, seen); len(found) > 0 {
		return fmt.Errorf("dump and ADS: %s", strings.Join(found[:min(len(found), 12)], "\n"))
	}
	g, err := generator.New(ctx, generator.Input{Objects: objects(ctx, t)})
	if err != nil {
		return err
	}
	made, err := g.Config(ctx, has.Node())
	if closed := g.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if found := compare(made, sent, generated, seen); len(found) > 0 {
		return fmt.Errorf("generator and ADS: %s", strings.Join(found[:min(len(found), 12)], "\n"))
	}
	return nil
}

// dynamic leaves out what the proxy's own bootstrap has, which istiod does not
// send.
func dynamic(has, sent *xds.Config) *xds.Config {
	r := has.Resources()
	r.Clusters = slices.DeleteFunc(slices.Clone(r.Clusters), func(c *clusterv3.Cluster) bool {
		_, there := sent.Cluster(c.GetName())
		return !there && !strings.Contains(c.GetName(), "|")
	})
	r.Listeners = slices.DeleteFunc(slices.Clone(r.Listeners), func(l *listenerv3.Listener) bool {
		metadata := has.Node().Metadata.GetFields()
		port := float64(l.GetAddress().GetSocketAddress().GetPortValue())
		return port == metadata["ENVOY_PROMETHEUS_PORT"].GetNumberValue() || port == metadata["ENVOY_STATUS_PORT"].GetNumberValue()
	})
	return xds.NewConfig(has.Node(), has.Provenance(), r)
}

// TestADifferenceIsNoticed: the comparisons prove nothing if anything is equal.
func TestADifferenceIsNoticed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all := slices.Concat(generator.Complete(documents(t, "testdata/workloads.yaml")), policies(t, "shop2", "edge2"))
	join(all)
	create(ctx, t, all)
	have := objects(ctx, t)
	whole := running(t, generator.Input{Objects: have})
	nodes, err := whole.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n xds.Node) bool { return n.Namespace != "shop2" && n.Namespace != "edge2" })
	seen := map[string]int{}
	found := map[string]bool{}
	for _, node := range nodes {
		ours, err := whole.Config(ctx, node)
		if err != nil {
			t.Fatal(err)
		}
		agree(ctx, t, ours, node, seen)
		for _, kind := range []string{"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "DestinationRule", "VirtualService", "Telemetry", "EnvoyFilter"} {
			less := running(t, generator.Input{Objects: slices.DeleteFunc(slices.Clone(have), func(o client.Object) bool {
				return o.GetObjectKind().GroupVersionKind().Kind == kind
			})})
			other, err := less.Config(ctx, node)
			if err != nil {
				t.Fatal(err)
			}
			if len(compare(other, ours, nil, seen)) > 0 {
				found[kind] = true
			}
		}
	}
	if len(nodes) != 2 || len(found) != 7 {
		t.Errorf("%d proxies; leaving out a kind is noticed for %v", len(nodes), found)
	}
	if seen[generated[0].name] == 0 {
		t.Error("no keys were to be fetched: the expected difference is not shown")
	}
}
