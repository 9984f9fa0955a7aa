// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func seen(client string, more ...string) *sighting.Sighting {
	s := &sighting.Sighting{Client: client, Services: []string{"shop/cart"}, Port: 9080}
	for _, m := range more {
		if m == "plaintext" {
			s.Plaintext = true
			continue
		}
		s.Cause, s.Why = m, "because of "+m
	}
	return s
}

func TestATallySaysWhatWasSeenSinceATime(t *testing.T) {
	tally := sighting.NewTally(sighting.DefaultLimits, began)
	after := func(d time.Duration) time.Time { return began.Add(d) }
	tally.Add(seen("a"), after(0))
	tally.Add(seen("b", "plaintext"), after(time.Minute))
	tally.Lose(3, after(time.Minute))
	tally.Add(seen("b", "plaintext"), after(2*time.Minute))
	tally.Add(seen("b", "Refused"), after(3*time.Minute))
	tally.Add(seen("a"), after(4*time.Minute))
	last := func(d time.Duration) *time.Time { m := after(d); return &m }
	edge := func(e traffic.Edge) traffic.Edge { e.Services, e.Port = []string{"shop/cart"}, 9080; return e }
	now := after(5 * time.Minute)
	for _, c := range []struct {
		from time.Duration
		want traffic.Seen
	}{
		{-time.Hour, traffic.Seen{From: began, To: now, Lost: 3, Edges: []traffic.Edge{
			edge(traffic.Edge{Client: "a", Requests: 2}),
			edge(traffic.Edge{Client: "b", Requests: 3, Plaintext: 2, Failed: 1, LastPlaintext: last(2 * time.Minute), LastFailed: last(3 * time.Minute), Cause: "Refused", Why: "because of Refused"}),
		}}},
		// The second of what is asked for counts as a whole.
		{3*time.Minute + 100*time.Millisecond, traffic.Seen{From: after(3 * time.Minute).Truncate(time.Second), To: now, Edges: []traffic.Edge{
			edge(traffic.Edge{Client: "a", Requests: 1}),
			edge(traffic.Edge{Client: "b", Requests: 1, Failed: 1, LastFailed: last(3 * time.Minute), Cause: "Refused", Why: "because of Refused"}),
		}}},
		{5 * time.Minute, traffic.Seen{From: now, To: now, Edges: []traffic.Edge{}}},
	} {
		if got := tally.Seen(after(c.from), now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("since %s\ngot  %+v\nwant %+v", c.from, got, c.want)
		}
	}
}

func TestWhatIsOldIsKeptByMinutesAndHoursAndThenForgotten(t *testing.T) {
	tally := sighting.NewTally(sighting.DefaultLimits, began)
	tally.Add(seen("a"), began)
	for _, c := range []struct {
		since, from time.Duration
		earlier     time.Duration
		requests    uint64
	}{
		{5 * time.Minute, 500 * time.Millisecond, time.Second, 1}, // the same second
		{5 * time.Minute, 2 * time.Second, 0, 0},
		{20 * time.Minute, 10 * time.Second, time.Minute, 1}, // the same minute
		{20 * time.Minute, time.Minute, 0, 0},
		{5 * time.Hour, 30 * time.Minute, time.Hour, 1}, // the same hour
		{5 * time.Hour, time.Hour, 0, 0},
		{sighting.Keep + 2*time.Hour, 0, 0, 0},
	} {
		now, from := began.Add(c.since), began.Add(c.from)
		tally.Lose(0, now) // what is old is put together when something comes
		got := tally.Seen(from, now)
		var requests uint64
		for _, e := range got.Edges {
			requests += e.Requests
		}
		if requests != c.requests || got.From.Before(began) || got.From.Before(from.Add(-c.earlier)) {
			t.Errorf("after %s, since %s: %d requests since %s", c.since, c.from, requests, got.From)
		}
		if c.requests == 1 && got.From.After(from) {
			t.Errorf("after %s: it is not known what was since %s", c.since, c.from)
		}
	}
	if got := tally.Seen(began, began.Add(sighting.Keep+2*time.Hour)); !got.From.After(began) {
		t.Errorf("what was forgotten is said to be known: since %s", got.From)
	}
}

// counts are what a tally should say, kept without any bounds.
type counts struct {
	at                          time.Time
	client                      string
	requests, plaintext, failed uint64
}

func TestCountsAreTheSameHoweverTheyArePutTogether(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		tally := sighting.NewTally(sighting.Limits{Edges: 1000, Cells: 1_000_000}, began)
		var all []counts
		now := began
		for range 2000 {
			now = now.Add(time.Duration(random.Int64N(int64(2 * time.Minute))))
			at := now
			if random.IntN(4) == 0 {
				at = now.Add(-time.Duration(random.Int64N(int64(3 * time.Hour))))
			}
			s, c := seen(fmt.Sprint("client", random.IntN(9))), counts{at: at, requests: 1}
			if s.Plaintext = random.IntN(2) == 0; s.Plaintext {
				c.plaintext = 1
			}
			if random.IntN(3) == 0 {
				s.Cause, c.failed = "Refused", 1
			}
			c.client = s.Client
			if !tally.Add(s, at) {
				t.Fatal("there was room")
			}
			all = append(all, c)
		}
		for range 20 {
			holds(t, tally, all, began.Add(time.Duration(random.Int64N(int64(now.Sub(began))))), now)
		}
		holds(t, tally, all, began.Add(-time.Hour), now)
	}
}

// holds compares what a tally says since a time with all that there was since the time
// that it says it is about.
func holds(t *testing.T, tally *sighting.Tally, all []counts, from, now time.Time) {
	t.Helper()
	got := tally.Seen(from, now)
	if got.From.After(from) && !got.From.Equal(began) {
		t.Errorf("asked since %s, answered since %s", from, got.From)
	}
	least, most := map[string]counts{}, map[string]counts{}
	add := func(to map[string]counts, c counts) {
		sum := to[c.client]
		sum.requests += c.requests
		sum.plaintext += c.plaintext
		sum.failed += c.failed
		to[c.client] = sum
	}
	for _, c := range all {
		if !c.at.Before(from) {
			add(least, c)
		}
		// What is said to be of before the beginning counts as of the beginning.
		if !c.at.Before(got.From) || got.From.Equal(began) {
			add(most, c)
		}
	}
	for _, e := range got.Edges {
		l, m := least[e.Client], most[e.Client]
		if e.Requests < l.requests || e.Requests > m.requests || e.Plaintext < l.plaintext || e.Plaintext > m.plaintext || e.Failed < l.failed || e.Failed > m.failed {
			t.Errorf("since %s (%s): %+v, between %+v and %+v", from, got.From, e, l, m)
		}
		delete(least, e.Client)
	}
	if len(least) > 0 && len(got.Edges) < 9 {
		t.Errorf("since %s: missing are %v", from, least)
	}
}

func TestWithoutRoomClientsBecomeUnknownAndThenLost(t *testing.T) {
	tally := sighting.NewTally(sighting.Limits{Edges: 8, Cells: 1000}, began)
	for i := range 10 {
		if !tally.Add(seen(fmt.Sprint("client", i), "plaintext"), began) {
			t.Errorf("client %d is lost", i)
		}
	}
	other := seen("client")
	other.Port = 1
	if tally.Add(other, began) {
		t.Error("there was room for another edge")
	}
	got := tally.Seen(began, began)
	last := got.Edges[len(got.Edges)-1]
	if len(got.Edges) != 9 || last.Client != traffic.UnknownClient || last.Plaintext != 2 || got.Lost != 1 {
		t.Errorf("%+v", got)
	}
}

func TestWithoutRoomForCountsTheyGetCoarserAndThenTheOldestAreForgotten(t *testing.T) {
	tally := sighting.NewTally(sighting.Limits{Edges: 100, Cells: 60}, began)
	now := began
	for range 5 * 3600 {
		for i := range 10 {
			tally.Add(seen(fmt.Sprint("client", i)), now)
		}
		now = now.Add(time.Second)
	}
	got := tally.Seen(began, now)
	if !got.From.Equal(began) || got.Edges[0].Requests != 5*3600 {
		t.Errorf("since %s: %d requests", got.From, got.Edges[0].Requests)
	}
	for range 5 * 3600 {
		for i := range 10 {
			tally.Add(seen(fmt.Sprint("client", i)), now)
		}
		now = now.Add(time.Second)
	}
	got = tally.Seen(began, now)
	if got.From.Before(began.Add(time.Hour)) || got.From.After(began.Add(9*time.Hour)) {
		t.Errorf("it is known since %s", got.From)
	}
	if want := uint64(now.Sub(got.From) / time.Second); got.Edges[0].Requests != want {
		t.Errorf("%d requests since %s, want %d", got.Edges[0].Requests, got.From, want)
	}
}

func BenchmarkTallyAdd(b *testing.B) {
	tally := sighting.NewTally(sighting.DefaultLimits, began)
	all := many(20_000)
	i := 0
	for b.Loop() {
		tally.Add(all[i%len(all)], began.Add(time.Duration(i)*20*time.Microsecond))
		i++
	}
}

func many(n int) []*sighting.Sighting {
	out := make([]*sighting.Sighting, 0, n)
	for i := range n {
		s := seen(fmt.Sprintf("namespace-%d/client-with-a-name-%d", i%50, i))
		s.Services = []string{fmt.Sprintf("namespace-%d/service-%d", i%70, i%700)}
		out = append(out, s)
	}
	return out
}

// BenchmarkTallyFull says what a tally takes that has seen all edges once, and in each hour
// of a week.
func BenchmarkTallyFull(b *testing.B) {
	all := many(20_000)
	for _, hours := range []int{1, 7 * 24} {
		b.Run(fmt.Sprint("hours=", hours), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				tally := sighting.NewTally(sighting.DefaultLimits, began)
				now := began
				for range hours {
					for _, s := range all {
						tally.Add(s, now)
					}
					now = now.Add(time.Hour)
				}
				b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
				start := time.Now()
				got := tally.Seen(began, now)
				b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/question")
				b.ReportMetric(now.Sub(got.From).Hours(), "hours-known")
				runtime.KeepAlive(tally)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Pieces are joined and forgotten when time goes on, and it would not for a day.
func TestAfterAClockWasAheadNoPieceIsMadeForEachSecondUntilThen(t *testing.T) {
	const ahead = 24 * time.Hour
	limits := sighting.Limits{Edges: 100, Cells: 1000}
	before := int64(heap())
	tally := sighting.NewTally(limits, began)
	tally.Add(seen("a"), began.Add(ahead))
	for i := range 100_000 {
		tally.Add(seen(fmt.Sprint(i%100), "plaintext"), began.Add(time.Duration(i)*100*time.Millisecond))
	}
	if got := int64(heap()) - before; got > 1<<20 {
		t.Errorf("it holds %d bytes", got)
	}
	got := tally.Seen(began, began.Add(3*time.Hour))
	if len(got.Edges) != 101 || got.Edges[1].Plaintext != 1000 || got.Edges[1].LastPlaintext.After(began.Add(ahead/2)) {
		t.Errorf("%d edges, the second is %+v", len(got.Edges), got.Edges[1])
	}
	runtime.KeepAlive(tally)
}
