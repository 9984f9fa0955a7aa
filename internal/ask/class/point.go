// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package class

import (
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
)

// Point is a class of requests: what is settled of each dimension so far, a list of
// values that only grows. Nil is every request. It is immutable.
type Point struct {
	before    *Point
	dimension Dimension
	value     Value
	index     Index
}

// Index finds a pattern among those that the values of one splitting share.
type Index map[atom.Pattern]int

// IndexOf is the index of a splitting; nil where there is nothing to find.
func IndexOf(values []Value) Index {
	for _, v := range values {
		if v.Absent {
			continue
		}
		out := make(Index, len(v.Patterns))
		for i, one := range v.Patterns {
			out[one] = i
		}
		return out
	}
	return nil
}

// Settled is a class with one text in one dimension.
func Settled(d Dimension, text string) *Point {
	return (*Point)(nil).With(d, Value{Texts: []string{text}, Single: true}, nil)
}

// With settles a dimension, perhaps one that was settled less exactly before. The index
// is that of the value's patterns.
func (p *Point) With(d Dimension, v Value, index Index) *Point {
	return &Point{before: p, dimension: d, value: v, index: index}
}

// Before is the class without what was settled last.
func (p *Point) Before() *Point { return p.before }

// Alone is the class with nothing settled but what was settled last.
func (p *Point) Alone() *Point { return (*Point)(nil).With(p.dimension, p.value, p.index) }

// At is the class as it was when a dimension was settled last; nil if it is not.
func (p *Point) At(d Dimension) *Point {
	for ; p != nil; p = p.before {
		if p.dimension == d {
			return p
		}
	}
	return nil
}

// Value is what is settled of one dimension.
func (p *Point) Value(d Dimension) (Value, bool) {
	if at := p.At(d); at != nil {
		return at.value, true
	}
	return Value{}, false
}

// Each passes the settled dimensions, each once, the first settled first.
func (p *Point) Each(do func(Dimension, Value)) {
	var order []*Point
	for ; p != nil; p = p.before {
		if !slices.ContainsFunc(order, func(o *Point) bool { return o.dimension == p.dimension }) {
			order = append(order, p)
		}
	}
	for _, o := range slices.Backward(order) {
		do(o.dimension, o.value)
	}
}

// Takes is whether every request of the class takes a pattern, where that is known.
func (p *Point) Takes(d Dimension, pattern atom.Pattern) (sign, known bool) {
	at := p.At(d)
	if at == nil {
		// Every request has these.
		return true, pattern.Kind == atom.Present && !d.Kind.Optional()
	}
	if !at.value.Absent {
		if i, ok := at.index[pattern]; ok {
			return at.value.Signs[i], true
		}
	}
	return at.value.Takes(pattern)
}
