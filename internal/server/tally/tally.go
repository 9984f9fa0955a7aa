// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package tally counts what the mesh's proxies decided: it runs the collector of access
// logs, keeps what entries are joined to as the cluster is now, and has what was counted
// appended to a store. It is what answers about counts are made from.
package tally

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/collect/counting"
	"github.com/trellis-mesh/trellis/internal/hits"
)

const (
	// pace is the least time between two indexes that are made, and share how much longer the
	// rest is than the making.
	pace  = time.Second
	share = 9
	// again is after what time a mesh is looked at again that was not known in full.
	again = 500 * time.Millisecond
)

// Store is a store of counts that is closed when counting has ended.
type Store interface {
	hits.Store
	io.Closer
}

// Config is what a Tally works with. All of it is required.
type Config struct {
	Store Store
	// Mesh is what entries are joined to now, or an error as long as it is not known.
	Mesh func() (attribution.Input, error)
	// Changed receives after changes of it.
	Changed <-chan struct{}
	Meters  *counting.Meters
	Clock   clock.WithTicker
	Log     *slog.Logger
}

// Tally counts. Start it once; all other methods are safe for concurrent use.
type Tally struct {
	config  Config
	counter *counting.Counter
	index   atomic.Pointer[attribution.Index]
	samples hits.Samples

	mu        sync.Mutex
	followers []chan struct{}
}

// New makes a Tally.
func New(config Config) *Tally {
	t := &Tally{config: config}
	t.counter = counting.New(counting.Config{Store: config.Store, Appended: t.tell, Sampled: t.samples.Add, Meters: config.Meters, Clock: config.Clock, Log: config.Log})
	return t
}

// Store is where the counts are. It may be asked until Start returns.
func (t *Tally) Store() hits.Store { return t.config.Store }

// Samples are examples of what was counted, as long as this process runs; of a store that
// keeps them also from before.
func (t *Tally) Samples() *hits.Samples { return &t.samples }

// Index is what entries are joined to that come now; nil: the mesh is not known yet.
func (t *Tally) Index() *attribution.Index { return t.index.Load() }

// Each counts an entry. It never waits for the store.
func (t *Tally) Each(entry *accesslog.Entry, at time.Time) { t.counter.Each(entry, at) }

// Known is nil once entries can be joined to what was written.
func (t *Tally) Known() error {
	if t.Index() == nil {
		return errors.New("what entries of access logs are joined to is not known yet")
	}
	return nil
}

// Follow makes a channel that receives after each append to the store from now on, until it
// is ended; several may be one signal. Each follower needs its own.
func (t *Tally) Follow() (counted <-chan struct{}, end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(chan struct{}, 1)
	t.followers = append(t.followers, out)
	return out, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.followers = slices.DeleteFunc(t.followers, func(c chan struct{}) bool { return c == out })
	}
}

func (t *Tally) tell() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.followers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// NeedLeaderElection is false: every replica counts a part.
func (*Tally) NeedLeaderElection() bool { return false }

// Start counts what collect brings until ctx ends. What it has brought until it returns is in
// the store then, which is closed.
func (t *Tally) Start(ctx context.Context, collect func(context.Context) error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	keep := t.keepSamples()
	var counted error
	work.Go(func() { counted = t.counter.Start(running) })
	work.Go(func() { t.follow(running) })
	err := collect(ctx)
	stop()
	work.Wait()
	keep()
	if closing := t.config.Store.Close(); closing != nil {
		closing = fmt.Errorf("closing the store of counts: %w", closing)
		err = errors.Join(err, closing)
	}
	return errors.Join(err, counted)
}

// follow keeps the index, at once after the first change for a while, and then seldom enough
// to have little of a processor.
func (t *Tally) follow(ctx context.Context) {
	wait := t.config.Clock.NewTimer(0)
	defer wait.Stop()
	for {
		// A rest comes first, and then whatever comes first of a change and of the moment
		// from which on more is known.
		select {
		case <-ctx.Done():
			return
		case <-wait.C():
		}
		began := t.config.Clock.Now()
		due, err := t.make(began)
		if err != nil {
			t.config.Log.Debug("what entries are joined to is not known", "error", err)
			wait.Reset(again)
			continue
		}
		took := t.config.Clock.Since(began)
		var alarm clock.Timer
		var fired <-chan time.Time
		if !due.IsZero() {
			alarm = t.config.Clock.NewTimer(max(due.Sub(began), 0))
			fired = alarm.C()
		}
		select {
		case <-ctx.Done():
		case <-t.config.Changed:
		case <-fired:
		}
		if alarm != nil {
			alarm.Stop()
		}
		wait.Reset(max(0, max(pace, share*took)-t.config.Clock.Since(began)))
	}
}

// make makes the next index; due is when there is more to know though nothing changes.
func (t *Tally) make(now time.Time) (due time.Time, err error) {
	in, err := t.config.Mesh()
	if err != nil {
		return time.Time{}, err
	}
	next := attribution.Follow(t.index.Load(), in, now)
	t.index.Store(next)
	t.counter.Use(next)
	return next.Due(), nil
}
