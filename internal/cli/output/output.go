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

// Row is a line of a table. Its cells may hold anything: what a terminal would
// obey is made harmless.
type Row struct {
	Mood  Mood
	Cells []string
}

// Table writes rows below a header. Where people look at it in colour, the mood
// tints the whole of a row but its last cell, which is prose.
func Table(w io.Writer, header []string, rows []Row, colour bool) error {
	all := append([]Row{{Cells: header}}, rows...)
	widths := make([]int, len(header))
	for _, r := range all {
		for i := range r.Cells {
			r.Cells[i] = Printable(r.Cells[i])
			if r.Cells[i] == "" {
				r.Cells[i] = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(r.Cells[i]))
		}
	}
	var out strings.Builder
	for n, r := range all {
		before, after := tint(n == 0, r.Mood, colour)
		out.WriteString(before)
		for i, cell := range r.Cells {
			if i == len(r.Cells)-1 {
				out.WriteString(after + cell + "\n")
				continue
			}
			out.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+3))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func tint(header bool, m Mood, colour bool) (before, after string) {
	const bold, red, yellow, reset = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
	switch {
	case !colour:
	case header:
		return bold, reset
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
