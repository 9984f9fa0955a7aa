// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/version"
)

var titles = map[ask.Effect]string{
	ask.NewlyAllowed: "newly allowed", ask.NewlyDenied: "newly denied", ask.NotKnown: "not known", ask.ByAnotherRule: "allowed as before, by another rule",
}

var effects = []ask.Effect{ask.NewlyAllowed, ask.NewlyDenied, ask.NotKnown, ask.ByAnotherRule}

// verdict is the answer in one line.
func verdict(c *ask.Changes) string {
	var parts []string
	for _, effect := range effects {
		if n := count(c, effect); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, titles[effect]))
		}
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, ", ")
	case !c.Complete():
		return "no change in access was found, and not everything could be computed"
	}
	return "no change in access"
}

func count(c *ask.Changes, effect ask.Effect) int {
	n := 0
	for i := range c.Changes {
		if c.Changes[i].Effect == effect {
			n++
		}
	}
	return n
}

// who sends the requests.
func who(c *ask.Change) string {
	switch c.Clients {
	case ask.FromInternet:
		return "the internet by " + strings.Join(c.From, " ")
	case ask.Plaintext:
		return "any client in plaintext"
	case ask.Nobody:
		return "an identity that no workload has today (" + strings.Join(c.From, " ") + ")"
	case ask.Workloads:
		if c.Any {
			return "any workload of the mesh"
		}
	}
	return output.Short(c.From, 5)
}

func what(c *ask.Change) string {
	out := strings.TrimSpace(strings.Join(c.Methods, ",") + " " + output.Short(c.Paths, 4))
	if c.To != "" {
		out += " of " + c.To
	}
	return strings.TrimSpace(out)
}

func side(m ask.Moment) string {
	out := string(m.Outcome)
	if m.Why != "" {
		out += " (" + m.Why + ")"
	}
	if by := statement(m); by != "" {
		out += " by " + by
	}
	return output.Printable(out)
}

func statement(m ask.Moment) string {
	if len(m.Because) > 0 {
		return output.Origin(m.Because[0])
	}
	return output.Short(m.Rules, 2)
}

func text(c *ask.Changes) string {
	var b strings.Builder
	for _, effect := range effects {
		if count(c, effect) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n", titles[effect])
		for i := range c.Changes {
			one := &c.Changes[i]
			if one.Effect != effect {
				continue
			}
			fmt.Fprintf(&b, "  %s: %s\n", who(one), what(one))
			if needs := output.Needs(one.Needs, one.Token, one.Only, ""); needs != "nothing" && one.Needs != ask.Undecided {
				fmt.Fprintf(&b, "    needs   %s\n", needs)
			}
			fmt.Fprintf(&b, "    before  %s\n    after   %s\n", side(one.Before), side(one.After))
			fmt.Fprintf(&b, "    such as %s\n", request(one))
		}
	}
	b.WriteString(verdict(c) + "\n")
	output.Notes(&b, c.Notes)
	return b.String()
}

func request(c *ask.Change) string {
	out := strings.TrimSpace(c.Witness.Method + " " + c.Witness.URL)
	if c.Witness.From != ask.Internet {
		out += " from " + c.Witness.From
	}
	if len(c.Witness.Claims) > 0 {
		out += " with the claims " + string(c.Witness.Claims)
	}
	return output.Printable(out)
}

// maxRows bounds a comment: hosts refuse long ones.
const maxRows = 100

func markdown(c *ask.Changes, marker string, fold bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s### Access: %s\n", marker, verdict(c))
	for _, effect := range effects {
		n := count(c, effect)
		if n == 0 {
			continue
		}
		folded := fold && effect == ask.ByAnotherRule
		if folded {
			fmt.Fprintf(&b, "\n<details><summary>%d %s</summary>\n", n, titles[effect])
		} else {
			fmt.Fprintf(&b, "\n#### %d %s\n", n, titles[effect])
		}
		b.WriteString("\n| Who | What | Needs | Before | After | Such as |\n|---|---|---|---|---|---|\n")
		shown := 0
		for i := range c.Changes {
			one := &c.Changes[i]
			if one.Effect != effect {
				continue
			}
			if shown++; shown > maxRows {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", cell(who(one)), code(what(one)),
				cell(output.Needs(one.Needs, one.Token, one.Only, one.After.Why)), cell(side(one.Before)), cell(side(one.After)), code(request(one)))
		}
		if shown > maxRows {
			fmt.Fprintf(&b, "\n%d more are not shown; `trellis diff` lists all.\n", shown-maxRows)
		}
		if folded {
			b.WriteString("\n</details>\n")
		}
	}
	if !c.Complete() {
		b.WriteString("\n#### Not computed\n\n")
		for _, note := range c.Notes {
			fmt.Fprintf(&b, "- %s\n", cell(note))
		}
	}
	return b.String()
}

// cell is text of others in a table: none of it may be read as Markdown or HTML.
func cell(s string) string {
	return strings.NewReplacer("\\", `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "@", "@\u200b").Replace(output.Printable(s))
}

func code(s string) string {
	return "`" + strings.NewReplacer("`", "'", "|", `\|`).Replace(output.Printable(s)) + "`"
}

var levels = map[ask.Effect]string{ask.NewlyAllowed: "warning", ask.NewlyDenied: "warning", ask.NotKnown: "warning", ask.ByAnotherRule: "note"}

// sarif is the form of https://docs.oasis-open.org/sarif/sarif/v2.1.0.
func sarif(w io.Writer, c *ask.Changes) error {
	type object = map[string]any
	results := []object{}
	for i := range c.Changes {
		one := &c.Changes[i]
		result := object{
			"ruleId": string(one.Effect), "level": levels[one.Effect],
			"message": object{"text": fmt.Sprintf("%s: %s: %s; before: %s; after: %s; such as %s", titles[one.Effect], who(one), what(one), side(one.Before), side(one.After), request(one))},
		}
		if file, line := place(one); file != "" {
			result["locations"] = []object{{"physicalLocation": object{"artifactLocation": object{"uri": file}, "region": object{"startLine": line}}}}
		}
		results = append(results, result)
	}
	var rules []object
	for _, effect := range effects {
		rules = append(rules, object{"id": string(effect), "shortDescription": object{"text": "requests that are " + titles[effect]}})
	}
	notes := []object{}
	for _, note := range c.Notes {
		notes = append(notes, object{"level": "warning", "message": object{"text": note}})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":    object{"driver": object{"name": "trellis", "version": version.String(), "rules": rules}},
			"results": results, "invocations": []object{{"executionSuccessful": c.Complete(), "toolExecutionNotifications": notes}},
		}},
	})
}

// place is the line to look at: of the side that still has one.
func place(c *ask.Change) (file string, line int) {
	for _, m := range []ask.Moment{c.After, c.Before} {
		for _, origin := range m.Because {
			at := strings.LastIndex(origin.Source, ":")
			if at < 0 {
				continue
			}
			if line, err := strconv.Atoi(origin.Source[at+1:]); err == nil {
				return origin.Source[:at], line
			}
		}
	}
	return "", 0
}
