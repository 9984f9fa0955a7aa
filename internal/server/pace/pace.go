// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package pace does expensive work whenever what it reads has changed: changes that come
// close together are joined, and after the work there is a rest.
package pace

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// quiet and longest join changes that come close together.
	quiet   = 200 * time.Millisecond
	longest = 2 * time.Second
	// again is after what time work that failed is repeated though nothing has changed.
	again = 30 * time.Second
)

// Worker works. After it has, it rests for as long as the work took, so that a cluster
// that never rests has half a processor of it at most.
type Worker struct {
	// Changed receives after changes.
	Changed <-chan struct{}
	Clock   clock.Clock
	// Do works if anything that it reads has changed; worked says whether it did.
	Do func(context.Context) (worked bool, err error)
	// Turn is shared by workers that do not work at the same time; nil: with nobody.
	Turn *sync.Mutex
	// Idle is done whenever nothing was to be done for Every; nil: nothing is.
	Idle  func()
	Every time.Duration
}

// Run works until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	var retry <-chan time.Time
	for {
		var idle <-chan time.Time
		if w.Idle != nil {
			idle = w.Clock.After(w.Every)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-idle:
			w.Idle()
			continue
		case <-retry:
		case <-w.Changed:
			if !w.settle(ctx) {
				return nil
			}
		}
		retry = nil
		began, worked, err := w.work(ctx)
		if err != nil {
			retry = w.Clock.After(again)
		}
		if worked {
			select {
			case <-ctx.Done():
				return nil
			case <-w.Clock.After(w.Clock.Now().Sub(began)):
			}
		}
	}
}

// work waits for its turn.
func (w *Worker) work(ctx context.Context) (began time.Time, worked bool, err error) {
	if w.Turn != nil {
		w.Turn.Lock()
		defer w.Turn.Unlock()
	}
	began = w.Clock.Now()
	worked, err = w.Do(ctx)
	return began, worked, err
}

// settle waits until changes have been quiet for a while; false when ctx has ended.
func (w *Worker) settle(ctx context.Context) bool {
	deadline := w.Clock.After(longest)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.Changed:
			continue
		case <-w.Clock.After(quiet):
		case <-deadline:
		}
		return true
	}
}
