// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
)

// Origin is a statement and where it is.
func Origin(o ask.Origin) string {
	out := o.Object
	if o.Field != "" {
		out += " " + o.Field
	}
	if o.Source != "" {
		out += "  (" + o.Source + ")"
	}
	if o.Goals != "" {
		out += ", for the goal " + o.Goals
	}
	return Printable(out)
}

// Command is what a person types to see a witness decided, step by step. The
// arguments say what is asked.
func Command(arguments []string, w ask.Witness) string {
	out := []string{"trellis", "can"}
	for _, argument := range append(slices.Clone(arguments), w.Arguments()...) {
		out = append(out, quoted(argument))
	}
	return Printable(strings.Join(out, " "))
}

var harmless = regexp.MustCompile(`\A[a-zA-Z0-9_./:@=+-]+\z`)

// quoted is a word of a POSIX shell.
func quoted(s string) string {
	if harmless.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Short is a list with the rest counted.
func Short(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, " ")
	}
	return fmt.Sprintf("%s +%d", strings.Join(list[:most], " "), len(list)-most)
}

// Notes says why an answer may not be all.
func Notes(b *strings.Builder, notes []string) {
	for _, note := range notes {
		fmt.Fprintf(b, "incomplete: %s\n", Printable(note))
	}
}

// Source says where the configuration of proxies came from, if not from files.
func Source(b *strings.Builder, source string) {
	if source != "" {
		fmt.Fprintf(b, "source: %s\n", Printable(source))
	}
}

// anyOther stands for the ports of a workload that no Service names.
const anyOther = 64999

// OtherPorts are those that no Service names.
const OtherPorts = "others"

// Port is a port in words; empty for none.
func Port(r *ask.Reach) string {
	switch r.Port {
	case 0:
		return ""
	case anyOther:
		return OtherPorts
	}
	return strconv.Itoa(int(r.Port))
}

// Needs is what a client has to bring, in words.
func Needs(needs ask.Needs, token, only []string, why string) string {
	out := "nothing"
	switch needs {
	case ask.Nothing:
	case ask.Token:
		out = "a token of " + strings.TrimPrefix(token[0], "issuer ")
	case ask.Claims:
		out = "a token with " + strings.Join(token, ", ")
	case ask.Undecided:
		out = "unknown: " + why
	}
	if len(only) > 0 {
		out += "; only " + strings.Join(only, ", ")
	}
	return out
}

// By is the statement that decided, in short.
func By(because []ask.Origin, rules []string) string {
	if len(because) > 0 {
		return strings.TrimSpace(because[0].Object + " " + because[0].Field)
	}
	if len(rules) == 0 {
		return "nothing forbids it"
	}
	return Short(rules, 1)
}

// Statements are all that decided, one a line.
func Statements(b *strings.Builder, because []ask.Origin, rules []string) {
	for _, origin := range because {
		fmt.Fprintf(b, "  by       %s\n", Origin(origin))
	}
	if len(because) == 0 {
		for _, rule := range rules {
			fmt.Fprintf(b, "  by       %s, which nobody wrote with Trellis\n", Printable(rule))
		}
	}
}
