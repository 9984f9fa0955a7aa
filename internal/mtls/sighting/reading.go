// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// What is wrong with something that was kept.
var (
	errForeign = errors.New("it is nothing that this program has kept")
	errNewer   = errors.New("it has a form that this version does not know")
	errCut     = errors.New("its end is cut off")
	errSum     = errors.New("its checksum is wrong")
	errSense   = errors.New("it contradicts itself")
)

// latest is the last second of a piece of time: the end of the year 9999.
const latest = 253_402_300_799

// The fewest bytes of what there may be many of.
const (
	leastInterval = 2
	leastEdge     = 4
	leastText     = 1
	leastPiece    = 4
	leastCell     = 4
)

// kept is what was read, and of which nothing contradicts the rest. Cells have the places of
// edges in it.
type kept struct {
	watched []traffic.Interval
	edges   []edge
	pieces  []piece
}

// read reads what Kept has made.
func read(raw []byte) (*kept, error) {
	text := string(raw[:min(len(raw), len(form)+len(known))])
	switch {
	case !strings.HasPrefix(text, form) && !strings.HasPrefix(form, text):
		return nil, errForeign
	case len(raw) < len(form)+len(known)+crc32.Size:
		return nil, errCut
	case text != form+known:
		return nil, errNewer
	}
	end := len(raw) - crc32.Size
	if crc32.Checksum(raw[:end], castagnoli) != binary.LittleEndian.Uint32(raw[end:]) {
		return nil, errSum
	}
	r := &reading{rest: raw[len(text):end]}
	out := &kept{watched: r.intervals(), edges: r.edges()}
	out.pieces = r.pieces(len(out.edges))
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%w: there is more behind its end", errSense)
	}
	return out, r.err
}

// reading reads one after the other. After an error all is nothing.
type reading struct {
	rest []byte
	err  error
}

func (r *reading) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reading) senseless(of string) { r.fail(fmt.Errorf("%w in %s", errSense, of)) }

// number reads one that is not larger than the largest.
func (r *reading) number(largest uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	switch {
	case size == 0:
		r.fail(errCut)
		return 0
	case size < 0 || n > largest:
		r.senseless("a number")
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count reads how many there are of what has so many bytes at least.
func (r *reading) count(least int) int { return int(r.number(uint64(len(r.rest) / least))) }

func (r *reading) text() string {
	n := r.count(leastText)
	if n > len(r.rest) {
		r.fail(errCut)
		return ""
	}
	out := string(r.rest[:n])
	r.rest = r.rest[n:]
	return out
}

func (r *reading) time() time.Time {
	n, size := binary.Varint(r.rest)
	switch {
	case size == 0:
		r.fail(errCut)
		return time.Time{}
	case size < 0:
		r.senseless("a time")
		return time.Time{}
	}
	r.rest = r.rest[size:]
	return time.Unix(0, n)
}

func (r *reading) intervals() []traffic.Interval {
	out := make([]traffic.Interval, r.count(leastInterval))
	for i := range out {
		out[i] = traffic.Interval{From: r.time(), To: r.time()}
		if !out[i].From.Before(out[i].To) || i > 0 && out[i].From.Before(out[i-1].To) {
			r.senseless("times that were watched")
			return nil
		}
	}
	return out
}

func (r *reading) edges() []edge {
	out := make([]edge, r.count(leastEdge))
	// Many edges have the same services.
	shared := map[string][]string{}
	for i := range out {
		if r.err != nil {
			return nil
		}
		e := edge{key: key{client: r.text()}, services: make([]string, r.count(leastText))}
		for j := range e.services {
			e.services[j] = r.text()
		}
		e.key.services = strings.Join(e.services, ",")
		if same, ok := shared[e.key.services]; ok && len(same) == len(e.services) {
			e.services = same
		}
		shared[e.key.services] = e.services
		e.port = uint16(r.number(math.MaxUint16))
		flags := r.number(isProxied | hasPlaintext | hasFailed)
		e.proxied = flags&isProxied != 0
		if flags&hasPlaintext != 0 {
			e.lastPlaintext = r.time()
		}
		if flags&hasFailed != 0 {
			e.lastFailed, e.cause, e.why = r.time(), r.text(), r.text()
		}
		out[i] = e
	}
	return out
}

func (r *reading) pieces(edges int) []piece {
	out := make([]piece, r.count(leastPiece))
	end := int64(0)
	for i := range out {
		if r.err != nil {
			return nil
		}
		p := piece{start: end + int64(r.number(latest)), width: int64(r.number(uint64(hour))), lost: r.number(math.MaxUint64)}
		if end = p.start + p.width; end > latest || p.width != 1 && p.width != minute && p.width != hour || p.start%p.width != 0 {
			r.senseless("a piece of time")
			return nil
		}
		p.cells = r.cells(edges)
		out[i] = p
	}
	return out
}

func (r *reading) cells(edges int) []cell {
	out := make([]cell, r.count(leastCell))
	next := uint64(0)
	for i := range out {
		number := next + r.number(math.MaxUint32)
		c := cell{requests: r.count32(), plaintext: r.count32(), failed: r.count32()}
		if r.err != nil {
			return nil
		}
		if number >= uint64(edges) || c.requests == 0 {
			r.senseless("a count")
			return nil
		}
		c.edge = uint32(number)
		out[i], next = c, number+1
	}
	return out
}

func (r *reading) count32() uint32 { return uint32(r.number(math.MaxUint32)) }
