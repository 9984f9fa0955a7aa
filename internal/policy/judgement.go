// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// Outcome is what a rule says of a subject.
type Outcome string

// The outcomes.
const (
	Pass Outcome = "Pass"
	Fail Outcome = "Fail"
	// Exempt would fail, and an exception lets it go.
	Exempt Outcome = "Exempt"
	// Unknown could not be evaluated. It is treated as Fail.
	Unknown Outcome = "Unknown"
)

// Subject is what rules are asked of.
type Subject struct {
	Sort v1alpha1.PolicySubject
	// Origin is where it was stated.
	Origin    model.Origin
	Namespace string
	// Application, Route and SecureIngress are names by which exceptions know it; those
	// that do not apply are empty.
	Application, Route, SecureIngress string
	// Labels are those of the Application.
	Labels map[string]string
}

// String names it as a person would.
func (s Subject) String() string {
	if s.Origin.Field == "" {
		return s.Origin.Object.String()
	}
	return s.Origin.Object.String() + " " + s.Origin.Field
}

// Reasons of findings about assertions.
const (
	ReasonAssertionFailed   = "PolicyAssertionFailed"
	ReasonAssertionNotKnown = "PolicyAssertionNotKnown"
)

// Judgement is what one rule of one binding says of one subject.
type Judgement struct {
	Binding *Binding
	Rule    string
	Subject Subject
	Outcome Outcome
	// Exception lets it go; nil where the outcome is not Exempt.
	Exception *Exception
	// Message says what is wrong, or for a contribution what it adds.
	Message string
	// Unheld is true where no proxy holds the subject to it, so that nothing is closed.
	Unheld bool
	// Asserts is true of that of an assertion, which closes nothing.
	Asserts bool
	// Doubts is true where callers are kept away since it cannot be told whether the rule means
	// them. Nothing else is closed.
	Doubts bool

	// fix is what to do where the policy does not say it.
	fix   string
	field string
}

// Failed reports whether the subject is not as the rule has it, and is not let go.
func (j Judgement) Failed() bool { return j.Outcome == Fail || j.Outcome == Unknown }

// Closes reports whether the subject must be closed.
func (j Judgement) Closes() bool {
	return j.Failed() && j.Binding.Closes() && !j.Asserts && !j.Doubts
}

// Silent reports whether nothing is to be said of it at the subject.
func (j Judgement) Silent() bool {
	return j.Outcome == Pass || j.Binding.Spec.Mode == v1alpha1.ModeAudit
}

// Severity is that of the finding at the subject.
func (j Judgement) Severity() model.Severity {
	if j.Closes() || j.Asserts && j.Outcome == Fail && j.Binding.Closes() {
		return model.SeverityError
	}
	return model.SeverityWarning
}

// Reason is that of the finding at the subject.
func (j Judgement) Reason() string {
	switch {
	case j.Outcome == Exempt:
		return "PolicyExempt"
	case j.Asserts && j.Outcome == Unknown:
		return ReasonAssertionNotKnown
	case j.Binding.Spec.Mode != v1alpha1.ModeEnforce:
		return "PolicyWouldRefuse"
	case !j.Binding.Mandatory:
		return "PolicyDefault"
	case j.Asserts:
		return ReasonAssertionFailed
	case j.Binding.Broken != "" || j.Outcome == Unknown:
		return "PolicyBroken"
	}
	return "PolicyViolated"
}

// Field is the field that is to be changed.
func (j Judgement) Field() string {
	return strings.Trim(j.Subject.Origin.Field+"."+j.field, ".")
}

// Fix says what to do.
func (j Judgement) Fix() string {
	if j.Outcome == Exempt {
		return "meet the policy before " + j.Exception.Spec.Expires.UTC().Format("2006-01-02") + ", when " + j.Exception.Ref.String() + " expires"
	}
	if j.fix != "" {
		return j.fix
	}
	t := j.Binding.Template
	if t == nil || j.Binding.Broken != "" {
		return "ask for the binding to be mended: " + j.Binding.Ref.String()
	}
	if j.Outcome == Unknown {
		return "ask for a version of the policy without the mistake: PolicyTemplate " + t.Name
	}
	return j.Binding.Remediation()
}

// Remediation is what its policy says to do where it does not hold; empty without a
// template.
func (b *Binding) Remediation() string {
	if b.Template == nil {
		return ""
	}
	r := b.Template.Spec.Remediation
	if r.Link != "" {
		return r.Text + " (" + string(r.Link) + ")"
	}
	return r.Text
}

// judge asks everything that is bound of a subject, and returns what does not hold.
func (s *Set) judge(of Subject, facts expression.Facts) []Judgement {
	var out []Judgement
	for _, b := range s.bindingsOf(of.Namespace) {
		if !b.selects(of) || b.Broken != "" {
			continue
		}
		for _, c := range b.compiled.constraints[of.Sort] {
			if j := s.judgeOne(b, c, of, b.facts(facts)); j.Outcome != Pass {
				b.record(of.Origin.Object, j.Outcome)
				out = append(out, j)
			}
		}
	}
	return out
}

// selects reports whether a binding about the namespace is about the subject: labels of
// Applications choose among these and what is in them, and nothing else.
func (b *Binding) selects(of Subject) bool {
	if of.Application == "" {
		return true
	}
	return b.applications.Matches(labels.Set(of.Labels))
}

func (s *Set) judgeOne(b *Binding, c constraint, of Subject, facts expression.Facts) Judgement {
	j := Judgement{Binding: b, Rule: string(c.spec.Name), Subject: of, Outcome: Pass, field: c.spec.Field}
	if c.of != nil {
		applies, err := c.of.Bool(facts)
		if err == nil && !applies {
			return j
		}
		if err != nil {
			return s.exempt(j.unknown("when", err, again(c.of, facts)))
		}
	}
	holds, err := c.expression.Bool(facts)
	switch {
	case err != nil:
		j = j.unknown("expression", err, again(c.expression, facts))
	case !holds:
		j.Outcome, j.Message = Fail, c.spec.Message
	}
	return s.exempt(j)
}

// again evaluates a condition with other parameters.
func again(of *expression.Program, facts expression.Facts) func(expression.Value) error {
	return func(params expression.Value) error {
		_, err := of.Bool(facts.Anew(params))
		return err
	}
}

// unknown is for what cannot be evaluated.
func (j Judgement) unknown(part string, err error, again func(expression.Value) error) Judgement {
	found := j.Binding.mistaken(j.Rule, part, err, again)
	j.Outcome, j.fix = Unknown, found.fix
	j.Message = "whether rule " + j.Rule + " holds cannot be told: " + found.says
	return j
}

// exempt looks for an exception where a rule does not hold.
func (s *Set) exempt(j Judgement) Judgement {
	if !j.Failed() {
		return j
	}
	if e := s.exemption(j.Binding, v1alpha1.LabelName(j.Rule), j.Subject); e != nil {
		if j.Binding.part != partBefore {
			e.exempts(j.Subject)
		}
		j.Outcome, j.Exception = Exempt, e
		j.Message += "; " + e.Ref.String() + " lets it go until " + e.Spec.Expires.UTC().Format("2006-01-02") + " (" + e.Spec.Reason + ")"
	}
	return j
}
