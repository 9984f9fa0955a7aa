// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/durable"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// load reads what is in the directory.
func (s *Store) load() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	used := map[hits.Key]time.Time{}
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		switch {
		case strings.HasSuffix(entry.Name(), durable.Unfinished):
			// What it was to replace is still there.
			if err := os.Remove(path); err != nil {
				return err
			}
		case strings.HasSuffix(entry.Name(), suffix):
			if err := s.read(path, used); err != nil {
				return fmt.Errorf("%s: %w", entry.Name(), err)
			}
		}
	}
	for k, at := range used {
		s.bounds.Use(k, at)
	}
	return nil
}

// read reads a segment and cuts off what is damaged.
func (s *Store) read(path string, used map[hits.Key]time.Time) error {
	one := &segment{path: path, good: int64(len(header))}
	var keys []hits.Key
	err := scan(path, -1, func(d *reading, ran []hits.Interval, size int64) error {
		one.add(ran, size)
		keys = d.keys
		return nil
	}, func(int, hits.Total) {})
	var damaged *damage
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	if damaged != nil {
		if err := s.cut(one, damaged); err != nil {
			return err
		}
	}
	if one.records == 0 {
		return os.Remove(path)
	}
	s.sealed = append(s.sealed, one)
	if one.to().After(s.last) {
		s.last = one.to()
	}
	for _, k := range keys {
		used[k] = one.to()
	}
	return nil
}

func (s *Store) cut(one *segment, damaged *damage) error {
	info, err := os.Stat(one.path)
	if err != nil {
		return err
	}
	after := s.last
	if one.records > 0 {
		after = one.to()
	}
	s.lose(Loss{File: one.path, Bytes: info.Size() - damaged.at, After: after, Why: "It is damaged " + damaged.Error() + "; what comes after that is cut off"})
	return os.Truncate(one.path, damaged.at)
}

func (s *Store) lose(l Loss) {
	if len(s.losses) == mostLosses {
		s.losses = slices.Delete(s.losses, 0, 1)
	}
	s.losses = append(s.losses, l)
}

// tidy makes old records into one for each segment, and takes away those that are too
// old. Where that fails, counts are taken all the same.
func (s *Store) tidy(ctx context.Context, now time.Time) {
	s.trouble = nil
	s.bounds.Forget(now.Add(-s.options.Keep))
	for len(s.sealed) > 0 && now.Sub(s.sealed[0].to()) >= s.options.Keep {
		if err := s.removeOldest(); err != nil {
			s.trouble = err
			return
		}
	}
	for i, one := range s.sealed {
		if one.records < 2 || now.Sub(one.to()) < s.options.Fine {
			continue
		}
		smaller, err := compact(ctx, one)
		if smaller != nil {
			s.sealed[i] = smaller
		}
		if err != nil {
			s.trouble = fmt.Errorf("making one record of %s: %w", one.path, err)
			return
		}
	}
}

// compact makes one record of a segment. It returns what replaces it where that is there,
// also with an error.
func compact(ctx context.Context, one *segment) (*segment, error) {
	r, err := whole(ctx, one)
	if err != nil {
		return nil, err
	}
	return replace(one, r)
}

// shrink takes away the oldest segments until there are few enough bytes.
func (s *Store) shrink() {
	for bytes := s.bytes(); bytes > s.options.Bytes && len(s.sealed) > 0; bytes = s.bytes() {
		oldest := s.sealed[0]
		if err := s.removeOldest(); err != nil {
			s.trouble = err
			return
		}
		s.lose(Loss{File: oldest.path, Bytes: oldest.good, Why: fmt.Sprintf(
			"The counts from %s to %s were taken away, as there are more than %d bytes", oldest.from().Format(time.RFC3339), oldest.to().Format(time.RFC3339), s.options.Bytes)})
	}
}

func (s *Store) removeOldest() error {
	if err := os.Remove(s.sealed[0].path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("taking away old counts: %w", err)
	}
	s.sealed = slices.Delete(s.sealed, 0, 1)
	return nil
}
