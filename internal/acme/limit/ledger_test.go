// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"fmt"
	"math"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func specOf(names ...string) Order { return Order{Directory: "https://ca.example/dir", Names: names} }

func order(o Order, account string, exempt bool) Order {
	o.Account, o.Exempt = account, exempt
	return o
}

func TestTheBudgetIsThatOfLetsEncrypt(t *testing.T) {
	const account = "https://ca.example/acct/1"
	for name, test := range map[string]struct {
		spend func(*Ledger, int) (ok bool)
		burst int
		// refill is until one more is allowed.
		refill time.Duration
	}{
		"certificates for the same names": {func(g *Ledger, _ int) bool {
			_, wait, _ := g.Reserve(order(specOf("a.example.com"), account, false), noon)
			return wait == 0
		}, 5, 33*time.Hour + 36*time.Minute},
		"orders": {func(g *Ledger, i int) bool {
			_, wait, _ := g.Reserve(order(specOf(fmt.Sprintf("h%d.example.com", i)), account, false), noon)
			return wait == 0
		}, 300, 36 * time.Second},
		"failures of one name": {func(g *Ledger, i int) bool {
			_, wait, _ := g.Reserve(order(specOf("b.example.com", fmt.Sprintf("h%d.example.com", i)), account, false), noon)
			g.Failed(account, "b.example.com", noon)
			return wait == 0
		}, 5, 12 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewLedger(LetsEncrypt)
			n := 0
			for n < 1000 && test.spend(g, n) {
				n++
			}
			if n != test.burst {
				t.Fatalf("%d were allowed, want %d", n, test.burst)
			}
			// Stored and read again, the answer is the same.
			text, err := g.Encode(noon)
			if err != nil {
				t.Fatal(err)
			}
			if g, err = Decode(LetsEncrypt, text); err != nil {
				t.Fatal(err)
			}
			spec := specOf("b.example.com")
			if test.burst == 5 && test.refill > time.Hour {
				spec = specOf("a.example.com")
			}
			_, wait, why := g.Reserve(order(spec, account, false), noon)
			if wait < test.refill || wait > 2*test.refill || why == "" {
				t.Errorf("the wait is %s (%s), want %s", wait, why, test.refill)
			}
			if _, early, _ := g.Reserve(order(spec, account, false), noon.Add(wait-time.Second)); early == 0 {
				t.Error("allowed a second too early")
			}
			if _, late, why := g.Reserve(order(spec, account, false), noon.Add(wait)); late != 0 {
				t.Errorf("not allowed when it should be: %s, %s", late, why)
			}
		})
	}
}

func TestOtherNamesAccountsAndCAsHaveTheirOwnBudget(t *testing.T) {
	g := NewLedger(LetsEncrypt)
	for range 5 {
		g.Reserve(order(specOf("a.example.com"), "one", false), noon)
		g.Failed("one", "f.example.com", noon)
	}
	elsewhere := specOf("a.example.com")
	elsewhere.Directory = "https://other.example/dir"
	for name, test := range map[string]struct {
		spec    Order
		account string
		exempt  bool
		allowed bool
	}{
		"the same":                   {specOf("a.example.com"), "one", false, false},
		"the same, another account":  {specOf("a.example.com"), "two", false, false},
		"a renewal that replaces":    {specOf("a.example.com"), "one", true, true},
		"one more name":              {specOf("a.example.com", "b.example.com"), "one", false, true},
		"another CA":                 {elsewhere, "three", false, true},
		"a name that failed":         {specOf("f.example.com"), "one", false, false},
		"its wildcard":               {specOf("*.f.example.com"), "one", false, false},
		"a renewal of what failed":   {specOf("f.example.com"), "one", true, false},
		"what failed, other account": {specOf("f.example.com"), "two", false, true},
	} {
		if _, wait, _ := g.Reserve(order(test.spec, test.account, test.exempt), noon); (wait == 0) != test.allowed {
			t.Errorf("%s: the wait is %s, allowed is %v", name, wait, test.allowed)
		}
	}
}

func TestAnOrderWithoutACertificateIsGivenBack(t *testing.T) {
	g := NewLedger(LetsEncrypt)
	for range 50 {
		charged, wait, why := g.Reserve(order(specOf("a.example.com"), "one", false), noon)
		if wait != 0 {
			t.Fatalf("held back by %s: %s", wait, why)
		}
		g.Refund(charged, noon)
	}
	g.Refund("", noon)
}

func TestAWrongClockNeitherLendsNorBlocksForEver(t *testing.T) {
	g := NewLedger(LetsEncrypt)
	future := noon.AddDate(50, 0, 0)
	for range 5 {
		g.Reserve(order(specOf("a.example.com"), "one", false), future)
	}
	_, wait, _ := g.Reserve(order(specOf("a.example.com"), "one", false), noon)
	if wait == 0 || wait > 7*24*time.Hour {
		t.Errorf("after the clock was put right the wait is %s", wait)
	}
	if _, wait, _ = g.Reserve(order(specOf("a.example.com"), "one", false), noon.Add(wait)); wait != 0 {
		t.Errorf("it blocks for another %s", wait)
	}
}

func TestALedgerForgetsWhatHasComeBack(t *testing.T) {
	g := NewLedger(LetsEncrypt)
	g.Reserve(order(specOf("a.example.com"), "one", false), noon)
	g.Failed("one", "a.example.com", noon)
	text, err := g.Encode(noon.AddDate(0, 0, 8))
	if err != nil || len(text) != 0 {
		t.Errorf("%s, %v", text, err)
	}
}

func FuzzALedgerIsReadWithoutPanic(f *testing.F) {
	f.Add([]byte("nAAAAAAAAAAA 5000000 1795435200\n"))
	f.Add([]byte(`{}`))
	f.Add([]byte("fAAAAAAAAAAA 9223372036854775807 9223372036854775807\nxAAAAAAAAAAA 0 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := Decode(LetsEncrypt, text)
		if err != nil {
			return
		}
		_, wait, _ := g.Reserve(order(specOf("a.example.com"), "one", false), noon)
		if wait < 0 || wait > 15*24*time.Hour {
			t.Errorf("the wait is %s", wait)
		}
		out, err := g.Encode(noon)
		if err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
		if _, err := Decode(LetsEncrypt, out); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
		for k, b := range g.buckets {
			if math.IsNaN(b.Spent) || b.Spent < 0 {
				t.Errorf("%q has spent %f", k, b.Spent)
			}
		}
	})
}

// A thousand certificates, each with every kind of trouble several times a day for
// a month, and then a flood of names that a broken tool makes up.
func TestALedgerNeverOutgrowsAConfigMap(t *testing.T) {
	g := NewLedger(LetsEncrypt)
	largest := func(now time.Time) int {
		text, err := g.Encode(now)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > MaxLedgerSize {
			t.Fatalf("the ledger has %d octets", len(text))
		}
		if read, err := Decode(LetsEncrypt, text); err != nil || len(read.buckets) != len(g.buckets) {
			t.Fatalf("what was written is not what is read: %v", err)
		}
		return len(text)
	}
	now, usual := noon, 0
	for range 30 * 4 {
		now = now.Add(6 * time.Hour)
		for i := range 1000 {
			spec := specOf(fmt.Sprintf("host-%04d.a-rather-long-domain-name.example.com", i))
			g.Reserve(order(spec, "one", false), now)
			g.Reserve(order(spec, "one", true), now)
			g.Failed("one", spec.Names[0], now)
		}
		usual = max(usual, largest(now))
	}
	if usual > 128<<10 {
		t.Errorf("a thousand certificates take %d octets", usual)
	}
	g.limits.Orders.Burst = math.MaxInt32
	for i := range maxBuckets + 2000 {
		g.Reserve(order(specOf(fmt.Sprintf("flood-%d.example.com", i)), "one", false), now)
	}
	if n := len(g.buckets); n > maxBuckets {
		t.Errorf("%d buckets, and %d are the limit", n, maxBuckets)
	}
	largest(now)
	// What takes longest to come back is kept.
	if _, wait, _ := g.Reserve(order(specOf("host-0001.a-rather-long-domain-name.example.com"), "one", false), now); wait == 0 {
		t.Error("a limit was forgotten because of the flood")
	}
}
