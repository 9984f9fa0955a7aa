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
// SecureIngresses. What it may cost is a figure of `make bench`.
func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("%d Applications", n), func(b *testing.B) {
			s, err := fleet.Snapshot(fleet.Options{Applications: n, Routes: 5, Ingresses: 10})
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
