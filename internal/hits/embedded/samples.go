// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trellis-mesh/trellis/internal/durable"
	"github.com/trellis-mesh/trellis/internal/hits"
)

const (
	// samplesName is the file with examples, beside the segments.
	samplesName = "samples.json"
	// maxSamples is how many bytes it may have: more than all examples ever need.
	maxSamples = 64 << 20
)

// KeepSamples puts examples in the place of those that were kept. They are on the disk when
// it returns, or the former ones are.
func (s *Store) KeepSamples(all []hits.Sample) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.broken != nil {
		return fmt.Errorf("keeping examples in %s: %w", s.dir, s.broken)
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("keeping examples in %s: %w", s.dir, err)
	}
	if _, err := durable.Put(filepath.Join(s.dir, samplesName), raw); err != nil {
		return fmt.Errorf("keeping examples in %s: %w", s.dir, err)
	}
	return nil
}

// Samples are the examples that were kept; none where there is no such file. After an error
// there are none either: they are examples, and counts are good without.
func (s *Store) Samples() ([]hits.Sample, error) {
	path := filepath.Join(s.dir, samplesName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading examples in %s: %w", s.dir, err)
	case info.Size() > maxSamples:
		return nil, fmt.Errorf("reading examples in %s: %d bytes are more than any have", s.dir, info.Size())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading examples in %s: %w", s.dir, err)
	}
	var out []hits.Sample
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("reading examples in %s: %w", s.dir, err)
	}
	return out, nil
}
