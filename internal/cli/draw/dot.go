// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package draw

import (
	"fmt"
	"io"
	"strings"

	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// DOT writes the picture in the language of Graphviz.
func (p *Picture) DOT(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph picture {\n  rankdir=LR;\n  label=%s;\n  node [shape=box];\n", quoted(p.Title))
	for i, name := range p.groups() {
		indent := "  "
		if name != "" {
			indent = "    "
			fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s;\n    color=gray;\n", i, quoted(name))
		}
		for i := range p.Boxes {
			if box := &p.Boxes[i]; box.Group == name {
				fmt.Fprintf(&b, "%s%s [label=%s, tooltip=%s%s];\n", indent, quoted(box.ID), quoted(box.Label, box.Note), quoted(box.Title), outlines[box.Outline])
			}
		}
		if name != "" {
			b.WriteString("  }\n")
		}
	}
	for i := range p.Arrows {
		a := &p.Arrows[i]
		fmt.Fprintf(&b, "  %s -> %s [color=%s, tooltip=%s", quoted(a.From), quoted(a.To), quoted(a.Tone.light()), quoted(a.Title))
		for _, m := range moods {
			if m.mood == a.Mood {
				fmt.Fprintf(&b, ", style=%s, penwidth=2, fontcolor=%s", m.style, quoted(m.light))
			}
		}
		if a.Label != "" {
			fmt.Fprintf(&b, ", label=%s", quoted(a.Label))
		}
		b.WriteString("];\n")
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

var outlines = map[Outline]string{Round: ", style=rounded", Dashed: ", style=dashed"}

func (t Tone) light() string {
	for _, one := range tones {
		if one.tone == t {
			return one.light
		}
	}
	return "#000000"
}

// quoted is a string of the DOT language, with a line for each text that is not empty.
func quoted(texts ...string) string {
	var lines []string
	for _, text := range texts {
		if text = output.Printable(text); text != "" {
			lines = append(lines, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text))
		}
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
