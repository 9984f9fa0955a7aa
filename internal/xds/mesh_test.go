// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// counting is a source that counts its answers and fails at first.
type counting struct {
	mu       sync.Mutex
	asked    int
	failures int
	nodes    []xds.Node
}

func (c *counting) Nodes(context.Context) ([]xds.Node, error) { return c.nodes, nil }

func (c *counting) Config(_ context.Context, node xds.Node) (*xds.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.asked <= c.failures {
		return nil, errors.New("not now")
	}
	return xds.NewConfig(node, xds.Provenance{}, xds.Resources{}), nil
}

func TestAMeshAsksOnceForEachProxy(t *testing.T) {
	address := netip.MustParseAddr("10.0.0.7")
	source := &counting{failures: 1, nodes: []xds.Node{{Type: xds.Sidecar, Namespace: "shop", Name: "cart", Addresses: []netip.Addr{address}}}}
	mesh, err := xds.NewMesh(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.Config(t.Context(), mesh.Nodes()[0]); err == nil {
		t.Fatal("the source's error is lost")
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if c, err := mesh.Config(t.Context(), mesh.At(address)[0]); err != nil || c == nil {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
	group.Wait()
	if source.asked != 2 {
		t.Errorf("the source was asked %d times, want once for the error and once more", source.asked)
	}
	if at := mesh.At(netip.MustParseAddr("192.0.2.1")); at != nil {
		t.Errorf("an address outside has the proxies %v", at)
	}
}

func TestANodeIsWhatItAnnounces(t *testing.T) {
	node := xds.Node{
		Type: xds.Sidecar, Name: "cart.v1", Namespace: "shop", ServiceAccount: "cart", Labels: map[string]string{"app": "cart"},
		Addresses:   []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")},
		TrustDomain: "cluster.local", ClusterDomain: "cluster.local", Cluster: "Kubernetes",
		Interception: xds.InterceptionTProxy, Version: "1.31.0",
	}
	read, err := xds.ParseAnnouncement(node.Announcement())
	if err != nil {
		t.Fatal(err)
	}
	if read.ID() != node.ID() || read.Key() != node.Key() || read.Identity() != node.Identity() || read.Labels["app"] != "cart" ||
		read.Interception != node.Interception || len(read.Addresses) != 2 || read.Version != node.Version {
		t.Errorf("%+v became %+v", node, read)
	}
	for _, id := range []string{"", "sidecar~10.0.0.7~cart~shop.svc.cluster.local", "ztunnel~10.0.0.7~a.b~b.svc.cluster.local", "sidecar~10.0.0.7~.b~x"} {
		if n, err := xds.ParseID(id); err == nil {
			t.Errorf("%q is read as %+v", id, n)
		}
	}
}
