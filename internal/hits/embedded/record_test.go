// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/durable"
	"github.com/trellis-mesh/trellis/internal/hits"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sample is a record that ends so many minutes after noon, of peers.
func sample(end int, peers ...string) *record {
	to := noon.Add(time.Duration(end) * time.Minute)
	r := &record{ran: []hits.Interval{{From: to.Add(-90 * time.Second), To: to.Add(-time.Minute)}, {From: to.Add(-time.Second), To: to}}}
	for i, peer := range peers {
		r.totals = append(r.totals, hits.Total{Key: hits.Key{Namespace: "shop", Rule: i - 1, Place: hits.Gateway, Verdict: hits.Failed, Peer: peer},
			N: 1 << (10 * i), First: to.Add(-30 * time.Second), Last: to.Add(-time.Duration(i) * time.Second)})
	}
	return r
}

// read is what a segment has.
func read(t *testing.T, path string) (out []*record) {
	t.Helper()
	var totals []hits.Total
	err := scan(path, -1, func(_ *reading, ran []hits.Interval, _ int64) error {
		out = append(out, &record{ran: ran, totals: totals})
		totals = nil
		return nil
	}, func(_ int, t hits.Total) { totals = append(totals, t) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRecordsAreReadAsTheyWereWrittenAlsoAfterOneThatWasNot(t *testing.T) {
	o, err := create(t.TempDir(), noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []*record{sample(2, "a", "b", ""), sample(4, "b", "shop"), sample(6, "c", "d")}
	for i, r := range want {
		if err := o.append(r); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			// Its end is never written, so that the next may not refer to it.
			o.dict.encode(nil, sample(5, "c", "lost", "b"))
			o.dict.undo()
		}
	}
	if err := o.file.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, o.path); !reflect.DeepEqual(got, want) {
		t.Errorf("records are %+v, want %+v", got, want)
	}
}

func TestAWriteThatFailsAndCannotBeTakenBackIsStuck(t *testing.T) {
	o, err := create(t.TempDir(), noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.append(sample(2, "a")); err != nil {
		t.Fatal(err)
	}
	if err := o.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.append(sample(4, "b")); err == nil || o.records != 1 {
		t.Errorf("the error is %v and there are %d records, want one of each", err, o.records)
	}
	if got := read(t, o.path); len(got) != 1 {
		t.Errorf("there are %d records, want the one that was written", len(got))
	}
}

// A checksum can be right of what another program wrote, or a later version.
func FuzzARecordOfAnyBytesIsReadOrRefused(f *testing.F) {
	payload := newWriting().encode(nil, sample(2, "a", "b", ""))
	f.Add(payload)
	for i := range payload {
		changed := append([]byte(nil), payload...)
		changed[i] ^= 0xff
		f.Add(changed)
		f.Add(payload[:i])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := &reading{}
		ran, err := d.decode(payload, func(key int, total hits.Total) {
			if d.keys[key] != total.Key {
				t.Errorf("the place of %+v is that of %+v", total.Key, d.keys[key])
			}
		})
		if (err == nil) != (len(ran) > 0) {
			t.Errorf("intervals are %v, and the error is %v", ran, err)
		}
	})
}

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "0.hits")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+durable.Unfinished, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := replace(&segment{path: path}, sample(2, "a")); err == nil || got != nil {
		t.Errorf("there is %+v and %v, want an error alone", got, err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "before" {
		t.Errorf("the file is %q, %v", content, err)
	}
	if err := os.Remove(path + durable.Unfinished); err != nil {
		t.Fatal(err)
	}
	got, err := replace(&segment{path: path}, sample(2, "a"))
	if err != nil || got.records != 1 || !reflect.DeepEqual(read(t, path), []*record{sample(2, "a")}) {
		t.Errorf("there is %+v, %v, want the record", got, err)
	}
}
