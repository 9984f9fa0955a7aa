// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package counting counts what proxies decided: it joins each entry of an access log to
// what was written (package attribution) and adds it to a store of counts (package hits),
// a moment's worth at a time. What it cannot place it counts as such.
package counting

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
)

const (
	// every is how often what was counted is appended: what is lost when a process is
	// killed, and how late an answer may be.
	every = 10 * time.Second
	// patience is how long one append may take, and ending how long the last one.
	patience = 30 * time.Second
	ending   = 2 * time.Second
)

// Config is what a Counter works with. All of it is required but Appended and Sampled.
type Config struct {
	Store hits.Store
	// Appended is called after each append that succeeded.
	Appended func()
	// Sampled is called with examples of what was appended, before Appended.
	Sampled func([]hits.Sample)
	Meters  *Meters
	Clock   clock.WithTicker
	Log     *slog.Logger
}

// Counter counts. Start it once; all other methods are safe for concurrent use.
type Counter struct {
	config Config
	index  atomic.Pointer[attribution.Index]

	mu sync.Mutex
	// since is when counts began to be made, those that are in none of the appends; zero:
	// nothing is counted yet.
	since time.Time
	// counts has no more keys than a store, so that nobody can make up a number of peers.
	counts map[hits.Key]hits.Count
	// samples are the first requests of those counts.
	samples map[hits.Key]hits.Sample
}

// batch is what was counted in an interval.
type batch struct {
	ran     hits.Interval
	counts  []hits.Count
	samples []hits.Sample
}

func (b *batch) sum() uint64 {
	var out uint64
	for _, one := range b.counts {
		out += one.N
	}
	return out
}

// New makes a Counter that has counted nothing.
func New(config Config) *Counter {
	return &Counter{config: config, counts: map[hits.Key]hits.Count{}, samples: map[hits.Key]hits.Sample{}}
}

// Use makes what comes from now on be joined by an Index. Before the first nothing is
// known of any entry: that time is a gap, and from the first on nothing is missed.
func (c *Counter) Use(x *attribution.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		c.since = c.config.Clock.Now()
	}
	c.index.Store(x)
}

// Each counts an entry, which came at a time. It never waits for the store.
func (c *Counter) Each(entry *accesslog.Entry, at time.Time) {
	x := c.index.Load()
	if x == nil {
		c.config.Meters.entry(notKnown)
		return
	}
	of := x.Of(entry)
	c.config.Meters.entry(resultOf(&of))
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range of.Counted {
		c.add(key, at, entry)
	}
}

// add counts a key. Who decided and how must be known: a store has no place for less.
func (c *Counter) add(key hits.Key, at time.Time, entry *accesslog.Entry) {
	if key.Place == "" || key.Verdict == "" {
		return
	}
	key = hits.Narrow(key, c.counts, hits.DefaultKeys)
	known := c.counts[key]
	known.Key = key
	known.N++
	if at.After(known.At) {
		known.At = at
	}
	c.counts[key] = known
	if known.N == 1 && c.config.Sampled != nil {
		c.samples[key] = hits.NewSample(key, at, entry.Method, entry.Code, cmp.Or(entry.Details, entry.Termination), entry.RequestID)
	}
}

// NeedLeaderElection is false: every replica sees a part.
func (*Counter) NeedLeaderElection() bool { return false }

// Start appends what was counted until ctx ends, and then once more.
func (c *Counter) Start(ctx context.Context) error {
	ticker := c.config.Clock.NewTicker(every)
	defer ticker.Stop()
	var waiting *batch
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), ending)
			defer cancel()
			if waiting = c.append(last, waiting); waiting == nil {
				c.append(last, c.take())
			}
			return nil
		case <-ticker.C():
			// One that may or may not be there is tried again as it was: another one may not
			// come before it.
			if waiting != nil {
				if waiting = c.append(ctx, waiting); waiting != nil {
					continue
				}
			}
			waiting = c.append(ctx, c.take())
		}
	}
}

// take begins a new interval and returns the one that ends; nil where none can end yet.
func (c *Counter) take() *batch {
	now := c.config.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() || !now.Truncate(time.Millisecond).After(c.since.Truncate(time.Millisecond)) {
		// Nothing is counted yet; or the clock was set back, or stood still, and what was
		// counted waits.
		return nil
	}
	out := &batch{ran: hits.Interval{From: c.since, To: now}, counts: make([]hits.Count, 0, len(c.counts))}
	if now.Sub(c.since) > hits.LongestInterval {
		// The clock was set forward, or the machine slept. When nothing ran is a gap.
		out.ran.From = now.Add(-every)
	}
	for _, one := range c.counts {
		// Entries that came in the moment when an interval began, or by a clock that was set.
		one.At = within(one.At, out.ran)
		out.counts = append(out.counts, one)
	}
	for _, one := range c.samples {
		one.At = within(one.At, out.ran)
		out.samples = append(out.samples, one)
	}
	c.since, c.counts, c.samples = now, map[hits.Key]hits.Count{}, map[hits.Key]hits.Sample{}
	c.config.Meters.requests.add(out.counts)
	return out
}

func within(at time.Time, ran hits.Interval) time.Time {
	switch {
	case at.Before(ran.From):
		return ran.From
	case at.After(ran.To):
		return ran.To
	}
	return at
}

// append adds a batch to the store, and returns it where it has to be tried again.
func (c *Counter) append(ctx context.Context, b *batch) *batch {
	if b == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := c.config.Store.Append(ctx, b.ran, append([]hits.Count(nil), b.counts...))
	switch {
	case err == nil:
		c.config.Meters.keep(b.sum(), b.ran.To)
		if c.config.Sampled != nil {
			c.config.Sampled(b.samples)
		}
		if c.config.Appended != nil {
			c.config.Appended()
		}
		return nil
	case errors.Is(err, hits.ErrOrder), errors.Is(err, hits.ErrInvalid), errors.Is(err, hits.ErrRefused):
		// It is a gap then, which answers show as one.
		n := b.sum()
		c.config.Meters.lose(n)
		c.config.Log.Error("counts are lost", "from", b.ran.From, "to", b.ran.To, "requests", n, "error", err)
		return nil
	}
	c.config.Log.Warn("counts could not be kept, and are tried again", "error", err)
	return b
}
