// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package assessment

import (
	"encoding/xml"
	"io"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// The types of JUnit's XML, as CI servers read it.
type junitSuites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Suites   []*junitSuite
}

type junitSuite struct {
	XMLName    xml.Name        `xml:"testsuite"`
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []*junitCase    `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitOutcome `xml:"failure,omitempty"`
	Error   *junitOutcome `xml:"error,omitempty"`
	Skipped *junitOutcome `xml:"skipped,omitempty"`
}

type junitOutcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit writes one test suite for each binding, and in it one case for each object that it
// is about. What is refused fails, what is refused because it cannot be told is an error,
// and what would fail and is not refused is skipped: a server shows it, and breaks nothing.
func JUnit(w io.Writer, a *Assessment) error {
	all := junitSuites{Name: "trellis report"}
	found := map[string]map[model.Reference][]*Finding{}
	for i := range a.Findings {
		f := &a.Findings[i]
		if found[f.Binding] == nil {
			found[f.Binding] = map[model.Reference][]*Finding{}
		}
		found[f.Binding][f.Reference] = append(found[f.Binding][f.Reference], f)
	}
	for i := range a.Policies {
		p := &a.Policies[i]
		suite := p.suite(found[p.Binding])
		all.Suites = append(all.Suites, suite)
		all.Tests, all.Failures = all.Tests+suite.Tests, all.Failures+suite.Failures
		all.Errors, all.Skipped = all.Errors+suite.Errors, all.Skipped+suite.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (p *Policy) suite(found map[model.Reference][]*Finding) *junitSuite {
	out := &junitSuite{Name: p.Binding}
	for _, one := range []junitProperty{
		{"policy", p.Policy + " " + p.Version}, {"title", p.Title}, {"severity", p.Severity}, {"tier", p.Tier}, {"mode", p.Mode},
		{"goals", strings.Join(p.Goals, " ")}, {"controls", strings.Join(p.Controls, " ")}, {"state", p.State}, {"message", p.Message}, {"rollout", p.Rollout},
	} {
		if one.Value != "" {
			out.Properties = append(out.Properties, one)
		}
	}
	for _, ref := range p.About() {
		one := p.testcase(ref, found[ref])
		out.Tests++
		switch {
		case one.Failure != nil:
			out.Failures++
		case one.Error != nil:
			out.Errors++
		case one.Skipped != nil:
			out.Skipped++
		}
		out.Cases = append(out.Cases, one)
	}
	return out
}

// testcase is one outcome: the worst, with all that was found.
func (p *Policy) testcase(ref model.Reference, found []*Finding) *junitCase {
	out := &junitCase{Class: p.Binding, Name: ref.String()}
	var worst *Finding
	var text strings.Builder
	for _, f := range found {
		if worst == nil || rank(f) < rank(worst) {
			worst = f
		}
		text.WriteString(strings.TrimSpace(f.place()+" "+f.Reason+" "+f.Field) + "\n" + f.Message + "\nrule: " + f.Owner + "\nfix: " + f.Fix + "\n")
	}
	if worst == nil {
		if p.binding.StateOf(ref) == v1alpha1.StateUnknown {
			out.Skipped = &junitOutcome{Message: "it cannot be told"}
		}
		return out
	}
	out.File, out.Line = worst.File, worst.Line
	outcome := &junitOutcome{Message: p.unrefused(worst) + worst.Message, Type: worst.Reason, Text: text.String()}
	switch {
	case !worst.Refused:
		// The attribute type is one of failures and errors alone.
		outcome.Type = ""
		out.Skipped = outcome
	case worst.State == string(policy.Unknown):
		out.Error = outcome
	default:
		out.Failure = outcome
	}
	return out
}

// rank orders findings of one object: what decides its case first.
func rank(f *Finding) int {
	switch {
	case f.Refused && f.State == string(policy.Fail):
		return 0
	case f.Refused:
		return 1
	case f.State != string(policy.Exempt):
		return 2
	}
	return 3
}

// unrefused says why something is not refused; empty where it is.
func (p *Policy) unrefused(f *Finding) string {
	switch {
	case f.Refused:
		return ""
	case f.State == string(policy.Exempt):
		return "exempt until " + f.Expires + ": "
	case p.Mode == string(v1alpha1.ModeShadow):
		return "would be refused (Shadow): "
	case p.Mode == string(v1alpha1.ModeAudit):
		return "only reported (Audit): "
	case p.Tier == string(model.LayerDefault):
		return "not refused (a default): "
	}
	return "not refused: "
}
