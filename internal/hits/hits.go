// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package hits is how often each line that a person wrote was hit: what was counted of
// the decisions of proxies, what a store of counts has to do, and the sums by layer, from
// goals down to rules.
//
// It is pure. Nothing in it identifies a person: there is no path, no query, no token and
// no address.
package hits

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Verdict is what became of a request.
type Verdict string

// The verdicts.
const (
	Allowed Verdict = "Allowed"
	Denied  Verdict = "Denied"
	// WouldDeny is of a rule that is tried and not in force: the request went on.
	WouldDeny Verdict = "WouldDeny"
	// Failed is of a proxy that could not pass on what it had allowed.
	Failed Verdict = "Failed"
)

// Place is which proxy decided.
type Place string

// The places.
const (
	Gateway  Place = "Gateway"
	Workload Place = "Workload"
)

// Values of Key that stand for what was not kept apart.
const (
	// Internet is the Peer of everybody who calls a gateway.
	Internet = "internet"
	// Other is the Peer of counts whose peer was given up, as there were too many keys.
	Other = "other"
	// Dropped is the Reason of counts of which only place and verdict were kept.
	Dropped = "Dropped"
)

// Longest is how many bytes one text of a Key may have.
const Longest = 1024

// Key is what is counted apart.
type Key struct {
	// Namespace and Application are the Application whose workload or route it is;
	// empty: none.
	Namespace   string `json:"namespace,omitempty"`
	Application string `json:"application,omitempty"`
	// Route is the name of one of spec.routes; empty: not known, or not of one.
	Route string `json:"route,omitempty"`
	Place Place  `json:"place"`
	// Object is what was generated, as "KIND NAMESPACE/NAME", and Rule the index of its
	// rule. Empty and -1: none.
	Object string `json:"object,omitempty"`
	Rule   int    `json:"rule"`
	// Statement is what a person wrote ("Application shop/web") and Field where in it
	// ("spec.access.callers[0]"). Field is empty where it is so by default, and both are where
	// it is nobody's. An object that Trellis did not make is its own statement.
	Statement string `json:"statement,omitempty"`
	Field     string `json:"field,omitempty"`
	// Reason is a word for why: that of the rule's provenance, one of package attribution's,
	// or a cause of package mtls/signature.
	Reason  string  `json:"reason,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Peer is NAMESPACE/ACCOUNT, after its trust domain and a slash where that is not the
	// mesh's; or Internet, Other, or a word of package attribution for what is not known.
	Peer string `json:"peer,omitempty"`
}

// Compare orders keys: by texts, as Texts has them, and then by Rule.
func (k Key) Compare(other Key) int {
	// Most keys of a sort differ early, so that one is looked at after the other.
	theirs := other.texts()
	for i, text := range k.texts() {
		if c := strings.Compare(text, theirs[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(k.Rule, other.Rule)
}

func (k *Key) texts() [10]string {
	return [...]string{k.Namespace, k.Application, k.Route, string(k.Place), k.Object,
		k.Statement, k.Field, k.Reason, string(k.Verdict), k.Peer}
}

// Texts are all fields of a key but Rule, in order.
func (k *Key) Texts() []*string {
	return []*string{&k.Namespace, &k.Application, &k.Route, (*string)(&k.Place), &k.Object,
		&k.Statement, &k.Field, &k.Reason, (*string)(&k.Verdict), &k.Peer}
}

func (k Key) check() error {
	if !slices.Contains([]Verdict{Allowed, Denied, WouldDeny, Failed}, k.Verdict) {
		return fmt.Errorf("%w: the verdict %.40q is not known", ErrInvalid, k.Verdict)
	}
	if k.Place != Gateway && k.Place != Workload {
		return fmt.Errorf("%w: the place %.40q is neither %s nor %s", ErrInvalid, k.Place, Gateway, Workload)
	}
	if k.Rule < -1 || k.Rule >= 1<<31 {
		return fmt.Errorf("%w: the rule %d is no index, nor -1 for none", ErrInvalid, k.Rule)
	}
	for _, text := range k.Texts() {
		if len(*text) > Longest {
			return fmt.Errorf("%w: %.40q... has more than %d bytes", ErrInvalid, *text, Longest)
		}
		if !utf8.ValidString(*text) {
			return fmt.Errorf("%w: %.40q is not UTF-8", ErrInvalid, *text)
		}
	}
	return nil
}

// Count is how often a key was counted in an interval.
type Count struct {
	Key
	// N is from 1 to MostCounted.
	N uint64
	// At is the time of the last one, in the interval, to the millisecond.
	At time.Time
}

// LongestInterval is how long one may be.
const LongestInterval = 24 * time.Hour

// MostCounted is the largest number that every store keeps exactly.
const MostCounted = 1 << 53

// Total is how often a key was counted in a window.
type Total struct {
	Key
	N uint64 `json:"n"`
	// First and Last are the earliest and the latest At of what was appended.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// Interval is a time, without From and with To.
type Interval struct{ From, To time.Time }

// Filter is which keys are asked for; the zero value is all of them.
type Filter struct {
	// Each is the value that a key has to have; empty: any.
	Namespace, Application, Statement string
}

// Matches reports whether a key is asked for.
func (f Filter) Matches(k Key) bool {
	return (f.Namespace == "" || f.Namespace == k.Namespace) &&
		(f.Application == "" || f.Application == k.Application) &&
		(f.Statement == "" || f.Statement == k.Statement)
}

var (
	// ErrOrder is for an interval that begins before another one ended.
	ErrOrder = errors.New("what was counted is out of order")
	// ErrInvalid is for counts, intervals and windows that mean nothing.
	ErrInvalid = errors.New("what was counted cannot be kept")
	// ErrRefused is for what a store takes neither now nor later. It is lost, and a gap.
	ErrRefused = errors.New("what was counted is refused")
)

// Store keeps counts. It may be used by several goroutines.
type Store interface {
	// Append adds what was counted in an interval in which a collector ran; there may be
	// nothing. Times are cut to milliseconds. An interval begins where the last one
	// ended, or later; one that does not is refused with ErrOrder. So is, with ErrInvalid,
	// what Check refuses. Both leave everything as it was.
	//
	// With ErrRefused it is lost. After any other error it is not known whether it was added. The same interval and
	// counts may be appended again until there is none: they are not added twice.
	Append(ctx context.Context, ran Interval, counts []Count) error
	// Sum are the totals of what was appended in intervals that end in (from, to], in the
	// order of keys. So windows that adjoin have everything once. A window that is not
	// longer than nothing has no totals.
	Sum(ctx context.Context, of Filter, from, to time.Time) ([]Total, error)
	// Ran are the intervals of (from, to] in which a collector ran, in order, and joined
	// where they touch. All else is a gap, of which nothing is known.
	Ran(ctx context.Context, from, to time.Time) ([]Interval, error)
}

// Check refuses an interval that has no length or is too long, and counts that are invalid, with
// ErrInvalid. It returns the interval to the millisecond and each key once, in order.
func Check(ran Interval, counts []Count) (Interval, []Count, error) {
	ran = Interval{From: ran.From.UTC().Truncate(time.Millisecond), To: ran.To.UTC().Truncate(time.Millisecond)}
	if !ran.To.After(ran.From) || ran.From.UnixMilli() < 0 || ran.To.Year() > 9999 {
		return ran, nil, fmt.Errorf("%w: the interval from %s to %s has no length, or is out of this age", ErrInvalid, ran.From.Format(time.RFC3339Nano), ran.To.Format(time.RFC3339Nano))
	}
	if ran.To.Sub(ran.From) > LongestInterval {
		return ran, nil, fmt.Errorf("%w: the interval from %s to %s is longer than %s", ErrInvalid, ran.From.Format(time.RFC3339), ran.To.Format(time.RFC3339), LongestInterval)
	}
	out := make([]Count, 0, len(counts))
	for _, c := range counts {
		if err := c.check(); err != nil {
			return ran, nil, err
		}
		c.At = c.At.UTC().Truncate(time.Millisecond)
		if c.N == 0 || c.N > MostCounted {
			return ran, nil, fmt.Errorf("%w: %d is no number of requests, from 1 to 2^53", ErrInvalid, c.N)
		}
		if c.At.Before(ran.From) || c.At.After(ran.To) {
			return ran, nil, fmt.Errorf("%w: the last one at %s is not in the interval from %s to %s", ErrInvalid,
				c.At.Format(time.RFC3339Nano), ran.From.Format(time.RFC3339Nano), ran.To.Format(time.RFC3339Nano))
		}
		out = append(out, c)
	}
	return ran, Merge(out), nil
}

// Merge adds up counts of one key, and puts them in order. It uses the memory of counts.
func Merge(counts []Count) []Count {
	slices.SortFunc(counts, func(a, b Count) int { return a.Compare(b.Key) })
	out := counts[:0]
	for _, c := range counts {
		if n := len(out); n > 0 && out[n-1].Key == c.Key {
			out[n-1].N += c.N
			out[n-1].At = latest(out[n-1].At, c.At)
			continue
		}
		out = append(out, c)
	}
	return out
}

// Join puts intervals in order, cuts them to (from, to] and joins those that touch.
func Join(intervals []Interval, from, to time.Time) []Interval {
	slices.SortFunc(intervals, func(a, b Interval) int { return a.From.Compare(b.From) })
	var out []Interval
	for _, i := range intervals {
		if i.From.Before(from) {
			i.From = from
		}
		if i.To.After(to) {
			i.To = to
		}
		switch n := len(out); {
		case !i.To.After(i.From):
		case n > 0 && !i.From.After(out[n-1].To):
			out[n-1].To = latest(out[n-1].To, i.To)
		default:
			out = append(out, i)
		}
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
