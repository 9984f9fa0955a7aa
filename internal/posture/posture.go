// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package posture sums up how it stands with goals and policies: what is held to what,
// what does not hold, and what is let go. Statuses, reports and trees are views of it. It
// is pure, and everything in it is in a fixed order.
package posture

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Posture is how everything stands at one moment.
type Posture struct {
	Goals []*Goal
	// Bindings are those of the cluster in order, and then those of namespaces.
	Bindings   []*Binding
	Exceptions []*policy.Exception
	// Applications is how many there are, also of those that no policy is about.
	Applications int

	about map[model.Reference][]Standing
}

// Goal is a goal and the bindings that serve it.
type Goal struct {
	Ref      model.Reference
	Goal     *v1alpha1.Goal
	Bindings []*Binding
	Rollup   v1alpha1.PolicyRollup
}

// Binding is a binding and what it found, or in a Standing one version of a rollout.
type Binding struct {
	*policy.Binding
	Rollup v1alpha1.PolicyRollup
	// Judgements are everything that is not as the policy has it, exempt ones included.
	Judgements []policy.Judgement
	// Contributions are what it adds.
	Contributions []*policy.Contribution
	// Troubles keep its rollout from going on.
	Troubles []string

	parts []*policy.Binding
}

// Standing is what one binding found of one object. Where a version is tried beside the one
// that holds there, each is a Standing of its own.
type Standing struct {
	Binding *Binding
	State   v1alpha1.PolicyState
}

// Of sums up an Outcome of a Snapshot.
func Of(s *model.Snapshot, outcome *compile.Outcome) *Posture {
	out := &Posture{Applications: len(s.Applications()), about: map[model.Reference][]Standing{}}
	if outcome.Policies == nil {
		return out
	}
	out.Exceptions = outcome.Policies.Exceptions
	asserted := judged(outcome)
	views := make(map[*policy.Binding][]*Binding)
	for _, b := range outcome.Policies.Bindings {
		out.Bindings = append(out.Bindings, out.binding(b, views))
	}
	// There may be many thousands, and mostly nothing is asserted: then nothing is copied.
	judgements := append(slices.Clip(outcome.Judgements), asserted...)
	for _, j := range judgements {
		for _, view := range views[j.Binding] {
			view.Judgements = append(view.Judgements, j)
		}
	}
	for _, c := range outcome.Contributions {
		for _, view := range views[c.Binding] {
			view.Contributions = append(view.Contributions, c)
		}
	}
	for _, b := range out.Bindings {
		if b.Rollout != nil {
			b.Troubles = b.Binding.Troubles(judgements)
		}
	}
	for _, g := range s.Policies().Goals {
		out.Goals = append(out.Goals, out.goal(s, g))
	}
	return out
}

// judged are the assertions that do not hold, or of which nobody knows it.
func judged(outcome *compile.Outcome) []policy.Judgement {
	var out []policy.Judgement
	for _, a := range outcome.Assertions {
		if j := a.Judge(); j.Outcome != policy.Pass {
			out = append(out, j)
		}
	}
	return out
}

// binding makes the view of a binding as a whole, and of each of its versions one for
// objects that it is about.
func (p *Posture) binding(b *policy.Binding, views map[*policy.Binding][]*Binding) *Binding {
	parts := b.Parts()
	whole := &Binding{Binding: b, Rollup: policy.Rollup(parts), parts: parts}
	for _, part := range parts {
		one := whole
		views[part] = []*Binding{whole}
		if b.Rollout != nil {
			only := []*policy.Binding{part}
			one = &Binding{Binding: part, Rollup: policy.Rollup(only), parts: only}
			views[part] = append(views[part], one)
		}
		for _, ref := range part.Objects() {
			found, _ := part.Asked(ref)
			p.about[ref] = append(p.about[ref], Standing{one, stateOf(found)})
		}
	}
	return whole
}

// Asserted are findings about Applications that are not as policies assert of them. They
// are warnings, as they close nothing; of the mode Audit there is none.
func (p *Posture) Asserted() []model.Finding {
	var out []model.Finding
	for _, b := range p.Bindings {
		for i := range b.Judgements {
			if j := &b.Judgements[i]; j.Asserts && !j.Silent() {
				out = append(out, model.Finding{
					Severity: model.SeverityWarning, Object: j.Subject.Origin.Object, Field: j.Field(), Reason: j.Reason(),
					Message: j.Message, Owner: j.Binding.String(), Fix: j.Fix(),
				})
			}
		}
	}
	return out
}

func (p *Posture) goal(s *model.Snapshot, g *v1alpha1.Goal) *Goal {
	out := &Goal{Ref: s.PolicyReference("Goal", "", g.Name), Goal: g}
	var serving []*policy.Binding
	for _, b := range p.Bindings {
		if slices.Contains(b.Goals, g) {
			out.Bindings = append(out.Bindings, b)
			serving = append(serving, b.parts...)
		}
	}
	out.Rollup = policy.Rollup(serving)
	return out
}

// About is what bindings found of an object, in order of the bindings.
func (p *Posture) About(ref model.Reference) []Standing { return p.about[ref] }

// Goal finds a goal by name, or returns nil.
func (p *Posture) Goal(name string) *Goal {
	i, ok := slices.BinarySearchFunc(p.Goals, name, func(g *Goal, name string) int { return strings.Compare(g.Goal.Name, name) })
	if !ok {
		return nil
	}
	return p.Goals[i]
}

// Only is the part of the posture that a goal is about, or nil where there is no such
// goal.
func (p *Posture) Only(goal string) *Posture {
	g := p.Goal(goal)
	if g == nil {
		return nil
	}
	out := &Posture{Goals: []*Goal{g}, Bindings: g.Bindings, Applications: p.Applications, about: p.about}
	for _, e := range p.Exceptions {
		if slices.ContainsFunc(g.Bindings, func(b *Binding) bool {
			return b.Ref.Kind == e.Spec.Binding.Kind && b.Ref.Name == string(e.Spec.Binding.Name) && (b.Ref.Namespace == "" || b.Ref.Namespace == e.Ref.Namespace)
		}) {
			out.Exceptions = append(out.Exceptions, e)
		}
	}
	return out
}

// Binding finds a binding by its reference, or returns nil.
func (p *Posture) Binding(ref model.Reference) *Binding {
	for _, b := range p.Bindings {
		if b.Ref == ref {
			return b
		}
	}
	return nil
}

func stateOf(o policy.Outcome) v1alpha1.PolicyState {
	switch o {
	case policy.Pass:
		return v1alpha1.StatePassing
	case policy.Exempt:
		return v1alpha1.StateExempt
	case policy.Fail:
		return v1alpha1.StateFailing
	case policy.Unknown:
	}
	return v1alpha1.StateUnknown
}

// Verdict is how it stands with a goal or a binding, as a word and a sentence.
type Verdict struct {
	// Known is false where it cannot be told, and then Met is false too.
	Met, Known      bool
	Reason, Message string
}

// Word is the state as one word: Met, NotMet, NoEffect or Unknown.
func (v Verdict) Word() string {
	switch {
	case v.Met:
		return "Met"
	case !v.Known:
		return "Unknown"
	case v.Reason == reasonNoEffect:
		return reasonNoEffect
	}
	return "NotMet"
}

// reasonNoEffect is that of what is about nothing.
const reasonNoEffect = "NoEffect"

// Objects are those that it is about, in order.
func (b *Binding) Objects() []model.Reference { return policy.Objects(b.parts) }

// StateOf is what the binding found of an object that it is about.
func (b *Binding) StateOf(ref model.Reference) v1alpha1.PolicyState {
	found, ok := policy.Asked(b.parts, ref)
	if !ok {
		return v1alpha1.StateUnknown
	}
	return stateOf(found)
}

// Verdict says whether a goal is met.
func (g *Goal) Verdict() Verdict {
	if len(g.Bindings) == 0 {
		return Verdict{Known: true, Reason: reasonNoEffect, Message: "no binding serves this goal, so nothing is held to it"}
	}
	v := verdict(g.Rollup)
	// What is only tried or looked at keeps nobody from anything, and what it would add is
	// not there.
	if v.Met && !slices.ContainsFunc(g.Bindings, func(b *Binding) bool { return b.Spec.Mode == v1alpha1.ModeEnforce }) {
		return Verdict{Known: true, Reason: "NotEnforced", Message: v.Message + "; nothing that serves the goal is enforced"}
	}
	return v
}

// Verdict says whether what a binding is about is as its policy has it.
func (b *Binding) Verdict() Verdict {
	for _, part := range b.parts {
		if part.Broken != "" {
			return Verdict{Reason: "PolicyBroken", Message: "the binding cannot be applied: " + part.Broken}
		}
	}
	return verdict(b.Rollup)
}
