// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package draw

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/cli/output"
)

// element is a start tag of an SVG with the text that it holds.
type element struct {
	name       string
	attributes map[string]string
	text       string
}

// read parses an SVG as XML parsers do, and fails where it is none.
func read(t *testing.T, document string) []*element {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(document))
	var all, open []*element
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("it is not well-formed: %v\n%s", err, document)
		}
		switch v := token.(type) {
		case xml.StartElement:
			e := &element{name: v.Name.Local, attributes: map[string]string{}}
			for _, a := range v.Attr {
				e.attributes[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(v)
			}
		}
	}
}

func svg(t *testing.T, p *Picture) string {
	t.Helper()
	var b strings.Builder
	if err := p.SVG(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func dot(t *testing.T, p *Picture) string {
	t.Helper()
	var b strings.Builder
	if err := p.DOT(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// nasty is a name that would end strings, tags and lines where it is not escaped.
const nasty = "a\"]; x -> y [label=\"</text><script>alert(1)</script>&amp;\\\n'\x1b[31m]]>"

func TestNothingInANameBreaksAPicture(t *testing.T) {
	p := &Picture{
		Title: nasty, Description: nasty,
		Boxes:  []Box{{ID: nasty, Group: nasty, Label: nasty, Note: nasty, Title: nasty}, {ID: "b", Label: "b"}},
		Arrows: []Arrow{{From: nasty, To: "b", Label: nasty, Title: nasty, Stroke: Stroke{Green, output.Alarming}}},
		Legend: []Key{{Text: nasty, Stroke: Stroke{Tone: Green}}},
	}
	drawn := svg(t, p)
	for _, e := range read(t, drawn) {
		if e.name == "script" {
			t.Errorf("a name is a part of the document:\n%s", drawn)
		}
	}
	if strings.ContainsRune(drawn, 0x1b) {
		t.Error("it has what a terminal obeys")
	}
	inside, outside := false, ""
	text := dot(t, p)
	for i := 0; i < len(text); i++ {
		switch {
		case inside && text[i] == '\\':
			i++
		case text[i] == '"':
			inside = !inside
		case inside && text[i] == '\n':
			t.Fatalf("a string goes on in another line:\n%s", text)
		case !inside:
			outside += string(text[i])
		}
	}
	if inside || strings.Contains(outside, "x -> y") {
		t.Errorf("a name is a part of the graph:\n%s", text)
	}
}

func TestAPictureWithNothingInItIsDrawn(t *testing.T) {
	p := &Picture{Title: "Nothing"}
	if all := read(t, svg(t, p)); all[0].name != "svg" || all[0].attributes["role"] == "" || all[1].text != "Nothing" {
		t.Errorf("%+v", all[0])
	}
	if got := dot(t, p); !strings.HasPrefix(got, "digraph ") {
		t.Error(got)
	}
}

// tangle has groups that call each other in circles, and themselves.
func tangle() *Picture {
	p := &Picture{Title: "A tangle"}
	for i := range 40 {
		group := fmt.Sprintf("group-%d", i%4)
		if i%10 == 0 {
			group = ""
		}
		p.Boxes = append(p.Boxes, Box{ID: fmt.Sprint(i), Group: group, Label: strings.Repeat("name", 1+i%5), Title: fmt.Sprint("box ", i)})
	}
	for i := range 90 {
		p.Arrows = append(p.Arrows, Arrow{From: fmt.Sprint(i * 7 % 40), To: fmt.Sprint(i * 11 % 40), Title: fmt.Sprint("arrow ", i), Stroke: Stroke{Tone: Blue}})
	}
	return p
}

func TestTheSamePictureIsDrawnInTheSameWay(t *testing.T) {
	first, graph := svg(t, tangle()), dot(t, tangle())
	for range 5 {
		if svg(t, tangle()) != first || dot(t, tangle()) != graph {
			t.Fatal("it is drawn in another way")
		}
	}
}

func TestNoBoxStandsOnAnotherAndAllStandInTheirFrames(t *testing.T) {
	p := tangle()
	l := p.place()
	for i, a := range l.boxes {
		if a.x < 0 || a.y < 0 || a.right() > l.width || a.y+a.height > l.height {
			t.Errorf("box %d is outside of the picture: %+v", i, a)
		}
		for j, b := range l.boxes[:i] {
			if overlap(a, b) {
				t.Errorf("boxes %d and %d: %+v %+v", i, j, a, b)
			}
		}
		for _, f := range l.frames {
			within := a.x >= f.x && a.right() <= f.right() && a.y >= f.y && a.y+a.height <= f.y+f.height
			if own := f.name == p.Boxes[i].Group; own && !within || !own && overlap(a, f.area) {
				t.Errorf("box %d of %q and frame %q", i, p.Boxes[i].Group, f.name)
			}
		}
	}
}

func overlap(a, b area) bool {
	return a.x < b.right() && b.x < a.right() && a.y < b.y+b.height && b.y < a.y+a.height
}

func TestArrowsOfAChainLeadFromLeftToRight(t *testing.T) {
	got := layers(4, [][2]int{{2, 0}, {0, 3}, {3, 1}, {2, 3}})
	if fmt.Sprint(got) != "[[2] [0] [3] [1]]" {
		t.Error(got)
	}
}

func TestACircleIsCutWhereItCloses(t *testing.T) {
	if got := layers(3, [][2]int{{0, 1}, {1, 2}, {2, 0}, {1, 1}}); fmt.Sprint(got) != "[[0] [1] [2]]" {
		t.Error(got)
	}
}

func TestATallColumnGoesOnInAnother(t *testing.T) {
	if got := layers(tallest+1, nil); len(got) != 2 || len(got[0]) != tallest {
		t.Error(got)
	}
}

func TestAnArrowRunsAroundTheBoxesBetween(t *testing.T) {
	p := &Picture{Title: "A chain", Boxes: []Box{{ID: "a", Label: "a"}, {ID: "b", Label: "b"}, {ID: "c", Label: "c"}, {ID: "d", Label: "d"}, {ID: "e", Label: "e"}}}
	for _, ends := range []string{"ab", "bc", "ac", "ad", "ae"} {
		p.Arrows = append(p.Arrows, Arrow{From: ends[:1], To: ends[1:]})
	}
	l := p.place()
	c := l.around(l.boxes[0], l.boxes[2])
	if straight := curved(l.boxes[0], l.boxes[2]); l.hidden(&straight, l.boxes[0], l.boxes[2]) == 0 {
		t.Fatal("there is nothing in its way")
	}
	if n := l.hidden(&c, l.boxes[0], l.boxes[2]); n > 0 {
		t.Errorf("%d points are behind a box", n)
	}
}
