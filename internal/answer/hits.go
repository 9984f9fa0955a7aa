// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"strconv"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
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
	// Since is since when it is in force as it is: of a rule the last change of what has it,
	// and of all else since when its oldest rule is. Absent where that is not known.
	Since *time.Time `json:"since,omitempty"`
	// Refuses: it lets nothing in, so that nothing hits it where nobody tries.
	Refuses bool `json:"refuses,omitempty"`
	// Unused: it is declared, and nothing hit it in this time. Absent also where something
	// was counted that may have been about it.
	Unused bool `json:"unused,omitempty"`
}

// Unplaced is why entries could not be joined.
type Unplaced struct {
	Why     attribution.Why `json:"why"`
	Entries uint64          `json:"entries"`
}

// hitRows are the views of rows that sum totals by a layer. Since has since when lines are in
// force, and refusing which of them let nothing in.
func hitRows(by hits.Layer, rows []hits.Row, totals []hits.Total, since map[hits.Line]time.Time, refusing map[hits.Line]bool) []HitRow {
	out := make([]HitRow, 0, len(rows))
	unplaced := looseOf(by, totals)
	for i := range rows {
		r := &rows[i]
		one := HitRow{
			Num: r.Num, Name: r.Name, Route: r.Route, Statement: r.Statement, Field: r.Field, Reason: r.Reason,
			Allowed: r.Allowed, Denied: r.Denied, WouldDeny: r.WouldDeny, Failed: r.Failed, Last: Moment(r.Last),
		}
		if r.Application != "" {
			one.Application = r.Namespace + "/" + r.Application
		}
		one.Since, one.Refuses = Moment(since[r.Line]), refusing[r.Line]
		one.Nobody = one.Name == "" && one.Application == "" && one.Statement == "" && one.Reason == ""
		one.Unused = !one.Nobody && one.Reason == "" && r.Last.IsZero() && !unplaced.mayBeOf(r, one.Refuses)
		out = append(out, one)
	}
	return out
}

// loose is what was counted of which it is not known what it is of.
type loose struct {
	allowed, denied whose
}

// whose are the Applications that something is of, and whether there is some of which that is
// not known.
type whose struct {
	of      map[[2]string]bool
	unknown bool
}

// looseOf is what may be of some line of a layer.
func looseOf(by hits.Layer, totals []hits.Total) loose {
	out := loose{whose{of: map[[2]string]bool{}}, whose{of: map[[2]string]bool{}}}
	for i := range totals {
		t := &totals[i]
		missing := t.Statement == ""
		switch by {
		case hits.Applications:
			missing = t.Application == ""
		case hits.Routes:
			missing = t.Application == "" || t.Route == ""
		}
		in := &out.denied
		if t.Verdict == hits.Allowed {
			in = &out.allowed
		}
		switch {
		case !missing || t.Verdict == hits.Failed || nobodys(t):
		case t.Application == "":
			in.unknown = true
		default:
			in.of[[2]string{t.Namespace, t.Application}] = true
		}
	}
	return out
}

// nobodys reports whether it is known that what was let in is of no Application.
func nobodys(t *hits.Total) bool {
	return t.Verdict == hits.Allowed && t.Place == hits.Workload && t.Application == "" && t.Statement == "" && t.Reason == ""
}

// mayBeOf reports whether some of it may be of a row, which refuses or does not.
func (l *loose) mayBeOf(r *hits.Row, refuses bool) bool {
	namespace, application := r.Namespace, r.Application
	if name, is := strings.CutPrefix(r.Statement, "Application "); is {
		namespace, application, _ = strings.Cut(name, "/")
	}
	for _, some := range []struct {
		whose
		not bool
	}{{l.allowed, refuses}, {l.denied, r.Statement != "" && !refuses}} {
		if !some.not && (some.unknown || some.of[[2]string{namespace, application}] || application == "" && len(some.of) > 0) {
			return true
		}
	}
	return false
}

// Moment is a time as answers have it; nil for none.
func Moment(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// Hit are the numbers of a row.
func (r *HitRow) Hit() *Hit {
	return &Hit{Allowed: r.Allowed, Denied: r.Denied, WouldDeny: r.WouldDeny, Failed: r.Failed, Last: r.Last}
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

// String says what became of requests.
func (h *Hit) String() string {
	var parts []string
	for _, one := range []struct {
		n    uint64
		says string
	}{{h.Allowed, "allowed"}, {h.Denied, "denied"}, {h.WouldDeny, "would be denied"}, {h.Failed, "failed"}} {
		if one.n > 0 {
			parts = append(parts, strconv.FormatUint(one.n, 10)+" "+one.says)
		}
	}
	if len(parts) == 0 {
		return "no request was counted"
	}
	if h.Last != nil {
		parts = append(parts, "last "+h.Last.Format(time.RFC3339))
	}
	return strings.Join(parts, ", ")
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
