// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package assessment

import (
	"encoding/csv"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/report"
)

// columns are those of CSV. Others are added behind them.
var columns = []string{"state", "severity", "binding", "rule", "object", "field", "file", "line", "message", "fix", "exception", "expires", "mode", "goals"}

// CSV writes for spreadsheets one line for each finding, then one for each object that is as
// a binding has it, and one for each goal that nothing serves; each with the hits of its
// binding where there are any.
func CSV(w io.Writer, a *Assessment) error {
	out := csv.NewWriter(w)
	counted := a.counted()
	header := columns
	if counted {
		header = append(header[:len(header):len(header)], "allowed", "denied", "would-deny", "failed", "last")
	}
	lines := [][]string{header}
	policies := a.byBinding()
	add := func(p *Policy, cells ...string) {
		cells = append(cells, p.Mode, strings.Join(p.Goals, " "))
		if counted {
			cells = append(cells, numbers(p.Hits)...)
		}
		for k := range cells {
			cells[k] = inert(cells[k])
		}
		lines = append(lines, cells)
	}
	for i := range a.Findings {
		f := &a.Findings[i]
		line := ""
		if f.Line > 0 {
			line = strconv.Itoa(f.Line)
		}
		add(policies[f.Binding], f.State, f.Severity, f.Binding, f.Rule, f.Object, f.Field, f.File, line, f.Message, f.Fix, f.Exception, f.Expires)
	}
	for i := range a.Policies {
		p := &a.Policies[i]
		for _, ref := range p.About() {
			if p.binding.StateOf(ref) == v1alpha1.StatePassing {
				add(p, string(policy.Pass), p.Severity, p.Binding, "", ref.String(), "", "", "", "", "", "", "")
			}
		}
	}
	for i := range a.Goals {
		if g := &a.Goals[i]; len(g.Bindings) == 0 {
			add(&Policy{Goals: []string{g.Name}}, g.State, "", "", "", "", "", "", "", g.Message, "", "", "")
		}
	}
	if err := out.WriteAll(lines); err != nil {
		return err
	}
	return out.Error()
}

// inert is a cell that no spreadsheet takes for a formula: one that begins like a formula
// begins with an apostrophe.
func inert(cell string) string {
	cell = report.Printable(cell)
	if first := []rune(cell); len(first) > 0 && strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20\ufffd", first[0]) {
		return "'" + cell
	}
	return cell
}

func table(b *strings.Builder, title string, header []string, n int, row func(int) []string) {
	b.WriteString("\n## " + title + "\n\n")
	if n == 0 {
		b.WriteString("None.\n")
		return
	}
	b.WriteString("| " + strings.Join(header, " | ") + " |\n|" + strings.Repeat(" --- |", len(header)) + "\n")
	for i := range n {
		cells := row(i)
		for k := range cells {
			cells[k] = prose(cells[k])
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
}

var (
	address = regexp.MustCompile(`https?://[^\s<>|\\]*[^\s<>|\\().,;]`)
	mention = regexp.MustCompile(`(^|[^A-Za-z0-9._-])([@#!])`)
	signs   = strings.NewReplacer("&", "&amp;", `\`, "&#92;", "|", "&#124;", "<", "&lt;", ">", "&gt;", "`", "&#96;", "*", "&#42;", "_", "&#95;",
		"~", "&#126;", "[", "&#91;", "]", "&#93;", "$", "&#36;")
)

// prose is text of others in a table: none of it is read as Markdown or HTML, nor calls
// anybody. An address is a link to just what it says.
func prose(text string) string {
	text = report.Printable(text)
	var b strings.Builder
	for {
		at := address.FindStringIndex(text)
		if at == nil {
			break
		}
		b.WriteString(plain(text[:at[0]]) + "<" + text[at[0]:at[1]] + ">")
		text = text[at[1]:]
	}
	return b.String() + plain(text)
}

func plain(text string) string {
	return signs.Replace(mention.ReplaceAllString(text, "$1$2\u200b"))
}

// place is where it is stated; empty where that is in no file.
func (f *Finding) place() string {
	if f.File == "" {
		return ""
	}
	return f.File + ":" + strconv.Itoa(f.Line)
}
