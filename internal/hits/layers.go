// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Layer is what totals are summed by.
type Layer string

// The layers, from what an auditor reads to what an author wrote.
const (
	Goals        Layer = "goal"
	Policies     Layer = "policy"
	Applications Layer = "application"
	Routes       Layer = "route"
	Rules        Layer = "rule"
	// Exceptions are beside these: what was let go.
	Exceptions Layer = "exception"
)

// Layers are all, in order.
var Layers = []Layer{Goals, Policies, Applications, Routes, Rules, Exceptions}

// Line is what a row is about. Only the fields of its layer are set:
//
//   - Goals, Policies and Exceptions: Name, which the owners of a statement are given by.
//   - Applications: Namespace and Application. Routes: those and Route.
//   - Rules: Statement and Field, as a person wrote them. Where nobody wrote anything it
//     is Reason.
//
// The line of counts of which too little was kept has the Reason Dropped, in every layer.
type Line struct {
	Name                   string
	Namespace, Application string
	Route                  string
	Statement, Field       string
	Reason                 string
}

// Compare orders lines.
func (l Line) Compare(other Line) int {
	return cmp.Or(
		strings.Compare(l.Name, other.Name),
		strings.Compare(l.Namespace, other.Namespace),
		strings.Compare(l.Application, other.Application),
		strings.Compare(l.Route, other.Route),
		strings.Compare(l.Statement, other.Statement),
		strings.Compare(l.Field, other.Field),
		strings.Compare(l.Reason, other.Reason),
	)
}

// Row is a line with its numbers.
type Row struct {
	Line
	// Num counts rows from 1.
	Num                                int
	Allowed, Denied, WouldDeny, Failed uint64
	// Last is when it was last hit by any of them; zero: it was not.
	Last time.Time
}

// Owners names the goals or policies that a statement is written for, or nothing.
// A statement may be of several, and counts for each.
type Owners func(statement, field string) []string

// By sums totals by a layer. The lines that are given come first, in their order, with
// zeros where nothing hit them; then those that were hit and are not among them, in order.
// Owners is for goals, policies and exceptions only; what is nobody's is in none of their rows.
//
// A request through a gateway is decided twice, and a row has it once:
//
//   - Allowed is counted at the proxies of workloads. At gateways it is counted for
//     an application of whose workloads no proxy counted anything in the row.
//   - Denied is counted at whichever proxy refused it: no other has seen it, or
//     allowed it for the same row.
//   - WouldDeny is counted at each proxy that would have refused it, so at most twice,
//     and beside what became of the request.
//   - Failed is counted at the proxy that could not pass it on.
func By(layer Layer, totals []Total, lines []Line, owners Owners) []Row {
	rows := map[Line]*sum{}
	for _, t := range totals {
		for _, line := range linesOf(layer, t.Key, owners) {
			if rows[line] == nil {
				rows[line] = &sum{}
			}
			rows[line].add(t)
		}
	}
	var out []Row
	listed := map[Line]bool{}
	add := func(line Line) {
		row := Row{Line: line}
		if s := rows[line]; s != nil {
			row = s.row(line)
		}
		row.Num = len(out) + 1
		out = append(out, row)
	}
	for _, line := range lines {
		if !listed[line] {
			listed[line] = true
			add(line)
		}
	}
	var others []Line
	for line := range rows {
		if !listed[line] {
			others = append(others, line)
		}
	}
	slices.SortFunc(others, Line.Compare)
	for _, line := range others {
		add(line)
	}
	return out
}

func linesOf(layer Layer, k Key, owners Owners) []Line {
	switch {
	case k.Reason == Dropped:
		return []Line{{Reason: Dropped}}
	case layer == Applications:
		return []Line{{Namespace: k.Namespace, Application: k.Application}}
	case layer == Routes:
		return []Line{{Namespace: k.Namespace, Application: k.Application, Route: k.Route}}
	case layer == Rules && k.Statement == "":
		return []Line{{Reason: k.Reason}}
	case layer == Rules:
		return []Line{{Statement: k.Statement, Field: k.Field}}
	case owners == nil || k.Statement == "":
		return nil
	}
	names := slices.Clone(owners(k.Statement, k.Field))
	slices.Sort(names)
	var out []Line
	for _, name := range slices.Compact(names) {
		out = append(out, Line{Name: name})
	}
	return out
}

// application is whose proxies are looked at together.
type application struct{ namespace, name string }

// sum is what a row adds up to, while it is not known yet which gateways count.
type sum struct {
	numbers  Row
	gateways map[application]uint64 // allowed there
	proxied  map[application]bool
}

func (s *sum) add(t Total) {
	app := application{t.Namespace, t.Application}
	if t.Place == Workload {
		if s.proxied == nil {
			s.proxied = map[application]bool{}
		}
		s.proxied[app] = true
	}
	s.numbers.Last = latest(s.numbers.Last, t.Last)
	switch t.Verdict {
	case Allowed:
		if t.Place == Workload {
			s.numbers.Allowed += t.N
			return
		}
		if s.gateways == nil {
			s.gateways = map[application]uint64{}
		}
		s.gateways[app] += t.N
	case Denied:
		s.numbers.Denied += t.N
	case WouldDeny:
		s.numbers.WouldDeny += t.N
	case Failed:
		s.numbers.Failed += t.N
	}
}

func (s *sum) row(line Line) Row {
	out := s.numbers
	out.Line = line
	for app, n := range s.gateways {
		if !s.proxied[app] {
			out.Allowed += n
		}
	}
	return out
}
