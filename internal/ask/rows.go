// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"fmt"
	"slices"
	"strings"
)

// grid puts classes together that differ only in method and path: first the
// methods of each path, then the paths with the same methods, so that every pair
// of a row is one that was found.
type grid[T any] struct {
	at    map[string]*cells[T]
	order []*cells[T]
}

type cells[T any] struct {
	row     T
	paths   []string
	methods map[string][]string
}

func newGrid[T any]() *grid[T] { return &grid[T]{at: map[string]*cells[T]{}} }

func (g *grid[T]) add(key string, row T, methods, paths []string) {
	c, ok := g.at[key]
	if !ok {
		c = &cells[T]{row: row, methods: map[string][]string{}}
		g.at[key] = c
		g.order = append(g.order, c)
	}
	if len(paths) == 0 {
		paths = []string{""}
	}
	for _, path := range paths {
		c.paths = mergeText(c.paths, []string{path})
		c.methods[path] = mergeText(c.methods[path], methods)
	}
}

// each passes every row with its methods and paths.
func (g *grid[T]) each(do func(row T, methods, paths []string)) {
	for _, c := range g.order {
		var order []string
		paths := map[string][]string{}
		methods := map[string][]string{}
		for _, path := range c.paths {
			own := slices.Sorted(slices.Values(c.methods[path]))
			key := strings.Join(own, " ")
			if _, ok := methods[key]; !ok {
				order = append(order, key)
				methods[key] = own
			}
			if path != "" {
				paths[key] = append(paths[key], path)
			}
		}
		for _, key := range order {
			do(c.row, methods[key], paths[key])
		}
	}
}

// rows are a grid of Reach.
type rows struct{ grid[Reach] }

func newRows() *rows { return &rows{*newGrid[Reach]()} }

func (r *rows) add(row Reach) {
	r.grid.add(row.key(), row, row.Methods, row.Paths)
}

func (r *Reach) key() string {
	return fmt.Sprint(r.Clients, r.From, r.To, r.Port, r.Needs, r.Token, r.Only, r.Why, r.Because, r.Rules)
}

func (r *rows) list() []Reach {
	var out []Reach
	r.each(func(row Reach, methods, paths []string) {
		row.Methods, row.Paths = methods, paths
		out = append(out, row)
	})
	return out
}
