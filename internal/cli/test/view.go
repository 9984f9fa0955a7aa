// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/trial"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// View is what came of the tests, as JSON and YAML have it. Fields are added and
// never change their meaning.
type View struct {
	Tests   []Test  `json:"tests"`
	Summary Summary `json:"summary"`
}

// Summary counts tests.
type Summary struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Unknown int `json:"unknown"`
	// Exempt counts assertions that would fail and are let go.
	Exempt int `json:"exempt,omitempty"`
	// NotEnforced counts those that would fail, or cannot be told, of policies that refuse
	// nothing.
	NotEnforced int `json:"notEnforced,omitempty"`
}

// Test is one test that was run.
type Test struct {
	Name string `json:"name"`
	// Of is the object or file that states it, Field its place there, Source its
	// line.
	Of     string `json:"of"`
	Field  string `json:"field"`
	Source string `json:"source,omitempty"`
	// Status is Passed, Failed or Unknown; of an assertion also Exempt or NotEnforced.
	Status string `json:"status"`
	// Says is why it did not pass, or why there was nothing to ask.
	Says string `json:"says,omitempty"`
	// Answer is that of the request which it hangs on.
	Answer *answer.Answer `json:"answer,omitempty"`
	// Policy is whose assertion it is; nil for a test.
	Policy *Policy `json:"policy,omitempty"`
}

// Policy is what asserts something.
type Policy struct {
	// Binding is the object, and Owner the same with its policy, its goals and whom to ask.
	Binding  string `json:"binding"`
	Owner    string `json:"owner"`
	Template string `json:"template"`
	// Message is what is wrong where the assertion does not hold, and Fix what to do.
	Message   string `json:"message"`
	Fix       string `json:"fix,omitempty"`
	Exception string `json:"exception,omitempty"`
	// Mode and Tier are those of the binding.
	Mode string `json:"mode"`
	Tier string `json:"tier"`
}

const (
	statusExempt      = "Exempt"
	statusNotEnforced = "NotEnforced"
)

// assertion adds whose assertion it is, and lets go what an exception does.
func (t *Test) assertion(r *trial.Result) {
	a := r.Assertion
	r.Tell()
	j := a.Judge()
	t.Policy = &Policy{Binding: a.Binding.Ref.String(), Owner: a.Binding.String(), Template: a.Binding.Template.Name, Message: a.Wrong}
	t.Policy.Mode, t.Policy.Tier = string(a.Binding.Spec.Mode), string(a.Binding.Origin.Layer)
	if j.Outcome != policy.Pass {
		t.Policy.Fix = j.Fix()
	}
	if j.Exception != nil {
		t.Status, t.Policy.Exception = statusExempt, j.Exception.Ref.String()
	} else if j.Failed() && !a.Binding.Closes() {
		t.Status = statusNotEnforced
	}
}

func (v *View) add(w *ask.World, r trial.Result) {
	one := Test{Name: r.Name, Of: r.Of, Field: r.Field, Source: r.Source, Status: string(r.Status), Says: r.Says}
	if r.Answer != nil {
		one.Answer = answer.Of(w, r.Request, r.Answer)
	}
	if r.Assertion != nil {
		one.assertion(&r)
	}
	switch one.Status {
	case string(trial.Passed):
		v.Summary.Passed++
	case string(trial.Failed):
		v.Summary.Failed++
	case string(trial.Unknown):
		v.Summary.Unknown++
	case statusExempt:
		v.Summary.Exempt++
	case statusNotEnforced:
		v.Summary.NotEnforced++
	}
	v.Tests = append(v.Tests, one)
}

// text shows what did not pass, with the witness and the statement that decided.
func (v *View) text(w io.Writer, colour, verbose bool) error {
	var b strings.Builder
	for i := range v.Tests {
		t := &v.Tests[i]
		if t.Status == string(trial.Passed) && !verbose {
			continue
		}
		tint, reset := "", ""
		if colour {
			tint, reset = map[string]string{"Passed": "\x1b[32m", "Failed": "\x1b[31m", "Unknown": "\x1b[33m", statusExempt: "\x1b[33m", statusNotEnforced: "\x1b[33m"}[t.Status], "\x1b[0m"
		}
		where := t.Source
		if where == "" {
			where = t.Of
		}
		fmt.Fprintf(&b, "%s%s%s: %s (%s %s)\n", tint, t.word(), reset, output.Printable(t.Name), output.Printable(where), t.Field)
		if t.Status == string(trial.Passed) {
			if t.Says != "" {
				fmt.Fprintf(&b, "  %s\n", output.Printable(t.Says))
			}
			continue
		}
		fmt.Fprintf(&b, "  %s\n", output.Printable(t.Says))
		for _, line := range t.details() {
			fmt.Fprintf(&b, "  %s\n", output.Printable(line))
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d not known", v.Summary.Passed, v.Summary.Failed, v.Summary.Unknown)
	if v.Summary.Exempt > 0 {
		fmt.Fprintf(&b, ", %d let go", v.Summary.Exempt)
	}
	if v.Summary.NotEnforced > 0 {
		fmt.Fprintf(&b, ", %d not enforced", v.Summary.NotEnforced)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// word is the status as people say it.
func (t *Test) word() string {
	if t.Status == statusNotEnforced {
		return "not enforced"
	}
	return strings.ToLower(t.Status)
}

// details are the witness and the statement.
func (t *Test) details() []string {
	if t.Answer == nil {
		return t.Policy.lines()
	}
	r := t.Answer.Request
	out := []string{fmt.Sprintf("request: %s %s from %s", r.Method, r.URL, r.From), "why:     " + t.Answer.Why}
	if t.Answer.Decided != nil {
		out = append(out, "by:      "+t.Answer.Decided.String())
	}
	return append(out, t.Policy.lines()...)
}

// lines say whose assertion it is and what to do; none for a test.
func (p *Policy) lines() []string {
	if p == nil {
		return nil
	}
	out := []string{"wrong:   " + p.Message, "rule:    " + p.Owner}
	if p.Exception != "" {
		return append(out, "let go:  by "+p.Exception+"; "+p.Fix)
	}
	if p.Mode != string(v1alpha1.ModeEnforce) {
		out = append(out, "mode:    "+p.Mode+", which refuses nothing")
	}
	return append(out, "fix:     "+p.Fix)
}

type suites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Suite    suite    `xml:"testsuite"`
}

type suite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []suiteCase `xml:"testcase"`
}

type suiteCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Failure *failure `xml:"failure,omitempty"`
	Skipped *failure `xml:"skipped,omitempty"`
}

type failure struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// junit writes one case for each test. What is not known fails, as it does not
// pass. What an exception or the mode of a policy lets go is skipped, so that it is seen.
func (v *View) junit(w io.Writer) error {
	out := suite{Name: "trellis test", Tests: len(v.Tests), Failures: v.Summary.Failed + v.Summary.Unknown, Skipped: v.Summary.Exempt + v.Summary.NotEnforced}
	for i := range v.Tests {
		t := &v.Tests[i]
		one := suiteCase{Class: t.Of, Name: t.Name}
		text := strings.Join(append([]string{t.Source + " " + t.Field}, t.details()...), "\n")
		switch t.Status {
		case string(trial.Passed):
		case statusExempt, statusNotEnforced:
			one.Skipped = &failure{Message: t.word() + ": " + t.Says, Text: text}
		default:
			one.Failure = &failure{Type: t.Status, Message: t.Says, Text: text}
		}
		out.Cases = append(out.Cases, one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suites{Tests: out.Tests, Failures: out.Failures, Skipped: out.Skipped, Suite: out}); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}
