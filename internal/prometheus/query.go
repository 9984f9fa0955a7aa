// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// metrics are Istio's counters of requests, and of connections that carry no HTTP.
var metrics = []string{"istio_requests_total", "istio_tcp_connections_opened_total"}

// Selectors of what is looked at more closely.
//
// A ztunnel writes "unknown" where an Envoy writes "none". The response code is not
// asked for: of gRPC it is 200 though the connection broke.
const (
	plaintext = `{reporter="destination",connection_security_policy!="mutual_tls"}`
	broken    = `{reporter="source",response_flags=~"(.+,)?(UC|UF)(,.+)?"}`
)

const (
	// mostSteps is into how many a window is cut, and leastStep how long one is at
	// least where the window is longer.
	mostSteps = 96
	leastStep = time.Minute
	// earlier is how far before the window is looked for what series stood at then, and
	// for what is usual.
	earlier     = time.Hour
	earlierStep = 5 * time.Minute
	// pulse is how often there has to be a sample. Every gap of five minutes, after which
	// Prometheus itself holds a series for ended, has a whole one in it.
	pulse = 150 * time.Second
)

// grid are the moments that a store is asked about: to, and back from there by steps.
type grid struct {
	from, to time.Time
	step     time.Duration
}

// newGrid begins at from, or up to 96 milliseconds earlier: stores know no shorter
// ones, and all steps are of one length.
func newGrid(from, to time.Time) (grid, error) {
	to = to.Truncate(time.Millisecond)
	window := to.Sub(from)
	if window < time.Second {
		return grid{}, fmt.Errorf("asking for traffic from %s to %s: a window has at least a second", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	steps := min(max(window/leastStep, 1), mostSteps)
	step := ((window + steps - 1) / steps).Truncate(time.Millisecond)
	if step*steps < window {
		step += time.Millisecond
	}
	return grid{from: to.Add(-step * steps), to: to, step: step}, nil
}

func (g grid) window() time.Duration { return g.to.Sub(g.from) }

// span is a duration as PromQL has it.
func span(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// totals is how much each pair of a client and a service has grown, by two moments
// only: that is cheap for a store, and counts pods that have ended in between not at
// all. A counter that is lower now began anew, as did one that was not there.
func totals(metric string, g grid) string {
	const by = "reporter,source_workload,source_workload_namespace,destination_service_name,destination_service_namespace,connection_security_policy"
	at := func(offset string) string {
		return fmt.Sprintf(`last_over_time(%s{reporter=~"source|destination"}[%s]%s)`, metric, span(earlierStep), offset)
	}
	now, then := at(""), at(" offset "+span(g.window()))
	return fmt.Sprintf("sum by (%s) ((%s - %s) >= 0 or %s)", by, now, then, now)
}

// covered is since when there are samples without a gap, and the time of the newest,
// which is earlier where they have just begun.
func (s *Source) covered(ctx context.Context, g grid) (from, to time.Time, err error) {
	back := (g.window() + pulse - 1) / pulse * pulse
	over := v1.Range{Start: g.to.Add(-back), End: g.to, Step: pulse}
	seen := map[time.Time]bool{}
	for _, metric := range metrics {
		matrix, err := s.steps(ctx, fmt.Sprintf("count(last_over_time(%s[%s]))", metric, span(pulse)), over)
		if err != nil {
			return from, to, err
		}
		for _, series := range matrix {
			for _, point := range series.Values {
				seen[point.Timestamp.Time().UTC()] = true
			}
		}
	}
	newest := over.End.UTC()
	for !seen[newest] {
		if newest = newest.Add(-pulse); newest.Before(over.Start) {
			return from, to, fmt.Errorf("asking the store of metrics at %s: it has no %s from %s to %s: see that it scrapes the proxies, that Istio's standard metrics are on, and that anything was called",
				s.host, metrics[0], g.from.UTC().Format(time.RFC3339), g.to.UTC().Format(time.RFC3339))
		}
	}
	oldest := newest
	for seen[oldest.Add(-pulse)] {
		oldest = oldest.Add(-pulse)
	}
	if to, err = s.newest(ctx, newest); err != nil {
		return from, to, err
	}
	if from = g.from.UTC(); oldest.After(over.Start.UTC()) {
		from = oldest.Add(pulse)
	}
	return from, to, nil
}

// newest is the time of the newest sample in the pulse that ends at a moment.
func (s *Source) newest(ctx context.Context, end time.Time) (time.Time, error) {
	out := end.Add(-pulse)
	for _, metric := range metrics {
		vector, err := s.Values(ctx, "max(timestamp("+metric+"))", end)
		if err != nil {
			return out, err
		}
		for _, sample := range vector {
			if at := time.UnixMilli(int64(float64(sample.Value) * 1000)).UTC(); at.After(out) {
				out = at
			}
		}
	}
	if out.After(end) {
		out = end
	}
	return out, nil
}

// The statistics of a step; label is where the store writes which one it is.
const label = "trellis_statistic"

var statistics = []string{"last", "max", "min"}

// sample is a series in a step, which ends at a moment.
type sample struct {
	at             time.Time
	last, max, min float64
}

// one is a series before the window and in it.
type one struct {
	labels          model.Metric
	earlier, within []sample
}

// series are those that a selector has.
func (s *Source) series(ctx context.Context, selector string, g grid) (map[model.Fingerprint]*one, error) {
	out := map[model.Fingerprint]*one{}
	for _, part := range []struct {
		over v1.Range
		of   func(*one) *[]sample
	}{
		{v1.Range{Start: g.from.Add(-earlier), End: g.from, Step: earlierStep}, func(o *one) *[]sample { return &o.earlier }},
		{v1.Range{Start: g.from.Add(g.step), End: g.to, Step: g.step}, func(o *one) *[]sample { return &o.within }},
	} {
		query := ""
		for i, statistic := range statistics {
			if i > 0 {
				query += " or "
			}
			query += fmt.Sprintf(`label_replace(%s_over_time(%s[%s]),"%s","%s","","")`, statistic, selector, span(part.over.Step), label, statistic)
		}
		matrix, err := s.steps(ctx, query, part.over)
		if err != nil {
			return nil, err
		}
		if err := gather(matrix, out, part.of); err != nil {
			return nil, fmt.Errorf("asking the store of metrics at %s: %w", s.host, err)
		}
	}
	return out, nil
}

// gather puts the statistics of a series together.
func gather(matrix model.Matrix, into map[model.Fingerprint]*one, of func(*one) *[]sample) error {
	for _, stream := range matrix {
		statistic := string(stream.Metric[label])
		labels := stream.Metric.Clone()
		delete(labels, label)
		delete(labels, model.MetricNameLabel)
		key := labels.Fingerprint()
		if into[key] == nil {
			into[key] = &one{labels: labels}
		}
		samples := of(into[key])
		if *samples == nil {
			*samples = make([]sample, len(stream.Values))
		}
		if len(*samples) != len(stream.Values) {
			return errors.New("it gives more of one statistic of a series than of another; see whether it merges stores that differ")
		}
		for i, point := range stream.Values {
			(*samples)[i].set(statistic, point)
		}
	}
	return nil
}

func (s *sample) set(statistic string, p model.SamplePair) {
	s.at = p.Timestamp.Time().UTC()
	switch statistic {
	case "last":
		s.last = float64(p.Value)
	case "max":
		s.max = float64(p.Value)
	case "min":
		s.min = float64(p.Value)
	}
}
