// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"net/netip"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// Report is what became of the requests of logs.
type Report struct {
	// Requests are all requests and connections, WentWell those that did not fail, and
	// Ungrouped those that failed in too many different ways to be told apart.
	Requests, WentWell, Ungrouped int
	// Failures are in order of their number.
	Failures []*Failure
}

// Told reports whether something is known of at least one failure.
func (r *Report) Told() bool {
	return slices.ContainsFunc(r.Failures, func(f *Failure) bool { return f.Conclusion != Untold })
}

// way is from a client to an endpoint, for a service.
type way struct {
	writer  accesslog.Writer
	from    netip.Addr
	cluster string
	to      netip.AddrPort
}

// wayOf is false for lines that do not say who sent, or where to.
func wayOf(l *line) (way, bool) {
	out := way{l.Writer, l.UpstreamLocal.Addr(), l.Cluster, l.Upstream}
	return out, l.Upstream.IsValid() && !l.Inbound() && (out.from.IsValid() || l.Writer.Pod != "")
}

// Diagnose says what made requests fail. Mesh may be nil: nothing is compared then with
// what client and service are sent.
func Diagnose(l *Log, mesh *Mesh) *Report {
	find := newFinder(mesh)
	var clients, servers []*line
	for i := range l.lines {
		one := &l.lines[i]
		if signature.SideOf(one.Entry) == signature.Client || find.gateway(one.Entry) {
			clients = append(clients, one)
		} else {
			servers = append(servers, one)
		}
	}
	match := newMatcher(clients, servers)
	out := &Report{}
	all := &grouping{failures: map[bucket]*Failure{}}
	well := map[way][]time.Time{}
	add := func(e *event) {
		out.Requests++
		found := signature.Of(e.lines())
		switch {
		case found[0].Cause == signature.NotAFailure:
			out.WentWell++
			if at, ok := wayOf(e.of()); ok && e.client != nil {
				well[at] = append(well[at], e.client.Start)
			}
		case !all.add(e, find.parties(e), found):
			out.Ungrouped++
		}
	}
	for _, client := range clients {
		add(match.event(client))
	}
	for _, server := range servers {
		if !match.taken[server] {
			add(&event{server: server})
		}
	}
	for _, f := range all.list() {
		f.Between = f.between(well)
		f.judge(mesh)
		out.Failures = append(out.Failures, f)
	}
	return out
}

// between reports whether a request went well on the way of all of these while they
// failed.
func (f *Failure) between(well map[way][]time.Time) bool {
	if len(f.about.ways) != 1 || !f.First.Before(f.Last) {
		return false
	}
	return slices.ContainsFunc(well[f.about.ways[0]], func(at time.Time) bool { return at.After(f.First) && at.Before(f.Last) })
}
