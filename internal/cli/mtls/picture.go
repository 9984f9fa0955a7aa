// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/draw"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/graph"
)

// securities are in the order of the legend.
var securities = []struct {
	security graph.Security
	tone     draw.Tone
	text     string
}{
	{graph.MutualTLS, draw.Green, "mutual TLS"},
	{graph.Plaintext, draw.Orange, "plaintext"},
	{graph.TLS, draw.Blue, "TLS, not the mesh's"},
	{graph.Mixed, draw.Purple, "mixed"},
	{graph.Unknown, draw.Grey, "not known"},
}

// picture is the graph to be drawn.
func (o *graphOptions) picture(v *answer.Graph) *draw.Picture {
	out := &draw.Picture{Title: "Who may use which service"}
	if o.wanted.Conflicts {
		out.Title = "Who is in conflict with which service"
	}
	nodes := byID(v)
	count := map[mtls.Status]int{}
	for i := range v.Nodes {
		out.Boxes = append(out.Boxes, box(&v.Nodes[i]))
	}
	for i := range v.Edges {
		e := &v.Edges[i]
		count[e.Status]++
		out.Arrows = append(out.Arrows, arrow(e, nodes[e.From], nodes[e.To]))
	}
	out.Legend = legend(v)
	said := []string{fmt.Sprintf("%d nodes, %d edges: %d OK, %d CONFLICT, %d PARTIAL, %d UNKNOWN.", len(v.Nodes), len(v.Edges),
		count[mtls.OK], count[mtls.Conflict], count[mtls.Partial], count[mtls.Unknown])}
	for _, note := range v.Notes {
		said = append(said, "Incomplete: "+note+".")
	}
	if v.Source != "" {
		said = append(said, "Source: "+v.Source+".")
	}
	out.Description = strings.Join(said, " ")
	return out
}

func box(n *graph.Node) draw.Box {
	out := draw.Box{ID: n.ID, Group: n.Namespace, Label: n.Name, Title: n.String(), Outline: draw.Square}
	var notes []string
	switch n.Kind {
	case graph.Gateway:
		notes, out.Outline = []string{"gateway"}, draw.Round
	case graph.Outside:
		notes, out.Outline = []string{"outside of the mesh"}, draw.Dashed
	case graph.Workload:
		notes = []string{"workload"}
	case graph.Anybody:
		// Its name says all.
		out.Outline = draw.Round
	case graph.Service:
	}
	if n.Unproxied && n.Kind != graph.Anybody {
		notes = append(notes, "no proxy")
	}
	out.Note = strings.Join(notes, ", ")
	if out.Note != "" {
		out.Title += " (" + out.Note + ")"
	}
	return out
}

func arrow(e *graph.Edge, from, to *graph.Node) draw.Arrow {
	out := draw.Arrow{From: e.From, To: e.To, Stroke: draw.Stroke{Mood: moods[e.Status]}}
	said := ""
	for _, s := range securities {
		if s.security == e.Security {
			out.Tone, said = s.tone, s.text
		}
	}
	if e.Status != mtls.OK {
		out.Label = string(e.Status)
	}
	out.Title = fmt.Sprintf("%s to %s, port %s: %s, %s", from, to, portsOf(e), e.Status, said)
	if len(e.Clients) > 0 {
		out.Title += fmt.Sprintf("; any is %s", output.Short(e.Clients, 5))
	}
	if why := whyOf(e); why != "" {
		out.Title += "; " + why
	}
	return out
}

// legend explains what is there.
func legend(v *answer.Graph) []draw.Key {
	var out []draw.Key
	for _, s := range securities {
		if slices.ContainsFunc(v.Edges, func(e graph.Edge) bool { return e.Security == s.security }) {
			out = append(out, draw.Key{Text: s.text, Stroke: draw.Stroke{Tone: s.tone}})
		}
	}
	for _, s := range []struct {
		text     string
		mood     output.Mood
		statuses []mtls.Status
	}{
		{"CONFLICT or PARTIAL", output.Alarming, []mtls.Status{mtls.Conflict, mtls.Partial}},
		{"UNKNOWN", output.Waiting, []mtls.Status{mtls.Unknown}},
	} {
		if slices.ContainsFunc(v.Edges, func(e graph.Edge) bool { return slices.Contains(s.statuses, e.Status) }) {
			out = append(out, draw.Key{Text: s.text, Stroke: draw.Stroke{Tone: draw.Grey, Mood: s.mood}})
		}
	}
	return out
}
