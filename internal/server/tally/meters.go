// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/hits/embedded"
)

// Meters tell of a store in a directory whenever they are asked, as gauges. They are safe for
// concurrent use.
type Meters struct {
	store                                 atomic.Pointer[embedded.Store]
	bytes, keys, segments, losses, untidy *prometheus.Desc
}

// Watch registers what a store in a directory is like: trellis_hits_store_bytes, _keys,
// _segments, _losses and _untidy. In a process that had another one before, it takes its
// place.
func Watch(registry prometheus.Registerer, store *embedded.Store) error {
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, nil, nil)
	}
	s := &Meters{
		bytes:    describe("trellis_hits_store_bytes", "Size of all files of the store of counts."),
		keys:     describe("trellis_hits_store_keys", "What the store of counts keeps apart."),
		segments: describe("trellis_hits_store_segments", "Files of the store of counts."),
		losses:   describe("trellis_hits_store_losses", "Losses of the store of counts since it was opened, of files that were damaged or that there was no room for; the last hundred."),
		untidy:   describe("trellis_hits_store_untidy", "1: the store of counts could not tidy up, and takes counts all the same."),
	}
	err := registry.Register(s)
	var known prometheus.AlreadyRegisteredError
	if errors.As(err, &known) {
		if existing, ok := known.ExistingCollector.(*Meters); ok {
			s, err = existing, nil
		}
	}
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	s.store.Store(store)
	return nil
}

// Describe implements prometheus.Collector.
func (s *Meters) Describe(to chan<- *prometheus.Desc) {
	for _, one := range []*prometheus.Desc{s.bytes, s.keys, s.segments, s.losses, s.untidy} {
		to <- one
	}
}

// Collect implements prometheus.Collector.
func (s *Meters) Collect(to chan<- prometheus.Metric) {
	store := s.store.Load()
	if store == nil {
		return
	}
	is := store.State()
	untidy := 0
	if is.Trouble != nil {
		untidy = 1
	}
	for what, value := range map[*prometheus.Desc]float64{
		s.bytes: float64(is.Bytes), s.keys: float64(is.Keys), s.segments: float64(is.Segments), s.losses: float64(len(is.Losses)), s.untidy: float64(untidy),
	} {
		to <- prometheus.MustNewConstMetric(what, prometheus.GaugeValue, value)
	}
}
