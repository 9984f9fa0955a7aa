// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package embedded_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/contract"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
)

// BenchmarkAppend appends every ten seconds what was counted of so many keys, all of which
// were hit. It gives keys per second, bytes on the disk for each key of an append, and the
// memory that the store keeps.
func BenchmarkAppend(b *testing.B) {
	for _, keys := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			before := heap()
			s := open(b, b.TempDir(), embedded.Options{Keys: keys, Bytes: 1 << 32})
			counts := make([]hits.Count, keys)
			n := 0
			for b.Loop() {
				ran := hits.Interval{From: contract.Start.Add(time.Duration(n) * 10 * time.Second)}
				ran.To = ran.From.Add(10 * time.Second)
				for i := range counts {
					counts[i] = hits.Count{Key: key(fmt.Sprintf("namespace-%d/account-%d", i%100, i)), N: uint64(i%500 + 1), At: ran.To}
				}
				if err := s.Append(b.Context(), ran, counts); err != nil {
					b.Fatal(err)
				}
				n++
			}
			clear(counts) // what is left in use is the store's, and these without their texts
			b.ReportMetric(float64(n*keys)/b.Elapsed().Seconds(), "keys/s")
			b.ReportMetric(float64(s.State().Bytes)/float64(n*keys), "disk-B/key")
			b.ReportMetric(float64(heap()-before)/float64(keys), "memory-B/key")
			runtime.KeepAlive(s)
		})
	}
}

// BenchmarkSum sums a day of hours, with a thousand keys in each.
func BenchmarkSum(b *testing.B) {
	s := open(b, b.TempDir(), embedded.Options{Fine: time.Nanosecond})
	var peers []string
	for i := range 1_000 {
		peers = append(peers, fmt.Sprintf("namespace-%d/account-%d", i%10, i))
	}
	for m := 1; m <= 24*60; m += 5 {
		add(b, s, m, 1, peers...)
	}
	for b.Loop() {
		if _, err := s.Sum(b.Context(), hits.Filter{}, minute(0), minute(24*60)); err != nil {
			b.Fatal(err)
		}
	}
}

// heap is what is in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
