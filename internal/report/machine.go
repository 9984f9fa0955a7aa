// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"io"

	"github.com/trellis-mesh/trellis/internal/model"
)

type jsonReport struct {
	Findings []jsonFinding `json:"findings"`
	Summary  jsonSummary   `json:"summary"`
	// Notes are what was not asked.
	Notes []string `json:"notes,omitempty"`
}

type jsonSummary struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Objects  int `json:"objects"`
	Files    int `json:"files"`
	Skipped  int `json:"skipped"`
}

type jsonFinding struct {
	Severity string      `json:"severity"`
	Reason   string      `json:"reason"`
	Object   *jsonObject `json:"object,omitempty"`
	Field    string      `json:"field,omitempty"`
	File     string      `json:"file,omitempty"`
	Line     int         `json:"line,omitempty"`
	Message  string      `json:"message"`
	Owner    string      `json:"owner,omitempty"`
	Fix      string      `json:"fix,omitempty"`
}

type jsonObject struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// JSON writes one object with findings and summary.
func JSON(w io.Writer, r *Report) error {
	out := jsonReport{
		Notes:    r.Notes,
		Findings: make([]jsonFinding, 0, len(r.Findings)),
		Summary: jsonSummary{
			Errors: r.Count(model.SeverityError), Warnings: r.Count(model.SeverityWarning),
			Objects: len(r.Subjects), Files: r.Files, Skipped: r.Skipped,
		},
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		one := jsonFinding{
			Severity: string(f.Severity), Reason: f.Reason, Field: f.Field, File: f.Position.File, Line: f.Position.Line,
			Message: f.Message, Owner: f.Owner, Fix: f.Fix,
		}
		if f.Object.Kind != "" {
			one.Object = &jsonObject{Group: f.Object.Group, Kind: f.Object.Kind, Namespace: f.Object.Namespace, Name: f.Object.Name}
		}
		out.Findings = append(out.Findings, one)
	}
	return encode(w, out)
}

func encode(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

type junitSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Suite    junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes one test case for each object, and one for each file with
// findings about no object. Errors fail a case; warnings are its output.
func JUnit(w io.Writer, r *Report) error {
	suite := junitSuite{Name: cmp.Or(r.Command, "trellis check")}
	cases := map[Subject]int{}
	caseOf := func(s Subject) *junitCase {
		i, ok := cases[s]
		if !ok {
			i = len(suite.Cases)
			cases[s] = i
			one := junitCase{Class: s.Ref.Kind, Name: s.Ref.Name, File: s.Position.File, Line: s.Position.Line}
			if s.Ref.Namespace != "" {
				one.Name = s.Ref.Namespace + "/" + s.Ref.Name
			}
			if s.Ref.Kind == "" {
				one.Class, one.Name = "Document", s.Position.File
			}
			suite.Cases = append(suite.Cases, one)
		}
		return &suite.Cases[i]
	}
	first := map[model.Reference]Subject{}
	for _, s := range r.Subjects {
		caseOf(s)
		if _, seen := first[s.Ref]; !seen {
			first[s.Ref] = s
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		subject, known := first[f.Object]
		if !known {
			subject = Subject{Ref: f.Object, Position: model.Position{File: f.Position.File}}
		}
		caseOf(subject).add(f)
	}
	suite.Tests = len(suite.Cases)
	for i := range suite.Cases {
		if suite.Cases[i].Failure != nil {
			suite.Failures++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(junitSuites{Tests: suite.Tests, Failures: suite.Failures, Suite: suite}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (c *junitCase) add(f *model.Finding) {
	text := where(f.Position) + f.Reason + prefixed(" ", f.Field) + "\n" + sentences(f) + "\n"
	if f.Severity != model.SeverityError {
		c.Output += text
		return
	}
	if c.Failure == nil {
		c.Failure = &junitFailure{Message: f.Message, Type: f.Reason}
	}
	c.Failure.Text += text
}
