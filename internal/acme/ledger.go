// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
)

// Limit is a token bucket: how much may be spent at once, and how long it takes
// until one more may be.
type Limit struct {
	Burst  int
	Refill time.Duration
}

// Limits are what a CA allows.
type Limits struct {
	// SameNames is for certificates of exactly the same set of names, over all
	// accounts; Orders for orders of an account; FailedAuthorizations for failures
	// of one name in an account.
	SameNames, Orders, FailedAuthorizations Limit
	// Replacements is for renewals of exactly the same set of names. CAs do not
	// count those; we do, since a clock that is wrong can make every certificate
	// look due. Zero for no limit.
	Replacements Limit
}

// LetsEncrypt are its limits of 2026-08 (letsencrypt.org/docs/rate-limits). Other
// CAs allow as much or more.
var LetsEncrypt = Limits{
	SameNames:            Limit{Burst: 5, Refill: 7 * 24 * time.Hour / 5},
	Orders:               Limit{Burst: 300, Refill: 36 * time.Second},
	FailedAuthorizations: Limit{Burst: 5, Refill: 12 * time.Minute},
	Replacements:         Limit{Burst: 5, Refill: time.Hour},
}

// bucket says how much was spent at a time; what was spent comes back with time.
type bucket struct {
	Spent float64   `json:"spent"`
	At    time.Time `json:"at"`
}

// settled is the bucket at a later time. A clock that went back a little gives
// nothing; one that was far ahead must not block for ever.
func (b bucket) settled(l Limit, now time.Time) bucket {
	if !now.After(b.At) {
		if b.At.Sub(now) > l.span() {
			b.At = now
		}
		return b
	}
	return bucket{Spent: max(0, b.Spent-float64(now.Sub(b.At))/float64(l.Refill)), At: now}
}

// wait is how long until one more may be spent. A hair is forgiven: fractions of
// a token are not exact.
func (b bucket) wait(l Limit, now time.Time) time.Duration {
	missing := b.settled(l, now).Spent + 1 - float64(l.Burst)
	if missing <= 1e-6 {
		return 0
	}
	return time.Duration(math.Ceil(missing * float64(l.Refill)))
}

// Ledger keeps what was asked of CAs, so that no loop of ours or of our users
// spends what a CA allows. It is shared by all certificates, outlives them, and is
// stored as JSON. Its answers depend on the times passed in only. Safe for
// concurrent use.
type Ledger struct {
	limits  Limits
	mu      sync.Mutex
	buckets map[string]bucket
}

// maxBuckets bounds a Ledger: 1,000 hosts keep a few thousand at the worst.
const maxBuckets = 50_000

// NewLedger begins with nothing spent.
func NewLedger(l Limits) *Ledger { return &Ledger{limits: l, buckets: map[string]bucket{}} }

// DecodeLedger reads what Encode wrote.
func DecodeLedger(l Limits, text []byte) (*Ledger, error) {
	out := NewLedger(l)
	if err := json.Unmarshal(text, &out.buckets); err != nil {
		return nil, fmt.Errorf("reading the budget: %w", err)
	}
	if out.buckets == nil {
		out.buckets = map[string]bucket{}
	}
	if len(out.buckets) > maxBuckets {
		return nil, fmt.Errorf("reading the budget: it has more than %d entries", maxBuckets)
	}
	for k, b := range out.buckets {
		// Out of range is out of a hand: it must neither block for ever nor lend.
		b.Spent = min(max(b.Spent, 0), float64(2*out.limit(k).Burst))
		out.buckets[k] = b
	}
	return out, nil
}

// Encode writes the ledger as JSON, without what has come back by now.
func (g *Ledger) Encode(now time.Time) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.prune(now)
	out, err := json.Marshal(g.buckets)
	if err != nil {
		return nil, fmt.Errorf("writing the budget: %w", err)
	}
	return out, nil
}

func (g *Ledger) prune(now time.Time) {
	for k, b := range g.buckets {
		if b.settled(g.limit(k), now).Spent == 0 {
			delete(g.buckets, k)
		}
	}
}

// The kinds of buckets: the first word of their names.
const (
	kindNames    = "names "
	kindOrders   = "orders "
	kindFailed   = "failed "
	kindReplaced = "replaced "
)

func (g *Ledger) limit(key string) Limit {
	switch {
	case strings.HasPrefix(key, kindNames):
		return g.limits.SameNames
	case strings.HasPrefix(key, kindOrders):
		return g.limits.Orders
	case strings.HasPrefix(key, kindReplaced):
		return g.limits.Replacements
	}
	return g.limits.FailedAuthorizations
}

func namesKey(s Spec) string                { return kindNames + namesOf(s) }
func replacedKey(s Spec) string             { return kindReplaced + namesOf(s) }
func namesOf(s Spec) string                 { return s.Directory + " " + s.Names[0] + " " + digest(s.Names) }
func ordersKey(account string) string       { return kindOrders + account }
func failedKey(account, name string) string { return kindFailed + account + " " + name }

// reserve takes what a new order costs, or says how long to wait, and for what. An
// exempt order is a renewal that says what it replaces: CAs that know of
// replacements do not count them, and Limits.Replacements holds. What was charged for the names can be given back
// with refund.
func (g *Ledger) reserve(s Spec, account string, exempt bool, now time.Time) (charged string, wait time.Duration, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ask := func(key, what string) {
		l := g.limit(key)
		if w := g.at(key, now).wait(l, now); w > wait {
			wait, why = w, fmt.Sprintf("%s: %d times within %s is what this engine allows itself", what, l.Burst, l.span())
		}
	}
	for _, name := range s.Names {
		ask(failedKey(account, strings.TrimPrefix(name, "*.")), name+" could not be proven")
	}
	if exempt {
		ask(replacedKey(s), "replacements of the certificate for exactly these names were ordered")
	} else {
		ask(namesKey(s), "certificates for exactly these names were ordered")
		ask(ordersKey(account), "orders were sent")
	}
	if wait > 0 {
		return "", wait, why
	}
	if exempt {
		g.spend(replacedKey(s), now)
		return "", 0, ""
	}
	g.spend(namesKey(s), now)
	g.spend(ordersKey(account), now)
	return namesKey(s), 0, ""
}

// refund gives back what an order without a certificate took of its names; CAs
// count certificates there. The order itself stays counted.
func (g *Ledger) refund(charged string, now time.Time) {
	if charged == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.at(charged, now)
	b.Spent = max(0, b.Spent-1)
	g.buckets[charged] = b
}

// at is a bucket at a time, kept so: a time that was wrong is put right once.
func (g *Ledger) at(key string, now time.Time) bucket {
	b, ok := g.buckets[key]
	if !ok {
		return bucket{At: now}
	}
	b = b.settled(g.limit(key), now)
	g.buckets[key] = b
	return b
}

// failed counts an authorization that the CA found invalid.
func (g *Ledger) failed(account, name string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spend(failedKey(account, name), now)
}

func (g *Ledger) spend(key string, now time.Time) {
	if len(g.buckets) >= maxBuckets {
		g.prune(now)
	}
	b := g.at(key, now)
	b.Spent++
	g.buckets[key] = b
}

// span is the time in which the whole of a limit comes back, for people.
func (l Limit) span() time.Duration { return time.Duration(l.Burst) * l.Refill }
