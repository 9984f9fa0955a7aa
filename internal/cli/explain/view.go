// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/decision"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// view shows an explanation.
type view struct{ *answer.Explanation }

// few bounds what is shown without -v.
const few = 8

func (v *view) text(w io.Writer, colour, verbose bool) error {
	var b strings.Builder
	b.WriteString(output.Printable(cmp.Or(v.Means, v.Why, v.Of)) + "\n")
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-9s%s\n", label, output.Printable(text))
		}
	}
	if v.Means != "" {
		line("why:", v.Why)
	}
	line("do:", v.Do)
	if v.Now != nil {
		line("now:", strings.TrimSpace(decision.Tinted(v.Now.Outcome, v.Now.Code, false)+" "+v.Now.Request.Method+" "+v.Now.Request.URL+" from "+v.Now.Request.From))
	}
	for _, variant := range v.Variants {
		line("but:", variant)
	}
	for _, note := range v.Notes {
		line("note:", note)
	}
	if len(v.Rules) > 0 {
		b.WriteString("\nup to what was stated\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if err := v.up(w, colour, verbose); err != nil {
		return err
	}
	if err := v.down(w, colour, verbose); err != nil {
		return err
	}
	b.Reset()
	if len(v.Change) > 0 {
		b.WriteString("\nwhere to change it\n")
	}
	for i := range v.Change {
		fmt.Fprintf(&b, "  %s\n    %s\n", output.Printable(v.Change[i].String()), output.Printable(forYou(&v.Change[i])))
	}
	counts.Tell(&b, v.Counted)
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

func (v *view) up(w io.Writer, colour, verbose bool) error {
	var rows []output.Row
	counted := v.Counted != nil && v.Counted.Known()
	for i, r := range v.Rules {
		if i == few && !verbose {
			break
		}
		row := []string{"  " + r.Kind + " " + r.Namespace + "/" + r.Name, "", "", "Trellis did not make it"}
		if r.Rule >= 0 {
			row[1] = strconv.Itoa(r.Rule)
		}
		if r.Statement != nil {
			row[2], row[3] = r.Statement.Reason, r.Statement.String()
		}
		if counted {
			row = slices.Insert(row, 3, counts.Cells(r.Hits)...)
		}
		rows = append(rows, output.Row{Cells: row})
	}
	if len(rows) == 0 {
		return nil
	}
	header := []string{"OBJECT", "RULE", "REASON", "STATED IN"}
	if counted {
		header = slices.Insert(header, 3, counts.Header()...)
	}
	if err := output.Table(w, header, rows, colour); err != nil {
		return err
	}
	return more(w, len(v.Rules)-len(rows))
}

func (v *view) down(w io.Writer, colour, verbose bool) error {
	var rows []output.Row
	for i, h := range v.Held {
		if i == few && !verbose {
			break
		}
		rows = append(rows, output.Row{Cells: []string{h.Proxy, h.Part, h.Rule}})
	}
	if len(rows) > 0 {
		if _, err := io.WriteString(w, "\ndown to the proxies\n"); err != nil {
			return err
		}
		if err := output.Table(w, []string{"PROXY", "PART", "ENVOY'S RULE"}, rows, colour); err != nil {
			return err
		}
	}
	if err := more(w, len(v.Held)-len(rows)); err != nil {
		return err
	}
	for _, u := range v.Unread {
		if _, err := fmt.Fprintf(w, "not looked at: %s\n", output.Printable(u)); err != nil {
			return err
		}
	}
	return nil
}

func more(w io.Writer, n int) error {
	if n <= 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "and %d more; -v shows all\n", n)
	return err
}
