// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"math"
	"time"
)

// counter follows one series from step to step. A counter only grows; where it is
// lower than it was, its proxy began anew from zero.
type counter struct {
	value float64
	known bool
}

// start takes a step for what the counter stood at.
func (c *counter) start(s sample) { c.value, c.known = s.last, true }

// grow says by how much it grew in a step. A series that was not there before began
// at zero: proxies count a pair of a client and a service from its first request
// on, so that none is ever zero. Where the proxy began anew it may be too little, and
// is never nothing.
func (c *counter) grow(s sample) float64 {
	before, known := c.value, c.known
	c.start(s)
	switch {
	case s.max > s.last && known && s.max >= before:
		// It began anew after the greatest value.
		return s.last + s.max - before
	case s.max > s.last:
		// The same, and that value was reached from zero.
		return s.last + s.max
	case !known || s.min < before:
		return s.last
	}
	return s.last - before
}

// grown is by how much a series grew in all steps, and the end of the last one in which
// it did. Steps that end before looking began say what it stood at.
func (o *one) grown(began time.Time) (usual, count float64, last time.Time) {
	var c counter
	for _, s := range o.earlier {
		if c.known {
			usual += c.grow(s)
		}
		c.start(s)
	}
	for _, s := range o.within {
		if !s.at.After(began) {
			c.start(s)
			continue
		}
		if more := c.grow(s); more > 0 {
			count += more
			last = s.at
		}
	}
	return usual, count, last
}

// whole is a count without the fraction that recording rules may leave; something
// stays something.
func whole(count float64) uint64 {
	if !(count > 0) {
		return 0
	}
	return uint64(max(math.Round(min(count, 1<<53)), 1))
}
