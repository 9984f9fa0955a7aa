// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

func key(peer string) hits.Key {
	return hits.Key{Namespace: "shop", Application: "web", Place: hits.Workload, Rule: -1, Verdict: hits.Denied, Peer: peer}
}

func minute(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

func TestCountsThatMeanNothingAreRefused(t *testing.T) {
	ran := hits.Interval{From: minute(0), To: minute(1)}
	good := hits.Count{Key: key("a/b"), N: 1, At: minute(1)}
	if _, _, err := hits.Check(ran, []hits.Count{good}); err != nil {
		t.Fatalf("a good count was refused: %v", err)
	}
	for _, c := range []struct {
		name string
		set  func(*hits.Interval, *hits.Count)
	}{
		{"no verdict", func(_ *hits.Interval, c *hits.Count) { c.Verdict = "" }},
		{"a verdict that nobody knows", func(_ *hits.Interval, c *hits.Count) { c.Verdict = "allowed" }},
		{"no place", func(_ *hits.Interval, c *hits.Count) { c.Place = "" }},
		{"a rule below none", func(_ *hits.Interval, c *hits.Count) { c.Rule = -2 }},
		{"none counted", func(_ *hits.Interval, c *hits.Count) { c.N = 0 }},
		{"more than a store keeps exactly", func(_ *hits.Interval, c *hits.Count) { c.N = hits.MostCounted + 1 }},
		{"hit before the interval", func(_ *hits.Interval, c *hits.Count) { c.At = minute(0).Add(-time.Millisecond) }},
		{"hit after the interval", func(_ *hits.Interval, c *hits.Count) { c.At = minute(2) }},
		{"a text without end", func(_ *hits.Interval, c *hits.Count) { c.Peer = strings.Repeat("x", hits.Longest+1) }},
		{"a text that is not UTF-8", func(_ *hits.Interval, c *hits.Count) { c.Route = "\xff" }},
		{"an interval of no length", func(r *hits.Interval, _ *hits.Count) { r.From = r.To }},
		{"an interval shorter than a millisecond", func(r *hits.Interval, _ *hits.Count) { r.From = r.To; r.To = r.To.Add(999) }},
		{"an interval of more than a day", func(r *hits.Interval, _ *hits.Count) { r.From = r.To.Add(-25 * time.Hour) }},
		{"an interval of another age", func(r *hits.Interval, _ *hits.Count) { r.From = time.Time{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ran, count := ran, good
			c.set(&ran, &count)
			if _, _, err := hits.Check(ran, []hits.Count{count}); !errors.Is(err, hits.ErrInvalid) {
				t.Errorf("the error is %v, want ErrInvalid", err)
			}
		})
	}
}

func TestAKeyThatIsThereTwiceIsAddedUp(t *testing.T) {
	_, got, err := hits.Check(hits.Interval{From: minute(0), To: minute(9)}, []hits.Count{
		{Key: key("b"), N: 1, At: minute(1)}, {Key: key("a"), N: 5, At: minute(2)}, {Key: key("b"), N: 2, At: minute(7)}, {Key: key("b"), N: 4, At: minute(3)}})
	want := []hits.Count{{Key: key("a"), N: 5, At: minute(2)}, {Key: key("b"), N: 7, At: minute(7)}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("counts are %+v, %v, want %+v", got, err, want)
	}
}

func TestIntervalsAreCutAndJoined(t *testing.T) {
	span := func(from, to int) hits.Interval { return hits.Interval{From: minute(from), To: minute(to)} }
	for _, c := range []struct {
		name     string
		in, want []hits.Interval
	}{
		{"nothing", nil, nil},
		{"those that touch are one", []hits.Interval{span(3, 4), span(2, 3)}, []hits.Interval{span(2, 4)}},
		{"those that overlap are one", []hits.Interval{span(2, 5), span(3, 4), span(4, 6)}, []hits.Interval{span(2, 6)}},
		{"a gap stays", []hits.Interval{span(2, 3), span(4, 5)}, []hits.Interval{span(2, 3), span(4, 5)}},
		{"the window cuts", []hits.Interval{span(0, 2), span(8, 12)}, []hits.Interval{span(1, 2), span(8, 10)}},
		{"what is outside goes", []hits.Interval{span(0, 1), span(10, 12)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := hits.Join(c.in, minute(1), minute(10)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("intervals are %v, want %v", got, c.want)
			}
		})
	}
}

func TestKeysAreOrderedByEachField(t *testing.T) {
	low := key("a")
	for i := range low.Texts() {
		high := low
		*high.Texts()[i] += "~"
		if low.Compare(high) >= 0 || high.Compare(low) <= 0 {
			t.Errorf("%+v does not come before %+v", low, high)
		}
	}
	high := low
	high.Rule = 0
	if low.Compare(high) >= 0 || low.Compare(low) != 0 {
		t.Errorf("no rule does not come before the first one")
	}
}

func TestBoundsFoldPeersThenDropKeysAndLoseNoCount(t *testing.T) {
	bounds := hits.Bounds{Keys: 8}
	var counts []hits.Count
	for app := range 4 {
		for peer := range 100 {
			k := key(fmt.Sprintf("ns/%03d", peer))
			k.Application = fmt.Sprint(app)
			counts = append(counts, hits.Count{Key: k, N: 1, At: noon})
		}
	}
	got := bounds.Fit(counts, noon)
	var sum, folded, dropped uint64
	for _, c := range got {
		sum += c.N
		switch {
		case c.Peer == hits.Other:
			folded += c.N
		case c.Reason == hits.Dropped:
			dropped += c.N
		}
	}
	if sum != 400 || folded != 192 || dropped != 200 || len(got) != 8+2+1 {
		t.Errorf("%d keys have %d, of which %d of others and %d dropped: want 11 with 400, 192 and 200", len(got), sum, folded, dropped)
	}
	if bounds.Len() > bounds.Most() {
		t.Errorf("there are %d keys, more than %d", bounds.Len(), bounds.Most())
	}
	known := key("ns/000")
	known.Application = "0"
	if got := bounds.Fit([]hits.Count{{Key: known, N: 1, At: noon}}, noon); got[0].Key != known {
		t.Errorf("a key that was there became %+v", got[0].Key)
	}
}

func TestAKeyThatIsForgottenMakesRoom(t *testing.T) {
	bounds := hits.Bounds{Keys: 1}
	fit := func(peer string, at time.Time) string {
		return bounds.Fit([]hits.Count{{Key: key(peer), N: 1, At: at}}, at)[0].Peer
	}
	fit("first", minute(0))
	if got := fit("second", minute(1)); got != "" {
		t.Errorf("the peer is %q, want none: the key was dropped", got)
	}
	bounds.Forget(minute(2))
	if got := fit("second", minute(2)); got != "second" {
		t.Errorf("the peer is %q, want second", got)
	}
}
