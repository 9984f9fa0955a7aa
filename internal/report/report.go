// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package report writes findings for people and for machines: text, JSON, SARIF
// and JUnit. It decides nothing: which findings there are, and what they mean
// for an exit code, is the caller's. What it writes depends on the report alone.
package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Report is what was checked and what was found.
type Report struct {
	// Findings are in the order in which they are written.
	Findings []model.Finding
	// Subjects are the objects that were judged, with or without findings.
	Subjects []Subject
	// Files is how many files were read.
	Files int
	// Skipped is how many objects were of kinds that are not read.
	Skipped int
	// Command is what was run, for formats that name it; empty: trellis check.
	Command string
	// Notes are what was not asked, each a sentence without a period.
	Notes []string
	// Version is the version of Trellis that checked.
	Version string
}

// Subject is one object that was judged.
type Subject struct {
	Ref      model.Reference
	Position model.Position
}

// Count is the number of findings of a severity.
func (r *Report) Count(severity model.Severity) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Severity == severity {
			n++
		}
	}
	return n
}

// View writes a report.
type View func(w io.Writer, r *Report) error

// Views are the machine-readable formats and plain text, by name.
func Views(colour bool) map[string]View {
	return map[string]View{
		"text":  func(w io.Writer, r *Report) error { return Text(w, r, colour) },
		"json":  JSON,
		"sarif": SARIF,
		"junit": JUnit,
	}
}

// Formats are the names of the views, as help texts list them.
var Formats = []string{"text", "json", "sarif", "junit"}

// palette is empty strings where colours are not wanted.
type palette struct{ red, yellow, bold, dim, reset string }

func paletteFor(colour bool) palette {
	if !colour {
		return palette{}
	}
	return palette{red: "\x1b[31m", yellow: "\x1b[33m", bold: "\x1b[1m", dim: "\x1b[2m", reset: "\x1b[0m"}
}

// Text is for people: what, why and whose, what to do, and where.
func Text(w io.Writer, r *Report, colour bool) error {
	p := paletteFor(colour)
	if err := Findings(w, r.Findings, colour); err != nil {
		return err
	}
	errors, warnings := r.Count(model.SeverityError), r.Count(model.SeverityWarning)
	judged := fmt.Sprintf("%s in %s", Count(len(r.Subjects), "object"), Count(r.Files, "file"))
	if r.Skipped > 0 {
		judged += fmt.Sprintf(" (%s of kinds that do not matter here)", Count(r.Skipped, "more object"))
	}
	var err error
	switch {
	case errors > 0:
		_, err = fmt.Fprintf(w, "%s%s%s and %s: %s\n", p.red, Count(errors, "error"), p.reset, Count(warnings, "warning"), judged)
	case warnings > 0:
		_, err = fmt.Fprintf(w, "no errors and %s%s%s: %s\n", p.yellow, Count(warnings, "warning"), p.reset, judged)
	default:
		_, err = fmt.Fprintf(w, "no problems: %s\n", judged)
	}
	for _, note := range r.Notes {
		if err == nil {
			_, err = fmt.Fprintln(w, Printable(note))
		}
	}
	return err
}

// Findings writes findings as text, without a summary.
func Findings(w io.Writer, findings []model.Finding, colour bool) error {
	p := paletteFor(colour)
	for i := range findings {
		f := &findings[i]
		tint := p.yellow
		if f.Severity == model.SeverityError {
			tint = p.red
		}
		var head []string
		if f.Object.Kind != "" {
			head = append(head, Printable(f.Object.String()))
		}
		if f.Field != "" {
			head = append(head, Printable(f.Field))
		}
		if _, err := fmt.Fprintf(w, "%s%s%s%s%s: %s%s\n  %s\n", p.bold, where(f.Position), tint,
			strings.ToLower(string(f.Severity)), p.reset, f.Reason, prefixed(" ", strings.Join(head, " ")), Printable(f.Message)); err != nil {
			return err
		}
		for _, line := range [][2]string{{"rule", f.Owner}, {"fix", f.Fix}} {
			if line[1] == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "  %s%-5s%s%s\n", p.dim, line[0]+":", p.reset, " "+Printable(line[1])); err != nil {
				return err
			}
		}
	}
	return nil
}

// where is FILE:LINE as editors and terminals understand it, or nothing.
func where(p model.Position) string {
	if p.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d: ", Printable(p.File), p.Line)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// Count says how many there are of something, in words.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Printable keeps names out of strangers' files from moving a terminal's cursor
// or beginning a line of their own.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || slices.Contains(directional, r) {
			return '\ufffd'
		}
		return r
	}, s)
}

// directional are Unicode's controls of writing direction, which can make a line
// read as what it is not.
var directional = []rune{0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069}
