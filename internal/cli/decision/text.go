// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package decision is how commands show what becomes of a request: short text, a table
// of steps, and a graph.
package decision

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// tints of outcomes on a terminal.
var tints = map[string]string{
	"Allow": "\x1b[32m", "Answered": "\x1b[32m", "Deny": "\x1b[31m", "NoRoute": "\x1b[31m", "Fails": "\x1b[31m", "Unknown": "\x1b[33m",
}

// Tinted is an outcome with the code that goes with it.
func Tinted(outcome string, code int, colour bool) string {
	text := outcome
	if code > 0 {
		text += " " + strconv.Itoa(code)
	}
	if tint, ok := tints[outcome]; ok && colour {
		return tint + text + "\x1b[0m"
	}
	return text
}

// Text writes an answer for people: the outcome and why, the statement that it
// hangs on, what to do and where. Verbose adds every step.
func Text(w io.Writer, a *answer.Answer, colour, verbose bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", Tinted(a.Outcome, a.Code, colour), output.Printable(a.Why))
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-9s%s\n", label, output.Printable(text))
		}
	}
	if a.Decided != nil {
		line("by:", a.Decided.String())
	}
	line("do:", a.Do)
	switch {
	case a.Outcome == "Allow" || a.Outcome == "Answered":
	case a.Decided != nil && len(a.Change) == 1:
		line("ask:", a.Change[0].Whom)
	default:
		Places(&b, a.Change)
	}
	for _, branch := range a.Branches {
		line(fmt.Sprintf("%.0f%%:", branch.Share*100), strings.TrimSpace(Tinted(branch.Outcome, branch.Code, false)+" "+branch.Why+reachedText(branch.Reached)))
	}
	line("source:", a.Source)
	if verbose {
		line("details:", a.Details)
		line("gateway:", a.Entrance)
	}
	if _, err := io.WriteString(w, b.String()); err != nil || !verbose || len(a.Steps) == 0 {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	return Steps(w, a.Steps, colour)
}

func reachedText(r *answer.Reached) string {
	switch {
	case r == nil:
		return ""
	case r.Workload != "":
		return "by " + r.Workload + " (" + r.Cluster + ")"
	}
	return "by " + r.Cluster
}

// Places writes where something can be changed.
func Places(b *strings.Builder, places []answer.Place) {
	label := "change:"
	for i := range places {
		fmt.Fprintf(b, "  %-9s%s\n  %-9s%s\n", label, output.Printable(places[i].String()), "", output.Printable("ask "+places[i].Whom))
		label = ""
	}
}

// Steps writes the steps as a table.
func Steps(w io.Writer, steps []answer.Step, colour bool) error {
	rows := make([]output.Row, 0, len(steps))
	for i, s := range steps {
		row := output.Row{Cells: []string{strconv.Itoa(i + 1), s.Proxy, s.Stage, s.Says, s.Rule, ""}}
		if s.Statement != nil {
			row.Cells[5] = s.Statement.String()
		}
		if s.Stops {
			row.Mood = output.Alarming
		}
		rows = append(rows, row)
	}
	return output.Table(w, []string{"STEP", "PROXY", "STAGE", "WHAT HAPPENS", "ENVOY'S RULE", "STATED IN"}, rows, colour)
}

// Graph writes the way of the request in the DOT language of Graphviz: a box for
// each proxy with its steps, and an arrow from each to the next.
func Graph(w io.Writer, a *answer.Answer) error {
	var b strings.Builder
	b.WriteString("digraph request {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n")
	fmt.Fprintf(&b, "  client [label=%s, shape=oval];\n", quoted(a.Request.From+"\n"+strings.TrimSpace(a.Request.Method+" "+a.Request.URL)))
	ways := []answer.Branch{{Share: 1, Outcome: a.Outcome, Code: a.Code, Why: a.Why, Steps: a.Steps}}
	if len(a.Branches) > 0 {
		ways = a.Branches
	}
	for n, way := range ways {
		before := "client"
		edge := ""
		if len(ways) > 1 {
			edge = fmt.Sprintf(" [label=\"%.0f%%\"]", way.Share*100)
		}
		for i, hop := range hops(way.Steps) {
			name := fmt.Sprintf("hop_%d_%d", n, i)
			fmt.Fprintf(&b, "  %s [label=%s];\n  %s -> %s%s;\n", name, quoted(hop), before, name, edge)
			before, edge = name, ""
		}
		colour := map[bool]string{true: "darkgreen", false: "red"}[way.Outcome == "Allow" || way.Outcome == "Answered"]
		if way.Outcome == "Unknown" {
			colour = "orange"
		}
		fmt.Fprintf(&b, "  end_%d [label=%s, shape=oval, color=%s];\n  %s -> end_%d%s;\n", n, quoted(Tinted(way.Outcome, way.Code, false)+"\n"+way.Why), colour, before, n, edge)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// hops joins the steps of one proxy.
func hops(steps []answer.Step) []string {
	var out []string
	last := ""
	for i, s := range steps {
		text := s.Says
		if s.Statement != nil {
			text += "\n  " + s.Statement.String()
		}
		if i == 0 || s.Proxy != last {
			last = s.Proxy
			out = append(out, s.Proxy+"\n"+text)
			continue
		}
		out[len(out)-1] += "\n" + text
	}
	return out
}

// quoted is a string of the DOT language, with lines that begin on the left.
func quoted(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(output.Printable(line)))
	}
	return `"` + strings.Join(lines, `\l`) + `\l"`
}
