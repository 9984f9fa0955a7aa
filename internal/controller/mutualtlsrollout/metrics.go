// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/metrics"
)

// meters are what Prometheus may ask for.
type meters struct {
	stages, failed *prometheus.GaugeVec
	steps          *prometheus.CounterVec
	deletions      prometheus.Counter
}

// newMeters registers with a registry, or joins what is registered there.
func newMeters(registry prometheus.Registerer) (*meters, error) {
	m := &meters{
		stages: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_mutual_tls_rollout_stages", Help: "Stages of a MutualTLSRollout, by their phase.",
		}, []string{"name", "phase"}),
		failed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_mutual_tls_rollout_failed_requests", Help: "Requests that failed for want of mutual TLS since stages were made that are watched or were taken back.",
		}, []string{"name"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_mutual_tls_rollout_steps_total", Help: "Stages that were made, are done, or were taken back.",
		}, []string{"step"}),
		deletions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_mutual_tls_rollout_deletions_total", Help: "PeerAuthentications of stages that were deleted.",
		}),
	}
	return m, errors.Join(metrics.Register(registry, &m.stages), metrics.Register(registry, &m.failed),
		metrics.Register(registry, &m.steps), metrics.Register(registry, &m.deletions))
}

var stagePhases = []v1alpha1.RolloutStagePhase{
	v1alpha1.StagePending, v1alpha1.StageBlocked, v1alpha1.StageWatching, v1alpha1.StageDone, v1alpha1.StageSteppedBack,
}

func (m *meters) observe(name string, s *v1alpha1.MutualTLSRolloutStatus) {
	counts := map[v1alpha1.RolloutStagePhase]int{}
	var failed int64
	for i := range s.Stages {
		counts[s.Stages[i].Phase]++
		failed += s.Stages[i].FailedRequests
	}
	for _, phase := range stagePhases {
		m.stages.WithLabelValues(name, string(phase)).Set(float64(counts[phase]))
	}
	m.failed.WithLabelValues(name).Set(float64(failed))
}

func (m *meters) forget(name string) {
	for _, phase := range stagePhases {
		m.stages.DeleteLabelValues(name, string(phase))
	}
	m.failed.DeleteLabelValues(name)
}

var steps = map[string]string{EventStageMade: "made", EventStageDone: "done", EventSteppedBack: "back"}

func (m *meters) happened(e Event) {
	if step := steps[e.Reason]; step != "" {
		m.steps.WithLabelValues(step).Inc()
	}
}

func (m *meters) deleted() { m.deletions.Inc() }
