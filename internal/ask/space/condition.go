// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
)

// truth is what is known of a condition: no, open, yes.
type truth int8

const (
	no truth = iota
	open
	yes
)

func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

// condition is a matcher of a proxy as far as it can be split.
type condition interface {
	// value is what is known of it of a class.
	value(v *view) truth
	// leaves passes on what has to be known for its value.
	leaves(v *view, add func(class.Dimension, atom.Pattern))
}

type constant truth

func (c constant) value(*view) truth                                 { return truth(c) }
func (c constant) leaves(*view, func(class.Dimension, atom.Pattern)) {}

// leaf compares one dimension with one pattern.
type leaf struct {
	dimension class.Dimension
	pattern   atom.Pattern
}

func (l leaf) value(v *view) truth {
	d, p, known := v.translate(l.dimension, l.pattern)
	if known != open {
		return known
	}
	return v.takes(d, p)
}

func (l leaf) leaves(v *view, add func(class.Dimension, atom.Pattern)) {
	if d, p, known := v.translate(l.dimension, l.pattern); known == open && v.takes(d, p) == open {
		add(d, p)
	}
}

type all []condition

func (c all) value(v *view) truth {
	out := yes
	for _, one := range c {
		out = min(out, one.value(v))
		if out == no {
			return no
		}
	}
	return out
}

func (c all) leaves(v *view, add func(class.Dimension, atom.Pattern)) {
	if c.value(v) == open {
		for _, one := range c {
			one.leaves(v, add)
		}
	}
}

type some []condition

func (c some) value(v *view) truth {
	out := no
	for _, one := range c {
		out = max(out, one.value(v))
		if out == yes {
			return yes
		}
	}
	return out
}

func (c some) leaves(v *view, add func(class.Dimension, atom.Pattern)) {
	if c.value(v) == open {
		for _, one := range c {
			one.leaves(v, add)
		}
	}
}

// either is some of the conditions. A path and all that begins with it and a slash are
// one pattern, as are a host and all that begins with it and a colon: apart they would
// be two classes wherever they are.
func either(conditions []condition) some {
	out := make(some, 0, len(conditions))
	for _, c := range conditions {
		at := slices.IndexFunc(out, func(o condition) bool {
			_, together := joined(o, c)
			return together
		})
		if at < 0 {
			out = append(out, c)
			continue
		}
		out[at], _ = joined(out[at], c)
	}
	return out
}

// joined is the one pattern of a text and what begins with it, where two conditions
// are these, in any order.
func joined(a, b condition) (condition, bool) {
	exact, is := a.(leaf)
	prefix, too := b.(leaf)
	if !is || !too || exact.dimension != prefix.dimension {
		return nil, false
	}
	var separator string
	var kind atom.Kind
	switch exact.dimension.Kind {
	case class.Path:
		separator, kind = "/", atom.Segments
	case class.Host:
		separator, kind = ":", atom.AnyPort
	default:
		return nil, false
	}
	if exact.pattern.Kind == atom.Prefix {
		exact, prefix = prefix, exact
	}
	text := exact.pattern.Text
	if exact.pattern.Kind != atom.Exact || prefix.pattern.Kind != atom.Prefix || text == "" || prefix.pattern.Text != text+separator ||
		exact.pattern.Fold != prefix.pattern.Fold {
		return nil, false
	}
	exact.pattern.Kind = kind
	return exact, true
}

type not struct{ condition }

func (c not) value(v *view) truth { return yes - c.condition.value(v) }

// port compares the port that the client connects to.
type port struct{ first, last uint32 }

func (c port) value(v *view) truth                               { return is(v.port >= c.first && v.port <= c.last) }
func (c port) leaves(*view, func(class.Dimension, atom.Pattern)) {}

// blind is a matcher that is not read here: the one request that is decided stands
// for both answers, and the result says that it does.
type blind struct{ what string }

func (c blind) value(v *view) truth {
	if v.blind != nil {
		v.blind(c.what)
	}
	return open
}
func (c blind) leaves(*view, func(class.Dimension, atom.Pattern)) {}
