// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// callTitles say what becomes of calls.
var callTitles = map[ask.Effect]string{ask.NewlyAllowed: "newly let out", ask.NewlyDenied: "no longer let out", ask.NotKnown: "not known to be let out"}

func callTitle(n int, effect ask.Effect) string {
	if n == 1 {
		return "1 call " + callTitles[effect]
	}
	return fmt.Sprintf("%d calls %s", n, callTitles[effect])
}

func callsOf(c *outgoing.Changes, effect ask.Effect) []*outgoing.Call {
	var out []*outgoing.Call
	for i := range c.Calls {
		if c.Calls[i].Effect == effect {
			out = append(out, &c.Calls[i])
		}
	}
	return out
}

// callers are those of a row.
func callers(c *outgoing.Call) string { return output.Short(c.From, 5) }

// called are the destinations of a row, all others last.
func called(c *outgoing.Call) string {
	named := slices.DeleteFunc(slices.Clone(c.To), func(to string) bool { return to == outgoing.AnyOther })
	switch {
	case len(named) == len(c.To):
		return output.Short(named, 5)
	case len(named) == 0:
		return outgoing.AnyOther
	}
	return output.Short(named, 5) + " and " + outgoing.AnyOther
}

// calls writes what callers' proxies make different.
func (f *forge) calls(b *strings.Builder, c *outgoing.Changes) {
	for _, effect := range effects {
		of := callsOf(c, effect)
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(b, "calls %s\n", callTitles[effect])
		for _, one := range of {
			fmt.Fprintf(b, "  %s: to %s\n", output.Printable(callers(one)), output.Printable(called(one)))
			f.sides(b, one.Before, one.After, asked(&one.Witness))
		}
	}
}

// callTables are the same as tables of a comment.
func (f *forge) callTables(b *comment, c *outgoing.Changes) {
	for _, effect := range effects {
		of := callsOf(c, effect)
		if len(of) == 0 {
			continue
		}
		b.must("\n#### " + callTitle(len(of), effect) + "\n\n| Who | Calls | Before | After | Ask | Such as |\n|---|---|---|---|---|---|\n")
		b.rows(len(of), func(i int) string {
			one := of[i]
			return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", cell(callers(one)), code(called(one)),
				f.moment(one.Before), f.moment(one.After), code(f.whom(one.Before, one.After)), code(asked(&one.Witness)))
		})
	}
}
