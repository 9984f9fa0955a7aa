// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package traffic_test

import (
	"reflect"
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
