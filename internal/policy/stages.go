// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/rollout"
)

// part is what one version of a rollout does in the namespaces that it covers. All parts
// have the reference of their binding, so that exceptions and provenance know one.
type part int

const (
	// partHeld is the new version where it holds. It stands for the binding, also where
	// there is no rollout.
	partHeld part = iota
	// partFrom is the version that goes on where the new one does not hold yet.
	partFrom
	// partTried is the new version in Shadow, in the stage that is tried.
	partTried
	// partBefore is the old version where the new one holds: nobody is held to it, and it
	// tells what the new version refuses anew.
	partBefore
)

// Parts are the binding itself or, of a rollout, everything that objects are held to in its
// name: the new version where it holds, the old one elsewhere, and the new one where it is
// tried.
func (b *Binding) Parts() []*Binding {
	return slices.DeleteFunc(slices.Clone(b.parts), func(p *Binding) bool { return p.part == partBefore })
}

// Held reports whether objects are held to it in the name of its binding, or it is tried
// with them. What is not, compares versions and is nobody's to see.
func (b *Binding) Held() bool { return b.part != partBefore }

// bindStages makes the parts of a binding with a rollout.
func (s *Set) bindStages(b *Binding, object *v1alpha1.ClusterPolicyBinding) {
	spec := object.Spec.Rollout
	position := rollout.Of(object)
	s.Bindings = append(s.Bindings, b)
	// What is wrong with these breaks all parts, and is said of the binding as a whole.
	s.scope(b)
	s.readStages(b, spec)
	s.compareStatus(b, object)
	b.Rollout, b.part = &position, partHeld
	from := s.as(b, partFrom, b.Spec.Mode, spec.From)
	s.version(b, "spec.policy")
	b.parts = []*Binding{b}
	if spec.From != "" {
		s.version(from, "spec.rollout.from")
		b.parts = append(b.parts, from)
		if from.Broken == "" && !position.Complete() {
			b.parts = append(b.parts, s.as(from, partBefore, v1alpha1.ModeAudit, spec.From))
		}
	}
	tried := b.Spec.Mode
	if tried == v1alpha1.ModeEnforce {
		tried = v1alpha1.ModeShadow
	}
	b.parts = append(b.parts, s.as(b, partTried, tried, b.Spec.Policy.Version))
	for _, p := range b.parts {
		p.parts = b.parts
	}
}

// readStages reads the selectors of stages, and refuses what no API server would have let
// in: who asks a Set may not have asked one.
func (s *Set) readStages(b *Binding, spec *v1alpha1.PolicyRolloutSpec) {
	if spec.From == b.Spec.Policy.Version {
		s.brokenBinding(b, "spec.rollout.from", "RolloutInvalid", "the rollout goes from version "+spec.From+" to the same one",
			"name the version that held before, or take spec.rollout out")
	}
	if spec.Soak.Duration <= 0 {
		s.brokenBinding(b, "spec.rollout.soak", "RolloutInvalid", "stages of the rollout are tried for no time", "say for how long each stage is tried, such as 1h")
	}
	var known []v1alpha1.LabelName
	for i := range spec.Stages {
		stage, at := &spec.Stages[i], index("spec.rollout.stages", i)
		if stage.Name == rollout.Rest || slices.Contains(known, stage.Name) {
			s.brokenBinding(b, at+".name", "RolloutInvalid", "another stage of the rollout has the name "+string(stage.Name)+
				" (rest is the one of namespaces that no stage selects)", "give each stage a name of its own")
		}
		known = append(known, stage.Name)
		b.stages = append(b.stages, s.selector(b, at+".namespaces", &stage.Namespaces))
	}
}

// compareStatus warns where another version than that before the new one has come to hold: it
// is not what holds from now on.
func (s *Set) compareStatus(b *Binding, object *v1alpha1.ClusterPolicyBinding) {
	was := object.Status.Rollout
	if was == nil || len(was.Holds) == 0 || was.Version == b.Spec.Policy.Version || was.Version == object.Spec.Rollout.From {
		return
	}
	holds := "no version"
	if from := object.Spec.Rollout.From; from != "" {
		holds = "version " + from
	}
	s.warn(b.Origin, "spec.rollout.from", "RolloutFromAnother",
		fmt.Sprintf("version %s has come to hold in %s, and where the new one does not hold yet there is %s from now on", was.Version, strings.Join(was.Holds, ", "), holds),
		b.Ref.String(), "name there the version that holds now, unless another one is meant")
}

// as is the same binding as another one of its parts, with nothing asked of it yet.
func (s *Set) as(b *Binding, role part, mode v1alpha1.PolicyMode, version string) *Binding {
	out, spec := *b, *b.Spec
	spec.Mode, spec.Policy.Version = mode, version
	out.part, out.Spec = role, &spec
	out.asked = make(map[model.Reference]Outcome)
	return &out
}

// reaches reports whether a part of a rollout is about the stage of a namespace.
func (b *Binding) reaches(n model.Namespace) bool {
	if b.Rollout == nil {
		return true
	}
	stage := slices.IndexFunc(b.stages, func(l labels.Selector) bool { return l.Matches(labels.Set(n.Labels)) })
	if stage < 0 {
		stage = len(b.stages)
	}
	switch b.part {
	case partFrom:
		return stage >= b.Rollout.Holding
	case partTried:
		return stage == b.Rollout.Holding
	case partHeld, partBefore:
	}
	return stage < b.Rollout.Holding
}

// Troubles names what keeps the rollout of a binding from going on, each once and in the
// order of the judgements: subjects that the new version refuses, or would refuse where it
// is tried, and the version before does not; and the new version itself where it cannot be
// applied. What the old version refuses without being able to tell counts for nothing, nor
// do judgements in the name of other bindings.
func (b *Binding) Troubles(judgements []Judgement) []string {
	if b.Rollout == nil || b.Rollout.Complete() {
		return nil
	}
	var out []string
	if b.Broken != "" {
		out = append(out, b.Broken)
	}
	before := b.refusedBefore(judgements)
	known := map[string]bool{}
	for i := range judgements {
		j := &judgements[i]
		if j.Binding.Ref != b.Ref || !j.Binding.isNew() || !j.Failed() || j.Binding.Broken != "" {
			continue
		}
		// What was refused as a whole can lose nothing more.
		whole := place{object: j.Subject.Origin.Object}
		if j.Doubts && !slices.ContainsFunc(j.doubted(), func(p place) bool { return !before[p] }) {
			continue
		}
		if name := j.Subject.String(); !before[whole] && !before[place{whole.object, j.Subject.Origin.Field}] && !known[name] {
			known[name] = true
			out = append(out, name+" ("+j.Rule+")")
		}
	}
	return out
}

// isNew reports whether a part of a rollout is of its new version.
func (b *Binding) isNew() bool { return b.part == partHeld || b.part == partTried }

// place is where something was stated.
type place struct {
	object model.Reference
	field  string
}

// refusedBefore are the places of what the version before the new one refuses. What it
// asserts is not: that closes nothing, so that there is more to be lost.
func (b *Binding) refusedBefore(judgements []Judgement) map[place]bool {
	out := map[place]bool{}
	for i := range judgements {
		j := &judgements[i]
		if j.Binding.Ref != b.Ref || j.Binding.isNew() || !j.Failed() || j.Asserts || j.Binding.Broken != "" {
			continue
		}
		if !j.Doubts {
			out[place{j.Subject.Origin.Object, j.Subject.Origin.Field}] = true
			continue
		}
		for _, p := range j.doubted() {
			out[p] = true
		}
	}
	return out
}

// doubted are the places of callers that are kept away from an object in doubt. No field has
// such a name.
func (j *Judgement) doubted() (out []place) {
	for _, c := range j.Binding.contributions {
		if c != nil && c.Rule == j.Rule {
			for _, who := range c.Access.Doubts.Names {
				out = append(out, place{j.Subject.Origin.Object, "doubts " + who})
			}
		}
	}
	return out
}
