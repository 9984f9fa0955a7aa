// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/model"
)

type jsonReport struct {
	Findings []jsonFinding `json:"findings"`
	Summary  jsonSummary   `json:"summary"`
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

// The types of SARIF 2.1.0 (OASIS), as far as findings need them.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version,omitempty"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID string `json:"id"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID              string            `json:"ruleId"`
	RuleIndex           int               `json:"ruleIndex"`
	Level               string            `json:"level"`
	Message             sarifText         `json:"message"`
	Locations           []sarifLocation   `json:"locations,omitempty"`
	PartialFingerprints map[string]string `json:"partialFingerprints"`
}

type sarifLocation struct {
	Physical *sarifPhysical `json:"physicalLocation,omitempty"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact struct {
		URI string `json:"uri"`
	} `json:"artifactLocation"`
	Region struct {
		StartLine int `json:"startLine"`
	} `json:"region"`
}

type sarifLogical struct {
	FullyQualifiedName string `json:"fullyQualifiedName"`
	Kind               string `json:"kind"`
}

// SARIF writes a SARIF 2.1.0 log, for code hosts that show findings in a change.
func SARIF(w io.Writer, r *Report) error {
	run := sarifRun{ColumnKind: "utf16CodeUnits", Results: make([]sarifResult, 0, len(r.Findings))}
	run.Tool.Driver = sarifDriver{
		Name: "trellis", Version: r.Version,
		InformationURI: "https://github.com/trellis-mesh/trellis", Rules: []sarifRule{},
	}
	var reasons []string
	for i := range r.Findings {
		reasons = append(reasons, r.Findings[i].Reason)
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	for _, reason := range reasons {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: reason})
	}
	for i := range r.Findings {
		run.Results = append(run.Results, sarifOf(&r.Findings[i], reasons))
	}
	return encode(w, sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func sarifOf(f *model.Finding, reasons []string) sarifResult {
	index, _ := slices.BinarySearch(reasons, f.Reason)
	result := sarifResult{
		RuleID: f.Reason, RuleIndex: index, Level: "warning", Message: sarifText{Text: sentences(f)},
		// The same finding keeps its fingerprint when lines move.
		PartialFingerprints: map[string]string{"trellisFinding/v1": fingerprint(f)},
	}
	if f.Severity == model.SeverityError {
		result.Level = "error"
	}
	var location sarifLocation
	if f.Position.File != "" {
		location.Physical = &sarifPhysical{}
		location.Physical.Artifact.URI = uri(f.Position.File)
		location.Physical.Region.StartLine = max(f.Position.Line, 1)
	}
	if f.Object.Kind != "" {
		location.Logical = []sarifLogical{{FullyQualifiedName: f.Object.String() + prefixed(" ", f.Field), Kind: "object"}}
	}
	if location.Physical != nil || location.Logical != nil {
		result.Locations = []sarifLocation{location}
	}
	return result
}

// sentences is everything that a finding says, in one paragraph.
func sentences(f *model.Finding) string {
	return f.Message + prefixed(". Rule: ", f.Owner) + prefixed(". Fix: ", f.Fix) + "."
}

func fingerprint(f *model.Finding) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Object.Group, f.Object.String(), f.Field, f.Reason, f.Message}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// uri is a file's path as a URI reference: relative paths stay relative to
// where the command ran, which is the repository's root in a pipeline.
func uri(path string) string {
	path = filepath.ToSlash(path)
	if filepath.IsAbs(path) {
		return (&url.URL{Scheme: "file", Path: path}).String()
	}
	return (&url.URL{Path: path}).String()
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
