// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package grid puts classes of requests together that differ only in method and
// path.
package grid

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/wording"
)

// Grid puts classes together that differ only in method and path: first the methods
// of each path, then the paths with the same methods, so that every pair of a row is
// one that was found. It is not safe for concurrent use.
type Grid[T any] struct {
	at    map[string]*cells[T]
	order []*cells[T]
}

// cells are those of one key: by path, the methods and the first row.
type cells[T any] struct {
	paths   []string
	methods map[string][]string
	first   map[string]T
}

// New makes an empty one.
func New[T any]() *Grid[T] { return &Grid[T]{at: map[string]*cells[T]{}} }

// Add adds a class to those with the same key.
func (g *Grid[T]) Add(key string, row T, methods, paths []string) {
	c, ok := g.at[key]
	if !ok {
		c = &cells[T]{methods: map[string][]string{}, first: map[string]T{}}
		g.at[key] = c
		g.order = append(g.order, c)
	}
	if len(paths) == 0 {
		paths = []string{""}
	}
	for _, path := range paths {
		if _, known := c.first[path]; !known {
			c.paths = append(c.paths, path)
			c.first[path] = row
		}
		c.methods[path] = append(c.methods[path], methods...)
	}
}

// Each passes every row with its methods and paths. The row is the first that was
// added of them.
func (g *Grid[T]) Each(do func(row T, methods, paths []string)) {
	for _, c := range g.order {
		var order []string
		paths, methods, first := map[string][]string{}, map[string][]string{}, map[string]T{}
		for _, path := range c.paths {
			own := slices.Compact(slices.Sorted(slices.Values(c.methods[path])))
			own = wording.Together(own)
			key := strings.Join(own, "\x00")
			if _, ok := methods[key]; !ok {
				order = append(order, key)
				methods[key], first[key] = own, c.first[path]
			}
			if path != "" {
				paths[key] = append(paths[key], path)
			}
		}
		for _, key := range order {
			do(first[key], methods[key], wording.Together(paths[key]))
		}
	}
}
