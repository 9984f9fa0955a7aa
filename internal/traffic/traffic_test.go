// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package traffic_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

func TestWhatSeveralSawIsAddedUpAndKnownOnlyOfTheTimeThatAllKnow(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	last := func(minute int) *time.Time { m := at(minute); return &m }
	cart := []string{"shop/cart"}
	a := traffic.Seen{From: at(1), To: at(9), Lost: 2, Edges: []traffic.Edge{
		{Client: "shop/web", Proxied: true, Services: cart, Port: 80, Requests: 3, Failed: 1, LastFailed: last(4), Cause: "Old", Why: "old"},
		{Client: "legacy/job", Services: cart, Port: 80, Requests: 1, Plaintext: 1, LastPlaintext: last(3)},
	}}
	b := traffic.Seen{From: at(2), To: at(8), Lost: 1, Edges: []traffic.Edge{
		{Client: "shop/web", Services: cart, Port: 80, Requests: 4, Failed: 2, LastFailed: last(5), Cause: "New", Why: "new"},
		{Client: "shop/web", Services: cart, Port: 81, Requests: 1},
		{Client: "legacy/job", Services: cart, Port: 80, Requests: 1, Plaintext: 1, LastPlaintext: last(2)},
	}}
	want := traffic.Seen{From: at(2), To: at(8), Lost: 3, Edges: []traffic.Edge{
		{Client: "legacy/job", Services: cart, Port: 80, Requests: 2, Plaintext: 2, LastPlaintext: last(3)},
		{Client: "shop/web", Proxied: true, Services: cart, Port: 80, Requests: 7, Failed: 3, LastFailed: last(5), Cause: "New", Why: "new"},
		{Client: "shop/web", Services: cart, Port: 81, Requests: 1},
	}}
	for _, got := range []traffic.Seen{traffic.Merge(a, b), traffic.Merge(b, a)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	if a.Edges[0].Requests != 3 {
		t.Error("what was given has changed")
	}
}

func TestATimeIsWatchedOnlyIfAllReplicasWatchedIt(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	// watched has pairs of minutes, the last of which is From and To.
	watched := func(minutes ...int) traffic.Seen {
		out := traffic.Seen{Edges: []traffic.Edge{}}
		for i := 0; i < len(minutes); i += 2 {
			w := traffic.Interval{From: at(minutes[i]), To: at(minutes[i+1])}
			if i == len(minutes)-2 {
				out.From, out.To = w.From, w.To
				continue
			}
			out.Before = append(out.Before, w)
		}
		return out
	}
	all := func(seen ...traffic.Seen) []traffic.Seen { return seen }
	for name, c := range map[string]struct {
		parts []traffic.Seen
		want  traffic.Seen
	}{
		"one alone":                           {all(watched(0, 5, 6, 9)), watched(0, 5, 6, 9)},
		"none was started anew":               {all(watched(0, 9), watched(1, 8)), watched(1, 8)},
		"one was started anew":                {all(watched(0, 5, 6, 9), watched(1, 8)), watched(1, 5, 6, 8)},
		"both were, one after the other":      {all(watched(0, 3, 4, 9), watched(0, 5, 6, 9)), watched(0, 3, 4, 5, 6, 9)},
		"both were, at once":                  {all(watched(0, 3, 6, 9), watched(0, 4, 5, 9)), watched(0, 3, 6, 9)},
		"one is new":                          {all(watched(0, 3, 4, 9), watched(6, 9)), watched(6, 9)},
		"one is new since another's times":    {all(watched(0, 3, 4, 9), watched(2, 9)), watched(2, 3, 4, 9)},
		"never together before":               {all(watched(0, 3, 6, 9), watched(3, 5, 7, 9)), watched(7, 9)},
		"one has read up to before the other": {all(watched(0, 3, 6, 9), watched(0, 5)), watched(0, 3, 6, 5)},
		"three":                               {all(watched(0, 3, 4, 9), watched(1, 5, 6, 9), watched(0, 7, 8, 10)), watched(1, 3, 4, 5, 6, 7, 8, 9)},
	} {
		t.Run(name, func(t *testing.T) {
			slices.Reverse(c.parts)
			for range 2 {
				if got := traffic.Merge(c.parts...); !reflect.DeepEqual(got, c.want) {
					t.Errorf("got  %+v\nwant %+v", got, c.want)
				}
				slices.Reverse(c.parts)
			}
		})
	}
}

func TestWhatWasMissedIsTheTimeThatNobodyWatched(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	seen := traffic.Seen{Before: []traffic.Interval{{From: at(10), To: at(20)}, {From: at(21), To: at(30)}}, From: at(33), To: at(40)}
	for from, want := range map[int]time.Duration{5: 9, 10: 4, 15: 4, 20: 4, 21: 3, 25: 3, 31: 2, 33: 0, 35: 0, 45: 0} {
		if got := seen.Missed(at(from)); got != want*time.Minute {
			t.Errorf("since minute %d it is %s, want %d minutes", from, got, want)
		}
	}
}

func TestTimesThatContradictEachOtherAreOutOfOrder(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	for _, c := range []struct {
		before []traffic.Interval
		want   bool
	}{
		{nil, true},
		{[]traffic.Interval{{From: at(1), To: at(2)}, {From: at(2), To: at(5)}}, true},
		{[]traffic.Interval{{From: at(3), To: at(4)}, {From: at(1), To: at(2)}}, false},
		{[]traffic.Interval{{From: at(1), To: at(3)}, {From: at(2), To: at(4)}}, false},
		{[]traffic.Interval{{From: at(2), To: at(2)}}, false},
		{[]traffic.Interval{{From: at(1), To: at(6)}}, false},
	} {
		if got := (&traffic.Seen{Before: c.before, From: at(5), To: at(9)}).InOrder(); got != c.want {
			t.Errorf("%v: %t", c.before, got)
		}
	}
}
