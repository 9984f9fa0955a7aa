// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// The metrics.
const (
	hitsMetric = "trellis_hits"
	lastMetric = "trellis_hits_last_seconds"
	ranMetric  = "trellis_hits_ran_seconds"
)

// collectorLabel is who wrote it.
const collectorLabel = "collector"

// textLabels are those of hits.Key.Texts, in that order.
var textLabels = []string{"namespace", "application", "route", "place", "object", "statement", "field", "reason", "verdict", "peer"}

// ruleLabel is the index of a rule; there is none where there is no rule.
const ruleLabel = "rule"

// keyOf reads a key from labels.
func keyOf(m model.Metric) (hits.Key, error) {
	k := hits.Key{Rule: -1}
	for i, text := range k.Texts() {
		*text = string(m[model.LabelName(textLabels[i])])
	}
	if text := string(m[ruleLabel]); text != "" {
		rule, err := strconv.Atoi(text)
		if err != nil || rule < 0 {
			return k, fmt.Errorf("the label %s of %s is %q and no index", ruleLabel, hitsMetric, text)
		}
		k.Rule = rule
	}
	return k, nil
}

// selector is a metric of the keys that are asked for.
func selector(metric string, of hits.Filter) string {
	out := metric + "{"
	for _, l := range [][2]string{{"namespace", of.Namespace}, {"application", of.Application}, {"statement", of.Statement}} {
		if l[1] != "" {
			out += l[0] + "=" + strconv.Quote(l[1]) + ","
		}
	}
	return out + "}"
}

// mine is a metric as this collector writes it.
func (s *Store) mine(metric string) string {
	return fmt.Sprintf("%s{%s=%q}", metric, collectorLabel, s.options.Collector)
}

// series is one sample of a metric with labels, which are sorted as remote write asks;
// those that are empty are none.
func series(metric string, with map[string]string, value float64, at time.Time) prompb.TimeSeries {
	with[model.MetricNameLabel] = metric
	out := prompb.TimeSeries{Samples: []prompb.Sample{{Value: value, Timestamp: at.UnixMilli()}}}
	for _, name := range slices.Sorted(maps.Keys(with)) {
		if with[name] != "" {
			out.Labels = append(out.Labels, prompb.Label{Name: name, Value: with[name]})
		}
	}
	return out
}

// batch is how many keys one request has.
const batch = 2_000

// write writes counts and then, when all of them are there, that the collector ran.
func (s *Store) write(ctx context.Context, ran hits.Interval, counts []hits.Count) error {
	for some := range slices.Chunk(counts, batch) {
		request := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, 0, 2*len(some))}
		for _, c := range some {
			with := map[string]string{collectorLabel: s.options.Collector}
			for i, text := range c.Texts() {
				with[textLabels[i]] = *text
			}
			if c.Rule >= 0 {
				with[ruleLabel] = strconv.Itoa(c.Rule)
			}
			request.Timeseries = append(request.Timeseries,
				series(hitsMetric, with, float64(c.N), ran.To),
				series(lastMetric, with, seconds(c.At.Sub(time.UnixMilli(0))), ran.To))
		}
		if err := s.send(ctx, &request); err != nil {
			return err
		}
	}
	with := map[string]string{collectorLabel: s.options.Collector}
	return s.send(ctx, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series(ranMetric, with, seconds(ran.To.Sub(ran.From)), ran.To)}})
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// newClient is one that follows nobody elsewhere.
func newClient(options Options) (*http.Client, error) {
	u, err := url.Parse(options.Write)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("reading the URL that counts are written to: it has to begin with http:// or https:// and a host, without credentials")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       options.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// send is one remote write, version 1.
func (s *Store) send(ctx context.Context, message *prompb.WriteRequest) error {
	const doing = "writing to the store of counts at %s: "
	content, err := message.Marshal()
	if err != nil {
		return fmt.Errorf(doing+"%w", s.options.URL, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.Write, bytes.NewReader(snappy.Encode(nil, content)))
	if err != nil {
		return fmt.Errorf(doing+"%w", s.options.URL, err)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf(doing+"see that it runs and is reached from here: %w", s.options.URL, err)
	}
	defer func() { _ = response.Body.Close() }()
	said, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
	switch code := response.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 4 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout && code != http.StatusUnauthorized && code != http.StatusForbidden && code != http.StatusNotFound:
		return fmt.Errorf(doing+"%w: %s: %.300s; see that it takes remote writes of this time", s.options.URL, hits.ErrRefused, response.Status, bytes.TrimSpace(said))
	}
	return fmt.Errorf(doing+"%s: %.300s; see that it takes remote writes there (--web.enable-remote-write-receiver of Prometheus)", s.options.URL, response.Status, bytes.TrimSpace(said))
}
