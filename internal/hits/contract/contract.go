// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package contract is what package hits asks of every store of counts, as tests. They run
// unchanged against the one on disk and against servers with Prometheus's API, so that a
// number means the same whoever keeps it.
package contract

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// Subject is a store under test.
type Subject struct {
	// New makes an empty store that keeps so many keys before it folds peers, and counts of
	// Start and later. It is called for each test; what it starts ends with t.
	New func(t *testing.T, keys int) Fixture
}

// Fixture is one store.
type Fixture struct {
	hits.Store
	// Settle waits until what was appended can be read; nil: it always can.
	Settle func(t *testing.T)
	// Again is the same store for a process that has begun anew.
	Again func(t *testing.T) hits.Store
}

// Start is when the first count of a test is, at the earliest.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func second(n int) time.Time { return Start.Add(time.Duration(n) * time.Second) }

// plenty is more keys than a test has that is not about their number.
const plenty = 1_000

// Run runs all tests.
func Run(t *testing.T, s Subject) {
	for _, c := range []struct {
		name string
		keys int
		test func(*testing.T, *store)
	}{
		{"empty windows", plenty, emptyWindows},
		{"windows that adjoin have everything once", plenty, adjoining},
		{"sums are exact", plenty, exact},
		{"a filter leaves out the others", plenty, filtered},
		{"gaps are gaps and not zero", plenty, gaps},
		{"out of order is refused", plenty, outOfOrder},
		{"a process that begins anew goes on", plenty, again},
		{"invalid counts are refused", plenty, invalid},
		{"any text is kept as it is", plenty, texts},
		{"an ended context", plenty, endedContext},
		{"many keys are bounded", 1_000, manyKeys},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, &store{s.New(t, c.keys)}) })
	}
}

type store struct{ Fixture }

func key(peer string) hits.Key {
	return hits.Key{Namespace: "shop", Application: "web", Route: "cart", Place: hits.Workload,
		Object: "AuthorizationPolicy shop/trellis-application-web-deny", Rule: 0,
		Statement: "Application shop/web", Field: "spec.access.callers[0]", Reason: "Caller", Verdict: hits.Denied, Peer: peer}
}

// count is n of a peer, the last of them at a second.
func count(peer string, n uint64, at int) hits.Count {
	return hits.Count{Key: key(peer), N: n, At: second(at)}
}

// add appends what was counted between two seconds.
func (s *store) add(t *testing.T, from, to int, counts ...hits.Count) {
	t.Helper()
	if err := s.Append(t.Context(), hits.Interval{From: second(from), To: second(to)}, counts); err != nil {
		t.Fatal(err)
	}
}

func (s *store) settle(t *testing.T) {
	t.Helper()
	if s.Settle != nil {
		s.Settle(t)
	}
}

// has compares the totals between two seconds, each as "PEER N FIRST LAST" in seconds.
func (s *store) has(t *testing.T, of hits.Filter, from, to int, want ...string) {
	t.Helper()
	totals, err := s.Sum(t.Context(), of, second(from), second(to))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, total := range totals {
		got = append(got, fmt.Sprint(total.Peer, total.N, total.First.Sub(Start).Seconds(), total.Last.Sub(Start).Seconds()))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("between seconds %d and %d there is %q, want %q", from, to, got, want)
	}
}

// ran compares when a collector ran between two seconds, each as "FROM-TO".
func (s *store) ran(t *testing.T, from, to int, want ...string) {
	t.Helper()
	intervals, err := s.Ran(t.Context(), second(from), second(to))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range intervals {
		got = append(got, fmt.Sprintf("%v-%v", i.From.Sub(Start).Seconds(), i.To.Sub(Start).Seconds()))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("between seconds %d and %d a collector ran in %v, want %v", from, to, got, want)
	}
}

func line(peer string, n uint64, first, last float64) string { return fmt.Sprint(peer, n, first, last) }

func emptyWindows(t *testing.T, s *store) {
	s.has(t, hits.Filter{}, 0, 3600)
	s.ran(t, 0, 3600)
	s.add(t, 0, 10, count("a/b", 1, 5))
	s.settle(t)
	for _, window := range [][2]int{{10, 20}, {-20, 0}, {10, 10}, {20, 0}} {
		s.has(t, hits.Filter{}, window[0], window[1])
	}
	s.ran(t, 10, 20)
	s.ran(t, 10, 10)
	s.ran(t, 20, 0)
}

func adjoining(t *testing.T, s *store) {
	s.add(t, 0, 10, count("a/b", 1, 10))
	s.add(t, 10, 20, count("a/b", 2, 12))
	s.add(t, 20, 30, count("a/b", 4, 30), count("c/d", 8, 21))
	s.settle(t)
	s.has(t, hits.Filter{}, 0, 10, line("a/b", 1, 10, 10))
	s.has(t, hits.Filter{}, 10, 20, line("a/b", 2, 12, 12))
	s.has(t, hits.Filter{}, 20, 30, line("a/b", 4, 30, 30), line("c/d", 8, 21, 21))
	s.has(t, hits.Filter{}, 0, 30, line("a/b", 7, 10, 30), line("c/d", 8, 21, 21))
	s.has(t, hits.Filter{}, 9, 29, line("a/b", 3, 10, 12))
}

func exact(t *testing.T, s *store) {
	want := uint64(0)
	for i := range 500 {
		n := uint64(i*i)%977 + 1
		want += n
		counts := []hits.Count{count("a/b", n, 10*i+3)}
		if i%100 == 50 {
			counts = append(counts, count("seldom", 1, 10*i+7))
		}
		s.add(t, 10*i, 10*i+10, counts...)
	}
	const large = 1<<52 + 1
	s.add(t, 5000, 5010, count("large", large, 5010))
	s.settle(t)
	s.has(t, hits.Filter{}, 0, 5010, line("a/b", want, 3, 4993), line("large", large, 5010, 5010), line("seldom", 5, 507, 4507))
	s.ran(t, 0, 6000, "0-5010")
}

func filtered(t *testing.T, s *store) {
	other := count("a/b", 2, 1)
	other.Application = "api"
	elsewhere := count("a/b", 4, 1)
	elsewhere.Namespace = "bank"
	stated := count("c/d", 8, 1)
	stated.Statement = "Policy shop/token"
	s.add(t, 0, 10, count("a/b", 1, 1), other, elsewhere, stated)
	s.settle(t)
	s.has(t, hits.Filter{Namespace: "shop", Application: "api"}, 0, 10, line("a/b", 2, 1, 1))
	s.has(t, hits.Filter{Namespace: "bank"}, 0, 10, line("a/b", 4, 1, 1))
	s.has(t, hits.Filter{Statement: "Policy shop/token"}, 0, 10, line("c/d", 8, 1, 1))
	s.has(t, hits.Filter{Namespace: `shop"} or vector(1) #`}, 0, 10)
}

func gaps(t *testing.T, s *store) {
	s.add(t, 0, 10, count("a/b", 1, 5))
	s.add(t, 10, 20)
	s.add(t, 50, 60)
	s.add(t, 3600, 3610, count("a/b", 2, 3605))
	s.settle(t)
	s.ran(t, 0, 4000, "0-20", "50-60", "3600-3610")
	s.ran(t, 15, 3605, "15-20", "50-60", "3600-3605")
	s.ran(t, 20, 50)
	s.ran(t, 52, 55, "52-55")
	s.has(t, hits.Filter{}, 10, 60)
}

func outOfOrder(t *testing.T, s *store) {
	s.add(t, 0, 10, count("a/b", 1, 5))
	s.add(t, 10, 20, count("a/b", 2, 15))
	for _, window := range [][2]int{{10, 20}, {0, 10}, {19, 30}, {0, 100}} {
		err := s.Append(t.Context(), hits.Interval{From: second(window[0]), To: second(window[1])}, []hits.Count{count("a/b", 64, window[1])})
		if !errors.Is(err, hits.ErrOrder) {
			t.Errorf("what was counted from second %d to %d gave %v, want ErrOrder", window[0], window[1], err)
		}
	}
	s.add(t, 20, 30, count("a/b", 4, 25))
	s.settle(t)
	s.has(t, hits.Filter{}, 0, 100, line("a/b", 7, 5, 25))
}

func again(t *testing.T, s *store) {
	s.add(t, 0, 10, count("a/b", 1, 5))
	s.settle(t)
	s.Store = s.Again(t)
	if err := s.Append(t.Context(), hits.Interval{From: second(5), To: second(15)}, nil); !errors.Is(err, hits.ErrOrder) {
		t.Errorf("what was counted before gave %v, want ErrOrder", err)
	}
	s.add(t, 12, 20, count("a/b", 2, 15))
	s.settle(t)
	s.has(t, hits.Filter{}, 0, 20, line("a/b", 3, 5, 15))
	s.ran(t, 0, 20, "0-10", "12-20")
}

func invalid(t *testing.T, s *store) {
	bad := count("a/b", 1, 5)
	bad.Verdict = "Perhaps"
	ran := hits.Interval{From: second(0), To: second(10)}
	for _, counts := range [][]hits.Count{{count("a/b", 1, 5), bad}, {count("a/b", 0, 5)}, {count("a/b", 1, 11)}} {
		if err := s.Append(t.Context(), ran, counts); !errors.Is(err, hits.ErrInvalid) {
			t.Errorf("%+v gave %v, want ErrInvalid", counts, err)
		}
	}
	if err := s.Append(t.Context(), hits.Interval{From: second(0), To: second(0)}, nil); !errors.Is(err, hits.ErrInvalid) {
		t.Errorf("an interval of no length gave %v, want ErrInvalid", err)
	}
	s.add(t, 0, 10)
	s.settle(t)
	s.has(t, hits.Filter{}, 0, 10)
}

func texts(t *testing.T, s *store) {
	peers := []string{"", " ", `"`, `\`, `\n`, "\n", "\r\n\t", "`", "'", "{a=\"b\"}", "ключ", "\U0001F511", "\u00e9", "e\u0301", "\u2028", "x\x01y", "internet", hits.Other}
	var counts []hits.Count
	for i, peer := range peers {
		c := count(peer, uint64(i+1), i)
		c.Route, c.Statement, c.Rule = peer, peer, i-1
		counts = append(counts, c)
	}
	s.add(t, 0, 100, counts...)
	s.settle(t)
	totals, err := s.Sum(t.Context(), hits.Filter{}, second(0), second(100))
	if err != nil {
		t.Fatal(err)
	}
	got := map[hits.Key]uint64{}
	for i, total := range totals {
		got[total.Key] = total.N
		if i > 0 && totals[i-1].Compare(total.Key) >= 0 {
			t.Errorf("%+v comes before %+v", totals[i-1].Key, total.Key)
		}
	}
	for _, c := range counts {
		if got[c.Key] != c.N {
			t.Errorf("peer %q has %d, want %d", c.Peer, got[c.Key], c.N)
		}
		if c.Statement == "" {
			continue
		}
		s.has(t, hits.Filter{Statement: c.Statement}, 0, 100, line(c.Peer, c.N, c.At.Sub(Start).Seconds(), c.At.Sub(Start).Seconds()))
	}
	if len(totals) != len(counts) {
		t.Errorf("there are %d totals, want %d", len(totals), len(counts))
	}
}

func endedContext(t *testing.T, s *store) {
	s.add(t, 0, 10, count("a/b", 1, 5))
	s.settle(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Sum(ctx, hits.Filter{}, second(0), second(10)); !errors.Is(err, context.Canceled) {
		t.Errorf("summing gave %v, want context.Canceled", err)
	}
	if _, err := s.Ran(ctx, second(0), second(10)); !errors.Is(err, context.Canceled) {
		t.Errorf("asking when it ran gave %v, want context.Canceled", err)
	}
	more := hits.Interval{From: second(10), To: second(20)}
	if err := s.Append(ctx, more, []hits.Count{count("a/b", 2, 15)}); !errors.Is(err, context.Canceled) {
		t.Errorf("appending gave %v, want context.Canceled", err)
	}
	s.add(t, 10, 20, count("a/b", 2, 15))
	s.settle(t)
	s.has(t, hits.Filter{}, 0, 20, line("a/b", 3, 5, 15))
}

// manyKeys are 100,000 of a client that makes up names, in two appends.
func manyKeys(t *testing.T, s *store) {
	const each = 50_000
	for i := range 2 {
		counts := make([]hits.Count, 0, each)
		for n := range each {
			c := count(fmt.Sprintf("made/up-%d", i*each+n), 1, 10*i+5)
			c.Application = fmt.Sprintf("app-%d", n%500)
			counts = append(counts, c)
		}
		s.add(t, 10*i, 10*i+10, counts...)
	}
	s.settle(t)
	totals, err := s.Sum(t.Context(), hits.Filter{}, second(0), second(20))
	if err != nil {
		t.Fatal(err)
	}
	bounds := hits.Bounds{Keys: 1_000}
	var sum, folded, dropped uint64
	for _, total := range totals {
		sum += total.N
		if total.Peer == hits.Other {
			folded += total.N
		}
		if total.Reason == hits.Dropped {
			dropped += total.N
		}
	}
	if sum != 2*each || len(totals) > bounds.Most() || folded == 0 || dropped == 0 {
		t.Errorf("%d keys have %d, of which %d of others and %d dropped: want all %d in at most %d keys, and some of both",
			len(totals), sum, folded, dropped, 2*each, bounds.Most())
	}
}
