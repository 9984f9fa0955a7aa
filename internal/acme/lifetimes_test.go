// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

// Seventeen years, one step after the other: the race detector makes six times the
// work of it, and sees nothing that it does not see in the other simulations.

package acme_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/acme"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

func TestLifetimesOfTheComingYearsAreRenewedInTime(t *testing.T) {
	for _, test := range []struct {
		lifetime time.Duration
		ari      bool
	}{
		{160 * time.Hour, true}, {160 * time.Hour, false},
		{45 * day, true}, {45 * day, false},
		{64 * day, true}, {64 * day, false},
		{90 * day, true}, {90 * day, false},
		{200 * day, true}, {47 * day, true},
	} {
		t.Run(fmt.Sprint(test.lifetime, " ", test.ari), func(t *testing.T) {
			t.Parallel()
			inBubble(t, pebble.Options{Profiles: map[string]time.Duration{"p": test.lifetime}}, func(t *testing.T, w *world) {
				w.spec.Profile = "p"
				if !test.ari {
					w.ca.Inject(pebble.Fault{Path: pebble.PathRenewalInfo, Status: 200, Times: -1, Body: "<html>", ContentType: "text/html"})
				}
				w.issue()
				begin, last, renewals := w.now(), w.leaf(), 0
				w.live(97*test.lifetime/10, func(s acme.State) {
					if s.Alert(w.now()) {
						t.Fatalf("a person was called %s after the beginning: %s", w.now().Sub(begin), w.state)
					}
					if s.Issued == nil || s.Issued.Serial == last.Serial {
						return
					}
					renewals++
					used := float64(w.now().Sub(last.NotBefore)) / float64(last.Lifetime())
					low, high := 2.0/3, 2.0/3+0.01
					if test.lifetime < 10*day {
						low, high = 0.5, 0.51
					}
					if test.ari {
						// Pebble's window is a day to both sides of two thirds.
						half := float64(day) / float64(test.lifetime)
						low, high = 2.0/3-half, 2.0/3+half+0.01
						if low < 0 || high > 5.0/6+0.01 {
							high = 5.0/6 + 0.01
						}
					}
					if used < low || used > high {
						t.Errorf("renewed at %.4f of the lifetime, want %.4f to %.4f", used, low, high)
					}
					last = w.leaf()
				})
				if renewals < 11 || renewals > 22 {
					t.Errorf("%d renewals in 9.7 lifetimes", renewals)
				}
				if n := w.ca.Orders(); n != renewals+1 || len(w.failures) != 0 {
					t.Errorf("%d orders for %d renewals, failures %v", n, renewals, w.failures)
				}
				polls := len(w.ca.Requests(pebble.PathRenewalInfo))
				if days := int(w.now().Sub(begin) / day); polls < 2*days || polls > 6*days {
					t.Errorf("the CA was asked %d times in %d days", polls, days)
				}
			})
		})
	}
}
