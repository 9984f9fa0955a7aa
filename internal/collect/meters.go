// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
)

// Results of entries beside those of package sighting.
const (
	// overflow: there was no room, in the queue or in the tally.
	overflow = "overflow"
	// malformed: it is no entry of an access log.
	malformed = "malformed"
	// repeated: it is one for TCP, of which another entry tells the same.
	repeated = "repeated"
)

// Meters count entries. They are registered once in a process, where several Collectors
// share them.
type Meters struct{ entries *prometheus.CounterVec }

// NewMeters registers trellis_collector_entries_total.
func NewMeters(registry prometheus.Registerer) (*Meters, error) {
	entries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "trellis_collector_entries_total", Help: "Entries of access logs that proxies sent, by what came of them.",
	}, []string{"result"})
	err := registry.Register(entries)
	var known prometheus.AlreadyRegisteredError
	if errors.As(err, &known) {
		existing, ok := known.ExistingCollector.(*prometheus.CounterVec)
		if ok {
			entries, err = existing, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	for _, result := range []string{
		string(sighting.Counted), string(sighting.Elsewhere), string(sighting.Aside), string(sighting.Unreadable), string(sighting.Unplaced), overflow, malformed, repeated,
	} {
		entries.WithLabelValues(result)
	}
	return &Meters{entries}, nil
}

func (m *Meters) add(result string, n int) {
	if n > 0 {
		m.entries.WithLabelValues(result).Add(float64(n))
	}
}
