// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting

import (
	"fmt"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// Restore goes on with what Kept has made: from now on nothing is missed, and what was counted
// before is there as it was. What is older than Keep is not, and what there is no room for
// counts as lost. It fails where that is no such thing, is damaged, or has a newer form.
//
// A time that is said to have been watched until later than now is not claimed: a clock was
// set back, and nobody knows how long nothing was seen.
func Restore(limits Limits, raw []byte, now time.Time) (*Tally, error) {
	k, err := read(raw)
	if err != nil {
		return nil, fmt.Errorf("reading what was seen of traffic before: %w", err)
	}
	t := NewTally(limits, now)
	oldest := now.Add(-Keep)
	for _, w := range k.watched {
		if !w.To.After(now) {
			t.earlier = append(t.earlier, w)
		}
	}
	t.earlier = after(t.earlier, oldest)
	k.pieces = slices.DeleteFunc(k.pieces, func(p piece) bool { return p.start+p.width <= oldest.Unix() })
	t.take(k)
	if t.cells > limits.Cells {
		t.settle(now.Unix())
	}
	if last := len(t.pieces) - 1; last >= 0 {
		for i, c := range t.pieces[last].cells {
			t.open[c.edge] = i
		}
	}
	return t, nil
}

// after are the parts of times that come after a moment.
func after(watched []traffic.Interval, moment time.Time) []traffic.Interval {
	var out []traffic.Interval
	for _, w := range watched {
		if w.To.After(moment) {
			out = append(out, traffic.Interval{From: later(w.From, moment), To: w.To})
		}
	}
	return out
}

// nowhere is the number of an edge that there is no room for.
const nowhere = ^uint32(0)

// take takes edges and pieces into an empty tally.
func (t *Tally) take(k *kept) {
	numbers := t.number(k)
	for _, p := range k.pieces {
		cells := p.cells
		p.cells = make([]cell, 0, len(cells))
		for _, c := range cells {
			if c.edge = numbers[c.edge]; c.edge == nowhere {
				p.lost += uint64(c.requests)
				continue
			}
			p.cells = append(p.cells, c)
		}
		// Several may have become the one of somebody unknown.
		slices.SortFunc(p.cells, inOrder)
		all := p.cells
		p.cells = all[:0]
		for _, c := range all {
			if n := len(p.cells); n > 0 && p.cells[n-1].edge == c.edge {
				p.cells[n-1].add(c)
				continue
			}
			p.cells = append(p.cells, c)
			t.edges[c.edge].cells++
		}
		t.cells += len(p.cells)
		t.pieces = append(t.pieces, p)
	}
}

// number gives edges that have something their numbers here.
func (t *Tally) number(k *kept) []uint32 {
	used := make([]bool, len(k.edges))
	for _, p := range k.pieces {
		for _, c := range p.cells {
			used[c.edge] = true
		}
	}
	out := make([]uint32, len(k.edges))
	// Those of somebody unknown come after all others, as they came to be.
	for _, unknown := range []bool{false, true} {
		for i := range k.edges {
			e := &k.edges[i]
			if !used[i] || (e.client == traffic.UnknownClient) != unknown {
				continue
			}
			number, ok := t.edge(&Sighting{Client: e.client, Services: e.services, Port: e.port})
			if !ok {
				out[i] = nowhere
				continue
			}
			out[i] = number
			t.edges[number].learn(e)
		}
	}
	return out
}

// learn adds what another knows beside counts.
func (e *edge) learn(o *edge) {
	e.proxied = e.proxied || o.proxied
	e.lastPlaintext = later(e.lastPlaintext, o.lastPlaintext)
	if o.lastFailed.After(e.lastFailed) {
		e.lastFailed, e.cause, e.why = o.lastFailed, o.cause, o.why
	}
}

func inOrder(a, b cell) int { return int(a.edge) - int(b.edge) }
