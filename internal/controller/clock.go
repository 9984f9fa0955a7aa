// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"
)

// Clock is the time that the loop goes by. Safe for concurrent use.
type Clock interface {
	Now() time.Time
	// After receives once, when the duration has passed.
	After(time.Duration) <-chan time.Time
}

// WallClock is the time of this machine.
type WallClock struct{}

// Now is the current time.
func (WallClock) Now() time.Time { return time.Now() }

// After is time.After.
func (WallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// debounce joins changes that come close together: emit is called once they have
// been quiet for a while, and at the latest a longer while after the first, so
// that a cluster that never rests is served too. It returns when ctx ends.
func debounce(ctx context.Context, clock Clock, quiet, longest time.Duration, changed <-chan struct{}, emit func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		deadline := clock.After(longest)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-clock.After(quiet):
				waiting = false
			case <-deadline:
				waiting = false
			}
		}
		emit()
	}
}
