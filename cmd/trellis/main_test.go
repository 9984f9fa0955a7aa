// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestWhoUsesMuchMayHaveLessGarbage(t *testing.T) {
	for inUse, want := range map[uint64]int{0: 200, 1 << 20: 200, roomy / 2: 200, roomy / 4 * 3: 133, roomy: 100, 8 * roomy: 100} {
		if got := percent(inUse); got != want {
			t.Errorf("%d bytes in use: %d percent, want %d", inUse, got, want)
		}
	}
}

func TestEachCollectionBoundsGarbageAnew(t *testing.T) {
	before := debug.SetGCPercent(most)
	defer debug.SetGCPercent(before)
	balance()
	for range 2 {
		held := make([]byte, 2*roomy)
		within(t, least)
		runtime.KeepAlive(held)
		within(t, most)
	}
}

// within waits for a bound; each look is a collection.
func within(t *testing.T, want int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		runtime.GC()
		got := debug.SetGCPercent(most)
		debug.SetGCPercent(got)
		if got == want {
			return
		}
	}
	t.Errorf("the bound is not %d percent", want)
}
