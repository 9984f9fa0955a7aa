// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// The smaller configuration must take connections exactly as the whole one.
func TestTheInboundPartIsThatOfTheWhole(t *testing.T) {
	g, mesh := start(t, generator.Input{Objects: objects(t, shop), FromFiles: true})
	compared := 0
	for _, n := range mesh.Nodes() {
		if n.Type != xds.Sidecar {
			continue
		}
		whole, err := mesh.Config(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		part, err := g.Inbound(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := whole.Listener(xds.VirtualInbound)
		got, ok := part.Listener(xds.VirtualInbound)
		if !ok || !proto.Equal(want, got) {
			t.Errorf("%s: the inbound listeners differ:\n%v\n%v", n, want, got)
		}
		for _, c := range whole.Resources().Clusters {
			if !strings.HasPrefix(c.GetName(), "inbound|") && !strings.HasPrefix(c.GetName(), "InboundPassthrough") {
				continue
			}
			compared++
			if got, ok := part.Cluster(c.GetName()); !ok || !proto.Equal(c, got) {
				t.Errorf("%s: cluster %s differs:\n%v\n%v", n, c.GetName(), c, got)
			}
		}
	}
	if compared == 0 {
		t.Fatal("there was no inbound cluster to compare")
	}
}

// TestGatewaysAreReadAtTheSameTime is for the race detector: Istio writes into objects
// that the proxies of one Gateway share.
func TestGatewaysAreReadAtTheSameTime(t *testing.T) {
	var text strings.Builder
	text.WriteString(strings.ReplaceAll(shop, "credentialName: wildcard", "credentialName: wildcard, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES128-GCM-SHA256]"))
	for _, name := range []string{"second", "third", "fourth"} {
		text.WriteString("---\n{apiVersion: v1, kind: Pod, metadata: {name: " + name + ", namespace: edge, labels: {istio: gateway}}, spec: {serviceAccountName: gateway, containers: [{name: istio-proxy, image: auto}]}}\n")
	}
	g, mesh := start(t, generator.Input{Objects: objects(t, text.String()), FromFiles: true})
	var wait sync.WaitGroup
	gateways := 0
	for _, n := range mesh.Nodes() {
		if n.Type != xds.Router {
			continue
		}
		gateways++
		wait.Go(func() {
			if _, err := g.Config(t.Context(), n); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if gateways < 4 {
		t.Errorf("%d gateways", gateways)
	}
}
