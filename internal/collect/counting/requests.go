// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// mostRequests is how many Applications and places are told apart in
// trellis_requests_total: each has a series for each verdict.
const mostRequests = 5_000

// verdicts are all that a request may get.
var verdicts = []hits.Verdict{hits.Allowed, hits.Denied, hits.WouldDeny, hits.Failed}

// decider is whose requests are told apart.
type decider struct {
	namespace, application string
	place                  hits.Place
}

// requests are for a Prometheus that keeps counts beside our own store, or in place of it.
// Rules and peers are not among the labels: these are in the store, and hits shows them.
// It is for one goroutine.
type requests struct {
	total *prometheus.CounterVec
	known map[decider]bool
}

func newRequests() requests {
	return requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_requests_total",
			Help: "Requests that proxies decided, by the Application whose workload or route it is; one that a gateway passed on counts at the workload. Without a namespace: nobody's, or beyond the first 5,000 Applications and places.",
		}, []string{"namespace", "application", "place", "verdict"}),
		known: map[decider]bool{},
	}
}

// add counts what was counted of an interval.
func (r *requests) add(counts []hits.Count) {
	for i := range counts {
		of := decider{counts[i].Namespace, counts[i].Application, counts[i].Place}
		if !r.known[of] {
			if len(r.known) >= mostRequests {
				of.namespace, of.application = "", ""
			}
			r.begin(of)
		}
		r.total.WithLabelValues(of.namespace, of.application, string(of.place), string(counts[i].Verdict)).Add(float64(counts[i].N))
	}
}

// begin makes all series of somebody at once: a rate knows nothing of what came before a
// series was there, and the first denial of an Application must not be lost on it.
func (r *requests) begin(of decider) {
	r.known[of] = true
	for _, v := range verdicts {
		r.total.WithLabelValues(of.namespace, of.application, string(of.place), string(v))
	}
}
