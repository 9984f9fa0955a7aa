// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package meters is what trellis-server tells Prometheus about runs of tests.
package meters

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/controller/metrics"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// Runs count runs of tests. They are registered once in a process, where several servers
// share them.
type Runs struct {
	runs         *prometheus.CounterVec
	duration     prometheus.Histogram
	applications *prometheus.GaugeVec
}

// NewRuns registers trellis_server_runs_total, trellis_server_run_duration_seconds and
// trellis_server_applications.
func NewRuns(registry prometheus.Registerer) (*Runs, error) {
	m := &Runs{
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
	err := errors.Join(metrics.Register(registry, &m.runs), metrics.Register(registry, &m.duration), metrics.Register(registry, &m.applications))
	// Rates know nothing of what came before a series was there.
	m.runs.WithLabelValues("done")
	m.runs.WithLabelValues("failed")
	return m, err
}

// Ran counts one run; nil: it failed.
func (m *Runs) Ran(took time.Duration, report *verdict.Report) {
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
