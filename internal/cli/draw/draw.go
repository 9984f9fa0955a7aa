// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package draw draws boxes in groups and arrows between them: as an SVG that needs no
// other program, with a layout of its own, and in the DOT language of Graphviz. The same
// picture is always drawn in the same way, and whatever a name holds stays text.
package draw

import (
	"slices"

	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// Picture is what is drawn.
type Picture struct {
	Title, Description string
	Boxes              []Box
	// Arrows lead between boxes that are there.
	Arrows []Arrow
	Legend []Key
}

// Box is a node.
type Box struct {
	// ID tells it from others. Group is the frame that it stands in; empty: in none.
	ID, Group string
	// Label is its name, Note a word below it, and Title what is said of it at length.
	Label, Note, Title string
	Outline            Outline
}

// Outline is the line around a box.
type Outline string

// The outlines.
const (
	Square Outline = "square"
	Round  Outline = "round"
	Dashed Outline = "dashed"
)

// Arrow leads from one box to another, by their ids.
type Arrow struct {
	From, To string
	// Label is a word beside it, and Title what is said of it at length.
	Label, Title string
	Stroke
}

// Stroke is how an arrow is drawn.
type Stroke struct {
	Tone Tone
	// Mood tints head, label and halo, and breaks the line, so that it is seen without
	// colours, too.
	Mood output.Mood
}

// Tone is the colour of a line.
type Tone string

// The tones.
const (
	Green  Tone = "green"
	Orange Tone = "orange"
	Blue   Tone = "blue"
	Purple Tone = "purple"
	Grey   Tone = "grey"
)

// Key says what a stroke means.
type Key struct {
	Text string
	Stroke
}

// tones are in order, with their colours on light and on dark paper.
var tones = []struct {
	tone        Tone
	light, dark string
}{
	{Green, "#1a7f37", "#3fb950"},
	{Orange, "#bc4c00", "#f0883e"},
	{Blue, "#0969da", "#58a6ff"},
	{Purple, "#8250df", "#bc8cff"},
	{Grey, "#6e7781", "#9198a1"},
}

// moods are those that tint, with their colours and how they break a line.
var moods = []struct {
	mood              output.Mood
	name, light, dark string
	dashes, style     string
}{
	{output.Waiting, "waiting", "#9a6700", "#d29922", "2 5", "dotted"},
	{output.Alarming, "alarming", "#cf222e", "#f85149", "9 5", "dashed"},
}

// moodName is the mood's class; empty for a calm one.
func moodName(m output.Mood) string {
	for _, one := range moods {
		if one.mood == m {
			return one.name
		}
	}
	return ""
}

// groups are the names of the frames, in order; the empty one stands for boxes in none.
func (p *Picture) groups() []string {
	var out []string
	for i := range p.Boxes {
		out = append(out, p.Boxes[i].Group)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
