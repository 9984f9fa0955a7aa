// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package assessment writes how it stands with goals and policies, for people, for
// spreadsheets, for pipelines and for auditors. It decides nothing, and what it writes
// depends on its input alone.
package assessment

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// Assessment is how it stands at a moment.
type Assessment struct {
	// At is that moment.
	At time.Time `json:"at"`
	// Applications is how many there are in all, of which the counts of goals and policies
	// are about some; absent where whoever asks may not read all.
	Applications int         `json:"applications,omitempty"`
	Goals        []Goal      `json:"goals"`
	Policies     []Policy    `json:"policies"`
	Findings     []Finding   `json:"findings"`
	Exempt       []Exception `json:"exceptions"`
	// Counted says what the hits are of; absent where nobody asked for them.
	Counted *answer.Counted `json:"counted,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`

	// Version is that of Trellis.
	Version string `json:"-"`
}

// Goal is one goal and how far it is met.
type Goal struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Owner    string   `json:"owner"`
	Controls []string `json:"controls,omitempty"`
	State    string   `json:"state"`
	Message  string   `json:"message"`
	Bindings []string `json:"bindings,omitempty"`
	// Counts is nil where whoever asks may not read the goal.
	Counts *v1alpha1.PolicyRollup `json:"counts,omitempty"`
	// Hits is how often rules were hit that stand for it; absent where that is not known.
	Hits *answer.Hit `json:"hits,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}

// Policy is one binding.
type Policy struct {
	Binding  string   `json:"binding"`
	Policy   string   `json:"policy"`
	Version  string   `json:"version"`
	Title    string   `json:"title,omitempty"`
	Severity string   `json:"severity,omitempty"`
	Tier     string   `json:"tier"`
	Mode     string   `json:"mode"`
	Goals    []string `json:"goals,omitempty"`
	Controls []string `json:"controls,omitempty"`
	State    string   `json:"state"`
	Message  string   `json:"message"`
	// Rollout is how far the version has come; empty where it holds everywhere at once.
	Rollout string `json:"rollout,omitempty"`
	// Counts is nil where whoever asks may not read the binding.
	Counts *v1alpha1.PolicyRollup `json:"counts,omitempty"`
	// Hits is how often rules were hit that stand for it; absent where that is not known.
	Hits *answer.Hit `json:"hits,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`

	binding *posture.Binding
	// description and remediation are those of its template.
	description string
	remediation v1alpha1.Remediation
}

// About are the objects that the binding is about, in order.
func (p *Policy) About() []model.Reference { return p.binding.Objects() }

// Finding is one thing that is not as a policy has it.
type Finding struct {
	Binding   string `json:"binding"`
	Rule      string `json:"rule,omitempty"`
	Severity  string `json:"severity,omitempty"`
	State     string `json:"state"`
	Object    string `json:"object"`
	Field     string `json:"field,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Message   string `json:"message"`
	Owner     string `json:"owner"`
	Fix       string `json:"fix,omitempty"`
	Exception string `json:"exception,omitempty"`
	Expires   string `json:"expires,omitempty"`

	// Reference is the object, and Reason that of the finding at it. Refused is true where
	// something is closed, or does not come into force.
	Reference model.Reference `json:"-"`
	Reason    string          `json:"-"`
	Refused   bool            `json:"-"`
}

// Exception is one that lets something go, or would.
type Exception struct {
	Name       string   `json:"name"`
	Namespace  string   `json:"namespace"`
	Binding    string   `json:"binding"`
	Reason     string   `json:"reason"`
	Expires    string   `json:"expires"`
	ApprovedBy string   `json:"approvedBy,omitempty"`
	InForce    bool     `json:"inForce"`
	Why        string   `json:"why,omitempty"`
	Exempts    []string `json:"exempts,omitempty"`
}

// Of is the assessment of a posture. Positions finds the lines of files.
func Of(p *posture.Posture, at time.Time, version string, positions func(model.Reference, string) model.Position) *Assessment {
	out := &Assessment{
		At: at.UTC(), Version: version, Applications: p.Applications,
		Goals: []Goal{}, Policies: []Policy{}, Findings: []Finding{}, Exempt: []Exception{},
	}
	for _, g := range p.Goals {
		v := g.Verdict()
		one := Goal{
			Name: g.Goal.Name, Title: g.Goal.Spec.Title, Owner: g.Goal.Spec.Owner, Controls: texts(g.Goal.Spec.Controls),
			State: v.Word(), Message: v.Message, Counts: &g.Rollup,
		}
		for _, b := range g.Bindings {
			one.Bindings = append(one.Bindings, b.Ref.String())
		}
		out.Goals = append(out.Goals, one)
	}
	for _, b := range p.Bindings {
		out.Policies = append(out.Policies, policyOf(b))
		for i := range b.Judgements {
			out.Findings = append(out.Findings, findingOf(&b.Judgements[i], positions))
		}
	}
	for _, e := range p.Exceptions {
		out.Exempt = append(out.Exempt, exceptionOf(e))
	}
	slices.SortStableFunc(out.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Binding, b.Binding), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

// Count notes how often rules were hit that stand for goals and bindings. Totals are of a
// time of which something is known.
func (a *Assessment) Count(totals []hits.Total, bound []*policy.Binding) {
	goals, policies := answer.NamedHits(hits.Goals, totals, bound), answer.NamedHits(hits.Policies, totals, bound)
	for i := range a.Goals {
		g := &a.Goals[i]
		g.Hits = cmp.Or(goals[g.Name], &answer.Hit{})
	}
	for i := range a.Policies {
		p := &a.Policies[i]
		p.Hits = cmp.Or(policies[p.Binding], &answer.Hit{})
	}
}

// order puts what fails first, and what is severe before what is not.
func order(f Finding) int {
	states := []string{string(policy.Fail), string(policy.Unknown), string(policy.Exempt)}
	severities := []string{string(v1alpha1.SeverityCritical), string(v1alpha1.SeverityHigh), string(v1alpha1.SeverityMedium), string(v1alpha1.SeverityLow)}
	return slices.Index(states, f.State)*10 + slices.Index(severities, f.Severity)
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = string(v)
	}
	return out
}

func policyOf(b *posture.Binding) Policy {
	v := b.Verdict()
	out := Policy{
		Binding: b.Ref.String(), Policy: string(b.Spec.Policy.Name), Version: b.Spec.Policy.Version,
		Tier: string(b.Origin.Layer), Mode: string(b.Spec.Mode), Goals: texts(b.Spec.Goals), State: v.Word(), Message: v.Message, Counts: &b.Rollup,
		binding: b,
	}
	if b.Rollout != nil {
		out.Rollout = b.Rollout.String()
	}
	if t := b.Template; t != nil {
		out.Title, out.Severity, out.Controls = t.Spec.Title, string(t.Spec.Severity), texts(t.Spec.Controls)
		out.description, out.remediation = t.Spec.Description, t.Spec.Remediation
	}
	for _, g := range b.Goals {
		out.Controls = append(out.Controls, texts(g.Spec.Controls)...)
	}
	slices.Sort(out.Controls)
	out.Controls = slices.Compact(out.Controls)
	return out
}

func findingOf(j *policy.Judgement, positions func(model.Reference, string) model.Position) Finding {
	out := Finding{
		Binding: j.Binding.Ref.String(), Rule: j.Rule, State: string(j.Outcome), Object: j.Subject.Origin.Object.String(), Field: j.Field(),
		Message: j.Message, Owner: j.Binding.String(), Fix: j.Fix(), Reference: j.Subject.Origin.Object, Reason: j.Reason(),
		Refused: j.Severity() == model.SeverityError,
	}
	if t := j.Binding.Template; t != nil {
		out.Severity = string(t.Spec.Severity)
	}
	if positions != nil {
		at := positions(j.Subject.Origin.Object, out.Field)
		out.File, out.Line = at.File, at.Line
	}
	if e := j.Exception; e != nil {
		out.Exception, out.Expires = e.Ref.Namespace+"/"+e.Ref.Name, e.Spec.Expires.UTC().Format(time.RFC3339)
	}
	return out
}

func exceptionOf(e *policy.Exception) Exception {
	out := Exception{
		Name: e.Ref.Name, Namespace: e.Ref.Namespace, Binding: bindingOf(e), Reason: e.Spec.Reason,
		Expires: e.Spec.Expires.UTC().Format(time.RFC3339), InForce: e.InForce(), Why: e.Why, Exempts: e.Exempts,
	}
	if e.Spec.Approval != nil {
		out.ApprovedBy = e.Spec.Approval.By
	}
	return out
}

// bindingOf is the name of the binding as everything else in an assessment has it: an
// exception is from one of the cluster, or of its own namespace.
func bindingOf(e *policy.Exception) string {
	ref := model.Reference{Kind: e.Spec.Binding.Kind, Name: string(e.Spec.Binding.Name)}
	if ref.Kind == "PolicyBinding" {
		ref.Namespace = e.Ref.Namespace
	}
	return ref.String()
}

// Failing is how many findings are not let go.
func (a *Assessment) Failing() int {
	n := 0
	for i := range a.Findings {
		if a.Findings[i].State != string(policy.Exempt) {
			n++
		}
	}
	return n
}

// Good reports whether every goal is met, every policy can be applied, and nothing is found
// that is not let go.
func (a *Assessment) Good() bool {
	return a.Failing() == 0 &&
		!slices.ContainsFunc(a.Goals, func(g Goal) bool { return g.State != "Met" }) &&
		!slices.ContainsFunc(a.Policies, func(p Policy) bool { return p.State == "Unknown" })
}

// View writes an assessment.
type View func(w io.Writer, a *Assessment) error

// Views are the formats, by name.
func Views(colour bool) map[string]View {
	return map[string]View{
		"text":     func(w io.Writer, a *Assessment) error { return Text(w, a, colour) },
		"json":     JSON,
		"yaml":     YAML,
		"sarif":    SARIF,
		"junit":    JUnit,
		"markdown": Markdown,
		"csv":      CSV,
		"oscal":    OSCAL,
	}
}

// Formats are the names of the views, as help texts list them.
var Formats = []string{"text", "json", "yaml", "sarif", "junit", "markdown", "csv", "oscal"}
