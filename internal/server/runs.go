// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/meters"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/pace"
	"github.com/trellis-mesh/trellis/internal/server/publish"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// patience is how long a run may take.
const patience = 5 * time.Minute

// runs runs all tests whenever what they read has changed.
type runs struct {
	observer *observe.Observer
	changed  <-chan struct{}
	turn     *sync.Mutex
	board    *publish.Board
	meters   *meters.Runs
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
	worker := pace.Worker{Changed: r.changed, Clock: r.clock, Do: r.run, Turn: r.turn}
	return worker.Run(ctx)
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
		r.meters.Ran(took, nil)
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
	r.meters.Ran(took, report)
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
