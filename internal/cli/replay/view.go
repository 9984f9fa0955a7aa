// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"io"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/cli/decision"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// View is what came of a log, as JSON and YAML have it. Fields are added and never
// change their meaning.
type View struct {
	Summary Summary  `json:"summary"`
	Groups  []Group  `json:"groups"`
	Unread  []Unread `json:"unread,omitempty"`
}

// Summary counts requests.
type Summary struct {
	Lines   int `json:"lines"`
	Same    int `json:"same"`
	Changed int `json:"changed"`
	// Depends are those that a token decides about, which no log keeps.
	Depends int `json:"depends"`
	Unknown int `json:"unknown"`
	// Unread are lines that could not be read.
	Unread int `json:"unread"`
	// Ungrouped are among the others and in none of the groups: there are too many.
	Ungrouped int `json:"ungrouped,omitempty"`
}

// Group are requests that ended alike and would end alike.
type Group struct {
	// Class is Changed, Depends or Unknown.
	Class  string `json:"class"`
	Was    string `json:"was,omitempty"`
	Now    string `json:"now,omitempty"`
	Count  int    `json:"count"`
	Method string `json:"method,omitempty"`
	Host   string `json:"host,omitempty"`
	Why    string `json:"why"`
	// Line is that of the witness, the first of them.
	Line    int               `json:"line"`
	Witness *answer.Request   `json:"witness,omitempty"`
	Decided *answer.Statement `json:"decided,omitempty"`
}

// Unread is a line that could not be read.
type Unread struct {
	Line int    `json:"line"`
	Why  string `json:"why"`
}

func viewOf(r *replay.Report) *View {
	out := &View{
		Summary: Summary{r.Lines, r.Same, r.Changed, r.Depends, r.Unknown, r.UnreadCount, r.Ungrouped},
		Groups:  []Group{},
	}
	for _, g := range r.Groups {
		one := Group{
			Class: string(g.Class), Was: g.Was, Now: g.Now, Count: g.Count, Method: g.Method, Host: g.Host, Why: g.Why,
			Line: g.Line, Decided: answer.StatementOf(g.Decided),
		}
		if g.Request != nil {
			request := answer.RequestOf(g.Request)
			one.Witness = &request
		}
		out.Groups = append(out.Groups, one)
	}
	for _, u := range r.Unread {
		out.Unread = append(out.Unread, Unread(u))
	}
	return out
}

// few bounds what is shown without -v.
const few = 20

func (v *View) text(w io.Writer, colour, verbose bool) error {
	var b strings.Builder
	for i := range v.Groups {
		if i == few && !verbose {
			fmt.Fprintf(&b, "and %d more groups; -v shows all\n", len(v.Groups)-i)
			break
		}
		v.Groups[i].write(&b, colour)
	}
	for _, u := range v.Unread {
		fmt.Fprintf(&b, "line %d cannot be read: %s\n", u.Line, output.Printable(u.Why))
	}
	if more := v.Summary.Unread - len(v.Unread); more > 0 {
		fmt.Fprintf(&b, "and %d more lines that cannot be read\n", more)
	}
	s := &v.Summary
	fmt.Fprintf(&b, "%d lines: %d end as they did, %d change, %d depend on a token, %d are not known, %d cannot be read\n",
		s.Lines, s.Same, s.Changed, s.Depends, s.Unknown, s.Unread)
	_, err := io.WriteString(w, b.String())
	return err
}

func (g *Group) write(b *strings.Builder, colour bool) {
	was := g.Was
	if was == "" {
		was = "not told"
	}
	head(b, uint64(g.Count), g.Class, was, g.Now, colour)
	line := func(label, text string) { about(b, label, text) }
	line("why:", g.Why)
	if g.Witness != nil {
		line("such as:", fmt.Sprintf("%s %s from %s (line %d)", g.Witness.Method, g.Witness.URL, g.Witness.From, g.Line))
	} else {
		line("such as:", fmt.Sprintf("line %d", g.Line))
	}
	if g.Decided != nil {
		line("by:", g.Decided.String())
	}
}

// head says how many requests end how.
func head(b *strings.Builder, count uint64, class, was, now string, colour bool) {
	if now = decision.Tinted(now, 0, colour); now == "" {
		now = "not known"
	}
	fmt.Fprintf(b, "%d× %s: %s -> %s\n", count, strings.ToLower(class), was, now)
}

// about says one thing of them.
func about(b *strings.Builder, label, text string) {
	fmt.Fprintf(b, "  %-9s%s\n", label, output.Printable(text))
}
