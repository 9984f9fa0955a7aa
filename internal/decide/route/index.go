// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide/match"
)

// index finds the routes whose path can match, in their order, without asking
// all of them: exact paths and prefixes by hash, the others one by one.
type index struct {
	routes []*Route
	exact  map[string][]int
	prefix map[string][]int
	// lengths are those of the keys of prefix.
	lengths []int
	// others have to be asked: regular expressions, templates, CONNECT, and what
	// takes letters of either case.
	others []int
}

func newIndex(routes []*Route) index {
	x := index{routes: routes, exact: map[string][]int{}, prefix: map[string][]int{}}
	for i, r := range routes {
		switch r.key {
		case byExact:
			x.exact[r.literal] = append(x.exact[r.literal], i)
		case byPrefix:
			x.prefix[r.literal] = append(x.prefix[r.literal], i)
			if !slices.Contains(x.lengths, len(r.literal)) {
				x.lengths = append(x.lengths, len(r.literal))
			}
		case byAsking:
			x.others = append(x.others, i)
		}
	}
	return x
}

// candidates of one request: lists of positions, each in order, which next merges.
type candidates struct {
	routes []*Route
	lists  [][]int
}

// candidates are those of a path; lists is room for theirs.
func (x *index) candidates(path string, ignoreParameters bool, lists [][]int) candidates {
	path = matchedPath(path, ignoreParameters)
	out := candidates{routes: x.routes, lists: lists}
	for _, list := range [...][]int{x.exact[path], x.others} {
		if len(list) > 0 {
			out.lists = append(out.lists, list)
		}
	}
	for _, n := range x.lengths {
		if n <= len(path) {
			if list := x.prefix[path[:n]]; len(list) > 0 {
				out.lists = append(out.lists, list)
			}
		}
	}
	return out
}

// next is the first route that was not given yet; nil when all were.
func (c *candidates) next() *Route {
	best := -1
	for i, l := range c.lists {
		if len(l) > 0 && (best < 0 || l[0] < c.lists[best][0]) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	at := c.lists[best][0]
	c.lists[best] = c.lists[best][1:]
	return c.routes[at]
}

// matchedPath is what paths are compared with: without the query, and each segment
// without its parameters (RFC 3986 §3.3) where the table says so.
func matchedPath(path string, ignoreParameters bool) string {
	path = match.WithoutQuery(path)
	if !ignoreParameters || !strings.Contains(path, ";") {
		return path
	}
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i], _, _ = strings.Cut(segments[i], ";")
	}
	return strings.Join(segments, "/")
}
