// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/ask/wording"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

var titles = map[ask.Effect]string{
	ask.NewlyAllowed: "newly allowed", ask.NewlyDenied: "newly denied", ask.NotKnown: "not known", ask.ByAnotherRule: "allowed as before, by another rule",
}

var effects = []ask.Effect{ask.NewlyAllowed, ask.NewlyDenied, ask.NotKnown, ask.ByAnotherRule}

// verdict is the answer in one line.
func verdict(c *outgoing.Changes) string {
	var parts []string
	for _, effect := range effects {
		if n := len(changesOf(c, effect)); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, titles[effect]))
		}
	}
	for _, effect := range effects {
		if n := len(callsOf(c, effect)); n > 0 {
			parts = append(parts, callTitle(n, effect))
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

func changesOf(c *outgoing.Changes, effect ask.Effect) []*ask.Change {
	var out []*ask.Change
	for i := range c.Changes.Changes {
		if c.Changes.Changes[i].Effect == effect {
			out = append(out, &c.Changes.Changes[i])
		}
	}
	return out
}

// condensed leaves out what other lines say already: the same requests with one more
// header, host or claim, to which the same happens. JSON has all.
func condensed(c *outgoing.Changes) *outgoing.Changes {
	out := *c
	all := c.Changes.Changes
	out.Changes.Changes = slices.DeleteFunc(slices.Clone(all), func(one ask.Change) bool {
		return slices.ContainsFunc(all, func(wider ask.Change) bool { return covers(&wider, &one) })
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
func deciding(before, after ask.Moment) (ask.Origin, bool) {
	for _, m := range []ask.Moment{after, before} {
		if len(m.Because) > 0 {
			return m.Because[0], true
		}
	}
	return ask.Origin{}, false
}

func (f *forge) text(c *outgoing.Changes) string {
	var b strings.Builder
	for _, effect := range effects {
		of := changesOf(c, effect)
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n", titles[effect])
		for _, one := range of {
			fmt.Fprintf(&b, "  %s: %s\n", who(one), what(one))
			if needs := output.Needs(one.Needs, one.Token, one.Only, ""); needs != "nothing" && one.Needs != ask.Undecided {
				fmt.Fprintf(&b, "    needs   %s\n", needs)
			}
			f.sides(&b, one.Before, one.After, request(one))
		}
	}
	f.calls(&b, c)
	b.WriteString(verdict(c) + "\n")
	output.Notes(&b, c.Notes)
	return b.String()
}

// sides are both moments, whom to ask, and a request that shows them.
func (f *forge) sides(b *strings.Builder, before, after ask.Moment, such string) {
	fmt.Fprintf(b, "    before  %s\n    after   %s\n", side(before), side(after))
	if whom := f.whom(before, after); whom != "" {
		fmt.Fprintf(b, "    ask     %s\n", output.Printable(whom))
	}
	if such != "" {
		fmt.Fprintf(b, "    such as %s\n", such)
	}
}

// request is the witness in words; empty where its port has no name.
func request(c *ask.Change) string {
	if strings.HasPrefix(c.Witness.URL, "http://any-other.example") && c.Clients != ask.FromInternet {
		return ""
	}
	return asked(&c.Witness)
}

func asked(w *ask.Witness) string {
	out := strings.TrimSpace(w.Method + " " + w.URL)
	if w.From != ask.Internet {
		out += " from " + w.From
	}
	if len(w.Claims) > 0 {
		out += " with the claims " + string(w.Claims)
	}
	return output.Printable(out)
}
