// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package draw

import (
	"slices"
	"unicode/utf8"

	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// Sizes in the units of the SVG, which are pixels where it is not scaled.
const (
	margin    = 24
	boxHeight = 44
	boxGap    = 16
	columnGap = 96
	padding   = 18
	heading   = 26
	groupGap  = 32
	// letter is more than the mean width of a letter: what stands in a box is measured
	// by none of the fonts that it may be shown in.
	letter = 7.6
	// longest is how much of a label is shown; its title has all.
	longest = 44
)

// area is a rectangle.
type area struct{ x, y, width, height float64 }

func (a area) right() float64  { return a.x + a.width }
func (a area) middle() float64 { return a.y + a.height/2 }

// frame is where a group is.
type frame struct {
	area
	name string
}

// layout is where everything is.
type layout struct {
	boxes         []area
	frames        []frame
	width, height float64
}

// place lays groups out in layers, and in each of them its boxes.
func (p *Picture) place() *layout {
	names := p.groups()
	at, group := map[string]int{}, make([]int, len(p.Boxes))
	for i := range p.Boxes {
		at[p.Boxes[i].ID] = i
		group[i], _ = slices.BinarySearch(names, p.Boxes[i].Group)
	}
	within := make([][][2]int, len(names))
	var between [][2]int
	for i := range p.Arrows {
		from, to := at[p.Arrows[i].From], at[p.Arrows[i].To]
		if group[from] == group[to] {
			within[group[from]] = append(within[group[from]], [2]int{from, to})
		} else {
			between = append(between, [2]int{group[from], group[to]})
		}
	}
	out := &layout{boxes: make([]area, len(p.Boxes)), frames: make([]frame, len(names))}
	for g, name := range names {
		out.frames[g].name = name
		p.fill(out, g, slices.DeleteFunc(indices(len(p.Boxes)), func(i int) bool { return group[i] != g }), within[g])
	}
	sizes := make([]area, len(names))
	for g := range names {
		sizes[g] = out.frames[g].area
	}
	out.width, out.height = stack(sizes, layers(len(names), between), columnGap, groupGap)
	for g := range names {
		out.frames[g].x, out.frames[g].y = sizes[g].x+margin, sizes[g].y+margin
	}
	for i := range out.boxes {
		out.boxes[i].x += out.frames[group[i]].x
		out.boxes[i].y += out.frames[group[i]].y
	}
	out.width, out.height = out.width+2*margin, out.height+2*margin
	return out
}

// fill places the boxes of one group, seen from its corner.
func (p *Picture) fill(out *layout, g int, members []int, links [][2]int) {
	local := make([][2]int, len(links))
	for i, l := range links {
		from, _ := slices.BinarySearch(members, l[0])
		to, _ := slices.BinarySearch(members, l[1])
		local[i] = [2]int{from, to}
	}
	sizes := make([]area, len(members))
	for i, member := range members {
		b := &p.Boxes[member]
		letters := max(utf8.RuneCountInString(shown(b.Label)), utf8.RuneCountInString(shown(b.Note))*5/6)
		sizes[i] = area{width: float64(letters)*letter + 28, height: boxHeight}
	}
	f := &out.frames[g]
	f.width, f.height = stack(sizes, layers(len(members), local), columnGap, boxGap)
	left, top := 0.0, 0.0
	if f.name != "" {
		left, top = padding, padding+heading
		f.width = max(f.width, float64(utf8.RuneCountInString(shown(f.name)))*letter) + 2*padding
		f.height += 2*padding + heading
	}
	for i, member := range members {
		out.boxes[member] = sizes[i]
		out.boxes[member].x += left
		out.boxes[member].y += top
	}
}

// stack gives rectangles in columns their places, each column centred. All that stand
// in a column are told their x by its left side.
func stack(sizes []area, columns [][]int, across, down float64) (width, height float64) {
	heights := make([]float64, len(columns))
	for c, column := range columns {
		for _, v := range column {
			heights[c] += sizes[v].height + down
		}
		heights[c] -= down
		height = max(height, heights[c])
	}
	for c, column := range columns {
		if c > 0 {
			width += across
		}
		y, widest := (height-heights[c])/2, 0.0
		for _, v := range column {
			sizes[v].x, sizes[v].y = width, y
			y += sizes[v].height + down
			widest = max(widest, sizes[v].width)
		}
		width += widest
	}
	return width, height
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// shown is a text as it is drawn: on one line, and not too long.
func shown(text string) string {
	text = output.Printable(text)
	if utf8.RuneCountInString(text) > longest {
		text = string([]rune(text)[:longest-1]) + "…"
	}
	return text
}
