// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package counts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// Counted says what was read.
func (c *Counts) Counted() answer.Counted {
	out := answer.Counted{
		Entries: c.Entries, Others: c.Others, Own: c.Own, Unread: c.Unread,
		From: answer.Moment(c.First), To: answer.Moment(c.Last), Notes: slices.Clone(c.Named),
	}
	for _, why := range slices.Sorted(maps.Keys(c.Unknown)) {
		out.Unknown = append(out.Unknown, answer.Unplaced{Why: why, Entries: c.Unknown[why]})
	}
	return out
}

// shownGaps bounds the gaps that are named.
const shownGaps = 5

// Tell writes what numbers are of, and of which times nothing is known; nothing where there
// are none.
func Tell(b *strings.Builder, c *answer.Counted) {
	if c == nil {
		return
	}
	fmt.Fprintf(b, "%d %s", c.Entries, map[bool]string{true: "entry", false: "entries"}[c.Entries == 1])
	if c.From != nil && c.To != nil {
		fmt.Fprintf(b, " from %s to %s", c.From.Format(time.RFC3339), c.To.Format(time.RFC3339))
	}
	if c.Others > 0 {
		fmt.Fprintf(b, ", %d told by another proxy or about none", c.Others)
	}
	if c.Own > 0 {
		fmt.Fprintf(b, ", %d of proxies' own logs", c.Own)
	}
	for _, u := range c.Unknown {
		fmt.Fprintf(b, ", %d not known (%s)", u.Entries, u.Why)
	}
	if c.Unread > 0 {
		fmt.Fprintf(b, ", %d not read", c.Unread)
	}
	b.WriteString("\n")
	for i, gap := range c.Gaps {
		if i == shownGaps {
			fmt.Fprintf(b, "and in %d more times\n", len(c.Gaps)-i)
			break
		}
		fmt.Fprintf(b, "nothing is known from %s to %s\n", gap.From.UTC().Format(time.RFC3339), gap.To.UTC().Format(time.RFC3339))
	}
	if c.Redacted {
		b.WriteString("lines that you may not read are left out\n")
	}
	output.Notes(b, c.Notes)
}
