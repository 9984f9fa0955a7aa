// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting

import "time"

const (
	minute = int64(60)
	hour   = 60 * minute
)

// ages are those, in seconds, from which on pieces are of a minute, and of an hour.
type ages struct{ minutes, hours int64 }

// byRoom are those that hold, and those where there is no room. By the last ones even
// the present minute and hour are one piece.
var byRoom = []ages{{10 * minute, 2 * hour}, {minute, 10 * minute}, {1, minute}, {-minute, 1}, {-minute, -hour}}

// settle makes old pieces longer and forgets the oldest, so that there is room for another
// piece. All of them are closed.
func (t *Tally) settle(now int64) {
	for _, a := range byRoom {
		t.join(now, a)
		if t.cells <= t.limits.Cells {
			break
		}
	}
	for len(t.pieces) > 0 {
		p := t.pieces[0]
		if end := p.start + p.width; t.cells <= t.limits.Cells && end > now-int64(Keep/time.Second) {
			break
		}
		t.forget(p)
		t.pieces = t.pieces[1:]
	}
}

// join gives pieces the length of their age.
func (t *Tally) join(now int64, a ages) {
	out := t.pieces[:0]
	for _, p := range t.pieces {
		switch {
		case p.start-p.start%hour+hour <= now-a.hours:
			p.width = hour
		case p.width < minute && p.start-p.start%minute+minute <= now-a.minutes:
			p.width = minute
		}
		p.start -= p.start % p.width
		if n := len(out); n > 0 && p.start < out[n-1].start+out[n-1].width {
			t.merge(&out[n-1], p)
			continue
		}
		out = append(out, p)
	}
	clear(t.pieces[len(out):])
	t.pieces = out
}

// merge adds a piece to one that covers its time.
func (t *Tally) merge(to *piece, p piece) {
	to.lost += p.lost
	if len(to.cells) == 0 {
		to.cells = p.cells
		return
	}
	out, a, b := t.scratch[:0], to.cells, p.cells
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].edge < b[0].edge:
			out, a = append(out, a[0]), a[1:]
		case a[0].edge > b[0].edge:
			out, b = append(out, b[0]), b[1:]
		default:
			both := a[0]
			both.add(b[0])
			out, a, b = append(out, both), a[1:], b[1:]
			t.cells--
			t.edges[both.edge].cells--
		}
	}
	t.scratch = append(append(out, a...), b...)
	to.cells = append(make([]cell, 0, len(t.scratch)), t.scratch...)
}

// forget drops what a piece has, and edges of which nothing else is known.
func (t *Tally) forget(p piece) {
	end := time.Unix(p.start+p.width, 0)
	t.began, t.earlier = later(t.began, end), after(t.earlier, end)
	for _, c := range p.cells {
		t.cells--
		e := &t.edges[c.edge]
		if e.cells--; e.cells == 0 {
			delete(t.index, e.key)
			*e = edge{}
			t.free = append(t.free, c.edge)
		}
	}
}
