// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

// crowd counts random sightings of some hours, and says until when.
func crowd(random *rand.Rand, tally *sighting.Tally, now time.Time) time.Time {
	for range 500 {
		now = now.Add(time.Duration(random.Int64N(int64(time.Minute))))
		at := now
		if random.IntN(4) == 0 {
			at = now.Add(-time.Duration(random.Int64N(int64(time.Hour))))
		}
		s := seen(fmt.Sprint("client", random.IntN(12)))
		s.Port, s.Proxied, s.Plaintext = uint16(80+random.IntN(2)), random.IntN(2) == 0, random.IntN(3) == 0
		if random.IntN(2) == 0 {
			s.Services = []string{"shop/a", "shop/b"}
		}
		if random.IntN(5) == 0 {
			s.Cause, s.Why = "Refused", "because"
		}
		tally.Add(s, at)
		if random.IntN(20) == 0 {
			tally.Lose(1+random.IntN(3), at)
		}
	}
	return now
}

// restored is a tally by what another one has kept.
func restored(t testing.TB, limits sighting.Limits, tally *sighting.Tally, until, now time.Time) *sighting.Tally {
	t.Helper()
	out, err := sighting.Restore(limits, tally.Kept(until), now)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatWasSeenIsTheSameAfterARestart(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 2))
		// In some there is no room for all clients.
		limits := sighting.Limits{Edges: []int{100, 8}[seed%2], Cells: 100_000}
		tally := sighting.NewTally(limits, began)
		until := crowd(random, tally, began)
		again := until.Add(20 * time.Second)
		other := restored(t, limits, tally, until, again)
		same := func(now time.Time) {
			t.Helper()
			for range 20 {
				from := began.Add(time.Duration(random.Int64N(int64(until.Sub(began)))))
				want, got := tally.Seen(from, now), other.Seen(from, now)
				if !got.From.Equal(again) || !reflect.DeepEqual(got.Before, []traffic.Interval{{From: want.From, To: until}}) {
					t.Fatalf("seed %d: it was watched since %s, and is said to have been in %v and since %s", seed, want.From, got.Before, got.From)
				}
				if got.Lost != want.Lost || !reflect.DeepEqual(got.Edges, want.Edges) {
					t.Fatalf("seed %d, since %s\ngot  %+v\nwant %+v", seed, from, got, want)
				}
			}
		}
		same(again)
		// It goes on as the other would have.
		later := again.Add(2 * time.Hour)
		crowd(rand.New(rand.NewPCG(seed, 3)), tally, later)
		same(crowd(rand.New(rand.NewPCG(seed, 3)), other, later))
	}
}

func TestSeveralRestartsLeaveSeveralTimesThatWereWatched(t *testing.T) {
	at := func(minute int) time.Time { return began.Add(time.Duration(minute) * time.Minute) }
	limits := sighting.DefaultLimits
	tally := sighting.NewTally(limits, at(0))
	tally.Add(seen("a", "plaintext"), at(5))
	tally = restored(t, limits, tally, at(10), at(11))
	// One that ends before it has written anything.
	tally = restored(t, limits, tally, time.Time{}, at(13))
	tally.Add(seen("a"), at(14))
	tally = restored(t, limits, tally, at(20), at(22))
	for _, c := range []struct {
		from int
		want []traffic.Interval
		n    uint64
	}{
		{-5, []traffic.Interval{{From: at(0), To: at(10)}, {From: at(13), To: at(20)}}, 2},
		{8, []traffic.Interval{{From: at(8), To: at(10)}, {From: at(13), To: at(20)}}, 1},
		{12, []traffic.Interval{{From: at(13), To: at(20)}}, 1},
		{21, nil, 0},
		{23, nil, 0},
	} {
		got := tally.Seen(at(c.from), at(30))
		var n uint64
		for _, e := range got.Edges {
			n += e.Requests
		}
		if !reflect.DeepEqual(got.Before, c.want) || n != c.n || !got.From.Equal(at(max(c.from, 22))) {
			t.Errorf("since minute %d: %d requests, watched in %v and since %s", c.from, n, got.Before, got.From)
		}
	}
}

func TestNoMoreRestartsAreKeptApartThanThereIsRoomFor(t *testing.T) {
	limits, now := sighting.DefaultLimits, began
	tally := sighting.NewTally(limits, now)
	for range 300 {
		tally = restored(t, limits, tally, now.Add(10*time.Second), now.Add(20*time.Second))
		now = now.Add(20 * time.Second)
	}
	got := tally.Seen(began, now)
	if len(got.Before) != 256 || !got.Before[255].To.Equal(now.Add(-10*time.Second)) {
		t.Errorf("%d are kept apart, the last is %v", len(got.Before), got.Before[len(got.Before)-1])
	}
}

func TestWhatIsTooOldIsNotRestored(t *testing.T) {
	limits := sighting.Limits{Edges: 8, Cells: 1000}
	tally := sighting.NewTally(limits, began)
	tally.Add(seen("old"), began)
	tally.Lose(1, began)
	tally.Add(seen("new"), began.Add(100*time.Hour))
	now := began.Add(sighting.Keep + 2*time.Hour)
	got := restored(t, limits, tally, began.Add(110*time.Hour), now).Seen(began, now)
	want := []traffic.Interval{{From: now.Add(-sighting.Keep), To: began.Add(110 * time.Hour)}}
	if len(got.Edges) != 1 || got.Edges[0].Client != "new" || got.Lost != 0 || !reflect.DeepEqual(got.Before, want) {
		t.Errorf("%+v", got)
	}
}

func TestWhatThereIsNoRoomForAnyMoreIsUnknownOrLost(t *testing.T) {
	tally := sighting.NewTally(sighting.DefaultLimits, began)
	for i := range 12 {
		s := seen(fmt.Sprint("client", i), "plaintext", "Refused")
		tally.Add(s, began)
		tally.Add(s, began.Add(time.Duration(i)*time.Second))
	}
	other := seen("client")
	other.Port = 1
	tally.Add(other, began)
	tally.Add(other, began)
	now := began.Add(time.Minute)
	got := restored(t, sighting.Limits{Edges: 8, Cells: 10}, tally, now, now).Seen(began, now)
	last := got.Edges[len(got.Edges)-1]
	if len(got.Edges) != 9 || last.Client != traffic.UnknownClient || last.Plaintext != 8 || !last.LastFailed.Equal(began.Add(11*time.Second)) || got.Lost != 2 {
		t.Errorf("%d edges, %d lost, the last is %+v", len(got.Edges), got.Lost, last)
	}
}

// Nobody knows how long nothing was looked at when the clock says that it was later.
func TestATimeThatEndsLaterThanNowIsNotClaimed(t *testing.T) {
	tally := sighting.NewTally(sighting.DefaultLimits, began)
	tally.Add(seen("a"), began)
	now := began.Add(time.Hour)
	got := restored(t, sighting.DefaultLimits, tally, now.Add(time.Nanosecond), now).Seen(began, now)
	if len(got.Before) != 0 || !got.From.Equal(now) || len(got.Edges) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsNotWhatWasKeptIsRefused(t *testing.T) {
	tally := sighting.NewTally(sighting.DefaultLimits, began)
	crowd(rand.New(rand.NewPCG(1, 1)), tally, began)
	good := tally.Kept(began.Add(time.Hour))
	changed := func(at int) []byte {
		out := append([]byte(nil), good...)
		out[(at+len(out))%len(out)] ^= 1
		return out
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":                {nil, "its end is cut off"},
		"something else":         {[]byte("{}"), "nothing that this program has kept"},
		"a newer form":           {[]byte(strings.Replace(string(good), "form 1\n", "form 2\n", 1)), "a form that this version does not know"},
		"half of it":             {good[:len(good)/2], "its checksum is wrong"},
		"a changed byte":         {changed(len(good) / 2), "its checksum is wrong"},
		"a changed sum":          {changed(-1), "its checksum is wrong"},
		"more behind":            {summed(append(append([]byte(nil), good[:len(good)-4]...), 0)), "there is more behind its end"},
		"nothing but a sum":      {summed(good[:25]), "its end is cut off"},
		"more than can be there": {summed(append(append([]byte(nil), good[:26]...), 0xff, 0xff, 0x7f)), "it contradicts itself"},
	} {
		got, err := sighting.Restore(sighting.DefaultLimits, c.raw, began)
		if got != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want %q", name, err, c.want)
		}
	}
}

func summed(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(body[:len(body):len(body)], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}

// What is read can be asked, goes on, and is kept again as it was.
func FuzzRestore(f *testing.F) {
	tally := sighting.NewTally(sighting.DefaultLimits, began)
	crowd(rand.New(rand.NewPCG(1, 1)), tally, began)
	small := sighting.NewTally(sighting.DefaultLimits, began)
	small.Add(seen("a", "plaintext", "Refused"), began)
	small.Lose(1, began.Add(time.Hour))
	for _, one := range []*sighting.Tally{tally, small} {
		f.Add(one.Kept(began.Add(20 * time.Hour)))
		f.Add(restored(f, sighting.DefaultLimits, one, began.Add(20*time.Hour), began.Add(21*time.Hour)).Kept(began.Add(22 * time.Hour)))
	}
	limits, now := sighting.Limits{Edges: 4, Cells: 16}, began.Add(24*time.Hour)
	f.Fuzz(func(t *testing.T, raw []byte) {
		// A wrong sum hides all that it is a sum of.
		if len(raw) > 4 {
			raw = summed(raw[:len(raw)-4])
		}
		got, err := sighting.Restore(limits, raw, now)
		if err != nil {
			return
		}
		crowd(rand.New(rand.NewPCG(1, 1)), got, now)
		later := now.Add(24 * time.Hour)
		is := got.Seen(time.Unix(0, 0), later)
		if !is.InOrder() {
			t.Errorf("watched in %v", is.Watched())
		}
		again, err := sighting.Restore(limits, got.Kept(later), later)
		if err != nil {
			t.Fatal(err)
		}
		if was := again.Seen(time.Unix(0, 0), later); was.Lost < is.Lost {
			t.Errorf("%d were lost, and then %d", is.Lost, was.Lost)
		}
	})
}

// BenchmarkTallyKept says what it takes to keep a tally that has seen all edges in each hour
// of a week, and to go on with it.
func BenchmarkTallyKept(b *testing.B) {
	all := many(20_000)
	tally, now := sighting.NewTally(sighting.DefaultLimits, began), began
	for range 7 * 24 {
		for _, s := range all {
			tally.Add(s, now)
		}
		now = now.Add(time.Hour)
	}
	for b.Loop() {
		start := time.Now()
		raw := tally.Kept(now)
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/keep")
		b.ReportMetric(float64(len(raw))/(1<<20), "MiB")
		start = time.Now()
		if _, err := sighting.Restore(sighting.DefaultLimits, raw, now); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/restore")
	}
}
