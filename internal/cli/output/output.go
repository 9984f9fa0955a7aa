// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package output writes what commands found: tables for people, JSON and YAML for
// programs. It decides nothing.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// Formats are the names that -o takes.
var Formats = []string{"text", "json", "yaml"}

// AddFlag registers -o.
func AddFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "text", "format: "+strings.Join(Formats, ", "))
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(slices.Clone(Formats), cobra.ShellCompDirectiveNoFileComp))
}

// CheckFormat refuses what -o does not take, before anything is asked of a cluster.
func CheckFormat(format string) error {
	if !slices.Contains(Formats, format) {
		return fmt.Errorf("reading -o: %q is none of %s", format, strings.Join(Formats, ", "))
	}
	return nil
}

// Write writes a value as JSON or YAML, and by text otherwise.
func Write(w io.Writer, format string, value any, text func(io.Writer) error) error {
	var err error
	switch format {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(value)
	case "yaml":
		var raw []byte
		if raw, err = yaml.Marshal(value); err == nil {
			_, err = w.Write(raw)
		}
	default:
		err = text(w)
	}
	if err != nil {
		return fmt.Errorf("writing what was found: %w", err)
	}
	return nil
}

// Mood is how urgent a row is.
type Mood int

// The moods, the calmest first.
const (
	Calm Mood = iota
	Waiting
	Alarming
)

// Wrap breaks a text between words into lines of at most width characters. A word that is
// longer has a line of its own.
func Wrap(text string, width int) []string {
	var lines []string
	length := width
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if length+1+n > width {
			lines = append(lines, word)
			length = n
			continue
		}
		lines[len(lines)-1] += " " + word
		length += 1 + n
	}
	return lines
}

// Row is a line of a table. Its cells may hold anything: what a terminal would
// obey is made harmless.
type Row struct {
	Mood  Mood
	Cells []string
	// Lead stands before the last cell as it is: the branches of a tree.
	Lead string
	// Continues the row before in the last cell: there is none but that.
	Continues bool
}

// Table writes rows below a header. Where people look at it in colour, the mood
// tints the whole of a row but its last cell, which is prose.
func Table(w io.Writer, header []string, rows []Row, colour bool) error {
	return Fit(header, rows).Table(w, header, rows, colour)
}

// Columns are as wide as what they were fitted to, so that rows which come later
// stand below the ones before.
type Columns struct{ widths []int }

// Fit makes columns for a header and rows.
func Fit(header []string, rows []Row) *Columns {
	c := &Columns{widths: make([]int, len(header))}
	for _, r := range append([]Row{{Cells: header}}, rows...) {
		if r.Continues {
			continue
		}
		for i, cell := range r.Cells {
			c.widths[i] = max(c.widths[i], utf8.RuneCountInString(shown(cell)))
		}
	}
	return c
}

// Table writes rows below a header.
func (c *Columns) Table(w io.Writer, header []string, rows []Row, colour bool) error {
	bold, reset := "", ""
	if colour {
		bold, reset = "\x1b[1m", "\x1b[0m"
	}
	var out strings.Builder
	c.line(&out, Row{Cells: header}, bold, reset)
	if _, err := io.WriteString(w, out.String()); err != nil {
		return err
	}
	return c.Rows(w, rows, colour)
}

// Rows writes rows without a header.
func (c *Columns) Rows(w io.Writer, rows []Row, colour bool) error {
	var out strings.Builder
	for _, r := range rows {
		before, after := tint(r.Mood, colour)
		if r.Continues {
			c.indent(&out)
			r.Cells = r.Cells[len(r.Cells)-1:]
			c.line(&out, r, before, after)
			continue
		}
		c.line(&out, r, before, after)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (c *Columns) line(out *strings.Builder, r Row, before, after string) {
	out.WriteString(before)
	for i, cell := range r.Cells {
		cell = shown(cell)
		if i == len(r.Cells)-1 {
			out.WriteString(after + r.Lead + cell + "\n")
			continue
		}
		out.WriteString(cell + strings.Repeat(" ", max(0, c.widths[i]-utf8.RuneCountInString(cell))+3))
	}
}

// indent leaves all columns but the last one blank.
func (c *Columns) indent(out *strings.Builder) {
	for _, width := range c.widths[:len(c.widths)-1] {
		out.WriteString(strings.Repeat(" ", width+3))
	}
}

// shown is what a cell looks like.
func shown(cell string) string {
	if cell = Printable(cell); cell == "" {
		return "-"
	}
	return cell
}

func tint(m Mood, colour bool) (before, after string) {
	const red, yellow, reset = "\x1b[31m", "\x1b[33m", "\x1b[0m"
	switch {
	case !colour:
	case m == Alarming:
		return red, reset
	case m == Waiting:
		return yellow, reset
	}
	return "", ""
}

// Printable is a text on one line, without what a terminal would obey.
func Printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && r != ' ' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// In says when something is, seen from now: "in 63d", "2h ago". Empty for no time.
func In(at *time.Time, now time.Time) string {
	switch {
	case at == nil || at.IsZero():
		return ""
	case at.After(now):
		return "in " + Span(at.Sub(now))
	}
	return Span(now.Sub(*at)) + " ago"
}

// Span is a duration with the one or two units that matter.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
