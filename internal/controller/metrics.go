// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/controller/metrics"
	"github.com/trellis-mesh/trellis/internal/model"
)

// meters are what Prometheus may ask for. No label holds a name of a user's.
type meters struct {
	duration  *prometheus.HistogramVec
	objects   *prometheus.GaugeVec
	writes    *prometheus.CounterVec
	reverted  *prometheus.CounterVec
	findings  *prometheus.GaugeVec
	probes    *prometheus.GaugeVec
	statuses  prometheus.Counter
	conflicts prometheus.Gauge
}

// newMeters registers with a registry, or joins what another operator of the
// same process has registered there.
func newMeters(registry prometheus.Registerer) (*meters, error) {
	m := &meters{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "trellis_rebuild_duration_seconds", Help: "Time that each step of a rebuild took.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2.5, 10),
		}, []string{"step"}),
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_generated_objects", Help: "Objects that follow from what was stated.",
		}, []string{"kind"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_writes_total", Help: "Writes of generated objects.",
		}, []string{"verb", "kind"}),
		reverted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_reverted_edits_total", Help: "Changes of generated objects by others that were put back.",
		}, []string{"kind"}),
		findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_findings", Help: "Refusals and warnings about what was stated.",
		}, []string{"severity", "reason"}),
		probes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_probes", Help: "Probes of the data plane by their last result.",
		}, []string{"result"}),
		statuses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_status_writes_total", Help: "Writes of statuses.",
		}),
		conflicts: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trellis_conflicts", Help: "Objects that cannot be written because somebody else made one of the same name.",
		}),
	}
	err := errors.Join(
		metrics.Register(registry, &m.duration), metrics.Register(registry, &m.objects), metrics.Register(registry, &m.writes),
		metrics.Register(registry, &m.reverted), metrics.Register(registry, &m.findings), metrics.Register(registry, &m.probes),
		metrics.Register(registry, &m.statuses), metrics.Register(registry, &m.conflicts))
	// Of a series that begins with the first edit no rate knows that there was one.
	for _, kind := range apply.Kinds() {
		m.reverted.WithLabelValues(kind.Kind)
	}
	return m, err
}

func (m *meters) compiled(took time.Duration, desired []apply.Desired) {
	m.duration.WithLabelValues("compile").Observe(took.Seconds())
	counts := map[string]int{}
	for _, d := range desired {
		counts[d.Ref.Kind]++
	}
	m.objects.Reset()
	for kind, n := range counts {
		m.objects.WithLabelValues(kind).Set(float64(n))
	}
}

func (m *meters) applied(took time.Duration, result apply.Result) {
	m.duration.WithLabelValues("apply").Observe(took.Seconds())
	for _, c := range result.Changes {
		m.writes.WithLabelValues(string(c.Verb), c.Ref.Kind).Inc()
		if c.Edit != nil {
			m.reverted.WithLabelValues(c.Ref.Kind).Inc()
		}
	}
}

func (m *meters) reported(took time.Duration, done *round, written int, probes map[string]int) {
	m.duration.WithLabelValues("status").Observe(took.Seconds())
	m.statuses.Add(float64(written))
	m.conflicts.Set(float64(len(done.conflicts)))
	type label struct {
		severity model.Severity
		reason   string
	}
	counts := map[label]int{}
	for _, findings := range done.findings {
		for _, f := range findings {
			counts[label{f.Severity, f.Reason}]++
		}
	}
	m.findings.Reset()
	for l, n := range counts {
		m.findings.WithLabelValues(string(l.severity), l.reason).Set(float64(n))
	}
	for result, n := range probes {
		m.probes.WithLabelValues(result).Set(float64(n))
	}
}
