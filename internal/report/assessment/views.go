// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package assessment

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
)

// Text is for people: goals first, then what does not hold and what to do, then what is
// let go and until when.
func Text(w io.Writer, a *Assessment, colour bool) error {
	var b strings.Builder
	for i := range a.Goals {
		g := &a.Goals[i]
		line(&b, "%s: goal %s “%s”: %s", strings.ToLower(words(g.State)), g.Name, g.Title, g.Message+prefixed("; about ", a.coverage(g.Counts), " Applications")+traffic("; ", g.Hits))
	}
	for i := range a.Policies {
		p := &a.Policies[i]
		message := p.Message
		if p.Rollout != "" {
			message += "; " + p.Rollout
		}
		line(&b, "%s: %s (%s %s, %s, %s): %s", strings.ToLower(words(p.State)), p.Binding, p.Policy, p.Version, p.Tier, p.Mode, message+traffic("; ", p.Hits))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if err := report.Findings(w, a.findings(), colour); err != nil {
		return err
	}
	b.Reset()
	for i := range a.Exempt {
		e := &a.Exempt[i]
		state := "in force until " + e.Expires + ", approved by " + e.ApprovedBy
		if !e.InForce {
			state = "not in force: " + e.Why
		}
		line(&b, "exception %s/%s of %s: %s (%s)", e.Namespace, e.Name, e.Binding, state, e.Reason)
	}
	line(&b, "%s, %s and %s not let go", report.Count(len(a.Goals), "goal"), report.Count(len(a.Policies), "binding"), report.Count(a.Failing(), "finding"))
	_, err := io.WriteString(w, b.String())
	return err
}

// line writes one, in which names of strangers cannot begin another.
func line(b *strings.Builder, format string, arguments ...any) {
	b.WriteString(report.Printable(fmt.Sprintf(format, arguments...)) + "\n")
}

// coverage is how many Applications something is about, of how many; empty where that is not
// known.
func (a *Assessment) coverage(c *v1alpha1.PolicyRollup) string {
	if c == nil || a.Applications == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d", c.Applications, a.Applications)
}

// prefixed puts something before and behind a text that is not empty.
func prefixed(before, text, behind string) string {
	if text == "" {
		return ""
	}
	return before + text + behind
}

// traffic says behind a separator what became of requests; empty where that is not known.
func traffic(separator string, h *answer.Hit) string {
	if h == nil {
		return ""
	}
	return separator + h.String()
}

// words writes a state as people say it.
func words(state string) string {
	switch state {
	case "NotMet":
		return "not met"
	case "NoEffect":
		return "no effect"
	}
	return state
}

// findings are those of the report on documents, so that one printer writes both.
func (a *Assessment) findings() []model.Finding {
	out := make([]model.Finding, 0, len(a.Findings))
	for i := range a.Findings {
		f := &a.Findings[i]
		severity := model.SeverityWarning
		if f.Refused {
			severity = model.SeverityError
		}
		out = append(out, model.Finding{
			Severity: severity, Object: f.Reference, Field: f.Field, Position: model.Position{File: f.File, Line: f.Line},
			Reason: f.Reason, Message: f.Message, Owner: f.Owner, Fix: f.Fix,
		})
	}
	return out
}

// SARIF writes a SARIF 2.1.0 log with one result for each finding, and a rule for each rule
// of a policy. What an exception lets go is suppressed.
func SARIF(w io.Writer, a *Assessment) error {
	policies := a.byBinding()
	reasons := map[string]string{}
	for i := range a.Exempt {
		e := &a.Exempt[i]
		reasons[e.Namespace+"/"+e.Name] = e.Reason + " (until " + e.Expires + ", approved by " + e.ApprovedBy + ")"
	}
	var rules []report.Rule
	findings := a.findings()
	results := make([]report.Result, 0, len(findings))
	for i := range a.Findings {
		f := &a.Findings[i]
		rule := policies[f.Binding].rule(f.Rule)
		rules = append(rules, rule)
		results = append(results, report.Result{
			Finding: &findings[i], Rule: rule.ID, Identity: []string{f.Binding, f.Rule, f.Reference.Group, f.Object, f.Field}, Accepted: reasons[f.Exception],
		})
	}
	return report.Results(w, a.Version, rules, results)
}

// byBinding are the policies by the names of their bindings.
func (a *Assessment) byBinding() map[string]*Policy {
	out := make(map[string]*Policy, len(a.Policies))
	for i := range a.Policies {
		out[a.Policies[i].Binding] = &a.Policies[i]
	}
	return out
}

// rule is one of the policy for code hosts; without a name it is the policy itself, which
// cannot be applied.
func (p *Policy) rule(name string) report.Rule {
	out := report.Rule{ID: p.Policy, Title: cmp.Or(p.Title, "Policy "+p.Policy+" can be applied"), Severity: p.Severity, Tags: p.Controls, Link: string(p.remediation.Link)}
	if name != "" {
		out.ID += "/" + name
	}
	out.Description = cmp.Or(strings.TrimSpace(p.description), out.Title)
	out.Help = cmp.Or(p.remediation.Text, "Ask for the binding to be mended.")
	return out
}

// JSON writes all that there is.
func JSON(w io.Writer, a *Assessment) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(a)
}

// YAML writes the same as JSON.
func YAML(w io.Writer, a *Assessment) error {
	text, err := yaml.Marshal(a)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// counted reports whether there are hits of anything.
func (a *Assessment) counted() bool {
	return slices.ContainsFunc(a.Goals, func(g Goal) bool { return g.Hits != nil }) || slices.ContainsFunc(a.Policies, func(p Policy) bool { return p.Hits != nil })
}

// numbers are the cells of hits; empty ones where they are not known.
func numbers(h *answer.Hit) []string {
	if h == nil {
		return make([]string, 5)
	}
	last := ""
	if h.Last != nil {
		last = h.Last.Format(time.RFC3339)
	}
	text := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return []string{text(h.Allowed), text(h.Denied), text(h.WouldDeny), text(h.Failed), last}
}

// Markdown writes tables, for a page or for a comment on a change.
func Markdown(w io.Writer, a *Assessment) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Policies at %s\n", a.At.Format(time.RFC3339))
	counted := a.counted()
	table(&b, "Goals", a.titles("Goal", "State", "Applications", "Passing", "Failing", "Exempt", "Unknown", "Owner", "Controls"), len(a.Goals), func(i int) []string {
		g := &a.Goals[i]
		cells := []string{g.Title, words(g.State), a.coverage(g.Counts), number(g.Counts.Passing), number(g.Counts.Failing), number(g.Counts.Exempt), number(g.Counts.Unknown), g.Owner, strings.Join(g.Controls, ", ")}
		return withTraffic(cells, g.Hits, counted)
	})
	table(&b, "Policies", a.titles("Binding", "Policy", "Tier", "Mode", "State", "Passing", "Failing", "Exempt", "Unknown"), len(a.Policies), func(i int) []string {
		p := &a.Policies[i]
		cells := []string{p.Binding, p.Policy + " " + p.Version, p.Tier, p.Mode, words(p.State), number(p.Counts.Passing), number(p.Counts.Failing), number(p.Counts.Exempt), number(p.Counts.Unknown)}
		return withTraffic(cells, p.Hits, counted)
	})
	table(&b, "Findings", []string{"State", "Severity", "Object", "Where", "What", "Whose", "What to do"}, len(a.Findings), func(i int) []string {
		f := &a.Findings[i]
		return []string{f.State, f.Severity, strings.TrimSpace(f.Object + " " + f.Field), f.place(), f.Message, f.Owner, f.Fix}
	})
	table(&b, "Exceptions", []string{"Exception", "Binding", "Expires", "Approved by", "State", "Reason"}, len(a.Exempt), func(i int) []string {
		e := &a.Exempt[i]
		state := "in force"
		if !e.InForce {
			state = e.Why
		}
		return []string{e.Namespace + "/" + e.Name, e.Binding, e.Expires, e.ApprovedBy, state, e.Reason}
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// titles are those of columns, with one for traffic where there are hits.
func (a *Assessment) titles(of ...string) []string {
	if a.counted() {
		return append(of, "Traffic")
	}
	return of
}

func withTraffic(cells []string, h *answer.Hit, counted bool) []string {
	if counted {
		return append(cells, traffic("", h))
	}
	return cells
}

func number(n int32) string { return strconv.Itoa(int(n)) }
