// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

const (
	// form begins what is kept of every form, and known is the one that is written here.
	form  = "Trellis sightings, form "
	known = "1\n"
	// mostWatched is how many times are kept apart in which nothing was missed. Each restart
	// makes one more; of more than that the oldest are not claimed any longer.
	mostWatched = 256
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What says of an edge whether it has times, and whose client has a proxy.
const (
	isProxied = 1 << iota
	hasPlaintext
	hasFailed
)

// Kept is all that was counted, in a form that Restore knows. Until is up to when nothing is
// missing in it; the zero time claims nothing that is later than the last restart.
//
// The form: a line with its number; times without anything missed; edges; pieces of time
// with their cells, by the numbers of edges; and a checksum of all that. Numbers are varints
// (encoding/binary), times are nanoseconds since 1970, and those of pieces are seconds.
func (t *Tally) Kept(until time.Time) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := writing(form + known)
	watched := t.watched(until)
	out.number(uint64(len(watched)))
	for _, w := range watched {
		out.time(w.From)
		out.time(w.To)
	}
	numbers := out.edges(t.edges)
	out.number(uint64(len(t.pieces)))
	end := int64(0)
	for i, p := range t.pieces {
		if i == len(t.pieces)-1 {
			p.cells = slices.Clone(p.cells)
			slices.SortFunc(p.cells, inOrder)
		}
		out.piece(p, end, numbers)
		end = p.start + p.width
	}
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

// watched are the times in which nothing was missed, the last until a time.
func (t *Tally) watched(until time.Time) []traffic.Interval {
	out := slices.Clone(t.earlier)
	if until.After(t.began) {
		out = append(out, traffic.Interval{From: t.began, To: until})
	}
	return out[max(0, len(out)-mostWatched):]
}

// writing is what is kept, as far as it is written.
type writing []byte

func (w *writing) number(n uint64) { *w = binary.AppendUvarint(*w, n) }

func (w *writing) time(t time.Time) { *w = binary.AppendVarint(*w, t.UnixNano()) }

func (w *writing) text(s string) {
	w.number(uint64(len(s)))
	*w = append(*w, s...)
}

// edges writes those that have something, and says which number each has got.
func (w *writing) edges(all []edge) []uint32 {
	numbers, count := make([]uint32, len(all)), uint32(0)
	for i := range all {
		if all[i].cells > 0 {
			numbers[i] = count
			count++
		}
	}
	w.number(uint64(count))
	for i := range all {
		if all[i].cells > 0 {
			w.edge(&all[i])
		}
	}
	return numbers
}

func (w *writing) edge(e *edge) {
	w.text(e.client)
	w.number(uint64(len(e.services)))
	for _, s := range e.services {
		w.text(s)
	}
	w.number(uint64(e.port))
	flags := uint64(0)
	for flag, is := range map[uint64]bool{isProxied: e.proxied, hasPlaintext: !e.lastPlaintext.IsZero(), hasFailed: !e.lastFailed.IsZero()} {
		if is {
			flags |= flag
		}
	}
	w.number(flags)
	if flags&hasPlaintext != 0 {
		w.time(e.lastPlaintext)
	}
	if flags&hasFailed != 0 {
		w.time(e.lastFailed)
		w.text(e.cause)
		w.text(e.why)
	}
}

// piece writes one whose cells are in order, and that comes after an end.
func (w *writing) piece(p piece, end int64, numbers []uint32) {
	w.number(uint64(p.start - end))
	w.number(uint64(p.width))
	w.number(p.lost)
	w.number(uint64(len(p.cells)))
	next := uint32(0)
	for _, c := range p.cells {
		number := numbers[c.edge]
		w.number(uint64(number - next))
		w.number(uint64(c.requests))
		w.number(uint64(c.plaintext))
		w.number(uint64(c.failed))
		next = number + 1
	}
}
