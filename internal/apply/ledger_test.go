// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"slices"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/model"
)

// TestAWatchMayTellOfAWriteBeforeItsAnswerIsHere goes through the orders in which
// an answer and the events about it can arrive.
func TestAWatchMayTellOfAWriteBeforeItsAnswerIsHere(t *testing.T) {
	ref := model.Reference{Kind: "AuthorizationPolicy", Namespace: "n", Name: "a"}
	one := Live{Ref: ref, UID: "1", ResourceVersion: "10", Ours: true, Digest: Digest{1}}
	for name, test := range map[string]struct {
		do func(*Ledger) (cached []Live)
		// shown are the objects that a plan is made from.
		shown []Live
		// news is true when a later event about the object would be news.
		news bool
	}{
		"the answer first": {func(l *Ledger) []Live {
			done := l.send(ref, one.Digest)
			l.wrote(one, one.Digest, time.Time{})
			done()
			return nil
		}, []Live{one}, false},
		"the event first": {func(l *Ledger) []Live {
			done := l.send(ref, one.Digest)
			if !l.Expected(one, false) {
				t.Error("our own write is news before its answer is here")
			}
			l.Observe(one, false)
			l.wrote(one, one.Digest, time.Time{})
			done()
			return []Live{one}
		}, []Live{one}, false},
		"the event first, and that of its deletion by hand": {func(l *Ledger) []Live {
			done := l.send(ref, one.Digest)
			l.Observe(one, false)
			if l.Expected(one, true) {
				t.Error("a deletion by hand is no news")
			}
			l.Observe(one, true)
			l.wrote(one, one.Digest, time.Time{})
			done()
			return nil
		}, nil, false},
		"a deletion, the event first": {func(l *Ledger) []Live {
			done := l.remove(one)
			if !l.Expected(one, true) {
				t.Error("our own deletion is news before its answer is here")
			}
			l.Observe(one, true)
			l.removed(one)
			done()
			return nil
		}, nil, true},
		"a deletion that the cache does not show yet": {func(l *Ledger) []Live {
			done := l.remove(one)
			l.removed(one)
			done()
			return []Live{one}
		}, nil, true},
		"a deletion, and another object of the name": {func(l *Ledger) []Live {
			done := l.remove(one)
			l.removed(one)
			done()
			other := one
			other.UID = "2"
			l.Observe(other, false)
			return []Live{other}
		}, []Live{{Ref: ref, UID: "2", ResourceVersion: "10", Ours: true, Digest: Digest{1}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLedger()
			cached := test.do(l)
			got := l.Merge(slices.Clone(cached))
			if len(got) != len(test.shown) || len(got) == 1 && (got[0].UID != test.shown[0].UID || got[0].ResourceVersion != test.shown[0].ResourceVersion) {
				t.Errorf("shown %+v, want %+v", got, test.shown)
			}
			if news := !l.Expected(one, false); news != test.news {
				t.Errorf("news %v, want %v", news, test.news)
			}
		})
	}
}
