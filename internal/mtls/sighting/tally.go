// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// Keep is how long a Tally keeps what it has counted, where it has the room.
const Keep = 168 * time.Hour

// Limits bound the memory of a Tally.
type Limits struct {
	// Edges is how many clients of services are told apart, some 500 bytes each. Of one
	// beyond that it is kept that somebody unknown called, for an eighth of them more.
	Edges int
	// Cells is how many counts are kept, 16 bytes each: one for each edge and piece of time.
	// Beyond that pieces are made longer, and then the oldest is forgotten.
	Cells int
}

// DefaultLimits take some 80 MiB at most, and have the room for all edges in every hour of
// Keep.
var DefaultLimits = Limits{Edges: 20_000, Cells: 4_000_000}

// Tally counts Sightings in pieces of time: of a second for ten minutes, then of a minute
// for two hours, and of an hour until Keep. It is safe for concurrent use.
type Tally struct {
	limits Limits

	mu sync.Mutex
	// began is since when nothing is missing, and earlier are times before that in which
	// nothing was missed, in order.
	began   time.Time
	earlier []traffic.Interval
	// pieces are in order of time, and do not overlap. Only of the last one the cells are not
	// in order: open says where that of an edge is.
	pieces []piece
	open   map[uint32]int
	cells  int
	// scratch is for putting pieces together.
	scratch []cell

	edges []edge
	index map[key]uint32
	free  []uint32
}

// piece is a time of start to start+width, in seconds since 1970, and what was seen in it.
type piece struct {
	start, width int64
	lost         uint64
	cells        []cell
}

// cell has the counts of one edge. They stop at what they can hold.
type cell struct{ edge, requests, plaintext, failed uint32 }

type key struct {
	client, services string
	port             uint16
}

type edge struct {
	key
	services                  []string
	proxied                   bool
	lastPlaintext, lastFailed time.Time
	cause, why                string
	// cells is how many there are; without any the edge is forgotten.
	cells int
}

// NewTally begins to count.
func NewTally(limits Limits, now time.Time) *Tally {
	return &Tally{limits: limits, began: now, open: map[uint32]int{}, index: map[key]uint32{}}
}

// Begin says that nobody looked before a time. What was counted stays.
func (t *Tally) Begin(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = later(t.began, at)
}

// Add counts a Sighting as one of a time. False: there was no room for it, and it is lost.
func (t *Tally) Add(s *Sighting, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, latest := t.piece(at)
	number, ok := t.edge(s)
	if !ok {
		p.lost++
		return false
	}
	e := &t.edges[number]
	e.proxied = e.proxied || s.Proxied
	one := cell{edge: number, requests: 1}
	if s.Plaintext {
		one.plaintext = 1
		e.lastPlaintext = later(e.lastPlaintext, at)
	}
	if s.Cause != "" {
		one.failed = 1
		if !at.Before(e.lastFailed) {
			e.lastFailed, e.cause, e.why = at, s.Cause, short(s.Why)
		}
	}
	if !latest {
		t.insert(p, one)
		return true
	}
	if i, known := t.open[number]; known {
		p.cells[i].add(one)
		return true
	}
	t.open[number] = len(p.cells)
	p.cells = append(p.cells, one)
	t.cells++
	e.cells++
	return true
}

// Lose counts what came and could not be kept, or not be read.
func (t *Tally) Lose(n int, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, _ := t.piece(at)
	p.lost += uint64(n)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// longest is that of a sentence that is kept, in bytes.
const longest = 200

func short(s string) string {
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "")
	}
	return s
}

// edge finds or makes the edge of a Sighting.
func (t *Tally) edge(s *Sighting) (uint32, bool) {
	k := key{s.Client, strings.Join(s.Services, ","), s.Port}
	if number, ok := t.index[k]; ok {
		return number, true
	}
	if len(t.index) >= t.limits.Edges {
		k.client = traffic.UnknownClient
		if number, ok := t.index[k]; ok {
			return number, true
		}
		if len(t.index) >= t.limits.Edges+t.limits.Edges/8 {
			return 0, false
		}
	}
	number := uint32(len(t.edges))
	if n := len(t.free); n > 0 {
		number, t.free = t.free[n-1], t.free[:n-1]
	} else {
		t.edges = append(t.edges, edge{})
	}
	t.edges[number] = edge{key: k, services: s.Services}
	t.index[k] = number
	return number, true
}

// piece is the one of a time, and whether it is the last one. What is older than all that
// is kept belongs to the oldest.
func (t *Tally) piece(at time.Time) (*piece, bool) {
	second := max(at.Unix(), t.began.Unix())
	last := len(t.pieces) - 1
	if last >= 0 && t.cells > t.limits.Cells {
		// A clock was ahead, perhaps by days, and room is made only when time goes on.
		second = max(second, t.pieces[last].start)
	}
	if last >= 0 && second < t.pieces[last].start {
		i, _ := slices.BinarySearchFunc(t.pieces, second, func(p piece, second int64) int { return int(p.start + p.width - 1 - second) })
		if second < t.pieces[i].start {
			t.pieces = slices.Insert(t.pieces, i, piece{start: second, width: 1})
		}
		return &t.pieces[i], i == len(t.pieces)-1
	}
	if last < 0 || second >= t.pieces[last].start+t.pieces[last].width {
		t.close()
		t.settle(second)
		last = len(t.pieces) - 1
		if last < 0 || second >= t.pieces[last].start+t.pieces[last].width {
			t.pieces = append(t.pieces, piece{start: second, width: 1})
			last++
		}
		for i, c := range t.pieces[last].cells {
			t.open[c.edge] = i
		}
	}
	return &t.pieces[last], true
}

// close puts the cells of the last piece in order.
func (t *Tally) close() {
	if last := len(t.pieces) - 1; last >= 0 {
		slices.SortFunc(t.pieces[last].cells, inOrder)
		t.pieces[last].cells = append(make([]cell, 0, len(t.pieces[last].cells)), t.pieces[last].cells...)
	}
	clear(t.open)
}

// insert counts something in a piece whose cells are in order.
func (t *Tally) insert(p *piece, one cell) {
	i, known := slices.BinarySearchFunc(p.cells, one.edge, func(c cell, edge uint32) int { return int(c.edge) - int(edge) })
	if known {
		p.cells[i].add(one)
		return
	}
	p.cells = slices.Insert(p.cells, i, one)
	t.cells++
	t.edges[one.edge].cells++
}

func (c *cell) add(o cell) {
	c.requests, c.plaintext, c.failed = sum(c.requests, o.requests), sum(c.plaintext, o.plaintext), sum(c.failed, o.failed)
}

func sum(a, b uint32) uint32 {
	if c := a + b; c >= a {
		return c
	}
	return ^uint32(0)
}

// Seen is what was seen from a time until now.
func (t *Tally) Seen(from, now time.Time) traffic.Seen {
	out := t.seen(from, now)
	slices.SortFunc(out.Edges, traffic.Order)
	return out
}

func (t *Tally) seen(from, now time.Time) traffic.Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := traffic.Seen{From: from.UTC(), To: now.UTC(), Edges: []traffic.Edge{}}
	sums := make([]total, len(t.edges))
	for _, p := range t.pieces {
		if p.start+p.width <= from.Unix() {
			continue
		}
		if start := time.Unix(p.start, 0); start.Before(out.From) {
			out.From = start.UTC()
		}
		out.Lost += p.lost
		for _, c := range p.cells {
			sums[c.edge].add(c)
		}
	}
	if out.From.Before(t.began) {
		for _, w := range after(t.earlier, out.From) {
			out.Before = append(out.Before, traffic.Interval{From: w.From.UTC(), To: w.To.UTC()})
		}
		out.From = t.began.UTC()
	}
	for i, s := range sums {
		if s.requests > 0 {
			out.Edges = append(out.Edges, t.edges[i].seen(s))
		}
	}
	return out
}

type total struct{ requests, plaintext, failed uint64 }

func (t *total) add(c cell) {
	t.requests += uint64(c.requests)
	t.plaintext += uint64(c.plaintext)
	t.failed += uint64(c.failed)
}

func (e *edge) seen(s total) traffic.Edge {
	out := traffic.Edge{
		Client: e.client, Proxied: e.proxied, Services: e.services, Port: e.port,
		Requests: s.requests, Plaintext: s.plaintext, Failed: s.failed,
	}
	if s.plaintext > 0 {
		last := e.lastPlaintext.UTC()
		out.LastPlaintext = &last
	}
	if s.failed > 0 {
		last := e.lastFailed.UTC()
		out.LastFailed, out.Cause, out.Why = &last, e.cause, e.why
	}
	return out
}
