// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/certificate"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

const day = 24 * time.Hour

// inBubble runs a test with a CA whose clock is that of the bubble, so that the
// CA, the library and the engine all live through the same years.
func inBubble(t *testing.T, o pebble.Options, test func(*testing.T, *world)) {
	t.Helper()
	o.AlwaysValid = true
	validator := pebble.NewValidator(t, o)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, validator.InBubble(), acme.DNS01, "a.example.com")
		w.now = time.Now
		w.pass = func(d time.Duration) { <-time.After(d) }
		w.mute = true
		w.restart()
		test(t, w)
	})
}

// live drives on for a time, as a controller does: it sleeps until it is needed.
// Every step sees the pair that is served.
func (w *world) live(long time.Duration, each func(acme.State)) {
	w.t.Helper()
	end := w.now().Add(long)
	for w.now().Before(end) {
		a := w.step(everything)
		each(w.read())
		if !w.proceed(a) {
			w.t.Fatalf("nothing left to do: %s", w.state)
		}
	}
}

func TestARenewalThatTheCAMovesToNowIsDoneAtOnce(t *testing.T) {
	inBubble(t, pebble.Options{}, func(t *testing.T, w *world) {
		w.issue()
		first := w.leaf()
		w.live(2*day, func(acme.State) {})
		if err := w.ca.SetRenewalInfo(w.secrets.Pair.Chain, pebble.Window(w.now().Add(-2*time.Hour), w.now().Add(-time.Hour))); err != nil {
			t.Fatal(err)
		}
		moved := w.now()
		w.live(7*time.Hour, func(s acme.State) {
			defect := s.PlainOrder && s.LastError != nil && defectOfPebble(*s.LastError)
			if s.Order != nil && s.Order.Replaces == "" && !defect {
				t.Errorf("the order does not say what it replaces: %s", w.state)
			}
		})
		if w.leaf().Serial == first.Serial {
			t.Errorf("not renewed %s after the CA asked for it: %s", w.now().Sub(moved), w.state)
		}
		if n := w.ca.Orders(); n != 2 || len(w.failures) != 0 {
			t.Errorf("%d orders, failures %v", n, w.failures)
		}
	})
}

func TestARevokedCertificateIsReplacedWithinHours(t *testing.T) {
	inBubble(t, pebble.Options{}, func(t *testing.T, w *world) {
		w.issue()
		first := w.leaf()
		w.live(2*day, func(acme.State) {})
		if err := w.ca.Revoke(t.Context(), w.secrets.AccountKey, w.read().Account, w.secrets.Pair.Chain); err != nil {
			t.Fatal(err)
		}
		w.live(7*time.Hour, func(acme.State) {})
		if w.leaf().Serial == first.Serial || w.ca.Orders() != 2 || len(w.failures) != 0 {
			t.Errorf("%d orders, failures %v: %s", w.ca.Orders(), w.failures, w.state)
		}
	})
}

func TestThePointInTheWindowIsChosenOnce(t *testing.T) {
	inBubble(t, pebble.Options{}, func(t *testing.T, w *world) {
		w.issue()
		w.until(func(s acme.State) bool { return s.Renewal != nil && s.Renewal.At != nil })
		chosen := *w.read().Renewal.At
		for range 10 {
			w.live(12*time.Hour, func(acme.State) {})
			w.restart()
			if at := *w.read().Renewal.At; !at.Equal(chosen) {
				t.Fatalf("chose %s, and then %s in the same window", chosen, at)
			}
		}
		// Another window: another choice, within it.
		start := w.now().Add(20 * day)
		if err := w.ca.SetRenewalInfo(w.secrets.Pair.Chain, pebble.Window(start, start.Add(day))); err != nil {
			t.Fatal(err)
		}
		w.live(7*time.Hour, func(acme.State) {})
		if at := *w.read().Renewal.At; at.Before(start.Add(-time.Second)) || at.After(start.Add(day)) {
			t.Errorf("chose %s, want it within a day of %s", at, start)
		}
	})
}

func TestMalformedRenewalInformationIsNoReasonToWait(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":    `{"suggestedWindow":`,
		"no window":  `{}`,
		"backwards":  `{"suggestedWindow":{"start":"2030-01-02T00:00:00Z","end":"2030-01-01T00:00:00Z"}}`,
		"no dates":   `{"suggestedWindow":{"start":"tomorrow","end":"later"}}`,
		"far future": `{"suggestedWindow":{"start":"2999-01-01T00:00:00Z","end":"2999-01-02T00:00:00Z"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, pebble.Options{}, func(t *testing.T, w *world) {
				w.issue()
				if err := w.ca.SetRenewalInfo(w.secrets.Pair.Chain, answer); err != nil {
					t.Fatal(err)
				}
				first := w.leaf()
				w.live(80*day, func(s acme.State) {
					if s.Renewal != nil && name != "far future" && s.Issued.Serial == first.Serial && s.Renewal.LastError == "" {
						t.Errorf("the state does not say what is wrong: %s", w.state)
					}
				})
				if w.leaf().Serial == first.Serial || w.ca.Orders() != 2 {
					t.Errorf("%d orders: %s", w.ca.Orders(), w.state)
				}
			})
		})
	}
}

func TestARenewalThatFailsForWeeksKeepsTheOldCertificateAndCallsAPerson(t *testing.T) {
	inBubble(t, pebble.Options{}, func(t *testing.T, w *world) {
		w.issue()
		first := w.leaf()
		w.ca.Inject(pebble.Fault{Path: pebble.PathNewOrder, Status: 500, Times: -1, Type: "serverInternal", Detail: "down"})
		var called time.Time
		w.live(88*day, func(s acme.State) {
			if s.Alert(w.now()) && called.IsZero() {
				called = w.now()
			}
		})
		if w.leaf().Serial != first.Serial {
			t.Fatal("the old certificate is gone")
		}
		if left := first.NotAfter.Sub(called); called.IsZero() || left > 15*day || left < 13*day {
			t.Errorf("called with %s left, want 15 days", left)
		}
		// Daily, after a quick beginning: a month of failures is some 30 requests.
		if n := w.ca.Count(pebble.PathNewOrder, 500); n < 20 || n > 40 {
			t.Errorf("%d requests while the CA was down", n)
		}
		w.ca.Heal()
		w.live(2*day, func(acme.State) {})
		if w.leaf().Serial == first.Serial {
			t.Errorf("not renewed when the CA came back: %s", w.state)
		}
	})
}

func TestRenewalsThatReplaceAreNotHeldBack(t *testing.T) {
	inBubble(t, pebble.Options{Profiles: map[string]time.Duration{"p": 12 * time.Hour}}, func(t *testing.T, w *world) {
		w.spec.Profile = "p"
		w.issue()
		// Twelve hours: some twenty renewals within a week, where five are the limit.
		w.live(7*day, func(acme.State) {
			if len(w.failures) != 0 {
				t.Fatalf("a renewal was held back: %v", w.failures)
			}
		})
		if n := w.ca.Orders(); n < 14 {
			t.Errorf("%d orders in a week", n)
		}
	})
}

func TestACertificateThatIsDueWhenItIsIssuedIsNotOrderedWithoutEnd(t *testing.T) {
	inBubble(t, pebble.Options{}, func(t *testing.T, w *world) {
		// Of ninety days, thirty are left to us as soon as the CA has issued it.
		w.now = func() time.Time { return time.Now().Add(70 * day) }
		w.restart()
		w.live(day, func(acme.State) {})
		if n := w.ca.Orders(); n < 5 || n > 32 {
			t.Errorf("%d orders in a day", n)
		}
	})
}

func TestAnExpiredCertificateIsRenewedAndNotDamaged(t *testing.T) {
	inBubble(t, pebble.Options{}, func(t *testing.T, w *world) {
		w.issue()
		w.pass(100 * day)
		w.until(func(s acme.State) bool { return s.Order != nil })
		if s := w.read(); s.Cause != certificate.RenewalDue {
			t.Errorf("the cause is %s", s.Cause)
		}
		w.issue()
	})
}

// Where nine of ten nonces are refused, an order may come to its end before the CA
// was told to look; that costs another one, and the certificate comes all the same.
func TestNoncesThatAreRefusedCostNoOrderButForTheUnluckiest(t *testing.T) {
	for percent, most := range map[int]int{50: 5, 90: 8} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			t.Parallel()
			inBubble(t, pebble.Options{NonceReject: percent}, func(t *testing.T, w *world) {
				for i := range 5 {
					w.spec.Names = []string{fmt.Sprintf("nonce-%d.example.com", i)}
					w.issue()
				}
				if n := w.ca.Orders(); n > most {
					t.Errorf("%d orders, want at most %d; failures %v", n, most, w.failures)
				}
				for _, f := range w.failures {
					if f.Type != "badNonce" && percent == 50 {
						t.Errorf("failed with %v", f)
					}
				}
				if refused := w.ca.Count("/", 400); refused < 5 {
					t.Errorf("only %d nonces were refused", refused)
				}
			})
		})
	}
}
