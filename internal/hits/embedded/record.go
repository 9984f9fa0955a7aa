// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// A record is one Append, or an hour of them:
//
//	number of intervals, and of each: milliseconds since the end of the one before
//	(of the first: since 1970), and its length
//	number of totals, and of each: its key, N, milliseconds from Last to the end of the
//	record, and from First to Last
//
// All numbers are varints. A key is its place in the dictionary of the segment. One that
// is the next place is new and followed by its Rule, plus one, and its texts; a text is a
// place in another dictionary, and a new one is followed by its length and bytes.
type record struct {
	ran    []hits.Interval
	totals []hits.Total
}

// writing is the dictionary of a segment that is written.
type writing struct {
	keys  map[hits.Key]uint64
	texts map[string]uint64
	// The new ones of the last record, which may not have been written.
	newKeys  []hits.Key
	newTexts []string
}

func newWriting() *writing {
	return &writing{keys: map[hits.Key]uint64{}, texts: map[string]uint64{}}
}

// encode appends a record.
func (w *writing) encode(out []byte, r *record) []byte {
	w.newKeys, w.newTexts = w.newKeys[:0], w.newTexts[:0]
	out = binary.AppendUvarint(out, uint64(len(r.ran)))
	before := int64(0)
	for _, i := range r.ran {
		out = binary.AppendUvarint(out, uint64(i.From.UnixMilli()-before))
		before = i.To.UnixMilli()
		out = binary.AppendUvarint(out, uint64(before-i.From.UnixMilli()))
	}
	out = binary.AppendUvarint(out, uint64(len(r.totals)))
	for i := range r.totals {
		t := &r.totals[i]
		out = w.key(out, t.Key)
		out = binary.AppendUvarint(out, t.N)
		out = binary.AppendUvarint(out, uint64(before-t.Last.UnixMilli()))
		out = binary.AppendUvarint(out, uint64(t.Last.UnixMilli()-t.First.UnixMilli()))
	}
	return out
}

func (w *writing) key(out []byte, k hits.Key) []byte {
	if n, ok := w.keys[k]; ok {
		return binary.AppendUvarint(out, n)
	}
	out = binary.AppendUvarint(out, uint64(len(w.keys)))
	w.keys[k] = uint64(len(w.keys))
	w.newKeys = append(w.newKeys, k)
	out = binary.AppendUvarint(out, uint64(k.Rule+1))
	for _, text := range k.Texts() {
		n, ok := w.texts[*text]
		if ok {
			out = binary.AppendUvarint(out, n)
			continue
		}
		out = binary.AppendUvarint(out, uint64(len(w.texts)))
		w.texts[*text] = uint64(len(w.texts))
		w.newTexts = append(w.newTexts, *text)
		out = binary.AppendUvarint(out, uint64(len(*text)))
		out = append(out, *text...)
	}
	return out
}

// undo takes back what the last record brought, as it was not written.
func (w *writing) undo() {
	for _, k := range w.newKeys {
		delete(w.keys, k)
	}
	for _, text := range w.newTexts {
		delete(w.texts, text)
	}
	w.newKeys, w.newTexts = nil, nil
}

// reading is the dictionary of a segment that is read.
type reading struct {
	keys  []hits.Key
	texts []string
}

// errRecord is for a record with the right checksum that is none all the same.
var errRecord = errors.New("it is not in the form of a record")

// numbers takes varints off a record, until one is wrong.
type numbers struct {
	left []byte
	err  error
}

func (n *numbers) next() uint64 {
	value, size := binary.Uvarint(n.left)
	if size <= 0 || n.err != nil {
		n.err = errRecord
		return 0
	}
	n.left = n.left[size:]
	return value
}

// below is a number that is below a limit.
func (n *numbers) below(limit uint64) uint64 {
	value := n.next()
	if value >= limit {
		n.err = errRecord
		return 0
	}
	return value
}

// long is how many milliseconds a time may be, and a difference of times: there are years
// enough, and none overflows.
const long = 1 << 50

// decode reads a record. It calls total with the place of a key for each.
func (d *reading) decode(payload []byte, total func(key int, t hits.Total)) ([]hits.Interval, error) {
	n := numbers{left: payload}
	ran := make([]hits.Interval, 0, 1)
	at := int64(0)
	for range n.below(uint64(len(payload))) {
		from := at + int64(n.below(long))
		at = from + int64(n.below(long))
		ran = append(ran, hits.Interval{From: time.UnixMilli(from).UTC(), To: time.UnixMilli(at).UTC()})
		if at > long || n.err != nil {
			return nil, errRecord
		}
	}
	if len(ran) == 0 {
		return nil, errRecord
	}
	for range n.below(uint64(len(payload))) {
		place := d.key(&n)
		count := n.next()
		last := at - int64(n.below(long))
		first := last - int64(n.below(long))
		if n.err != nil {
			return nil, n.err
		}
		total(place, hits.Total{Key: d.keys[place], N: count, First: time.UnixMilli(first).UTC(), Last: time.UnixMilli(last).UTC()})
	}
	if n.err != nil || len(n.left) > 0 {
		return nil, errRecord
	}
	return ran, nil
}

func (d *reading) key(n *numbers) int {
	place := int(n.below(uint64(len(d.keys)) + 1))
	if n.err != nil || place < len(d.keys) {
		return place
	}
	k := hits.Key{Rule: int(n.below(1<<31+1)) - 1}
	for _, text := range k.Texts() {
		*text = d.text(n)
	}
	d.keys = append(d.keys, k)
	return place
}

func (d *reading) text(n *numbers) string {
	place := int(n.below(uint64(len(d.texts)) + 1))
	if n.err != nil {
		return ""
	}
	if place == len(d.texts) {
		size := n.below(uint64(len(n.left)) + 1)
		if n.err != nil || size > uint64(len(n.left)) {
			n.err = errRecord
			return ""
		}
		d.texts = append(d.texts, string(n.left[:size]))
		n.left = n.left[size:]
	}
	return d.texts[place]
}
