// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"cmp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/suggestion"
)

// Undeclared is something that was used, and that nobody declared.
type Undeclared struct {
	// Application is whose requests they are; empty: they are of none.
	Application string `json:"application,omitempty"`
	// Namespace is where the workloads are where there is no Application.
	Namespace string `json:"namespace,omitempty"`
	// Peer called, as counts have it; Calls: the Application itself called this one.
	Peer   string   `json:"peer,omitempty"`
	Calls  string   `json:"calls,omitempty"`
	Routes []string `json:"routes,omitempty"`
	// Why says why it cannot be declared as it is.
	Why  string `json:"why,omitempty"`
	Hits *Hit   `json:"hits"`
}

// UndeclaredIn is what was allowed, and that nobody declared: callers and calls of
// Applications that no entry covers, workloads of no Application, and routes of gateways that
// Trellis did not make. Totals are those of the whole mesh.
func UndeclaredIn(s *model.Snapshot, totals []hits.Total) []Undeclared {
	var out []Undeclared
	for _, a := range s.Applications() {
		found := suggestion.Of(s, a, totals, suggestion.Options{})
		for i := range found.Callers {
			p := &found.Callers[i]
			// Who is not known may be somebody who is declared.
			if p.Peer != attribution.UnknownPeer && p.Peer != hits.Other && (p.Adds != "" || p.Why != "") {
				out = addUndeclared(out, Undeclared{Application: found.Application, Peer: p.Peer}, p)
			}
		}
		for i := range found.Calls {
			// Where no calls are stated none is restricted, and nothing is proposed.
			if p := &found.Calls[i]; p.Adds != "" {
				out = addUndeclared(out, Undeclared{Application: found.Application, Calls: p.Peer}, p)
			}
		}
	}
	return append(out, ofNobody(totals)...)
}

// addUndeclared adds a party that is not covered, where something was allowed.
func addUndeclared(to []Undeclared, one Undeclared, p *suggestion.Party) []Undeclared {
	if p.Allowed == 0 {
		return to
	}
	one.Routes, one.Why = p.Routes, p.Why
	one.Hits = &Hit{Allowed: p.Allowed, Denied: p.Denied, WouldDeny: p.WouldDeny, Last: Moment(p.Last)}
	return append(to, one)
}

// ofNobody is what was let in to workloads of no Application, and by routes of gateways that
// nobody stated to Trellis.
func ofNobody(totals []hits.Total) []Undeclared {
	type place struct{ namespace, why string }
	by := map[place][]hits.Total{}
	for _, t := range totals {
		switch {
		case nobodys(&t):
			at := place{t.Namespace, "they are of no Application"}
			by[at] = append(by[at], t)
		case t.Verdict == hits.Allowed && t.Application == "" && t.Statement == "" && t.Reason == string(attribution.RouteUnknown):
			at := place{"", "by routes that Trellis did not make"}
			by[at] = append(by[at], t)
		}
	}
	var out []Undeclared
	for at, some := range by {
		for i := range some {
			some[i].Place = hits.Workload // each of these is told by one proxy
		}
		for _, row := range hits.By(hits.Applications, some, nil, nil) {
			out = append(out, Undeclared{Namespace: at.namespace, Why: at.why, Hits: HitOf(&row)})
		}
	}
	slices.SortFunc(out, func(a, b Undeclared) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Why, b.Why))
	})
	return out
}

// String says who used what.
func (u *Undeclared) String() string {
	var what string
	switch {
	case u.Calls != "":
		what = "Application " + u.Application + " calls " + u.Calls
	case u.Application != "":
		what = u.Peer + " calls Application " + u.Application
	case u.Namespace != "":
		what = "workloads in namespace " + u.Namespace
	default:
		what = "requests through gateways"
	}
	if len(u.Routes) > 0 {
		what += " (" + strings.Join(u.Routes, ", ") + ")"
	}
	if u.Why != "" {
		what += ": " + u.Why
	}
	return what
}
