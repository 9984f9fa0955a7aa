// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// worse orders outcomes: what is worse hides what is better.
var worse = []Outcome{Pass, Exempt, Unknown, Fail}

// record notes what was found of an object.
func (b *Binding) record(of model.Reference, outcome Outcome) {
	if known, ok := b.asked[of]; !ok || slices.Index(worse, outcome) > slices.Index(worse, known) {
		b.asked[of] = outcome
	}
}

// Asked is what the binding found of an object, and whether it is about it.
func (b *Binding) Asked(of model.Reference) (Outcome, bool) {
	outcome, ok := b.asked[of]
	return outcome, ok
}

// Objects are those that the binding is about, in order.
func (b *Binding) Objects() []model.Reference { return Objects([]*Binding{b}) }

// Objects are those that any of the bindings is about, in order.
func Objects(bindings []*Binding) []model.Reference {
	var out []model.Reference
	for _, b := range bindings {
		out = slices.Grow(out, len(b.asked))
		for ref := range b.asked {
			out = append(out, ref)
		}
	}
	slices.SortFunc(out, model.Reference.Compare)
	return slices.Compact(out)
}

// Asked is the worst that any of the bindings found of an object, and whether one of them is
// about it.
func Asked(bindings []*Binding, of model.Reference) (worst Outcome, ok bool) {
	for _, b := range bindings {
		if found, asked := b.asked[of]; asked {
			if !ok || slices.Index(worse, found) > slices.Index(worse, worst) {
				worst = found
			}
			ok = true
		}
	}
	return worst, ok
}

// Rollup counts the objects that bindings are about, each once by the worst that any of
// them found.
func Rollup(bindings []*Binding) v1alpha1.PolicyRollup {
	all := &Binding{asked: map[model.Reference]Outcome{}}
	for _, b := range bindings {
		for ref, outcome := range b.asked {
			all.record(ref, outcome)
		}
	}
	var out v1alpha1.PolicyRollup
	for ref, outcome := range all.asked {
		if ref.Kind == "Application" {
			out.Applications++
		}
		switch outcome {
		case Pass:
			out.Passing++
		case Exempt:
			out.Exempt++
		case Fail:
			out.Failing++
		case Unknown:
			out.Unknown++
		}
	}
	return out
}
