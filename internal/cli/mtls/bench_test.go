// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/test/fleet"
)

// BenchmarkPair checks one pair of 1,000 services, with what both proxies are sent: each
// time another client, whose configuration nobody has asked for.
func BenchmarkPair(b *testing.B) {
	objects, err := fleet.Objects(fleet.Options{Applications: 1000, Routes: 4, Ingresses: 10})
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "all.json")
	if err := fleet.WriteFile(file, objects); err != nil {
		b.Fatal(err)
	}
	m, err := mesh.Open(b.Context(), &source.Options{Files: []string{file}}, nil, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	o := &checkOptions{}
	asked := 0
	for b.Loop() {
		n := m.Nodes[asked%len(m.Nodes)]
		asked++
		q, err := read([]string{n.Namespace + "/" + n.Name, "team-0002/app-00020"})
		if err == nil {
			_, err = o.check(m, q)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
}
