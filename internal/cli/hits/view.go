// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/output"
)

func text(w io.Writer, v *answer.Hits, colour bool) error {
	rows := make([]output.Row, 0, len(v.Rows))
	for i := range v.Rows {
		r := &v.Rows[i]
		hit := &answer.Hit{Allowed: r.Allowed, Denied: r.Denied, WouldDeny: r.WouldDeny, Failed: r.Failed, Last: r.Last}
		rows = append(rows, output.Row{Cells: slices.Concat([]string{strconv.Itoa(r.Num)}, counts.Cells(hit), []string{r.String()})})
	}
	header := slices.Concat([]string{"NUM"}, counts.Header(), []string{strings.ToUpper(v.By)})
	if err := output.Table(w, header, rows, colour); err != nil {
		return err
	}
	var b strings.Builder
	counts.Tell(&b, &v.Counted)
	_, err := io.WriteString(w, b.String())
	return err
}
