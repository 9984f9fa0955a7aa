// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/verdict"
)

// meters count runs. They are registered once in a process, where several servers
// share them.
type meters struct {
	runs         *prometheus.CounterVec
	duration     prometheus.Histogram
	applications *prometheus.GaugeVec
}

func newMeters(registry prometheus.Registerer) (*meters, error) {
	m := &meters{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_server_runs_total", Help: "Runs of all tests, by whether they came to an end.",
		}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trellis_server_run_duration_seconds", Help: "How long a run of all tests takes.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 12),
		}),
		applications: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_server_applications", Help: "Applications with tests, by what came of them in the last run.",
		}, []string{"state"}),
	}
	var err error
	if m.runs, err = register(registry, m.runs); err != nil {
		return nil, err
	}
	if m.duration, err = register(registry, m.duration); err != nil {
		return nil, err
	}
	m.applications, err = register(registry, m.applications)
	return m, err
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

// ran counts one run; nil: it failed.
func (m *meters) ran(took time.Duration, report *verdict.Report) {
	m.duration.Observe(took.Seconds())
	if report == nil {
		m.runs.WithLabelValues("failed").Inc()
		return
	}
	m.runs.WithLabelValues("done").Inc()
	count := map[verdict.State]int{verdict.Passed: 0, verdict.Failed: 0, verdict.Unknown: 0}
	for i := range report.Applications {
		count[report.Applications[i].State]++
	}
	for state, n := range count {
		m.applications.WithLabelValues(string(state)).Set(float64(n))
	}
}
