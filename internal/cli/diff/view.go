// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/wording"
	"github.com/trellis-mesh/trellis/internal/cli/output"
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

// condensed leaves out what other lines say already: the same requests with one more
// header, host or claim, to which the same happens. JSON has all.
func condensed(c *ask.Changes) *ask.Changes {
	out := *c
	out.Changes = slices.DeleteFunc(slices.Clone(c.Changes), func(one ask.Change) bool {
		return slices.ContainsFunc(c.Changes, func(wider ask.Change) bool { return covers(&wider, &one) })
	})
	return &out
}

// covers reports whether one line is about all that another one is about, and more.
func covers(wide, narrow *ask.Change) bool {
	methods := slices.Equal(wide.Methods, narrow.Methods) || slices.Equal(wide.Methods, []string{wording.Any})
	token := wide.Needs == ask.Nothing || wide.Needs == narrow.Needs && slices.Equal(wide.Token, narrow.Token)
	if !alike(wide, narrow) || !methods || !token || !contains(narrow.Only, wide.Only) {
		return false
	}
	return len(narrow.Only) > len(wide.Only) || !slices.Equal(wide.Methods, narrow.Methods) || wide.Needs != narrow.Needs
}

// alike reports whether two lines say the same of the same ends.
func alike(a, b *ask.Change) bool {
	return a.Effect == b.Effect && a.Clients == b.Clients && a.To == b.To && a.Port == b.Port && a.Any == b.Any &&
		slices.Equal(a.From, b.From) && slices.Equal(a.Paths, b.Paths) &&
		a.Before.Outcome == b.Before.Outcome && a.After.Outcome == b.After.Outcome && a.After.Why == b.After.Why
}

// contains reports whether all of some texts are among others.
func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// who sends the requests.
func who(c *ask.Change) string {
	switch c.Clients {
	case ask.FromInternet:
		return "the internet by " + strings.Join(c.From, " ")
	case ask.Plaintext:
		return "anybody in the network, in plaintext"
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
	switch port := output.Port(&c.Reach); port {
	case "":
	case output.OtherPorts:
		out += " at any other port"
	default:
		out += " port " + port
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

// deciding is the side whose statement is to be looked at: the new one, where there
// is any.
func deciding(c *ask.Change) (ask.Origin, bool) {
	for _, m := range []ask.Moment{c.After, c.Before} {
		if len(m.Because) > 0 {
			return m.Because[0], true
		}
	}
	return ask.Origin{}, false
}

func (f *forge) text(c *ask.Changes) string {
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
			if whom := f.whom(one); whom != "" {
				fmt.Fprintf(&b, "    ask     %s\n", output.Printable(whom))
			}
			if such := request(one); such != "" {
				fmt.Fprintf(&b, "    such as %s\n", such)
			}
		}
	}
	b.WriteString(verdict(c) + "\n")
	output.Notes(&b, c.Notes)
	return b.String()
}

// request is the witness in words; empty where its port has no name.
func request(c *ask.Change) string {
	if strings.HasPrefix(c.Witness.URL, "http://any-other.example") && c.Clients != ask.FromInternet {
		return ""
	}
	out := strings.TrimSpace(c.Witness.Method + " " + c.Witness.URL)
	if c.Witness.From != ask.Internet {
		out += " from " + c.Witness.From
	}
	if len(c.Witness.Claims) > 0 {
		out += " with the claims " + string(c.Witness.Claims)
	}
	return output.Printable(out)
}
