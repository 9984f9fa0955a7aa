// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package limit counts what was asked of certificate authorities, so that neither a
// loop of ours nor one of our users spends what an authority allows.
package limit

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
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
	Spent float64
	At    time.Time
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
// stored as text. Its answers depend on the times passed in only. Safe for
// concurrent use.
type Ledger struct {
	limits  Limits
	mu      sync.Mutex
	buckets map[string]bucket
}

// MaxLedgerSize bounds what Encode writes, in octets: a quarter less than the 1 MiB
// that a ConfigMap may have. It holds more than 20,000 names and sets of names that
// were asked for within a week.
const MaxLedgerSize = 768 << 10

const (
	// lineSize is the most that one bucket takes: kind and hash, what was spent in
	// millionths, seconds since 1970, two spaces and the end of the line.
	lineSize   = keySize + 2 + maxSpentDigits + maxTimeDigits + 1
	keySize    = 12
	maxBuckets = MaxLedgerSize / lineSize

	maxSpentDigits = 9  // 999 units, in millionths
	maxTimeDigits  = 12 // 31,000 years
	// millionths of a unit are what is stored; what is less is rounded up, so that
	// nothing is lent.
	millionth = 1e6
)

// NewLedger begins with nothing spent.
func NewLedger(l Limits) *Ledger { return &Ledger{limits: l, buckets: map[string]bucket{}} }

// Decode reads what Encode wrote: a line for each bucket, with its name, what
// was spent in millionths, and when that was true, in seconds since 1970.
func Decode(l Limits, text []byte) (*Ledger, error) {
	out := NewLedger(l)
	if len(text) > MaxLedgerSize {
		return nil, fmt.Errorf("reading the budget: it has more than %d octets", MaxLedgerSize)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		fields := strings.Fields(line)
		if len(fields) != 3 || len(fields[0]) != keySize {
			return nil, fmt.Errorf("reading the budget: line %d is not name, units spent, time", number)
		}
		spent, err := strconv.ParseUint(fields[1], 10, 63)
		at, bad := strconv.ParseUint(fields[2], 10, 63)
		if err = errors.Join(err, bad); err != nil {
			return nil, fmt.Errorf("reading line %d of the budget: %w", number, err)
		}
		// Out of range is out of a hand: it must neither block for ever nor lend.
		most := float64(2 * out.limit(fields[0]).Burst)
		out.buckets[fields[0]] = bucket{
			Spent: min(float64(spent)/millionth, most),
			At:    time.Unix(int64(min(at, maxTime)), 0).UTC(),
		}
	}
	return out, nil
}

// maxTime is the last second that has maxTimeDigits.
const maxTime = 999_999_999_999

// Encode writes the ledger, without what has come back by now: at most
// MaxLedgerSize, the same for the same content.
func (g *Ledger) Encode(now time.Time) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.prune(now)
	out := make([]byte, 0, len(g.buckets)*lineSize)
	for _, key := range slices.Sorted(maps.Keys(g.buckets)) {
		b := g.buckets[key]
		spent := uint64(math.Ceil(min(b.Spent, maxSpent) * millionth))
		out = append(out, key...)
		out = strconv.AppendUint(append(out, ' '), spent, 10)
		out = strconv.AppendInt(append(out, ' '), min(max(b.At.Unix(), 0), maxTime), 10)
		out = append(out, '\n')
	}
	return out, nil
}

// maxSpent has maxSpentDigits in millionths.
const maxSpent = 999

func (g *Ledger) prune(now time.Time) {
	for k, b := range g.buckets {
		if b.settled(g.limit(k), now).Spent == 0 {
			delete(g.buckets, k)
		}
	}
}

// evict makes room for more where there is none: what would come back first goes,
// some at a time, because looking through all is slow.
func (g *Ledger) evict(now time.Time) {
	if len(g.buckets) < maxBuckets {
		return
	}
	g.prune(now)
	if len(g.buckets) < maxBuckets {
		return
	}
	left := func(key string) float64 {
		return g.buckets[key].settled(g.limit(key), now).Spent * float64(g.limit(key).Refill)
	}
	keys := slices.SortedFunc(maps.Keys(g.buckets), func(a, b string) int { return cmp.Or(cmp.Compare(left(a), left(b)), cmp.Compare(a, b)) })
	for _, key := range keys[:maxBuckets/16] {
		delete(g.buckets, key)
	}
}

// The kinds of buckets: the first letter of their names.
const (
	kindNames    = "n"
	kindOrders   = "o"
	kindFailed   = "f"
	kindReplaced = "r"
)

func (g *Ledger) limit(key string) Limit {
	switch key[:1] {
	case kindNames:
		return g.limits.SameNames
	case kindOrders:
		return g.limits.Orders
	case kindReplaced:
		return g.limits.Replacements
	}
	return g.limits.FailedAuthorizations
}

// bucketKey names a bucket by its kind and a hash of what it is about: 64 bits, so
// that the ledger stays small. Two names of the same hash would share a limit.
func bucketKey(kind string, about ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(about, "\n")))
	return kind + base64.RawURLEncoding.EncodeToString(sum[:8])
}

func namesKey(o Order) string {
	return bucketKey(kindNames, append([]string{o.Directory}, o.Names...)...)
}
func replacedKey(o Order) string {
	return bucketKey(kindReplaced, append([]string{o.Directory}, o.Names...)...)
}
func ordersKey(account string) string       { return bucketKey(kindOrders, account) }
func failedKey(account, name string) string { return bucketKey(kindFailed, account, name) }

// Order is what is to be asked for.
type Order struct {
	// Directory is the authority's URL, Account that of our account there.
	Directory, Account string
	// Names are canonical and in order.
	Names []string
	// Exempt: it is a renewal that says what it replaces. Authorities that know of
	// replacements do not count them; Limits.Replacements holds.
	Exempt bool
}

// Reserve takes what a new order costs, or says how long to wait, and for what.
// What was charged for the names can be given back with Refund.
func (g *Ledger) Reserve(o Order, now time.Time) (charged string, wait time.Duration, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ask := func(key, what string) {
		l := g.limit(key)
		if w := g.at(key, now).wait(l, now); w > wait {
			wait, why = w, fmt.Sprintf("%s: %d times within %s is what this engine allows itself", what, l.Burst, l.span())
		}
	}
	for _, name := range o.Names {
		ask(failedKey(o.Account, strings.TrimPrefix(name, "*.")), name+" could not be proven")
	}
	if o.Exempt {
		ask(replacedKey(o), "replacements of the certificate for exactly these names were ordered")
	} else {
		ask(namesKey(o), "certificates for exactly these names were ordered")
		ask(ordersKey(o.Account), "orders were sent")
	}
	if wait > 0 {
		return "", wait, why
	}
	if o.Exempt {
		g.spend(replacedKey(o), now)
		return "", 0, ""
	}
	g.spend(namesKey(o), now)
	g.spend(ordersKey(o.Account), now)
	return namesKey(o), 0, ""
}

// Refund gives back what an order without a certificate took of its names; CAs
// count certificates there. The order itself stays counted.
func (g *Ledger) Refund(charged string, now time.Time) {
	if charged == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b, there := g.buckets[charged]
	if !there {
		return
	}
	b = b.settled(g.limit(charged), now)
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

// Failed counts an authorization of a name that the authority found invalid.
func (g *Ledger) Failed(account, name string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spend(failedKey(account, name), now)
}

func (g *Ledger) spend(key string, now time.Time) {
	b := g.at(key, now)
	if _, there := g.buckets[key]; !there {
		g.evict(now)
	}
	b.Spent++
	g.buckets[key] = b
}

// span is the time in which the whole of a limit comes back, for people.
func (l Limit) span() time.Duration { return time.Duration(l.Burst) * l.Refill }
