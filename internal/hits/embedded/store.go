// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package embedded keeps counts in a directory, for as long and in as many bytes as it is
// told: a store for who has no other.
//
// Counts are in segments, files to which records are appended with a checksum each. A
// record is on the disk when Append returns. What was written in part when a process
// ended is cut off by the next one, which says so (State). A segment is of an hour. When
// it is old enough, its records become one, by a file in its place. So the counts of an
// older hour belong to the end of its last record, and windows have them or have them
// not. Gaps stay as exact as they were.
//
// The library tsdb of Prometheus is not used: docs/dependencies.md says why.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// Options are the limits of a store. The zero value has good ones.
type Options struct {
	// Keep is for how long counts are there, back from the last append. Zero: 30 days.
	Keep time.Duration
	// Fine is for how long each append is kept apart, before an hour of them is one.
	// Zero: 48 hours.
	Fine time.Duration
	// Bytes are what all files may have; the oldest go first. What there is of one append
	// is kept though it has more. Zero: 256 MiB.
	Bytes int64
	// Keys is as in hits.Bounds.
	Keys int
}

// parts is into how many segments Bytes are cut at least, so that there is always an
// old one to take away.
const parts = 8

// Loss is something that was counted and is not there any more, other than by its age.
type Loss struct {
	// File is the segment.
	File string
	// Bytes is how many could not be read, or were taken away.
	Bytes int64
	// After is the end of what is still there before it; zero: nothing is.
	After time.Time
	// Why is a sentence without a period.
	Why string
}

// State is how a store is.
type State struct {
	Segments, Keys int
	Bytes          int64
	// Losses are the last ones since the store was opened, in the order in which they were
	// found.
	Losses []Loss
	// Trouble is why the last tidying did not succeed. Counts are taken all the same.
	Trouble error
}

// mostLosses is how many are kept to be shown.
const mostLosses = 100

// Store is a store in a directory. It may be used by several goroutines, and not by
// several processes.
type Store struct {
	options Options
	dir     string
	unlock  func() error

	mu      sync.RWMutex
	bounds  hits.Bounds
	sealed  []*segment
	open    *open
	last    time.Time
	losses  []Loss
	trouble error
	broken  error
}

var _ hits.Store = (*Store)(nil)

// Open opens a store in a directory, which is made where it is not there. It reads all of
// it. A file that is damaged is cut off where the damage begins, which State tells. Open
// fails where another process has it open, and where a file has another form.
func Open(dir string, options Options) (*Store, error) {
	if options.Keep <= 0 {
		options.Keep = 30 * 24 * time.Hour
	}
	if options.Fine <= 0 {
		options.Fine = 48 * time.Hour
	}
	if options.Bytes <= 0 {
		options.Bytes = 256 << 20
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the store of counts: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store of counts in %s: %w", dir, err)
	}
	s := &Store{options: options, dir: dir, unlock: unlock, bounds: hits.Bounds{Keys: options.Keys}}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store of counts in %s: %w", dir, err), unlock())
	}
	return s, nil
}

// Close ends it. All that was appended is on the disk already.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.broken, os.ErrClosed) {
		return nil
	}
	err := s.seal()
	s.broken = os.ErrClosed
	return errors.Join(err, s.unlock())
}

// State says how the store is.
func (s *Store) State() State {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := State{Keys: s.bounds.Len(), Bytes: s.bytes(), Losses: slices.Clone(s.losses), Trouble: s.trouble}
	out.Segments = len(s.segments())
	return out
}

// Last is the end of the last interval that was appended; zero: there was none.
func (s *Store) Last() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// segments are all that have a record, in order.
func (s *Store) segments() []*segment {
	out := slices.Clone(s.sealed)
	if s.open != nil && s.open.records > 0 {
		out = append(out, &s.open.segment)
	}
	return out
}

func (s *Store) bytes() int64 {
	var sum int64
	for _, one := range s.segments() {
		sum += one.good
	}
	return sum
}

// Append implements hits.Store. After an error that is none of hits, nothing was added.
func (s *Store) Append(ctx context.Context, ran hits.Interval, counts []hits.Count) error {
	ran, counts, err := hits.Check(ran, counts)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.broken); err != nil {
		return fmt.Errorf("appending to the store of counts in %s: %w", s.dir, err)
	}
	if ran.From.Before(s.last) {
		return fmt.Errorf("%w: it begins at %s, and there are counts until %s", hits.ErrOrder, ran.From.Format(time.RFC3339Nano), s.last.Format(time.RFC3339Nano))
	}
	if err := s.write(ctx, ran, counts); err != nil {
		if errors.Is(err, errStuck) {
			s.broken = err
		}
		return fmt.Errorf("appending to the store of counts in %s: %w", s.dir, err)
	}
	s.last = ran.To
	s.shrink()
	return nil
}

func (s *Store) write(ctx context.Context, ran hits.Interval, counts []hits.Count) error {
	hour := hourOf(ran.To)
	if s.open != nil && (s.open.hour != hour || s.open.good > s.options.Bytes/parts) {
		if err := s.seal(); err != nil {
			return err
		}
		s.tidy(ctx, ran.To)
	}
	if s.open == nil {
		made, err := create(s.dir, ran.From, hour)
		if err != nil {
			return err
		}
		s.open = made
	}
	r := &record{ran: []hits.Interval{ran}}
	for _, c := range s.bounds.Fit(counts, ran.To) {
		r.totals = append(r.totals, hits.Total{Key: c.Key, N: c.N, First: c.At, Last: c.At})
	}
	return s.open.append(r)
}

// hourOf is a number of the hour that a record ends in; a full hour ends one.
func hourOf(to time.Time) int64 { return (to.UnixMilli() - 1) / time.Hour.Milliseconds() }

// seal ends the open segment. One without records goes away.
func (s *Store) seal() error {
	o := s.open
	if o == nil {
		return nil
	}
	s.open = nil
	err := o.file.Close()
	if o.records == 0 {
		return errors.Join(err, os.Remove(o.path))
	}
	s.sealed = append(s.sealed, &o.segment)
	return err
}

// Sum implements hits.Store. A file that was damaged since the store was opened is an error.
func (s *Store) Sum(ctx context.Context, of hits.Filter, from, to time.Time) ([]hits.Total, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sums := map[hits.Key]*hits.Total{}
	for _, one := range s.segments() {
		if !one.to().After(from) || one.from().After(to) {
			continue
		}
		if err := add(ctx, sums, one, of, from, to); err != nil {
			return nil, fmt.Errorf("reading %s of the store of counts: %w", one.path, err)
		}
	}
	out := make([]hits.Total, 0, len(sums))
	for _, k := range slices.SortedFunc(maps.Keys(sums), hits.Key.Compare) {
		out = append(out, *sums[k])
	}
	return out, nil
}

// add adds the records of a segment that end in a window.
func add(ctx context.Context, sums map[hits.Key]*hits.Total, one *segment, of hits.Filter, from, to time.Time) error {
	var within []*hits.Total // by places of keys
	type entry struct {
		key   int
		total hits.Total
	}
	var entries []entry // of one record, whose end is known when it is read
	err := scan(one.path, one.good, func(_ *reading, ran []hits.Interval, _ int64) error {
		if end := ran[len(ran)-1].To; end.After(from) && !end.After(to) {
			for _, e := range entries {
				within = plus(within, e.key, e.total)
			}
		}
		entries = entries[:0]
		return ctx.Err()
	}, func(key int, t hits.Total) {
		if of.Matches(t.Key) {
			entries = append(entries, entry{key, t})
		}
	})
	for _, t := range within {
		switch {
		case t == nil:
		case sums[t.Key] == nil:
			sums[t.Key] = t
		default:
			merge(sums[t.Key], *t)
		}
	}
	return err
}

// Ran implements hits.Store.
func (s *Store) Ran(ctx context.Context, from, to time.Time) ([]hits.Interval, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []hits.Interval
	for _, one := range s.segments() {
		out = append(out, one.ran...)
	}
	return hits.Join(out, from, to), nil
}
