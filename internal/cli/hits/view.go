// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

func text(w io.Writer, v *answer.Hits, now time.Time, colour bool) error {
	unused, idle := 0, 0
	rows := make([]output.Row, 0, len(v.Rows))
	for i := range v.Rows {
		r := &v.Rows[i]
		rows = append(rows, output.Row{Cells: slices.Concat([]string{strconv.Itoa(r.Num)}, counts.Cells(r.Hit()), []string{age(r.Since, now), r.String()})})
		switch {
		case r.Unused && r.Refuses:
			idle++
		case r.Unused:
			unused++
		}
	}
	header := slices.Concat([]string{"NUM"}, counts.Header(), []string{"AGE", strings.ToUpper(v.By)})
	if err := output.Table(w, header, rows, colour); err != nil {
		return err
	}
	var b strings.Builder
	if unused > 0 {
		fmt.Fprintf(&b, "declared, and not used in this time: %d\n", unused)
	}
	if idle > 0 {
		fmt.Fprintf(&b, "refuse what nobody tried in this time: %d\n", idle)
	}
	counts.Tell(&b, &v.Counted)
	_, err := io.WriteString(w, b.String())
	return err
}

// age is for how long something is in force; empty where that is not known.
func age(since *time.Time, now time.Time) string {
	if since == nil {
		return ""
	}
	return output.Span(max(0, now.Sub(*since)))
}
