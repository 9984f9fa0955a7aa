// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
)

var shop = model.Reference{Cluster: "c1", Group: "trellis.dev", Kind: "Application", Namespace: "shop", Name: "shop"}

func sample() *report.Report {
	fine := shop
	fine.Name = "fine"
	return &report.Report{
		Findings: []model.Finding{
			{Severity: model.SeverityError, Position: model.Position{File: "a b/x.yaml", Line: 3}, Reason: "SyntaxError", Message: "it cannot be read", Owner: "YAML", Fix: "correct it"},
			{Severity: model.SeverityError, Object: shop, Field: "spec.service", Position: model.Position{File: "/abs/ü.yaml", Line: 9}, Reason: "ServiceNotFound", Message: "no <Service> & more", Owner: "Application shop/shop", Fix: "create it"},
			{Severity: model.SeverityWarning, Object: shop, Reason: "PathRepeated", Message: "twice\x1b[31m\u202e"},
			{Severity: model.SeverityError, Object: shop, Reason: "Conflicted", Message: "both closed"},
		},
		Subjects: []report.Subject{{Ref: shop, Position: model.Position{File: "/abs/ü.yaml", Line: 1}}, {Ref: fine}},
		Files:    2, Skipped: 1, Version: "v1.2.3",
	}
}

func write(t *testing.T, view report.View, r *report.Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := view(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTextSaysWhatWhoseAndWhatToDo(t *testing.T) {
	const want = `a b/x.yaml:3: error: SyntaxError
  it cannot be read
  rule: YAML
  fix:  correct it
/abs/ü.yaml:9: error: ServiceNotFound Application shop/shop spec.service
  no <Service> & more
  rule: Application shop/shop
  fix:  create it
warning: PathRepeated Application shop/shop
  twice�[31m�
error: Conflicted Application shop/shop
  both closed
3 errors and 1 warning: 2 objects in 2 files (1 more object of kinds that do not matter here)
`
	if got := write(t, report.Views(false)["text"], sample()); got != want {
		t.Errorf("text:\n%s", got)
	}
}

func TestColoursAreOnlyWhereTheyAreWanted(t *testing.T) {
	for _, colour := range []bool{true, false} {
		// The sample's message tries to bring an escape sequence of its own.
		if got := write(t, report.Views(colour)["text"], sample()); strings.Contains(got, "\x1b[31merror") != colour || strings.Contains(got, "twice\x1b") {
			t.Errorf("colour %v:\n%q", colour, got)
		}
	}
}

func TestNothingFoundIsSaid(t *testing.T) {
	for _, c := range []struct {
		report *report.Report
		want   string
	}{
		{&report.Report{Files: 1}, "no problems: 0 objects in 1 file\n"},
		{&report.Report{Files: 1, Notes: []string{"something is not asked"}}, "no problems: 0 objects in 1 file\nsomething is not asked\n"},
		{&report.Report{Files: 1, Findings: []model.Finding{{Severity: model.SeverityWarning, Reason: "X", Message: "m"}}}, "warning: X\n  m\nno errors and 1 warning: 0 objects in 1 file\n"},
	} {
		if got := write(t, report.Views(false)["text"], c.report); got != c.want {
			t.Errorf("text %q, want %q", got, c.want)
		}
	}
}

func TestJSONHasEveryField(t *testing.T) {
	var got struct {
		Findings []map[string]any
		Summary  map[string]int
	}
	if err := json.Unmarshal([]byte(write(t, report.JSON, sample())), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Findings) != 4 || len(got.Findings[1]) != 9 || got.Summary["errors"] != 3 || got.Summary["warnings"] != 1 || got.Summary["objects"] != 2 || got.Summary["files"] != 2 || got.Summary["skipped"] != 1 {
		t.Errorf("%+v", got)
	}
	if empty := write(t, report.JSON, &report.Report{}); !strings.Contains(empty, `"findings": []`) {
		t.Errorf("no findings are not an empty list:\n%s", empty)
	}
}

// TestSARIFIsWhatTheStandardAsks checks what SARIF 2.1.0 requires of the
// properties that are used (sections 3.13, 3.14, 3.19, 3.27 and 3.28).
func TestSARIFIsWhatTheStandardAsks(t *testing.T) {
	var log struct {
		Version string
		Schema  string `json:"$schema"`
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID string }
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation *struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(write(t, report.SARIF, sample())), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name != "trellis" || len(log.Runs[0].Results) != 4 {
		t.Fatalf("%+v", log)
	}
	fingerprints := map[string]bool{}
	for _, r := range log.Runs[0].Results {
		if log.Runs[0].Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule %d is not %s", r.RuleIndex, r.RuleID)
		}
		if r.Level != "error" && r.Level != "warning" || r.Message.Text == "" {
			t.Errorf("%+v", r)
		}
		fingerprints[r.PartialFingerprints["trellisFinding/v1"]] = true
	}
	if len(fingerprints) != 4 {
		t.Errorf("%d fingerprints of 4 findings", len(fingerprints))
	}
	for i, want := range []string{"a%20b/x.yaml", "file:///abs/%C3%BC.yaml"} {
		at := log.Runs[0].Results[i].Locations[0].PhysicalLocation
		if at.ArtifactLocation.URI != want || at.Region.StartLine < 1 {
			t.Errorf("location %+v, want %s", at, want)
		}
	}
	if empty := write(t, report.SARIF, &report.Report{}); !strings.Contains(empty, `"results": []`) || !strings.Contains(empty, `"rules": []`) {
		t.Errorf("a run without findings lacks its lists:\n%s", empty)
	}
}

func TestJUnitHasOneCaseForEachObject(t *testing.T) {
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suite    struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Class   string `xml:"classname,attr"`
				Failure *struct {
					Text string `xml:",chardata"`
				} `xml:"failure"`
				Output string `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(write(t, report.JUnit, sample())), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got.Suite.Cases {
		name := c.Class + " " + c.Name
		if c.Failure != nil {
			name += " failed"
		}
		names = append(names, name)
	}
	if want := "Application shop/shop failed, Application shop/fine, Document a b/x.yaml failed"; strings.Join(names, ", ") != want || got.Tests != 3 || got.Failures != 2 {
		t.Errorf("%d tests, %d failures: %s", got.Tests, got.Failures, strings.Join(names, ", "))
	}
	first := got.Suite.Cases[0]
	if !strings.Contains(first.Failure.Text, "no <Service> & more") || !strings.Contains(first.Failure.Text, "both closed") || !strings.Contains(first.Output, "twice") {
		t.Errorf("%+v", first)
	}
}

func TestARuleOfSARIFHasNoMoreTagsThanCodeHostsTake(t *testing.T) {
	var out bytes.Buffer
	rule := report.Rule{ID: "a", Severity: "High", Tags: strings.Fields(strings.Repeat("tag ", 64))}
	if err := report.Results(&out, "", []report.Rule{rule}, nil); err != nil || strings.Count(out.String(), `"tag"`) != 19 {
		t.Errorf("%v\n%s", err, out.String())
	}
}
