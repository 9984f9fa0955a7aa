// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package paths

import (
	"cmp"
	"slices"
	"strings"
)

// Table holds all paths that compete for requests: those of one host, or of
// one port of an Application. It is built once and then read only.
type Table[Owner comparable] struct {
	// entries are in the order of compareNested: whatever is inside a prefix
	// follows it at once.
	entries []entry[Owner]
}

type entry[Owner comparable] struct {
	path  Path
	owner Owner
}

// Add takes the paths of an owner. Sort has to follow the last one.
func (t *Table[Owner]) Add(owner Owner, list []Path) {
	for _, p := range list {
		t.entries = append(t.entries, entry[Owner]{p, owner})
	}
}

// Sort makes the table ready to be asked.
func (t *Table[Owner]) Sort() {
	slices.SortStableFunc(t.entries, func(a, b entry[Owner]) int { return compareNested(a.path, b.path) })
}

// compareNested orders paths segment by segment, a prefix before the exact path
// of the same text.
func compareNested(a, b Path) int {
	n := min(len(a.Value), len(b.Value))
	for i := range n {
		if a.Value[i] != b.Value[i] {
			return cmp.Compare(segmentRank(a.Value[i]), segmentRank(b.Value[i]))
		}
	}
	order := func(p Path) int {
		if p.Prefix {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(len(a.Value), len(b.Value)), cmp.Compare(order(a), order(b)))
}

func segmentRank(c byte) int {
	if c == '/' {
		return -1
	}
	return int(c)
}

// inside are the entries whose requests p matches, p itself included.
func (t *Table[Owner]) inside(p Path) []entry[Owner] {
	if p.Prefix && p.Value == "/" {
		return t.entries
	}
	first := Path{Value: p.Value, Prefix: true}
	from, _ := slices.BinarySearchFunc(t.entries, first, func(e entry[Owner], q Path) int { return compareNested(e.path, q) })
	to := from
	for to < len(t.entries) {
		v := t.entries[to].path.Value
		if v != p.Value && (!p.Prefix || !strings.HasPrefix(v, p.Value+"/")) {
			break
		}
		to++
	}
	return t.entries[from:to]
}

// Subtract returns what must be taken out of a path of an owner so that the
// longest path decides: what other owners state inside it, without what another
// one already takes out. It returns false when nothing is left: the path only
// stands in for one that could not be used, and another owner states the same.
func (t *Table[Owner]) Subtract(p Path, own Owner) ([]Path, bool) {
	var out []Path
	for _, e := range t.inside(p) {
		switch {
		case e.owner == own:
			continue
		case e.path.Same(p):
			if p.Guess && !e.path.Guess {
				return nil, false
			}
			continue
		case !p.Contains(e.path):
			continue
		}
		// What is inside the last one follows it at once.
		if len(out) == 0 || !out[len(out)-1].Contains(e.path) {
			out = append(out, e.path)
		}
	}
	return out, true
}

// Characters are those of a set that occur in a path of the tables, in the order
// of the set.
func Characters[Owner comparable](set string, tables ...*Table[Owner]) string {
	var b strings.Builder
	for _, c := range set {
		for _, t := range tables {
			if slices.ContainsFunc(t.entries, func(e entry[Owner]) bool { return strings.ContainsRune(e.path.Value, c) }) {
				b.WriteRune(c)
				break
			}
		}
	}
	return b.String()
}

// Decides reports whether a request is for p of an owner: p matches it, and
// nothing that another one states inside p does.
func (t *Table[Owner]) Decides(request string, p Path, own Owner) bool {
	if !p.Matches(request) {
		return false
	}
	except, ok := t.Subtract(p, own)
	return ok && !slices.ContainsFunc(except, func(q Path) bool { return q.Matches(request) })
}
