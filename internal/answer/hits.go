// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Hits is how often lines were hit that somebody wrote.
type Hits struct {
	By   string   `json:"by"`
	Rows []HitRow `json:"rows"`
	Counted
}

// Counted says what numbers are of.
type Counted struct {
	// Entries are all that were read, Others those that are about something else.
	Entries uint64 `json:"entries"`
	Others  uint64 `json:"others,omitempty"`
	// Unknown are entries that could not be joined to what was written, by why.
	Unknown []Unplaced `json:"unknown,omitempty"`
	// Own is how many lines are of proxies' own logs.
	Own int `json:"own,omitempty"`
	// Unread is how many lines could not be read.
	Unread int        `json:"unread,omitempty"`
	From   *time.Time `json:"from,omitempty"`
	To     *time.Time `json:"to,omitempty"`
	Notes  []string   `json:"notes,omitempty"`
	// Ran are the times of the window in which what was counted is known, and Gaps all
	// others; of a log that was read there are neither.
	Ran  []Interval `json:"ran,omitempty"`
	Gaps []Interval `json:"gaps,omitempty"`
	// Redacted says that lines are left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}

// Known reports whether something is known of the time: where it is not, there are no
// numbers, and not zeros.
func (c *Counted) Known() bool { return c.Entries > 0 || len(c.Ran) > 0 }

// Totals are counts as they are kept apart, for whoever sums them.
type Totals struct {
	Totals []hits.Total `json:"totals"`
	Counted
}

// Interval is a time, without From and with To.
type Interval struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// HitRow is a line with its numbers.
type HitRow struct {
	Num         int    `json:"num"`
	Name        string `json:"name,omitempty"`
	Application string `json:"application,omitempty"`
	Route       string `json:"route,omitempty"`
	Statement   string `json:"statement,omitempty"`
	Field       string `json:"field,omitempty"`
	// Reason is why, where nobody stated it. Nobody: it is nobody's, and no reason is known.
	Reason    string     `json:"reason,omitempty"`
	Nobody    bool       `json:"nobody,omitempty"`
	Allowed   uint64     `json:"allowed"`
	Denied    uint64     `json:"denied"`
	WouldDeny uint64     `json:"wouldDeny"`
	Failed    uint64     `json:"failed"`
	Last      *time.Time `json:"last,omitempty"`
}

// Unplaced is why entries could not be joined.
type Unplaced struct {
	Why     attribution.Why `json:"why"`
	Entries uint64          `json:"entries"`
}

// HitRows are the views of rows.
func HitRows(rows []hits.Row) []HitRow {
	out := make([]HitRow, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		one := HitRow{
			Num: r.Num, Name: r.Name, Route: r.Route, Statement: r.Statement, Field: r.Field, Reason: r.Reason,
			Allowed: r.Allowed, Denied: r.Denied, WouldDeny: r.WouldDeny, Failed: r.Failed, Last: Moment(r.Last),
		}
		if r.Application != "" {
			one.Application = r.Namespace + "/" + r.Application
		}
		one.Nobody = one.Name == "" && one.Application == "" && one.Statement == "" && one.Reason == ""
		out = append(out, one)
	}
	return out
}

// Moment is a time as answers have it; nil for none.
func Moment(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// String names what a row is about.
func (r *HitRow) String() string {
	switch {
	case r.Name != "":
		return r.Name
	case r.Application != "":
		return strings.TrimSpace(r.Application + " " + r.Route)
	case r.Statement != "":
		return strings.TrimSpace(r.Statement + " " + r.Field)
	case r.Reason != "":
		return "(" + r.Reason + ")"
	}
	return "(nobody's)"
}

// HitLines are all that could be hit, so that what nobody did is there too.
func HitLines(by hits.Layer, index *attribution.Index, applications []*v1alpha1.Application, bound []*policy.Binding) []hits.Line {
	var out []hits.Line
	switch by {
	case hits.Rules:
		return index.Lines()
	case hits.Applications:
		for _, a := range applications {
			out = append(out, hits.Line{Namespace: a.Namespace, Application: a.Name})
		}
	case hits.Routes:
		for _, a := range applications {
			for i := range a.Spec.Routes {
				out = append(out, hits.Line{Namespace: a.Namespace, Application: a.Name, Route: string(a.Spec.Routes[i].Name)})
			}
		}
	case hits.Policies, hits.Goals:
		for _, b := range bound {
			for _, name := range namesOf(by, b) {
				out = append(out, hits.Line{Name: name})
			}
		}
	}
	return out
}

// HitOwners names the policies or goals that a statement is written for. A rule of a policy is
// stated by its binding.
func HitOwners(by hits.Layer, bound []*policy.Binding) hits.Owners {
	of := map[string][]string{}
	for _, b := range bound {
		of[b.Ref.String()] = namesOf(by, b)
	}
	return func(statement, _ string) []string { return of[statement] }
}

// namesOf is the binding, or the goals that it serves.
func namesOf(by hits.Layer, b *policy.Binding) []string {
	if by == hits.Policies {
		return []string{b.Ref.String()}
	}
	var out []string
	for _, g := range b.Goals {
		out = append(out, g.Name)
	}
	return out
}

// Hit is how often something was hit. It is absent where that is not known, and never
// zeros then.
type Hit struct {
	Allowed   uint64     `json:"allowed"`
	Denied    uint64     `json:"denied"`
	WouldDeny uint64     `json:"wouldDeny"`
	Failed    uint64     `json:"failed"`
	Last      *time.Time `json:"last,omitempty"`
}

// HitOf is the view of a row's numbers.
func HitOf(r *hits.Row) *Hit {
	return &Hit{Allowed: r.Allowed, Denied: r.Denied, WouldDeny: r.WouldDeny, Failed: r.Failed, Last: Moment(r.Last)}
}
