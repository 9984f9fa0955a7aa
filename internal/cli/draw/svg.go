// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package draw

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// SVG writes the picture as a document that can be shown as it is. Each box and arrow
// has a title, which browsers show and screen readers read, and data-id, or data-from
// and data-to, for programs.
func (p *Picture) SVG(w io.Writer) error {
	l := p.place()
	s := &sheet{}
	keys := p.keys(l.width)
	const top = 44
	width, height := max(l.width, float64(utf8.RuneCountInString(p.Title))*10+2*margin), l.height+top
	for _, k := range keys {
		width, height = max(width, k.right()+margin), max(height, l.height+top+k.y+keyHeight+margin)
	}
	s.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %s %s" role="graphics-document document" aria-labelledby="title description">`+"\n",
		number(width), number(height), number(width), number(height))
	s.printf(`<title id="title">%s</title>`+"\n"+`<desc id="description">%s</desc>`+"\n", text(p.Title), text(p.Description))
	s.style()
	s.printf(`<rect class="paper" width="100%%" height="100%%"/>` + "\n")
	s.printf(`<text class="heading" x="%d" y="34" aria-hidden="true">%s</text>`+"\n", margin, text(p.Title))
	s.printf(`<g transform="translate(0 %d)">`+"\n", top-margin/2)
	for _, f := range l.frames {
		s.frame(f)
	}
	at := map[string]area{}
	for i := range p.Boxes {
		at[p.Boxes[i].ID] = l.boxes[i]
	}
	lead := l.around
	if len(p.Arrows) > patience {
		lead = curved
	}
	for i := range p.Arrows {
		s.arrow(&p.Arrows[i], lead(at[p.Arrows[i].From], at[p.Arrows[i].To]))
	}
	for i := range p.Boxes {
		s.box(&p.Boxes[i], l.boxes[i])
	}
	s.printf(`<g transform="translate(0 %s)" role="list" aria-label="Legend">`+"\n", number(l.height))
	for i, k := range keys {
		s.key(&p.Legend[i], k)
	}
	s.printf("</g>\n</g>\n</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}

// sheet is an SVG that is being written.
type sheet struct{ strings.Builder }

func (s *sheet) printf(format string, arguments ...any) { fmt.Fprintf(s, format, arguments...) }

func (s *sheet) style() {
	s.WriteString("<style>\ntext{font:13px system-ui,sans-serif;fill:#1f2328}.heading{font-size:17px;font-weight:600}.note,.key{font-size:11px;fill:#59636e}.group{font-weight:600;fill:#59636e}\n" +
		".paper{fill:#fff}.frame{fill:#f6f8fa;stroke:#d1d9e0}.box{fill:#fff;stroke:#818b98;stroke-width:1.2}.dashed{stroke-dasharray:5 4}\n" +
		".line{fill:none;stroke-width:1.8}.halo{fill:none;stroke-width:8;stroke-opacity:.22}.label{font-size:11px;font-weight:600;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:4px}\n" +
		".arrow:hover .line,.arrow:focus .line{stroke-width:3.5}\n")
	var dark strings.Builder
	dark.WriteString("text{fill:#e6edf3}.note,.key,.group{fill:#9198a1}.paper{fill:#0d1117}.frame{fill:#151b23;stroke:#3d444d}.box{fill:#0d1117;stroke:#656c76}.label{stroke:#0d1117}\n")
	rules := func(name, light, shade string) {
		const rule = ".line.%[1]s,.halo.%[1]s{stroke:%[2]s}.head.%[1]s,.label.%[1]s{fill:%[2]s}\n"
		s.printf(rule, name, light)
		fmt.Fprintf(&dark, rule, name, shade)
	}
	for _, t := range tones {
		rules(string(t.tone), t.light, t.dark)
	}
	for _, m := range moods {
		rules(m.name, m.light, m.dark)
		s.printf(".line.broken-%s{stroke-dasharray:%s}\n", m.name, m.dashes)
	}
	s.printf("@media (prefers-color-scheme:dark){\n%s}\n</style>\n", dark.String())
}

func (s *sheet) frame(f frame) {
	if f.name == "" {
		return
	}
	s.printf(`<g role="group" aria-label="%s"><rect class="frame" x="%s" y="%s" width="%s" height="%s" rx="8"/>`, text(f.name), number(f.x), number(f.y), number(f.width), number(f.height))
	s.printf(`<text class="group" x="%s" y="%s">%s</text></g>`+"\n", number(f.x+padding), number(f.y+heading), text(shown(f.name)))
}

func (s *sheet) box(b *Box, a area) {
	s.printf(`<g class="node" role="graphics-symbol img" tabindex="0" data-id="%s"><title>%s</title>`, text(b.ID), text(b.Title))
	class, radius := "box", 3
	switch b.Outline {
	case Round:
		radius = boxHeight / 2
	case Dashed:
		class += " dashed"
	case Square:
	}
	s.printf(`<rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="%d"/>`, class, number(a.x), number(a.y), number(a.width), number(a.height), radius)
	line := a.middle() + 4.5
	if b.Note != "" {
		line -= 7
		s.printf(`<text class="note" x="%s" y="%s">%s</text>`, number(a.x+14), number(line+15), text(shown(b.Note)))
	}
	s.printf(`<text x="%s" y="%s">%s</text></g>`+"\n", number(a.x+14), number(line), text(shown(b.Label)))
}

func (s *sheet) arrow(a *Arrow, c curve) {
	s.printf(`<g class="arrow" role="graphics-symbol img" tabindex="0" data-from="%s" data-to="%s"><title>%s</title>`, text(a.From), text(a.To), text(a.Title))
	s.stroke(a.Stroke, c)
	if a.Label != "" {
		x, y := c.at(0.5)
		s.printf(`<text class="label %s" x="%s" y="%s">%s</text>`, tint(a.Stroke), number(x), number(y-5), text(shown(a.Label)))
	}
	s.printf("</g>\n")
}

// tint is the class of what the mood colours.
func tint(s Stroke) string {
	if name := moodName(s.Mood); name != "" {
		return name
	}
	return string(s.Tone)
}

func (s *sheet) stroke(look Stroke, c curve) {
	path := fmt.Sprintf("M%s %sC%s %s %s %s %s %s", number(c[0][0]), number(c[0][1]), number(c[1][0]), number(c[1][1]), number(c[2][0]), number(c[2][1]), number(c[3][0]), number(c[3][1]))
	class := "line " + string(look.Tone)
	if name := moodName(look.Mood); name != "" {
		s.printf(`<path class="halo %s" d="%s"/>`, name, path)
		class += " broken-" + name
	}
	s.printf(`<path class="%s" d="%s"/>`, class, path)
	x, y := c[3][0], c[3][1]
	dx, dy := x-c[2][0], y-c[2][1]
	far := max(math.Hypot(dx, dy), 1)
	dx, dy = 9*dx/far, 9*dy/far
	s.printf(`<path class="head %s" d="M%s %sL%s %sL%s %sZ"/>`, tint(look), number(x), number(y), number(x-dx-dy/2), number(y-dy+dx/2), number(x-dx+dy/2), number(y-dy-dx/2))
}

const (
	keyHeight = 22
	keyLine   = 44
)

// keys are where the lines of the legend are.
func (p *Picture) keys(width float64) []area {
	var out []area
	x, y := float64(margin), 0.0
	for _, k := range p.Legend {
		wide := keyLine + 10 + float64(utf8.RuneCountInString(k.Text))*6.4 + 16
		if x > margin && x+wide > max(width, 640)-margin {
			x, y = margin, y+keyHeight
		}
		out = append(out, area{x, y, wide, keyHeight})
		x += wide
	}
	return out
}

func (s *sheet) key(k *Key, a area) {
	s.printf(`<g role="listitem">`)
	s.stroke(k.Stroke, bent(a.x, a.middle(), a.x+keyLine, a.middle(), 1, 1))
	s.printf(`<text class="key" x="%s" y="%s">%s</text></g>`+"\n", number(a.x+keyLine+10), number(a.middle()+4), text(k.Text))
}

// text is what XML holds as nothing but text, also between quotes.
func text(t string) string {
	var b strings.Builder
	// A Builder takes all.
	_ = xml.EscapeText(&b, []byte(output.Printable(t)))
	return b.String()
}

// number is short, and the same on every machine.
func number(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }
