// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package draw

import "math"

// curve is an arrow's way: a cubic one, by its ends and the two points between that it
// is drawn to.
type curve [4][2]float64

// at is the point of a curve at a part of its way.
func (c *curve) at(t float64) (x, y float64) {
	u := 1 - t
	weights := [4]float64{u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t}
	for i, w := range weights {
		x += w * c[i][0]
		y += w * c[i][1]
	}
	return x, y
}

// curved leads an arrow between the sides that face each other. Arrows to the left run
// below those to the right.
func curved(from, to area) curve {
	const aside = 6
	switch {
	case to.x >= from.right():
		return bent(from.right(), from.middle()-aside, to.x, to.middle()-aside, 1, 1)
	case to.right() <= from.x:
		return bent(from.x, from.middle()+aside, to.right(), to.middle()+aside, -1, 1)
	case from == to:
		return curve{{from.right(), from.middle() - 12}, {from.right() + 50, from.middle() - 30}, {from.right() + 50, from.middle() + 30}, {from.right(), from.middle() + 12}}
	case from.y < to.y:
		return bent(from.right(), from.middle()+aside, to.right(), to.middle()-aside, 1, -1)
	}
	return bent(from.x, from.middle()-aside, to.x, to.middle()+aside, -1, -1)
}

// bent leaves by one side and arrives by another: out and in are the directions.
func bent(x1, y1, x2, y2, out, in float64) curve {
	reach := max(math.Abs(x2-x1)/2, 40)
	return curve{{x1, y1}, {x1 + out*reach, y1}, {x2 - out*in*reach, y2}, {x2, y2}}
}

// patience is with how many arrows a way around boxes is looked for: with more nobody
// could follow one, and looking would take minutes.
const patience = 3000

// around leads an arrow so that it runs behind as few other boxes as a bow up or down
// can make it, the flattest first.
func (l *layout) around(from, to area) curve {
	const (
		bow  = 40
		most = 7
	)
	straight := curved(from, to)
	best, fewest := straight, l.hidden(&straight, from, to)
	for i := 1; i <= most && fewest > 0; i++ {
		for _, up := range []float64{-1, 1} {
			c := straight
			c[1][1] += up * bow * float64(i)
			c[2][1] += up * bow * float64(i)
			if n := l.hidden(&c, from, to); n < fewest {
				best, fewest = c, n
			}
		}
	}
	return best
}

// hidden counts the points of a curve that are behind boxes which it has nothing to do
// with, or beyond the picture's edge.
func (l *layout) hidden(c *curve, from, to area) int {
	const (
		points = 24
		room   = 4
	)
	count := 0
	for i := 1; i < points; i++ {
		x, y := c.at(float64(i) / points)
		if y < 0 || y > l.height {
			count++
		}
		for _, b := range l.boxes {
			if b != from && b != to && x > b.x-room && x < b.right()+room && y > b.y-room && y < b.y+b.height+room {
				count++
			}
		}
	}
	return count
}
