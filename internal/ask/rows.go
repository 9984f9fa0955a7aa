// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"fmt"
	"slices"
	"strings"
)

// rows puts classes together that differ only in method and path: first the
// methods of each path, then the paths with the same methods, so that every pair
// of a row is one that passes.
type rows struct {
	at    map[string]*group
	order []*group
}

type group struct {
	row   Reach
	paths []string
	// methods and token needs of each path.
	methods map[string][]string
}

func newRows() *rows { return &rows{at: map[string]*group{}} }

func (r *rows) add(row Reach) {
	if len(row.Paths) == 0 {
		row.Paths, row.Methods = []string{""}, []string{""}
	}
	key := fmt.Sprint(row.Clients, row.From, row.To, row.Port, row.Needs, row.Token, row.Only, row.Why, row.Because, row.Rules)
	g, ok := r.at[key]
	if !ok {
		g = &group{row: row, methods: map[string][]string{}}
		r.at[key] = g
		r.order = append(r.order, g)
	}
	for _, path := range row.Paths {
		g.paths = mergeText(g.paths, []string{path})
		g.methods[path] = mergeText(g.methods[path], row.Methods)
	}
}

func (r *rows) list() []Reach {
	var out []Reach
	for _, g := range r.order {
		at := map[string]int{}
		for _, path := range g.paths {
			methods := slices.Clone(g.methods[path])
			slices.Sort(methods)
			key := strings.Join(methods, " ")
			i, ok := at[key]
			if !ok {
				i = len(out)
				at[key] = i
				row := g.row
				row.Methods, row.Paths = methods, nil
				out = append(out, row)
			}
			out[i].Paths = append(out[i].Paths, path)
		}
	}
	for i := range out {
		if slices.Equal(out[i].Paths, []string{""}) {
			out[i].Paths, out[i].Methods = nil, nil
		}
	}
	return out
}
