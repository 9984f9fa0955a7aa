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

	"github.com/google/uuid"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/model"
)

// space is the namespace of our UUIDs (RFC 9562, version 5).
var space = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("trellis.dev"))

func id(parts ...string) string {
	return uuid.NewSHA1(space, []byte(strings.Join(parts, "\x00"))).String()
}

// oscal makes one document.
type oscal struct {
	a *Assessment
	// at is the moment, and digest stands for all that the assessment says: equal ones
	// have equal UUIDs, and others, as of two clusters at one moment, do not.
	at, digest string
	result     oscalResult
	// controls are what each control is about, by its name.
	controls map[string]*oscalEvidence
	objects  map[model.Reference]bool
}

// oscalEvidence is what is known of one control.
type oscalEvidence struct {
	policies     []*Policy
	observations []string
	risks        []string
}

// OSCAL writes assessment results: an observation for each goal, each binding and each
// finding of it, a risk for each exception, and for each control that a policy or goal
// names what that means for it.
func OSCAL(w io.Writer, a *Assessment) error {
	whole, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding the assessment: %w", err)
	}
	o := &oscal{a: a, at: a.At.Format(time.RFC3339), digest: id(string(whole)), controls: map[string]*oscalEvidence{}, objects: map[model.Reference]bool{}}
	o.result = oscalResult{
		UUID: o.id("result"), Title: "Policies of the mesh", Start: o.at, End: o.at,
		Description: "What Trellis found when it evaluated every policy that is bound, on the statements that are in force.",
	}
	for i := range a.Policies {
		o.policy(&a.Policies[i])
	}
	for i := range a.Goals {
		o.goal(&a.Goals[i])
	}
	for i := range a.Exempt {
		o.exception(&a.Exempt[i])
	}
	o.conclude()
	plan := o.id("plan")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(oscalDocument{oscalResults{
		UUID:     o.id("document"),
		Metadata: oscalMetadata{Title: "Trellis policy assessment", LastModified: o.at, Version: cmp.Or(a.Version, "unknown"), OSCAL: "1.1.3"},
		Import:   oscalLink{Href: "#" + plan},
		Results:  []oscalResult{o.result},
		Back: oscalBack{[]oscalResource{{
			UUID: plan, Title: "No assessment plan", Description: "There is no plan: every policy is evaluated at every change.",
		}}},
	}})
}

// id is one that belongs to this assessment alone.
func (o *oscal) id(parts ...string) string { return id(append(parts, o.digest)...) }

func (o *oscal) control(name string) *oscalEvidence {
	if o.controls[name] == nil {
		o.controls[name] = &oscalEvidence{}
	}
	return o.controls[name]
}

// policy observes a binding, and each thing that is not as it has it.
func (o *oscal) policy(p *Policy) {
	whole := oscalObservation{
		UUID: o.id("binding", p.Binding), Title: p.Binding, Methods: []string{"TEST"}, Types: []string{"control-objective"}, Collected: o.at,
		Description: p.Policy + " " + p.Version + " (" + p.Tier + ", " + p.Mode + "): " + p.Message,
		Props: properties("policy", p.Policy, "version", p.Version, "tier", p.Tier, "mode", p.Mode, "severity", p.Severity, "state", p.State,
			"goals", strings.Join(p.Goals, " ")),
	}
	whole.Props = append(append(whole.Props, counts(p.Counts)...), traffics(p.Hits)...)
	for _, ref := range p.About() {
		whole.Subjects = append(whole.Subjects, o.subject(ref))
	}
	seen := []string{whole.UUID}
	o.result.Observations = append(o.result.Observations, whole)
	for i := range o.a.Findings {
		f := &o.a.Findings[i]
		if f.Binding != p.Binding {
			continue
		}
		one := oscalObservation{
			UUID: o.id("finding", p.Binding, strconv.Itoa(i)), Title: strings.TrimSpace(f.State + ": " + f.Object + " " + f.Field), Methods: []string{"TEST"}, Types: []string{"finding"},
			Description: f.Message, Collected: o.at, Subjects: []oscalSubject{o.subject(f.Reference)},
			Props: properties("binding", f.Binding, "rule", f.Rule, "state", f.State, "severity", f.Severity, "refused", strconv.FormatBool(f.Refused),
				"field", f.Field, "place", f.place(), "exception", f.Exception, "expires", f.Expires),
			Remarks: f.Fix,
		}
		o.result.Observations = append(o.result.Observations, one)
		seen = append(seen, one.UUID)
	}
	for _, c := range p.Controls {
		about := o.control(c)
		about.policies = append(about.policies, p)
		about.observations = append(about.observations, seen...)
	}
}

// goal observes how it stands with a goal, and links the bindings that serve it.
func (o *oscal) goal(g *Goal) {
	one := oscalObservation{
		UUID: o.id("goal", g.Name), Title: "Goal " + g.Name + ": " + g.Title, Methods: []string{"TEST"}, Types: []string{"control-objective"}, Collected: o.at,
		Description: g.State + ": " + g.Message, Props: append(append(properties("goal", g.Name, "owner", g.Owner, "state", g.State, "applications", o.a.coverage(g.Counts)), counts(g.Counts)...), traffics(g.Hits)...),
	}
	for _, b := range g.Bindings {
		one.Links = append(one.Links, oscalReference{"#" + o.id("binding", b), "served-by"})
	}
	o.result.Observations = append(o.result.Observations, one)
	for _, c := range g.Controls {
		about := o.control(c)
		about.observations = append(about.observations, one.UUID)
	}
}

// exception is a risk that somebody takes, or asks for.
func (o *oscal) exception(e *Exception) {
	name := e.Namespace + "/" + e.Name
	risk := oscalRisk{
		UUID: o.id("exception", name), Title: "PolicyException " + name, Statement: e.Reason, Status: "deviation-approved", Deadline: e.Expires,
		Description: "from " + e.Binding + "; lets go: " + cmp.Or(strings.Join(e.Exempts, ", "), "nothing"),
		Props:       properties("approved-by", e.ApprovedBy, "in-force", strconv.FormatBool(e.InForce)),
	}
	if !e.InForce {
		risk.Description += "; not in force: " + e.Why
	}
	switch {
	case !e.InForce && e.ApprovedBy == "":
		risk.Status = "deviation-requested"
	case !e.InForce:
		risk.Status = "open"
	}
	for i := range o.a.Policies {
		p := &o.a.Policies[i]
		if p.Binding != e.Binding {
			continue
		}
		risk.Related = []oscalRelated{{o.id("binding", p.Binding)}}
		for _, c := range p.Controls {
			about := o.control(c)
			about.risks = append(about.risks, risk.UUID)
		}
	}
	o.result.Risks = append(o.result.Risks, risk)
}

// subject notes an object among those that there are. It keeps its UUID for ever.
func (o *oscal) subject(ref model.Reference) oscalSubject {
	out := oscalSubject{UUID: id("object", ref.Cluster, ref.Group, ref.String()), Type: "inventory-item", Title: ref.String()}
	if !o.objects[ref] {
		o.objects[ref] = true
		if o.result.Local == nil {
			o.result.Local = &oscalLocal{}
		}
		o.result.Local.Items = append(o.result.Local.Items, oscalItem{out.UUID, ref.String()})
	}
	return out
}

// conclude says for each control what was found.
func (o *oscal) conclude() {
	names := make([]string, 0, len(o.controls))
	for name := range o.controls {
		names = append(names, name)
	}
	slices.Sort(names)
	selections := []oscalSelection{}
	for _, name := range names {
		catalog, _, _ := strings.Cut(name, ":")
		if len(selections) == 0 || selections[len(selections)-1].Description != catalog {
			selections = append(selections, oscalSelection{Description: catalog})
		}
		last := &selections[len(selections)-1]
		last.Include = append(last.Include, oscalControl{controlID(name)})
		o.result.Findings = append(o.result.Findings, o.finding(name, o.controls[name]))
	}
	if len(selections) == 0 {
		selections = append(selections, oscalSelection{All: &struct{}{}})
	}
	o.result.Reviewed.Selections = selections
}

func (o *oscal) finding(control string, about *oscalEvidence) oscalFinding {
	out := oscalFinding{UUID: o.id("control", control), Title: control, Target: oscalTarget{Type: "objective-id", ID: controlID(control)}}
	if nist(control) {
		// What NIST's catalog calls the objective of a control.
		out.Target.ID += "_obj"
	}
	status := &out.Target.Status
	status.State, status.Reason, status.Remarks = "satisfied", "pass", "as far as the policies go that are bound"
	var said []string
	for _, p := range about.policies {
		said = append(said, p.Binding+": "+p.Message)
		switch {
		// What is not enforced shows nothing of what is in force.
		case p.State == "Met" && p.Mode == string(v1alpha1.ModeEnforce):
			if p.Counts != nil && p.Counts.Exempt > 0 && status.Reason == "pass" {
				status.Reason, status.Remarks = "other", "exceptions let something go"
			}
		case p.State == "NotMet" || p.State == "Met":
			status.State, status.Reason, status.Remarks = "not-satisfied", "fail", "something is not as a policy has it, or the policy is not enforced"
		case status.Reason != "fail":
			status.State, status.Reason, status.Remarks = "not-satisfied", "other", "it cannot be told, or a policy is about nothing"
		}
	}
	if len(about.policies) == 0 {
		said = append(said, "only a goal names it, and no policy is bound for it")
		status.State, status.Reason, status.Remarks = "not-satisfied", "other", "no policy is bound for it"
	}
	out.Description = strings.Join(said, "\n")
	for _, observation := range about.observations {
		out.Related = append(out.Related, oscalRelated{observation})
	}
	for _, risk := range about.risks {
		out.Risks = append(out.Risks, oscalRelatedRisk{risk})
	}
	return out
}

func nist(control string) bool { return strings.HasPrefix(control, "nist-800-53") }

// controlID is how OSCAL's catalogs name a control. Those of NIST 800-53 are in lower case,
// with a dot before the enhancement. Others have no catalog in OSCAL that everybody knows:
// theirs begin with the name of the catalog, in signs that a token of OSCAL may have.
func controlID(c string) string {
	if _, name, _ := strings.Cut(c, ":"); nist(c) {
		return strings.NewReplacer("(", ".", ")", "").Replace(strings.ToLower(name))
	}
	id := strings.NewReplacer(":", "_", "(", ".", ")", "").Replace(c)
	if id[0] >= '0' && id[0] <= '9' {
		return "_" + id
	}
	return id
}

// properties are those that have a value, of names and values in turn.
func properties(of ...string) []oscalProp {
	var out []oscalProp
	for i := 0; i < len(of); i += 2 {
		if value := strings.Join(strings.Fields(of[i+1]), " "); value != "" {
			out = append(out, oscalProp{of[i], "https://trellis.dev/ns/oscal", value})
		}
	}
	return out
}

// counts are how many objects pass and do not.
func counts(c *v1alpha1.PolicyRollup) []oscalProp {
	if c == nil {
		return nil
	}
	return properties("passing", number(c.Passing), "failing", number(c.Failing), "exempt", number(c.Exempt), "unknown", number(c.Unknown))
}

// traffics are what became of requests.
func traffics(h *answer.Hit) []oscalProp {
	n := numbers(h)
	return properties("allowed", n[0], "denied", n[1], "would-deny", n[2], "failed", n[3], "last-hit", n[4])
}
