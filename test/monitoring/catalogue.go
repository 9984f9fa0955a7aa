// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/collect"
	"github.com/trellis-mesh/trellis/internal/collect/counting"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedrecord"
	"github.com/trellis-mesh/trellis/internal/controller/metrics"
	"github.com/trellis-mesh/trellis/internal/controller/metrics/objects"
	"github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/server/meters"
	"github.com/trellis-mesh/trellis/internal/server/tally"
)

// metric is one that a program has.
type metric struct {
	name, kind, help string
	labels           []string
	programs         []string
}

// recorder is a registry that keeps collectors instead of asking them: a vector
// without values tells nothing.
type recorder struct{ collectors []prometheus.Collector }

func (r *recorder) Register(c prometheus.Collector) error {
	r.collectors = append(r.collectors, c)
	return nil
}

func (r *recorder) MustRegister(all ...prometheus.Collector) {
	r.collectors = append(r.collectors, all...)
}

func (*recorder) Unregister(prometheus.Collector) bool { return false }

// registered lets everything register that the programs consist of. A test finds what is
// missing here.
func registered() (map[string]*recorder, error) {
	operator, server := &recorder{}, &recorder{}
	wall := clock.RealClock{}
	_, mesh := controller.New(controller.Options{Registry: operator, Clock: wall})
	_, records := managedrecord.New(managedrecord.Options{Registry: operator, Clock: wall})
	_, certificates := managedcertificate.New(managedcertificate.Options{Registry: operator, Clock: wall})
	_, rollouts := mutualtlsrollout.New(mutualtlsrollout.Options{Registry: operator, Clock: wall})
	_, runs := meters.NewRuns(server)
	_, collector := collect.NewMeters(server)
	_, counter := counting.NewMeters(server)
	store := tally.Watch(server, nil)
	err := errors.Join(mesh, records, certificates, rollouts, runs, collector, counter, store,
		objects.Register(operator, objects.Source{}),
		metrics.Build(operator, metrics.Operator), metrics.Build(server, metrics.Server))
	return map[string]*recorder{metrics.Operator: operator, metrics.Server: server}, err
}

// catalogue are the metrics of all programs, in the order of their names.
func catalogue() ([]*metric, error) {
	programs, err := registered()
	if err != nil {
		return nil, err
	}
	known := map[string]*metric{}
	for _, program := range []string{metrics.Operator, metrics.Server} {
		for _, c := range programs[program].collectors {
			all, err := described(c)
			if err != nil {
				return nil, err
			}
			for _, m := range all {
				if known[m.name] == nil {
					known[m.name] = m
				}
				known[m.name].programs = append(known[m.name].programs, program)
			}
		}
	}
	var out []*metric
	for _, m := range known {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *metric) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

// written is how a description is printed, which is all that it tells.
var written = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), constLabels: \{\}, variableLabels: \{([^}]*)\}\}$`)

// described are the metrics of a collector.
func described(c prometheus.Collector) ([]*metric, error) {
	descs := make(chan *prometheus.Desc, 100)
	c.Describe(descs)
	close(descs)
	var out []*metric
	for d := range descs {
		found := written.FindStringSubmatch(d.String())
		if found == nil {
			return nil, fmt.Errorf("reading %s: it is written otherwise than was expected", d)
		}
		name, nameErr := strconv.Unquote(found[1])
		help, helpErr := strconv.Unquote(found[2])
		if err := errors.Join(nameErr, helpErr); err != nil {
			return nil, fmt.Errorf("reading %s: %w", d, err)
		}
		m := &metric{name: name, kind: kindOf(c), help: help}
		if found[3] != "" {
			m.labels = strings.Split(found[3], ",")
		}
		out = append(out, m)
	}
	return out, nil
}

// kindOf is the type of a collector's metrics.
func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.GaugeVec, prometheus.Gauge, *objects.Collector, *tally.Meters:
		return "gauge"
	case *prometheus.HistogramVec, prometheus.Histogram:
		return "histogram"
	case *prometheus.CounterVec, prometheus.Counter:
		return "counter"
	}
	return "unknown"
}
