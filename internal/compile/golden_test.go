// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// atLeast keeps the cases from getting lost: a glob that matches nothing passes.
const atLeast = 180

// TestWhatPeopleWriteBecomesWhatTheyMean compiles every folder of testdata. The
// folder's name is the case: platform.yaml and in.yaml are what people would
// apply, out.yaml is every generated object, findings.txt is what they are told,
// explain.txt is where each rule came from.
func TestWhatPeopleWriteBecomesWhatTheyMean(t *testing.T) {
	folders, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(folders) < atLeast {
		t.Fatalf("%d folders, want at least %d (%v)", len(folders), atLeast, err)
	}
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range folders {
		folder := filepath.Dir(in)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			outcome, findings := compileFolder(t, checker, folder)
			golden(t, folder, "out.yaml", objectsText(t, outcome))
			golden(t, folder, "findings.txt", findingsText(findings))
			golden(t, folder, "explain.txt", explainText(t, outcome))
			checkFindings(t, findings)
			checkObjects(t, outcome)
			checkPacking(t, outcome.Objects)
		})
	}
}

// compileFolder reads a folder as the CLI does: what the API server would refuse
// takes no part.
func compileFolder(t *testing.T, checker *schema.Checker, folder string) (*compile.Outcome, []model.Finding) {
	t.Helper()
	in, problems := readFolder(t, checker, folder)
	outcome := compile.Compile(model.NewSnapshot(in))
	findings := model.SortFindings(slices.Concat(problems, outcome.Findings))
	for i := range findings {
		findings[i].Position.File = strings.TrimPrefix(findings[i].Position.File, folder+"/")
		findings[i].Message = strings.ReplaceAll(findings[i].Message, folder+"/", "")
	}
	return outcome, findings
}

// readFolder is what a folder says, and what is wrong with its documents.
func readFolder(t *testing.T, checker *schema.Checker, folder string) (model.Input, []model.Finding) {
	t.Helper()
	mesh := model.DefaultMesh()
	set, err := document.Read(inputs(t, folder), nil, document.Options{Cluster: mesh.Cluster, Scope: checker.Scope})
	if err != nil {
		t.Fatal(err)
	}
	objects, refused := checker.Read(context.Background(), set)
	builder := load.NewBuilder(mesh)
	for _, o := range objects {
		if !builder.Add(o.Value) {
			t.Errorf("%s is not read: a case holds nothing that does not matter", o.Ref)
		}
	}
	in := builder.Input()
	in.Positions = set.Position
	in.At = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	return in, slices.Concat(set.Findings, refused)
}

func inputs(t *testing.T, folder string) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"platform.yaml", "in.yaml"} {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}

func golden(t *testing.T, folder, name string, got []byte) {
	t.Helper()
	path := filepath.Join(folder, name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at the change and run with -update:\n%s", path, firstDifference(string(want), string(got)))
	}
}

// firstDifference shows where two texts part.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		line := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return "(end)"
		}
		if line(w) != line(g) {
			return fmt.Sprintf("line %d\n  want %s\n  got  %s", i+1, line(w), line(g))
		}
	}
	return ""
}

func objectsText(t *testing.T, outcome *compile.Outcome) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, o := range outcome.Objects {
		text, err := o.YAML()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.Bytes()
}

func findingsText(findings []model.Finding) []byte {
	var b bytes.Buffer
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s %s %s\n  at   %s:%d\n  what %s\n  rule %s\n  fix  %s\n", f.Severity, f.Reason, f.Object, f.Field, f.Position.File, f.Position.Line, f.Message, f.Owner, f.Fix)
	}
	return b.Bytes()
}

// explainText says what became of each object that people wrote, and for each
// generated rule, by the name that proxies log, who stated it and why.
func explainText(t *testing.T, outcome *compile.Outcome) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, o := range sortedOutcomes(outcome) {
		b.WriteString(o + "\n")
	}
	for _, o := range outcome.Objects {
		p, ok := provenanceOf(t, outcome, o)
		if !ok {
			continue
		}
		names := ruleNames(o)
		for i := range p.Rules {
			object, field, reason, _ := p.Rule(i)
			name := fmt.Sprintf("%s rule %d", o.Ref, i)
			if i < len(names) {
				name = names[i]
			}
			fmt.Fprintf(&b, "%s\n  ← %s %s, %s (%s)\n", name, object, field, reason, p.Rules[i].Layer)
		}
	}
	return b.Bytes()
}

func sortedOutcomes(outcome *compile.Outcome) []string {
	state := func(accepted bool) string {
		if accepted {
			return "accepted"
		}
		return "not accepted"
	}
	var out []string
	for ref, a := range outcome.Applications {
		line := ref.String() + ": " + state(a.Accepted)
		for _, address := range a.Addresses {
			line += "\n  " + address.URL + " (" + address.Exposure + ")"
		}
		for _, p := range a.Probes {
			line += fmt.Sprintf("\n  probe %s %s %s%s → %s", p.Route, p.Method, p.Host, p.Path, p.Expect)
		}
		out = append(out, line)
	}
	for ref, in := range outcome.Ingresses {
		out = append(out, ref.String()+": "+state(in.Accepted))
	}
	slices.Sort(out)
	return out
}

// provenanceOf reads an object's annotation, from its ConfigMap where it is too
// large. Claims and ConfigMaps have none.
func provenanceOf(t *testing.T, outcome *compile.Outcome, o compile.Object) (compile.Provenance, bool) {
	t.Helper()
	var p compile.Provenance
	text, ok := o.Value.GetAnnotations()[compile.AnnotationOrigin]
	if !ok {
		return p, false
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%s: %v", o.Ref, err)
	}
	if p.ConfigMap == "" {
		return p, true
	}
	for _, other := range outcome.Objects {
		if m, is := other.Value.(*corev1.ConfigMap); is && m.Namespace == o.Ref.Namespace && m.Name == p.ConfigMap {
			if err := json.Unmarshal([]byte(m.Data["origin"]), &p); err != nil {
				t.Fatalf("%s: %v", o.Ref, err)
			}
			return p, true
		}
	}
	t.Fatalf("%s names ConfigMap %s, which is not made", o.Ref, p.ConfigMap)
	return p, false
}
