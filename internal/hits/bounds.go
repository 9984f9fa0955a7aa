// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import "time"

// Bounds keep the number of keys small, whoever makes up peers. The zero value has none
// yet; it is for one goroutine.
type Bounds struct {
	// Keys is how many there may be before peers are given up. Zero: DefaultKeys.
	Keys int

	used map[Key]time.Time
}

// DefaultKeys is how many keys a store has that is told nothing else.
const DefaultKeys = 20_000

// Use notes that a key is there, and was last used at a time.
func (b *Bounds) Use(k Key, at time.Time) {
	if b.used == nil {
		b.used = map[Key]time.Time{}
	}
	b.used[k] = latest(b.used[k], at)
}

// Forget takes away keys that were last used before a time.
func (b *Bounds) Forget(before time.Time) {
	for k, at := range b.used {
		if at.Before(before) {
			delete(b.used, k)
		}
	}
}

// Len is how many keys there are.
func (b *Bounds) Len() int { return len(b.used) }

// Most is how many keys there can be: those that are kept in full, a quarter of that
// with Other, and the dropped ones.
func (b *Bounds) Most() int {
	full := b.full()
	return full + full/4 + droppedKeys
}

// droppedKeys are one for each place and verdict.
const droppedKeys = 8

func (b *Bounds) full() int {
	if b.Keys <= 0 {
		return DefaultKeys
	}
	return b.Keys
}

// Fit is what is kept of valid counts, each key once and in order; their sum is the same. A
// key that is there is kept, as is a new one while there is room. Beyond that its Peer
// becomes Other, and beyond a quarter more only place and verdict are kept, with the
// Reason Dropped. It uses the memory of counts.
func (b *Bounds) Fit(counts []Count, at time.Time) []Count {
	for i := range counts {
		counts[i].Key = b.fit(counts[i].Key)
		b.Use(counts[i].Key, at)
	}
	return Merge(counts)
}

func (b *Bounds) fit(k Key) Key { return Narrow(k, b.used, b.full()) }

// Narrow is what is kept of a key beside those that are there, where full are to be kept
// with their peers: Bounds.Fit says how.
func Narrow[V any](k Key, there map[Key]V, full int) Key {
	if _, ok := there[k]; ok || len(there) < full {
		return k
	}
	k.Peer = Other
	if _, ok := there[k]; ok || len(there) < full+full/4 {
		return k
	}
	return Key{Rule: -1, Place: k.Place, Reason: Dropped, Verdict: k.Verdict}
}
