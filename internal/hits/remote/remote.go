// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package remote keeps counts in a server with Prometheus's API: Prometheus itself with
// its receiver of remote writes, or what has both APIs (Mimir, Thanos, VictoriaMetrics).
//
// A sample is what was counted since the last one, at the end of the interval. So
// sum_over_time is exact, whatever begins anew. Beside it are the time of the last hit,
// and how long the collector ran:
//
//	trellis_hits                 requests in the interval, by the fields of hits.Key
//	trellis_hits_last_seconds    when the last of them was, since 1970
//	trellis_hits_ran_seconds     the length of the interval
//
// A server that takes samples for double where they are near each other
// (-dedup.minScrapeInterval of VictoriaMetrics, replicas of Thanos) must do so only within
// less than an interval, or the sums are too low. Prometheus has to be one whose windows
// begin after their first moment, which is version 3.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/prometheus"
)

// Options say where the server is and who writes.
type Options struct {
	// URL is the part before /api/v1, as in prometheus.New.
	URL string
	// Write is where remote writes go; empty: URL and /api/v1/write.
	Write string
	// Collector is a name that no other process has that writes there. A process that
	// begins anew keeps it, or it would not be seen that it counts the same again.
	Collector string
	// Keys is as in hits.Bounds, for what this collector writes in a day.
	Keys int
	// Timeout is for each request. Zero: 30 seconds.
	Timeout time.Duration
}

// Store writes to and reads from a server. It may be used by several goroutines.
type Store struct {
	options Options
	source  *prometheus.Source
	client  *http.Client

	mu     sync.Mutex
	bounds hits.Bounds
	last   time.Time // zero: the server has to be asked
	// unsure is what may be there in part.
	unsure *unsure
}

type unsure struct {
	ran           hits.Interval
	given, fitted []hits.Count
}

var _ hits.Store = (*Store)(nil)

// The limits of one answer.
const (
	mostBytes = 256 << 20
	// most are series, which are more than one collector makes in a day.
	most = 200_000
)

// New is a store at a server. It does not connect.
func New(options Options) (*Store, error) {
	if options.Collector == "" {
		return nil, errors.New("the collector that writes counts needs a name")
	}
	if options.Timeout <= 0 {
		options.Timeout = 30 * time.Second
	}
	source, err := prometheus.New(options.URL, prometheus.Options{Timeout: options.Timeout, Bytes: mostBytes, Series: most})
	if err != nil {
		return nil, err
	}
	if options.Write == "" {
		options.Write = strings.TrimSuffix(options.URL, "/") + "/api/v1/write"
	}
	client, err := newClient(options)
	if err != nil {
		return nil, err
	}
	return &Store{options: options, source: source, client: client, bounds: hits.Bounds{Keys: options.Keys}}, nil
}

// Close ends connections that are kept open.
func (s *Store) Close() error {
	s.source.Close()
	s.client.CloseIdleConnections()
	return nil
}

// Append implements hits.Store. After an error that is none of hits, the same has to be
// appended again before anything else is; the server is asked what of it is there.
// hits.ErrRefused is for what the server never takes: a part of it may be in sums, and the
// interval is none in which a collector ran.
func (s *Store) Append(ctx context.Context, ran hits.Interval, counts []hits.Count) error {
	ran, counts, err := hits.Check(ran, counts)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.unsure != nil {
		return s.retry(ctx, ran, counts)
	}
	if err := s.follows(ctx, ran); err != nil {
		return err
	}
	s.bounds.Forget(ran.To.Add(-24 * time.Hour))
	given := slices.Clone(counts)
	return s.finish(ctx, &unsure{ran: ran, given: given, fitted: s.bounds.Fit(counts, ran.To)}, nil)
}

// follows refuses what is not after all that this collector has written.
func (s *Store) follows(ctx context.Context, ran hits.Interval) error {
	if s.last.IsZero() {
		matrix, err := s.source.Samples(ctx, s.mine(ranMetric)+window(ahead), ran.From.Add(ahead))
		if err != nil {
			return err
		}
		// What is later is remembered; what is not does not matter.
		s.last = ran.From
		for _, series := range matrix {
			for _, sample := range series.Values {
				if at := sample.Timestamp.Time().UTC(); at.After(s.last) {
					s.last = at
				}
			}
		}
	}
	if ran.From.Before(s.last) {
		return fmt.Errorf("%w: it begins at %s, and there are counts until %s", hits.ErrOrder, ran.From.Format(time.RFC3339Nano), s.last.Format(time.RFC3339Nano))
	}
	return nil
}

// ahead is how far after an interval it is looked for what was written already: farther
// than any clock goes wrong that is noticed.
const ahead = 366 * 24 * time.Hour

// retry writes what is not there yet of something that may have been written in part.
func (s *Store) retry(ctx context.Context, ran hits.Interval, counts []hits.Count) error {
	u := s.unsure
	if ran != u.ran || !slices.Equal(counts, u.given) {
		return fmt.Errorf("appending to the store of counts at %s: it is not known what is there of the interval until %s: append the same again first", s.options.URL, u.ran.To.Format(time.RFC3339Nano))
	}
	// A number and its time are in one request, so that the time says that both are there.
	matrix, err := s.source.Samples(ctx, s.mine(lastMetric)+window(time.Millisecond), ran.To)
	if err != nil {
		return err
	}
	there := map[hits.Key]bool{}
	for _, series := range matrix {
		k, err := keyOf(series.Metric)
		if err != nil {
			return fmt.Errorf("reading the store of counts at %s: %w", s.options.URL, err)
		}
		there[k] = there[k] || slices.ContainsFunc(series.Values, func(p model.SamplePair) bool { return p.Timestamp.Time().Equal(ran.To) })
	}
	return s.finish(ctx, u, there)
}

// finish writes all but what is there.
func (s *Store) finish(ctx context.Context, u *unsure, there map[hits.Key]bool) error {
	left := slices.DeleteFunc(slices.Clone(u.fitted), func(c hits.Count) bool { return there[c.Key] })
	err := s.write(ctx, u.ran, left)
	if err != nil && !errors.Is(err, hits.ErrRefused) {
		s.unsure = u
		return err
	}
	s.unsure = nil
	s.last = u.ran.To
	return err
}

// Sum implements hits.Store, with what all collectors have counted.
func (s *Store) Sum(ctx context.Context, of hits.Filter, from, to time.Time) ([]hits.Total, error) {
	if !to.After(from) {
		return nil, ctx.Err()
	}
	over := window(to.Sub(latest(from, time.UnixMilli(0))))
	sums := map[hits.Key]*hits.Total{}
	// The times are asked for after the numbers, so that each number has its own.
	for _, part := range []struct {
		query string
		set   func(t *hits.Total, value float64)
		most  float64
	}{
		{"sum without (collector) (sum_over_time(" + selector(hitsMetric, of) + over + "))", func(t *hits.Total, v float64) { t.N = uint64(v) }, 1 << 63},
		{"min without (collector) (min_over_time(" + selector(lastMetric, of) + over + "))", func(t *hits.Total, v float64) { t.First = moment(v) }, latestSecond},
		{"max without (collector) (max_over_time(" + selector(lastMetric, of) + over + "))", func(t *hits.Total, v float64) { t.Last = moment(v) }, latestSecond},
	} {
		vector, err := s.source.Values(ctx, part.query, to)
		if err != nil {
			return nil, err
		}
		for _, sample := range vector {
			k, err := keyOf(sample.Metric)
			if err != nil {
				return nil, fmt.Errorf("reading the store of counts at %s: %w", s.options.URL, err)
			}
			if sums[k] == nil {
				sums[k] = &hits.Total{Key: k}
			}
			v, err := s.number(sample.Value, part.most)
			if err != nil {
				return nil, err
			}
			part.set(sums[k], v)
		}
	}
	return s.totals(sums)
}

// totals puts them in order. What has a time and no number was written while it was asked.
func (s *Store) totals(sums map[hits.Key]*hits.Total) ([]hits.Total, error) {
	var out []hits.Total
	for _, t := range sums {
		if t.N == 0 {
			continue
		}
		if t.First.IsZero() || t.Last.IsZero() {
			return nil, fmt.Errorf("reading the store of counts at %s: it has a number and no time of %+v; see that it keeps %s as long as %s", s.options.URL, t.Key, lastMetric, hitsMetric)
		}
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b hits.Total) int { return a.Compare(b.Key) })
	return out, nil
}

// piece is for how long it is asked at once when a collector ran.
const piece = 4 * 24 * time.Hour

// Ran implements hits.Store: when any collector ran.
func (s *Store) Ran(ctx context.Context, from, to time.Time) ([]hits.Interval, error) {
	if !to.After(from) {
		return nil, ctx.Err()
	}
	var out []hits.Interval
	// An interval that ends later may begin in the window.
	end := to.Add(hits.LongestInterval)
	for at := latest(from, time.UnixMilli(0)); at.Before(end); at = at.Add(piece) {
		until := at.Add(piece)
		if until.After(end) {
			until = end
		}
		matrix, err := s.source.Samples(ctx, ranMetric+window(until.Sub(at)), until)
		if err != nil {
			return nil, err
		}
		for _, series := range matrix {
			for _, sample := range series.Values {
				stop := sample.Timestamp.Time().UTC()
				value, err := s.number(sample.Value, hits.LongestInterval.Seconds())
				if err != nil {
					return nil, err
				}
				length := time.Duration(value*1000+0.5) * time.Millisecond
				out = append(out, hits.Interval{From: stop.Add(-length), To: stop})
			}
		}
	}
	return hits.Join(out, from, to), nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func window(d time.Duration) string { return fmt.Sprintf("[%dms]", d.Milliseconds()) }

// moment is a time that is written in seconds.
func moment(v float64) time.Time { return time.UnixMilli(int64(v*1000 + 0.5)).UTC() }

// latestSecond is the end of the year 9999, in seconds since 1970.
const latestSecond = 253_402_300_799

// number refuses what nobody has written here: others may write to the same server, and what
// is no number has no meaning as an integer.
func (s *Store) number(v model.SampleValue, most float64) (float64, error) {
	if n := float64(v); n >= 0 && n <= most {
		return n, nil
	}
	return 0, fmt.Errorf("reading the store of counts at %s: it has the value %v, which no collector writes; see who else writes trellis_hits there", s.options.URL, v)
}
