// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"fmt"

	"github.com/trellis-mesh/trellis/internal/ask/grid"
)

// rows are a grid of Reach.
type rows struct{ grid.Grid[Reach] }

func newRows() *rows { return &rows{*grid.New[Reach]()} }

func (r *rows) add(row Reach) {
	r.Add(row.key(), row, row.Methods, row.Paths)
}

func (r *Reach) key() string {
	return fmt.Sprint(r.Clients, r.From, r.To, r.Port, r.Needs, r.Token, r.Only, r.Why, r.Because, r.Rules)
}

func (r *rows) list() []Reach {
	var out []Reach
	r.Each(func(row Reach, methods, paths []string) {
		row.Methods, row.Paths = methods, paths
		out = append(out, row)
	})
	return out
}
