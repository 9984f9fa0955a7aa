// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// pair is a client and a service.
type pair struct{ client, service string }

// tally is what was counted of a pair.
type tally struct {
	proxied                bool
	atServer, atClient     float64 // requests, by whose proxy counted them
	plaintext              float64
	lastPlaintext          time.Time
	usualBroken, newBroken float64
	lastBroken             time.Time
	flags                  []string
}

// edges puts the pairs together out of series.
type edges struct {
	grid  grid
	began time.Time
	pairs map[pair]*tally
	lost  float64
}

func newEdges(g grid, began time.Time) *edges {
	return &edges{grid: g, began: began, pairs: map[pair]*tally{}}
}

func (e *edges) of(p pair) *tally {
	if e.pairs[p] == nil {
		e.pairs[p] = &tally{}
	}
	return e.pairs[p]
}

// total adds requests of a pair, of which there may be none.
func (e *edges) total(s *model.Sample) {
	p, ok := named(s.Metric)
	if !ok || !(s.Value > 0) {
		return
	}
	t := e.of(p)
	if s.Metric["reporter"] == "source" {
		t.atClient += float64(s.Value)
		t.proxied = true
		return
	}
	t.atServer += float64(s.Value)
	t.proxied = t.proxied || s.Metric["connection_security_policy"] == "mutual_tls"
}

// count adds what a series of plaintext, or of broken requests, has grown.
func (e *edges) count(o *one, broken bool) {
	usual, grown, last := o.grown(e.began)
	p, ok := named(o.labels)
	policy := o.labels["connection_security_policy"]
	switch {
	case broken && !ok:
		// It was sent past all services, to somewhere in or out of the mesh.
	case broken:
		t := e.of(p)
		t.proxied = true
		// A pod that is gone says what is usual of the one that came after it.
		t.usualBroken += usual
		if grown > 0 {
			t.newBroken += grown
			t.lastBroken = latest(t.lastBroken, last)
			t.flags = append(t.flags, string(o.labels["response_flags"]))
		}
	case grown <= 0:
	case !ok || policy != "none" && policy != "unknown":
		e.lost += grown
	default:
		t := e.of(p)
		t.plaintext += grown
		t.lastPlaintext = latest(t.lastPlaintext, last)
		// Without mutual TLS an Envoy knows a name by what the client's proxy wrote into a
		// request; a ztunnel knows addresses, and no requests.
		t.proxied = t.proxied || p.client != traffic.UnknownClient && o.labels["response_code"] != ""
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// named reads client and service of a series. It reports false where there is no
// Service: Istio then writes "unknown", a host from outside, or one of its clusters for
// what passes through.
func named(m model.Metric) (pair, bool) {
	service, ok := reference(m["destination_service_namespace"], m["destination_service_name"])
	if !ok {
		return pair{}, false
	}
	client, ok := reference(m["source_workload_namespace"], m["source_workload"])
	if !ok {
		client = traffic.UnknownClient
	}
	return pair{client: client, service: service}, true
}

// reference is NAMESPACE/NAME. Names of workloads may have dots, and none has capitals.
func reference(namespace, name model.LabelValue) (string, bool) {
	for _, part := range []model.LabelValue{namespace, name} {
		if part == "" || part == "unknown" || strings.Trim(string(part), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			return "", false
		}
	}
	return string(namespace) + "/" + string(name), true
}

// all are the edges in order, and how many calls belong to none.
func (e *edges) all() ([]traffic.Edge, uint64) {
	out := make([]traffic.Edge, 0, len(e.pairs))
	for p, t := range e.pairs {
		edge := traffic.Edge{Client: p.client, Proxied: t.proxied, Services: []string{p.service}, Plaintext: whole(t.plaintext)}
		if edge.Plaintext > 0 {
			edge.LastPlaintext = &t.lastPlaintext
		}
		t.fail(&edge, e.grid)
		edge.SentOnly = t.atServer == 0 && edge.Plaintext == 0
		edge.Requests = max(whole(t.atServer), whole(t.atClient), edge.Plaintext, whole(t.newBroken))
		if edge.Requests > 0 {
			out = append(out, edge)
		}
	}
	slices.SortFunc(out, traffic.Order)
	return out, whole(e.lost)
}

// unrecognised is the cause of a failure that nothing is known of, as package
// mtls/signature has it.
const unrecognised = "Unrecognised"

// fail says how many requests failed that did not fail before.
//
// A response flag says that a connection broke and not why: an application that ends
// looks like a server that takes no plaintext. What tells them apart is the time. So the
// hour before the window says how many are usual of this pair, and Failed are those
// beyond it, if there are more than chance makes of a usual number: three standard
// deviations of a Poisson distribution. Where there were none before, every one counts.
// It is too many rather than too few, except for a client that failed as often before.
func (t *tally) fail(edge *traffic.Edge, g grid) {
	expected := t.usualBroken * g.window().Seconds() / earlier.Seconds()
	if t.newBroken <= expected+3*math.Sqrt(expected) {
		return
	}
	edge.Failed = whole(t.newBroken - expected)
	edge.LastFailed = &t.lastBroken
	edge.Cause = unrecognised
	slices.Sort(t.flags)
	edge.Why = fmt.Sprintf("%d requests ended with response flag %s at the client's proxy, where %s in the hour before; metrics do not say why a connection broke",
		whole(t.newBroken), strings.Join(slices.Compact(t.flags), " or "), before(t.usualBroken))
}

func before(count float64) string {
	if count > 0 {
		return fmt.Sprintf("there were %d", whole(count))
	}
	return "there were none"
}
