// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

const (
	// maxComment bounds a comment in characters: GitHub refuses more than 65,536, and
	// what counts the rest needs some.
	maxComment = 60_000
	// maxRows bounds each table of it: nobody reads more.
	maxRows = 100
	// maxCell bounds one cell, in characters.
	maxCell = 400
	// maxNotes bounds the list of what was not computed.
	maxNotes = 50
)

// comment is Markdown that never grows too long.
type comment struct {
	text strings.Builder
	size int
}

// add appends, if there is room.
func (b *comment) add(text string) bool {
	n := utf8.RuneCountInString(text)
	if b.size+n > maxComment {
		return false
	}
	b.size += n
	b.text.WriteString(text)
	return true
}

// must appends what is bounded by itself.
func (b *comment) must(text string) {
	b.size += utf8.RuneCountInString(text)
	b.text.WriteString(text)
}

// rows appends as many of n rows as there is room for, and counts the others.
func (b *comment) rows(n int, row func(int) string) {
	shown := 0
	for shown < min(n, maxRows) && b.add(row(shown)) {
		shown++
	}
	if shown < n {
		b.must(fmt.Sprintf("\n%d more are not shown here; `trellis diff` lists all.\n", n-shown))
	}
}

// markdown is the comment of a pull request. Fold: what matters least is folded.
func (f *forge) markdown(c *outgoing.Changes, marker string, fold bool) string {
	b := &comment{}
	b.must(fmt.Sprintf("%s### Access: %s\n", marker, verdict(c)))
	if !c.Complete() {
		b.must("\n#### Not computed\n\n")
		for i, note := range c.Notes {
			if i == maxNotes {
				b.must(fmt.Sprintf("- and %d more\n", len(c.Notes)-i))
				break
			}
			b.must("- " + cell(note) + "\n")
		}
	}
	for _, effect := range effects {
		of := changesOf(c, effect)
		if len(of) == 0 {
			continue
		}
		folded := fold && effect == ask.ByAnotherRule
		if folded {
			b.must(fmt.Sprintf("\n<details><summary>%d %s</summary>\n", len(of), titles[effect]))
		} else {
			b.must(fmt.Sprintf("\n#### %d %s\n", len(of), titles[effect]))
		}
		f.table(b, of)
		if folded {
			b.must("\n</details>\n")
		}
	}
	f.callTables(b, c)
	return b.text.String()
}

// table writes the rows of one effect.
func (f *forge) table(b *comment, of []*ask.Change) {
	b.must("\n| Who | What | Needs | Before | After | Ask | Such as |\n|---|---|---|---|---|---|---|\n")
	b.rows(len(of), func(i int) string {
		one := of[i]
		return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", cell(who(one)), code(what(one)),
			cell(output.Needs(one.Needs, one.Token, one.Only, one.After.Why)), f.moment(one.Before), f.moment(one.After), code(f.whom(one.Before, one.After)), code(request(one)))
	})
}

// moment is one side, with an address of its line where there is one.
func (f *forge) moment(m ask.Moment) string {
	out := cell(side(m))
	if len(m.Because) == 0 {
		return out
	}
	if p, ok := f.placeOf(m.Because[0]); ok {
		if address := f.address(p); address != "" {
			out += fmt.Sprintf(" [line %d](%s)", p.line, target(address))
		}
	}
	return out
}

// target is an address between round brackets: what would end it is encoded.
func target(address string) string {
	return strings.NewReplacer("(", "%28", ")", "%29", "<", "%3C", ">", "%3E", "|", "%7C", " ", "%20", "\\", "%5C", "`", "%60", "@", "%40").Replace(address)
}

// cell is text of others in a table: none of it may be read as Markdown or HTML, or
// call anybody (@name), close an issue (#1, !1) or become an address.
func cell(s string) string {
	return strings.NewReplacer("&", "&amp;", "\\", "&#92;", "|", "&#124;", "<", "&lt;", ">", "&gt;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "~", "&#126;",
		"[", "&#91;", "]", "&#93;", "@", "@\u200b", "#", "#\u200b", "!", "!\u200b", "$", "&#36;", "%", "%\u200b", "://", ":\u200b//", "www.", "www\u200b.").Replace(short(output.Printable(s)))
}

// code is text of others as code, where nothing is read; empty stays empty.
func code(s string) string {
	if s = output.Printable(s); s == "" {
		return ""
	}
	return "`` " + strings.NewReplacer("`", "'", "|", `\|`).Replace(strings.ReplaceAll(short(s), `\`, "\u29f5")) + " ``"
}

// short cuts a text that is too long for a cell, and says so.
func short(s string) string {
	if utf8.RuneCountInString(s) <= maxCell {
		return s
	}
	return string([]rune(s)[:maxCell]) + " … (cut)"
}
