// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/internal/controller/metrics"
	"github.com/trellis-mesh/trellis/internal/dns"
)

// meters are what Prometheus may ask for. No label holds a name of a user's.
type meters struct {
	records *prometheus.GaugeVec
	errors  *prometheus.CounterVec

	mu sync.Mutex
	// phases of the ManagedRecords of each DNSProvider.
	phases map[types.NamespacedName]map[string]int
}

// newMeters registers with a registry, or joins what another operator of the
// same process has registered there.
func newMeters(registry prometheus.Registerer) (*meters, error) {
	m := &meters{
		records: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trellis_dns_records", Help: "ManagedRecords by phase.",
		}, []string{"phase"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_dns_errors_total", Help: "Attempts to make ManagedRecords come true that failed, by class.",
		}, []string{"class"}),
		phases: map[types.NamespacedName]map[string]int{},
	}
	return m, errors.Join(metrics.Register(registry, &m.records), metrics.Register(registry, &m.errors))
}

// counted says how many records of a provider are in each phase.
func (m *meters) counted(provider types.NamespacedName, phases map[string]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phases[provider] = phases; len(phases) == 0 {
		delete(m.phases, provider)
	}
	// Phases that nothing is in any more are zero, not gone.
	sums := map[string]int{}
	for _, p := range []dns.Phase{dns.PhaseDone, dns.PhaseHeld, dns.PhasePlanned, dns.PhaseBlocked, dns.PhaseWaiting} {
		sums[string(p)] = 0
	}
	for _, phases := range m.phases {
		for p, n := range phases {
			sums[p] += n
		}
	}
	for p, n := range sums {
		m.records.WithLabelValues(p).Set(float64(n))
	}
}

func (m *meters) failed(class string) { m.errors.WithLabelValues(class).Inc() }
