// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package traffic is what was seen of the traffic between workloads: who called whom,
// how the connection was secured, and what failed for want of mutual TLS. Access logs
// and metrics say it; whoever asks does not need to know which of them.
//
// It is pure.
package traffic

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Path is where trellis-server says what it has seen. The parameter From is the
// beginning of the time that is asked about, in RFC 3339.
const (
	Path = "/v1/traffic"
	From = "from"
)

// Seen is what was seen in a time.
type Seen struct {
	// From is since when nothing was missed. It is later than what was asked for where
	// looking began later, and earlier by as much as counts are kept together.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Before are times before From in which nothing was missed either, in order, since what
	// was asked for: whoever looks was started anew since. Lost and Edges are of all the
	// time since then.
	Before []Interval `json:"before,omitempty"`
	// Lost counts what came and could not be kept, or not be read. A client may be
	// among it that is nowhere else.
	Lost uint64 `json:"lost,omitempty"`
	// Edges are in order (Order), one for each client, service and port.
	Edges []Edge `json:"edges"`
}

// Interval is a time in which nothing was missed.
type Interval struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Watched are all times in which nothing was missed, in order: the last is From to To.
func (s *Seen) Watched() []Interval {
	return append(slices.Clone(s.Before), Interval{s.From, s.To})
}

// Missed is how much of the time from a moment to To nobody looked.
func (s *Seen) Missed(from time.Time) time.Duration {
	var out time.Duration
	for _, w := range s.Watched() {
		out += max(0, w.From.Sub(from))
		if w.To.After(from) {
			from = w.To
		}
	}
	return out
}

// InOrder reports whether the times that are said to be watched can be: they come one after
// the other, and none is empty but the last, which may be.
func (s *Seen) InOrder() bool {
	end := time.Time{}
	for _, w := range s.Before {
		if w.From.Before(end) || !w.From.Before(w.To) {
			return false
		}
		end = w.To
	}
	return !s.From.Before(end)
}

// Edge is a client and a service that it called.
type Edge struct {
	// Client is the workload, as NAMESPACE/NAME; an address where nobody is known to
	// have it; UnknownClient where not even that is known.
	Client string `json:"client"`
	// Proxied: the client's own proxy sent it, as far as that is known. A client without one
	// cannot send mutual TLS.
	Proxied bool `json:"proxied"`
	// SentOnly: the client's proxy said it, and that of the workload that was called did
	// not: who else calls there is not known.
	SentOnly bool `json:"sentOnly,omitempty"`
	// Services are those that it was one call of, as NAMESPACE/NAME, in order: all that
	// select the workload which was called.
	Services []string `json:"services"`
	// Port is the number at the workload where its proxy said it, and the Service's
	// where only the client's proxy did.
	Port uint16 `json:"port,omitempty"`
	// Requests are all of them, or connections where there is no HTTP. Plaintext are those
	// that came in plaintext and were taken, and Failed those that failed for a cause
	// of mutual TLS.
	Requests  uint64 `json:"requests"`
	Plaintext uint64 `json:"plaintext,omitempty"`
	Failed    uint64 `json:"failed,omitempty"`
	// LastPlaintext and LastFailed are the times of the last ones; absent: none.
	LastPlaintext *time.Time `json:"lastPlaintext,omitempty"`
	LastFailed    *time.Time `json:"lastFailed,omitempty"`
	// Cause is a word for that of the last failure (package mtls/signature), and Why a
	// sentence without a period.
	Cause string `json:"cause,omitempty"`
	Why   string `json:"why,omitempty"`
}

// Reaches reports whether it was a call of a stage of a rollout, which is about some
// services: NAMESPACE/NAME, or NAMESPACE where it is about all of its workloads. Those that
// no Service selects go by their own names, and belong to the stage of their namespace.
func (e *Edge) Reaches(stage string, services []string) bool {
	whole := !strings.Contains(stage, "/")
	return slices.ContainsFunc(e.Services, func(name string) bool {
		return slices.Contains(services, name) || whole && strings.HasPrefix(name, stage+"/")
	})
}

// UnknownClient is a client that cannot be told from others.
const UnknownClient = "unknown"

// Order puts edges in their order.
func Order(a, b Edge) int {
	return cmp.Or(slices.Compare(a.Services, b.Services), cmp.Compare(a.Port, b.Port), strings.Compare(a.Client, b.Client))
}

// Merge is what several saw together, each of which saw a part: replicas among which
// streams are distributed. It knows of a time only what all of them know: a time is
// watched only if all of them watched it.
func Merge(parts ...Seen) Seen {
	var out Seen
	edges := map[string]*Edge{}
	for i, part := range parts {
		if i == 0 || part.From.After(out.From) {
			out.From = part.From
		}
		if i == 0 || part.To.Before(out.To) {
			out.To = part.To
		}
		out.Lost += part.Lost
		for _, e := range part.Edges {
			key := e.key()
			if known := edges[key]; known != nil {
				known.add(e)
				continue
			}
			edges[key] = &e
		}
	}
	out.Before = before(parts, out.From)
	out.Edges = make([]Edge, 0, len(edges))
	for _, e := range edges {
		out.Edges = append(out.Edges, *e)
	}
	slices.SortFunc(out.Edges, Order)
	return out
}

// before are the times before a moment that all watched. The moment is when the last of
// them began to look.
func before(parts []Seen, moment time.Time) []Interval {
	var out []Interval
	for i, part := range parts {
		if i == 0 {
			out = part.Watched()
			continue
		}
		out = both(out, part.Watched())
	}
	out = slices.DeleteFunc(out, func(w Interval) bool { return !w.From.Before(moment) })
	if len(out) == 0 {
		return nil
	}
	return out
}

// both are the times that are in two lists, each of them in order.
func both(a, b []Interval) []Interval {
	var out []Interval
	for len(a) > 0 && len(b) > 0 {
		w := a[0]
		if b[0].From.After(w.From) {
			w.From = b[0].From
		}
		if a[0].To.Before(b[0].To) {
			a = a[1:]
		} else {
			w.To, b = b[0].To, b[1:]
		}
		if w.From.Before(w.To) {
			out = append(out, w)
		}
	}
	return out
}

func (e *Edge) key() string {
	return e.Client + " " + strings.Join(e.Services, ",") + " " + strconv.Itoa(int(e.Port))
}

func (e *Edge) add(o Edge) {
	e.Proxied = e.Proxied || o.Proxied
	e.SentOnly = e.SentOnly && o.SentOnly
	e.Requests += o.Requests
	e.Plaintext += o.Plaintext
	e.Failed += o.Failed
	e.LastPlaintext = later(e.LastPlaintext, o.LastPlaintext)
	if o.LastFailed != nil && (e.LastFailed == nil || o.LastFailed.After(*e.LastFailed)) {
		e.LastFailed, e.Cause, e.Why = o.LastFailed, o.Cause, o.Why
	}
}

func later(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}
