// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// debounce joins changes that come close together: emit is called once they have
// been quiet for a while, and at the latest a longer while after the first, so
// that a cluster that never rests is served too. It returns when ctx ends.
func debounce(ctx context.Context, clock clock.Clock, quiet, longest time.Duration, changed <-chan struct{}, emit func()) {
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
