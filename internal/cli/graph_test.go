// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"encoding/xml"
	"os/exec"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/answer"
)

// graphs are flags of graph, each for another picture.
func graphs() [][]string {
	const answers = "internal/cli/testdata/answers/"
	shop := []string{"-f", answers + "mesh", "-f", answers + "a-graph-of-who-may-use-which-service/in.yaml"}
	return [][]string{
		{"-f", bookinfo}, {"-f", bookinfo, "--all"}, shop, append(shop, "--all"), append(shop, "--conflicts"), {"-f", bookinfo, "--conflicts"},
		{"-f", answers + "mesh", "-f", answers + "a-waypoint-in-the-files/in.yaml"},
	}
}

// TestThePictureHasEveryEdgeOfTheView reads the SVG as XML parsers do, and the graph for
// Graphviz by its lines.
func TestThePictureHasEveryEdgeOfTheView(t *testing.T) {
	inRepository(t)
	for _, flags := range graphs() {
		args := append([]string{"mtls", "graph"}, flags...)
		var view answer.Graph
		if err := json.Unmarshal([]byte(trellis(t, "", append(args, "-o", "json")...).out), &view); err != nil {
			t.Fatal(err)
		}
		svg, dot := trellis(t, "", append(args, "-o", "svg")...).out, trellis(t, "", append(args, "-o", "dot")...).out
		arrows, boxes := drawn(t, svg)
		for i := range view.Edges {
			e := &view.Edges[i]
			title := arrows[[2]string{e.From, e.To}]
			if !strings.Contains(title, string(e.Status)) {
				t.Errorf("%q: %s to %s (%s) is %q in the SVG", flags, e.From, e.To, e.Status, title)
			}
			if !strings.Contains(dot, `"`+e.From+`" -> "`+e.To+`" [`) {
				t.Errorf("%q: %s to %s is missing:\n%s", flags, e.From, e.To, dot)
			}
		}
		for _, n := range view.Nodes {
			if !strings.Contains(boxes[n.ID], n.Name) || !strings.Contains(dot, `"`+n.ID+`" [label=`) {
				t.Errorf("%q: %s is missing", flags, n.ID)
			}
		}
		if len(arrows) != len(view.Edges) || len(boxes) != len(view.Nodes) {
			t.Errorf("%q: %d arrows and %d boxes for %d edges and %d nodes", flags, len(arrows), len(boxes), len(view.Edges), len(view.Nodes))
		}
	}
}

// drawn are the titles of arrows by their ends, and of boxes by their ids.
func drawn(t *testing.T, svg string) (arrows map[[2]string]string, boxes map[string]string) {
	t.Helper()
	var picture struct {
		Title   string `xml:"title"`
		Drawing []struct {
			Parts []struct {
				Class string `xml:"class,attr"`
				ID    string `xml:"data-id,attr"`
				From  string `xml:"data-from,attr"`
				To    string `xml:"data-to,attr"`
				Title string `xml:"title"`
			} `xml:"g"`
		} `xml:"g"`
	}
	if err := xml.Unmarshal([]byte(svg), &picture); err != nil {
		t.Fatalf("%v\n%s", err, svg)
	}
	if picture.Title == "" {
		t.Error("the picture has no title")
	}
	arrows, boxes = map[[2]string]string{}, map[string]string{}
	for _, part := range picture.Drawing[0].Parts {
		switch part.Class {
		case "arrow":
			arrows[[2]string{part.From, part.To}] = part.Title
		case "node":
			boxes[part.ID] = part.Title
		}
	}
	return arrows, boxes
}

func TestAGraphIsWrittenInTheSameWayEachTime(t *testing.T) {
	inRepository(t)
	for _, flags := range graphs() {
		for _, format := range []string{"svg", "dot", "json", "yaml", "text"} {
			args := append([]string{"mtls", "graph", "-o", format}, flags...)
			if a, b := trellis(t, "", args...), trellis(t, "", args...); a != b || a.code != 0 {
				t.Errorf("%q:\n%+v\n%+v", args, a, b)
			}
		}
	}
}

// TestNothingInTheNameOfAHostBreaksAPicture has a host and an account that no API server
// would take, as a file may.
func TestNothingInTheNameOfAHostBreaksAPicture(t *testing.T) {
	inRepository(t)
	evil := `apiVersion: apps/v1
kind: Deployment
metadata: {name: evil, namespace: "bookinfo"}
spec:
  template:
    metadata: {labels: {app: evil, sidecar.istio.io/inject: "true"}}
    spec: {serviceAccountName: "e\"]; x -> y; </title><script>", containers: [{name: app}]}
---
apiVersion: v1
kind: Service
metadata: {name: "a\"]; x -> y; </title><script>", namespace: bookinfo}
spec: {selector: {app: evil}, ports: [{name: "http", port: 80}]}
`
	for _, flags := range [][]string{nil, {"--all"}} {
		args := append([]string{"mtls", "graph", "-f", bookinfo, "-f", "-"}, flags...)
		svg, dot := trellis(t, evil, append(args, "-o", "svg")...), trellis(t, evil, append(args, "-o", "dot")...)
		if svg.code == 1 {
			t.Fatalf("%+v", svg)
		}
		if !strings.Contains(svg.out, "&lt;script&gt;") || strings.Contains(svg.out, "<script") {
			t.Errorf("the name is not there as text:\n%s", svg.out)
		}
		drawn(t, svg.out)
		if outside := unquoted(t, dot.out); strings.Contains(outside, "x -> y") {
			t.Errorf("a name is part of the graph:\n%s", dot.out)
		}
		if program, err := exec.LookPath("dot"); err == nil {
			draw := exec.CommandContext(t.Context(), program, "-Tsvg")
			draw.Stdin = strings.NewReader(dot.out)
			if said, err := draw.CombinedOutput(); err != nil {
				t.Errorf("%v\n%.500s", err, said)
			}
		}
	}
}
