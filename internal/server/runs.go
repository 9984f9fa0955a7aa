// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/publish"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

const (
	// quiet and longest join changes that come close together.
	quiet   = 200 * time.Millisecond
	longest = 2 * time.Second
	// patience is how long a run may take, and again after what time one that failed
	// is repeated though nothing has changed.
	patience = 5 * time.Minute
	again    = 30 * time.Second
)

// runs runs all tests whenever what they read has changed. After a run it rests for
// as long as the run took, so that a cluster that never rests has half a processor
// of it at most.
type runs struct {
	observer *observe.Observer
	board    *publish.Board
	meters   *meters
	clock    clock.Clock
	log      *slog.Logger
	// last is what came of the last run; nil before the first.
	last atomic.Pointer[examine.Settled]
	// seen is the digest of the state that the last good run was about.
	seen string
}

// NeedLeaderElection is false: every replica answers.
func (*runs) NeedLeaderElection() bool { return false }

// Start works until ctx ends.
func (r *runs) Start(ctx context.Context) error {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
		case <-r.observer.Changed():
			if !r.settle(ctx) {
				return nil
			}
		}
		retry = nil
		began := r.clock.Now()
		ran, err := r.run(ctx)
		if err != nil {
			retry = r.clock.After(again)
		}
		if ran {
			select {
			case <-ctx.Done():
				return nil
			case <-r.clock.After(r.clock.Now().Sub(began)):
			}
		}
	}
}

// settle waits until changes have been quiet for a while; false when ctx has ended.
func (r *runs) settle(ctx context.Context) bool {
	deadline := r.clock.After(longest)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-r.observer.Changed():
			continue
		case <-r.clock.After(quiet):
		case <-deadline:
		}
		return true
	}
}

// run runs the tests if something that they read has changed.
func (r *runs) run(ctx context.Context) (bool, error) {
	state, err := r.observer.State()
	if err != nil {
		// It is told by readiness, and another change will come.
		r.log.Debug("not everything has been read", "error", err)
		return false, nil
	}
	if state.Digest == r.seen {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := r.clock.Now()
	settled, err := examine.Settle(ctx, state, began)
	took := r.clock.Now().Sub(began)
	if err != nil {
		r.meters.ran(took, nil)
		r.log.Error("tests could not be run", "error", err)
		return true, r.failed(err)
	}
	report, err := verdict.Seal(settled.Applications, "")
	if err != nil {
		return true, err
	}
	r.seen = state.Digest
	r.last.Store(settled)
	r.board.Put(report)
	r.meters.ran(took, report)
	r.log.Info("tests were run", "applications", len(report.Applications), "took", took.String())
	return true, nil
}

// failed takes back what was said: it may not hold any more.
func (r *runs) failed(err error) error {
	r.seen = ""
	line, _, _ := strings.Cut(err.Error(), "\n")
	report, sealing := verdict.Seal([]verdict.Application{}, line)
	if sealing != nil {
		return fmt.Errorf("%w; %w", err, sealing)
	}
	r.board.Put(report)
	return err
}
