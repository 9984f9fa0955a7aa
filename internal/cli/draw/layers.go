// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package draw

import (
	"cmp"
	"slices"
)

// tallest is how many stand above each other before another column begins.
const tallest = 12

// sweeps is how often columns are put in order by their neighbours.
const sweeps = 6

// layers puts n things into columns, so that most links lead from left to right and few
// cross (as in Sugiyama, Tagawa and Toda, 1981: cycles are cut, layers follow from
// longest paths, and each is ordered by the mean place of its neighbours).
func layers(n int, links [][2]int) [][]int {
	out := make([][]int, n)
	for _, l := range links {
		if l[0] != l[1] && !slices.Contains(out[l[0]], l[1]) {
			out[l[0]] = append(out[l[0]], l[1])
		}
	}
	columns := columns(depths(out))
	neighbours := make([][]int, n)
	for from, ends := range out {
		for _, to := range ends {
			neighbours[from] = append(neighbours[from], to)
			neighbours[to] = append(neighbours[to], from)
		}
	}
	place := make([]float64, n)
	settle := func(column []int) {
		for at, v := range column {
			// From the middle, since columns are centred.
			place[v] = float64(at) - float64(len(column)-1)/2
		}
	}
	for _, c := range columns {
		settle(c)
	}
	for sweep := range sweeps {
		for i := range columns {
			c := columns[i]
			if sweep%2 == 1 {
				c = columns[len(columns)-1-i]
			}
			slices.SortStableFunc(c, func(a, b int) int {
				return cmp.Compare(mean(place, neighbours[a], a), mean(place, neighbours[b], b))
			})
			settle(c)
		}
	}
	return columns
}

// mean is where the neighbours of one are; its own place where it has none.
func mean(place []float64, neighbours []int, own int) float64 {
	if len(neighbours) == 0 {
		return place[own]
	}
	sum := 0.0
	for _, v := range neighbours {
		sum += place[v]
	}
	return sum / float64(len(neighbours))
}

// depths is for each the length of the longest way to it, without the links that close
// a cycle.
func depths(out [][]int) []int {
	const fresh, open, done = 0, 1, 2
	state := make([]int, len(out))
	forward := make([][]int, len(out))
	var order []int
	var visit func(int)
	visit = func(v int) {
		state[v] = open
		for _, to := range out[v] {
			if state[to] == open {
				continue
			}
			forward[v] = append(forward[v], to)
			if state[to] == fresh {
				visit(to)
			}
		}
		state[v] = done
		order = append(order, v)
	}
	for v := range out {
		if state[v] == fresh {
			visit(v)
		}
	}
	depth := make([]int, len(out))
	for _, v := range slices.Backward(order) {
		for _, to := range forward[v] {
			depth[to] = max(depth[to], depth[v]+1)
		}
	}
	return depth
}

// columns are those of each depth, split where they would be too tall.
func columns(depth []int) [][]int {
	byDepth := make([][]int, len(depth))
	for v, d := range depth {
		byDepth[d] = append(byDepth[d], v)
	}
	var out [][]int
	for _, layer := range byDepth {
		for part := range slices.Chunk(layer, tallest) {
			out = append(out, slices.Clone(part))
		}
	}
	return out
}
