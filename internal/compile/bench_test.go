// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"testing"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/test/fleet"
)

// BenchmarkCompile is whole platforms: five routes on each Application, ten
// SecureIngresses, and bindings that are about each Application. What it may cost is a
// figure of `make bench`.
func BenchmarkCompile(b *testing.B) {
	for _, size := range []struct{ applications, policies int }{{1000, 0}, {10000, 0}, {1000, 50}} {
		b.Run(fmt.Sprintf("%d Applications, %d bindings", size.applications, size.policies), func(b *testing.B) {
			s, err := fleet.Snapshot(fleet.Options{Applications: size.applications, Routes: 5, Ingresses: 10, Policies: size.policies})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				compile.Compile(s)
			}
		})
	}
}
