// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/attribution"
)

// notKnown is the result of entries that came before anything was known of the mesh.
const notKnown = "MeshUnknown"

// Meters count what came of entries. They are registered once in a process,
// where several Counters share them.
type Meters struct {
	entries    *prometheus.CounterVec
	kept, lost prometheus.Counter
	last       prometheus.Gauge
	requests   requests
}

// NewMeters registers trellis_hits_entries_total, trellis_hits_kept_total,
// trellis_hits_lost_total, trellis_hits_kept_until_seconds and trellis_requests_total.
func NewMeters(registry prometheus.Registerer) (*Meters, error) {
	m := &Meters{
		requests: newRequests(),
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_hits_entries_total", Help: "Entries of access logs, by whether they could be joined to what was written.",
		}, []string{"result"}),
		kept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_hits_kept_total", Help: "Verdicts that were counted and that the store of counts has.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trellis_hits_kept_until_seconds", Help: "Until when the store of counts has what was counted, since 1970; 0: nothing was kept yet.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_hits_lost_total", Help: "Verdicts that were counted and that the store of counts refused.",
		}),
	}
	var errs [5]error
	m.entries, errs[0] = register(registry, m.entries)
	m.kept, errs[1] = register(registry, m.kept)
	m.lost, errs[2] = register(registry, m.lost)
	m.last, errs[3] = register(registry, m.last)
	m.requests.total, errs[4] = register(registry, m.requests.total)
	return m, errors.Join(errs[:]...)
}

// register takes what is registered already.
func register[T prometheus.Collector](registry prometheus.Registerer, c T) (T, error) {
	err := registry.Register(c)
	var known prometheus.AlreadyRegisteredError
	if errors.As(err, &known) {
		if existing, ok := known.ExistingCollector.(T); ok {
			return existing, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("registering metrics: %w", err)
	}
	return c, nil
}

// resultOf is one of few words: the outcome, or what is not known.
func resultOf(of *attribution.Attribution) string {
	if of.Outcome == attribution.Unknown {
		return string(of.Why)
	}
	return string(of.Outcome)
}

func (m *Meters) entry(result string) { m.entries.WithLabelValues(result).Inc() }

func (m *Meters) keep(n uint64, until time.Time) {
	m.kept.Add(float64(n))
	m.last.Set(float64(until.UnixMilli()) / 1000)
}

func (m *Meters) lose(n uint64) { m.lost.Add(float64(n)) }
