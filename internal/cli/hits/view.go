// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/hits"
)

func viewOf(by string, rows []hits.Row, c *counts.Counts, notes []string) *answer.Hits {
	v := &answer.Hits{
		By: by, Rows: answer.HitRows(rows), Entries: c.Entries, Others: c.Others, Own: c.Own, Unread: c.Unread,
		From: answer.Moment(c.First), To: answer.Moment(c.Last), Notes: append(c.Named, notes...),
	}
	for _, why := range slices.Sorted(maps.Keys(c.Unknown)) {
		v.Unknown = append(v.Unknown, answer.Unplaced{Why: why, Entries: c.Unknown[why]})
	}
	return v
}

func text(w io.Writer, v *answer.Hits, colour bool) error {
	rows := make([]output.Row, 0, len(v.Rows))
	for i := range v.Rows {
		r := &v.Rows[i]
		row := output.Row{Cells: []string{strconv.Itoa(r.Num)}}
		for _, n := range []uint64{r.Allowed, r.Denied, r.WouldDeny, r.Failed} {
			row.Cells = append(row.Cells, strconv.FormatUint(n, 10))
		}
		last := ""
		if r.Last != nil {
			last = r.Last.Format(time.RFC3339)
		}
		row.Cells = append(row.Cells, last, r.String())
		rows = append(rows, row)
	}
	if err := output.Table(w, []string{"NUM", "ALLOWED", "DENIED", "WOULD-DENY", "FAILED", "LAST", strings.ToUpper(v.By)}, rows, colour); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", v.Entries, map[bool]string{true: "entry", false: "entries"}[v.Entries == 1])
	if v.From != nil {
		fmt.Fprintf(&b, " from %s to %s", v.From.Format(time.RFC3339), v.To.Format(time.RFC3339))
	}
	if v.Others > 0 {
		fmt.Fprintf(&b, ", %d told by another proxy or about none", v.Others)
	}
	if v.Own > 0 {
		fmt.Fprintf(&b, ", %d of proxies' own logs", v.Own)
	}
	for _, u := range v.Unknown {
		fmt.Fprintf(&b, ", %d not known (%s)", u.Entries, u.Why)
	}
	if v.Unread > 0 {
		fmt.Fprintf(&b, ", %d not read", v.Unread)
	}
	b.WriteString("\n")
	gaps(&b, v.Gaps)
	if v.Redacted {
		b.WriteString("lines that you may not read are left out\n")
	}
	output.Notes(&b, v.Notes)
	_, err := io.WriteString(w, b.String())
	return err
}
