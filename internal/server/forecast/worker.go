// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/pace"
	"github.com/trellis-mesh/trellis/internal/server/publish"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

const (
	// patience is how long a forecast may take.
	patience = 5 * time.Minute
	// anew is how often stages are put in order by what was seen since.
	anew = time.Minute
)

// Config is what a Forecaster works with. All of it is required but for Seen and Turn.
type Config struct {
	State func() (*observe.State, error)
	// Changed receives after changes of the state.
	Changed <-chan struct{}
	// Seen is what is known of who calls whom; nil: nothing is.
	Seen  func() *traffic.Seen
	Board *publish.Board
	// Turn as in pace.Worker.
	Turn  *sync.Mutex
	Clock clock.Clock
	Log   *slog.Logger
}

// Forecaster makes forecasts whenever what they are about has changed, and none where
// there is no MutualTLSRollout.
type Forecaster struct {
	config Config
	// known is the digest of the state that the last good forecast was about.
	known string
	found Found
}

// New makes a Forecaster.
func New(config Config) *Forecaster { return &Forecaster{config: config} }

// NeedLeaderElection is false: every replica answers.
func (*Forecaster) NeedLeaderElection() bool { return false }

// Start works until ctx ends.
func (f *Forecaster) Start(ctx context.Context) error {
	worker := pace.Worker{Changed: f.config.Changed, Clock: f.config.Clock, Do: f.run, Turn: f.config.Turn}
	if f.config.Seen != nil {
		worker.Idle, worker.Every = f.order, anew
	}
	return worker.Run(ctx)
}

// run makes a forecast if anything has changed.
func (f *Forecaster) run(ctx context.Context) (bool, error) {
	state, err := f.config.State()
	if err != nil {
		// It is told by readiness, and another change will come.
		f.config.Log.Debug("not everything has been read", "error", err)
		return false, nil
	}
	if state.Digest == f.known {
		return false, nil
	}
	if len(state.Rollouts) == 0 {
		f.known, f.found = state.Digest, nil
		return false, f.tell()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := f.config.Clock.Now()
	found, err := Run(ctx, state, began)
	if err != nil {
		f.config.Log.Error("the stages of rollouts cannot be foreseen", "error", err)
		return true, f.failed(err)
	}
	f.known, f.found = state.Digest, found
	f.config.Log.Info("the stages of rollouts were foreseen", "rollouts", len(found), "took", f.config.Clock.Now().Sub(began).String())
	return true, f.tell()
}

// tell puts the stages in order and tells of them.
func (f *Forecaster) tell() error {
	var seen *traffic.Seen
	if f.config.Seen != nil {
		seen = f.config.Seen()
	}
	told, err := verdict.SealForecasts(f.found.Told(seen), "")
	if err != nil {
		return err
	}
	f.config.Board.Put(told)
	return nil
}

// order tells of the last forecast anew: more was seen since.
func (f *Forecaster) order() {
	if len(f.found) == 0 {
		return
	}
	if err := f.tell(); err != nil {
		f.config.Log.Error("forecasts cannot be told", "error", err)
	}
}

// failed takes back what was said: it may not hold any more.
func (f *Forecaster) failed(err error) error {
	f.known, f.found = "", nil
	line, _, _ := strings.Cut(err.Error(), "\n")
	told, sealing := verdict.SealForecasts([]verdict.Forecast{}, line)
	if sealing != nil {
		return fmt.Errorf("%w; %w", err, sealing)
	}
	f.config.Board.Put(told)
	return err
}
