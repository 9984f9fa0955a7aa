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

// event is one request or connection, by one or both of its ends.
type event struct {
	client, server *line
	earlier        *line
}

func (e *event) lines() signature.Lines {
	var out signature.Lines
	if e.client != nil {
		out.Client = e.client.Entry
	}
	if e.server != nil {
		out.Server = e.server.Entry
	}
	if e.earlier != nil {
		out.Earlier = e.earlier.Entry
	}
	return out
}

// of is the line that says most of where it went.
func (e *event) of() *line {
	if e.client != nil {
		return e.client
	}
	return e.server
}

// compared is with how many lines of the other side one is compared at most: an
// application passes on the ID of a request to as many others as it likes.
const compared = 64

// connection are the own end of a connection upstream, and the other.
type connection struct{ from, to netip.AddrPort }

// matcher finds the lines that belong together.
type matcher struct {
	byID     map[string][]*line
	byRemote map[netip.AddrPort][]*line
	// byLocal is in order of time.
	byLocal map[netip.AddrPort][]*line
	taken   map[*line]bool
	// first is the first line of a connection that went well.
	first map[connection]*line
}

func newMatcher(clients, servers []*line) *matcher {
	m := &matcher{
		byID: map[string][]*line{}, byRemote: map[netip.AddrPort][]*line{}, byLocal: map[netip.AddrPort][]*line{},
		taken: map[*line]bool{}, first: map[connection]*line{},
	}
	for _, s := range servers {
		if s.RequestID != "" {
			m.byID[s.RequestID] = append(m.byID[s.RequestID], s)
		}
		if s.Remote.IsValid() {
			m.byRemote[s.Remote] = append(m.byRemote[s.Remote], s)
		}
		if s.Local.IsValid() {
			m.byLocal[s.Local] = append(m.byLocal[s.Local], s)
		}
	}
	for _, all := range m.byLocal {
		slices.SortStableFunc(all, func(a, b *line) int { return a.Start.Compare(b.Start) })
	}
	for _, c := range clients {
		at := connection{c.UpstreamLocal, c.Upstream}
		if !c.UpstreamLocal.IsValid() || accesslog.ParseDetails(c.Details).Kind != accesslog.KindUpstream {
			continue
		}
		if known := m.first[at]; known == nil || c.Start.Before(known.Start) {
			m.first[at] = c
		}
	}
	return m
}

// event joins a line of a client's proxy with that of the server's: with one about the
// same request if there is one, else with one near to it.
func (m *matcher) event(client *line) *event {
	out := &event{client: client}
	if earlier := m.first[connection{client.UpstreamLocal, client.Upstream}]; earlier != nil && earlier != client {
		out.earlier = earlier
	}
	for _, all := range [][]*line{m.byID[client.RequestID], m.byRemote[client.UpstreamLocal]} {
		if server := m.related(client, all, signature.Same); server != nil {
			m.taken[server], out.server = true, server
			return out
		}
	}
	out.server = m.related(client, m.near(client), signature.Near)
	if out.server != nil {
		m.taken[out.server] = true
	}
	return out
}

// related is the line of those that is nearest in time and of the wanted relation.
func (m *matcher) related(client *line, all []*line, wanted signature.Relation) *line {
	var best *line
	for i, server := range all {
		if i == compared {
			break
		}
		if m.taken[server] || signature.Relate(client.Entry, server.Entry) != wanted {
			continue
		}
		if best == nil || apart(client, server) < apart(client, best) {
			best = server
		}
	}
	return best
}

func apart(a, b *line) time.Duration { return a.Start.Sub(b.Start).Abs() }

// around is more than what signature.Relate takes for near.
const around = 5 * time.Second

// near are lines of the endpoint from shortly before the request on.
func (m *matcher) near(client *line) []*line {
	all := m.byLocal[client.Upstream]
	from, _ := slices.BinarySearchFunc(all, client.Start.Add(-around), func(l *line, at time.Time) int { return l.Start.Compare(at) })
	return all[from:]
}
