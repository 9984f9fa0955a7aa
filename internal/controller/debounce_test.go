// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

// TestChangesAreJoinedButNeverHeldUpForLong runs in a bubble in which time passes
// only when everybody waits.
func TestChangesAreJoinedButNeverHeldUpForLong(t *testing.T) {
	for name, test := range map[string]struct {
		// changes are when something changes, emits when it is told.
		changes, emits []time.Duration
	}{
		"one change":    {[]time.Duration{0}, []time.Duration{50}},
		"a burst":       {[]time.Duration{0, 20, 40, 60}, []time.Duration{110}},
		"two far apart": {[]time.Duration{0, 200}, []time.Duration{50, 250}},
		"a cluster that never rests": {
			[]time.Duration{0, 40, 80, 120, 160, 200, 240, 280, 320, 360, 400, 440, 480, 520}, []time.Duration{500, 570}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				changed := make(chan struct{}, 1)
				var emits []time.Duration
				done := make(chan struct{})
				go func() {
					defer close(done)
					debounce(ctx, clock.RealClock{}, 50*time.Millisecond, 500*time.Millisecond, changed, func() {
						emits = append(emits, time.Since(began)/time.Millisecond)
					})
				}()
				for _, at := range test.changes {
					<-time.After(at*time.Millisecond - time.Since(began))
					changed <- struct{}{}
				}
				<-time.After(2 * time.Second)
				cancel()
				<-done
				if len(emits) != len(test.emits) {
					t.Fatalf("told at %v, want %v", emits, test.emits)
				}
				for i := range emits {
					if emits[i] != test.emits[i] {
						t.Errorf("told at %v, want %v", emits, test.emits)
					}
				}
			})
		})
	}
}
