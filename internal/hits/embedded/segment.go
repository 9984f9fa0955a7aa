// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/durable"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// A segment is a file: this line, and records, each after its length and checksum.
const header = "Trellis counts of hits, form 1\n"

const (
	suffix = ".hits"
	// frame is what comes before a record: its length and its checksum, four bytes each.
	frame = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is what is known of a file of records.
type segment struct {
	path string
	// good is how many bytes are whole; what comes after them is never read.
	good    int64
	records int
	ran     []hits.Interval
}

func (s *segment) from() time.Time { return s.ran[0].From }
func (s *segment) to() time.Time   { return s.ran[len(s.ran)-1].To }

// add notes a record that is written.
func (s *segment) add(ran []hits.Interval, size int64) {
	s.good += size
	s.records++
	for _, i := range ran {
		if n := len(s.ran); n > 0 && s.ran[n-1].To.Equal(i.From) {
			s.ran[n-1].To = i.To
			continue
		}
		s.ran = append(s.ran, i)
	}
}

// damage is where a file stops to be good, and why.
type damage struct {
	at  int64
	why error
}

// Error says it.
func (d *damage) Error() string { return fmt.Sprintf("at byte %d: %v", d.at, d.why) }

// Unwrap is why.
func (d *damage) Unwrap() error { return d.why }

// scan reads the first bytes of a file, which are all where size is negative. It calls
// total for each total of a record, and then end. A *damage is a file that is not good up
// to there.
func scan(path string, size int64, end func(d *reading, ran []hits.Interval, size int64) error, total func(key int, t hits.Total)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if size < 0 {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		size = info.Size()
	}
	in := bufio.NewReaderSize(io.LimitReader(file, size), 1<<16)
	if err := readHeader(in); err != nil {
		return err
	}
	d := &reading{}
	var payload []byte
	for at := int64(len(header)); at < size; {
		var err error
		if payload, err = next(in, size-at, payload); err != nil {
			return &damage{at, err}
		}
		ran, err := d.decode(payload, total)
		if err != nil {
			return &damage{at, err}
		}
		whole := int64(frame + len(payload))
		if err := end(d, ran, whole); err != nil {
			return err
		}
		at += whole
	}
	return nil
}

var (
	errForm = errors.New("it is not a file of counts in the form that this version knows")
	errCut  = errors.New("its end is cut off")
	errSum  = errors.New("a checksum is wrong")
)

func readHeader(in io.Reader) error {
	got := make([]byte, len(header))
	n, err := io.ReadFull(in, got)
	switch {
	case err == nil && string(got) == header:
		return nil
	case strings.HasPrefix(header, string(got[:n])) && (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)):
		return &damage{0, errCut}
	case err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	return errForm
}

// next reads a record of at most so many bytes, into memory that may be used again.
func next(in io.Reader, most int64, into []byte) ([]byte, error) {
	var head [frame]byte
	if most < frame {
		return nil, errCut
	}
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(head[:]))
	if size > most-frame {
		return nil, errCut
	}
	if int64(cap(into)) < size {
		into = make([]byte, size)
	}
	into = into[:size]
	if _, err := io.ReadFull(in, into); err != nil {
		return nil, err
	}
	if crc32.Checksum(into, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, errSum
	}
	return into, nil
}

// framed puts length and checksum before a record that begins after a frame.
func framed(out []byte) []byte {
	payload := out[frame:]
	binary.LittleEndian.PutUint32(out, uint32(len(payload)))
	binary.LittleEndian.PutUint32(out[4:], crc32.Checksum(payload, castagnoli))
	return out
}

// open is the segment that is appended to.
type open struct {
	segment
	file *os.File
	dict *writing
	hour int64
}

// create makes a segment for what begins at a time. Its name is in the order of time.
func create(dir string, from time.Time, hour int64) (*open, error) {
	path := filepath.Join(dir, fmt.Sprintf("%016d%s", from.UnixMilli(), suffix))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = file.WriteString(header); err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	return &open{segment: segment{path: path, good: int64(len(header))}, file: file, dict: newWriting(), hour: hour}, nil
}

// append writes a record, or leaves the file as it was. errStuck is for a file that
// could not be left so.
func (o *open) append(r *record) error {
	out := framed(o.dict.encode(make([]byte, frame, frame+16+8*len(r.totals)), r))
	_, err := o.file.WriteAt(out, o.good)
	if err == nil {
		err = o.file.Sync()
	}
	if err == nil {
		o.add(r.ran, int64(len(out)))
		return nil
	}
	o.dict.undo()
	if undone := o.file.Truncate(o.good); undone != nil {
		return fmt.Errorf("%w: %w", errStuck, errors.Join(err, undone))
	}
	return err
}

var errStuck = errors.New("what was written in part cannot be taken back")

// replace writes a file of one record in place of another, all or nothing. It returns
// the new one where that is there, also with an error.
func replace(s *segment, r *record) (*segment, error) {
	out := &segment{path: s.path, good: int64(len(header))}
	content := framed(newWriting().encode(make([]byte, frame), r))
	there, err := durable.Put(s.path, []byte(header), content)
	if !there {
		return nil, err
	}
	out.add(r.ran, int64(len(content)))
	return out, err
}

// whole reads a segment into one record.
func whole(ctx context.Context, s *segment) (*record, error) {
	out := &record{}
	var sums []*hits.Total
	err := scan(s.path, s.good, func(_ *reading, ran []hits.Interval, _ int64) error {
		out.ran = append(out.ran, ran...)
		return ctx.Err()
	}, func(key int, t hits.Total) { sums = plus(sums, key, t) })
	if err != nil {
		return nil, err
	}
	out.ran = hits.Join(out.ran, s.from(), s.to())
	for _, t := range sums {
		out.totals = append(out.totals, *t)
	}
	return out, nil
}

// plus adds a total to those by places of keys.
func plus(sums []*hits.Total, key int, t hits.Total) []*hits.Total {
	for len(sums) <= key {
		sums = append(sums, nil)
	}
	if sums[key] == nil {
		sums[key] = &t
		return sums
	}
	merge(sums[key], t)
	return sums
}

func merge(into *hits.Total, t hits.Total) {
	into.N += t.N
	if t.First.Before(into.First) {
		into.First = t.First
	}
	if t.Last.After(into.Last) {
		into.Last = t.Last
	}
}
