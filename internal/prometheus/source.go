// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// The limits where Options has none.
const (
	defaultTimeout = 30 * time.Second
	defaultBytes   = 12 << 20
	defaultSeries  = 5_000
)

// Options are the limits of what one question may cost. The zero value has good ones.
type Options struct {
	// Timeout is for each request; there are up to 14 for one answer. Zero: 30 seconds.
	Timeout time.Duration
	// Bytes are what one response may have. Zero: 12 MiB, of which about 150 MB
	// of memory are made.
	Bytes int64
	// Series are what one response may have: series of plaintext or of failures, or
	// pairs of a client and a service. Zero: 5,000.
	Series int
}

// Source is a store of metrics. It keeps nothing between two questions, and may be
// used by several goroutines.
type Source struct {
	options Options
	host    string
	api     v1.API
	close   func()
}

// New is a source at a URL, the part before /api/v1. It does not connect. Credentials,
// a query and a fragment are refused.
func New(address string, options Options) (*Source, error) {
	u, err := url.Parse(address)
	if err != nil {
		// The error of url.Parse repeats the address, with a password that may be in it.
		return nil, fmt.Errorf("reading the URL of the store of metrics: it is no URL; write http://HOST:PORT, or https")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("reading the URL of the store of metrics: it has to begin with http:// or https:// and a host, such as http://localhost:9090")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("reading the URL of the store of metrics at %q: take away credentials, query and fragment; only scheme, host and path are used", u.Host)
	}
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	if options.Bytes <= 0 {
		options.Bytes = defaultBytes
	}
	if options.Series <= 0 {
		options.Series = defaultSeries
	}
	web := bounded(options.Bytes)
	client, err := api.NewClient(api.Config{Address: u.String(), Client: web})
	if err != nil {
		return nil, fmt.Errorf("making a client of the store of metrics at %s: %w", u.Host, err)
	}
	return &Source{options: options, host: u.Host, api: v1.NewAPI(client), close: web.CloseIdleConnections}, nil
}

// Close ends connections that are kept open. The source can be used again.
func (s *Source) Close() { s.close() }

// Seen is what the store knows of the time from one moment to another, which is that
// of the asking clock, or earlier.
//
//   - Edges have Requests of every client and service that the store knows; Plaintext
//     as the server's proxy counted it; Failed as the client's proxy counted requests
//     whose connection broke, by how much it is more than before (failed.go).
//   - Counts never leave out that there was something. They are too low where a
//     proxy ended or began anew between two samples, and Requests also without the
//     pods that have ended.
//   - LastPlaintext and LastFailed are never too early. They are too late by up to a
//     minute or a 96th of the window, whichever is longer.
//   - Lost counts plaintext requests to a workload by no Service that is named, or
//     with a connection_security_policy that Istio does not have.
//   - SentOnly are edges that no proxy of the service has counted: perhaps it is not
//     scraped, or has its metrics turned off.
//   - Port is not known, and Services has the one that was called.
//   - From is what was asked for, or up to 96 ms before it, where samples go back as
//     far without a gap of five minutes. Otherwise it is two and a half minutes after
//     they begin, in which every proxy has been read. To is the time of the newest sample.
//
// It fails where the store cannot be asked, answers with warnings, which is to say
// in part, gives more than the limits, or has no samples of these metrics.
func (s *Source) Seen(ctx context.Context, from, to time.Time) (traffic.Seen, error) {
	g, err := newGrid(from, to)
	if err != nil {
		return traffic.Seen{}, err
	}
	var out traffic.Seen
	if out.From, out.To, err = s.covered(ctx, g); err != nil {
		return traffic.Seen{}, err
	}
	edges := newEdges(g, out.From)
	if out.From.After(out.To) {
		out.From = out.To
	}
	for _, metric := range metrics {
		vector, err := s.Values(ctx, totals(metric, g), g.to)
		if err != nil {
			return traffic.Seen{}, err
		}
		for _, sample := range vector {
			edges.total(sample)
		}
		for _, selector := range []string{plaintext, broken} {
			series, err := s.series(ctx, metric+selector, g)
			if err != nil {
				return traffic.Seen{}, err
			}
			for _, one := range series {
				edges.count(one, selector == broken)
			}
		}
	}
	out.Edges, out.Lost = edges.all()
	return out, nil
}

// steps asks for values at moments that are a step apart.
func (s *Source) steps(ctx context.Context, query string, over v1.Range) (model.Matrix, error) {
	return answer[model.Matrix](ctx, s, func(ctx context.Context) (model.Value, v1.Warnings, error) {
		return s.api.QueryRange(ctx, query, over, s.limits()...)
	})
}

// answer asks, and takes an answer that is of the kind that was asked for, and all there is.
func answer[V interface {
	model.Vector | model.Matrix
	model.Value
}](ctx context.Context, s *Source, ask func(context.Context) (model.Value, v1.Warnings, error)) (V, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	value, warnings, err := ask(ctx)
	if err != nil {
		return nil, s.explain(err)
	}
	out, ok := value.(V)
	if !ok {
		return nil, fmt.Errorf("asking the store of metrics at %s: it gave a %s and no %s; see that the URL is that of a store with Prometheus's API", s.host, value.Type(), out.Type())
	}
	return out, s.whole(len(out), warnings)
}

// limits tell the store, as far as it knows them, what would be refused here.
func (s *Source) limits() []v1.Option {
	return []v1.Option{v1.WithTimeout(s.options.Timeout), v1.WithLimit(uint64(s.most()) + 1)}
}

// most is of the series in a response, in which each is there up to three times.
func (s *Source) most() int { return s.options.Series * len(statistics) }

// whole refuses an answer that is not all there is. Remarks about the query
// itself are not about the answer; older stores have them among the warnings.
func (s *Source) whole(series int, warnings v1.Warnings) error {
	if series > s.most() {
		return fmt.Errorf("asking the store of metrics at %s: it has more than %d series of what is asked: look into a shorter window, or drop labels that Istio's metrics have been given", s.host, s.options.Series)
	}
	for _, w := range warnings {
		if !strings.HasPrefix(w, "PromQL info:") {
			return fmt.Errorf("asking the store of metrics at %s: its answer may be a part only: it warns %q; see that all of its stores are reached", s.host, strings.TrimSpace(w))
		}
	}
	return nil
}
