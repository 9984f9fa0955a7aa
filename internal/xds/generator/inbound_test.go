// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"strings"
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
