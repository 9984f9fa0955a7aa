// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import "github.com/trellis-mesh/trellis/internal/ask/atom"

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
	leaves(v *view, add func(Dimension, atom.Pattern))
}

type constant truth

func (c constant) value(*view) truth                           { return truth(c) }
func (c constant) leaves(*view, func(Dimension, atom.Pattern)) {}

// leaf compares one dimension with one pattern.
type leaf struct {
	dimension Dimension
	pattern   atom.Pattern
}

func (l leaf) value(v *view) truth {
	d, p, known := v.translate(l.dimension, l.pattern)
	if known != open {
		return known
	}
	return v.point.takes(d, p)
}

func (l leaf) leaves(v *view, add func(Dimension, atom.Pattern)) {
	if d, p, known := v.translate(l.dimension, l.pattern); known == open && v.point.takes(d, p) == open {
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

func (c all) leaves(v *view, add func(Dimension, atom.Pattern)) {
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

func (c some) leaves(v *view, add func(Dimension, atom.Pattern)) {
	if c.value(v) == open {
		for _, one := range c {
			one.leaves(v, add)
		}
	}
}

type not struct{ condition }

func (c not) value(v *view) truth { return yes - c.condition.value(v) }

// port compares the port that the client connects to.
type port struct{ first, last uint32 }

func (c port) value(v *view) truth                         { return is(v.port >= c.first && v.port <= c.last) }
func (c port) leaves(*view, func(Dimension, atom.Pattern)) {}

// blind is a matcher that is not read here: the one request that is decided stands
// for both answers, and the result says that it does.
type blind struct{ what string }

func (c blind) value(v *view) truth {
	if v.blind != nil {
		v.blind(c.what)
	}
	return open
}
func (c blind) leaves(*view, func(Dimension, atom.Pattern)) {}
