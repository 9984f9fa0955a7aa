// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package inforce

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// Gates are what policies assert of present statements before these come into force: the
// digests of the questions, by the UIDs of Applications. They are those of Mandatory
// bindings in Enforce that no exception lets go.
type Gates map[types.UID][]string

// GatesOf finds the gates of everything that is stated. Nil: there is none.
func GatesOf(in model.Input) Gates {
	if !slices.ContainsFunc(in.Policies.Templates, func(t *v1alpha1.PolicyTemplate) bool { return len(t.Spec.Assertions) > 0 }) {
		return nil
	}
	for policies := policy.Compile(model.NewSnapshot(in)); policies.Asserts(); policies = policies.Again() {
		if out := gatesBy(policies, in); !policies.Overspent() {
			return out
		}
	}
	return nil
}

func gatesBy(policies *policy.Set, in model.Input) Gates {
	out := Gates{}
	for _, a := range in.Applications {
		origin := model.Origin{Object: model.Reference{
			Cluster: in.Mesh.Cluster, Group: v1alpha1.GroupName, Kind: "Application", Namespace: a.Namespace, Name: a.Name,
		}}
		held := policies.Application(a, origin)
		if held == nil {
			continue
		}
		for _, one := range held.Assertions() {
			if one.Holds() {
				out[a.UID] = append(out[a.UID], one.Digest())
			}
		}
	}
	return out
}

// Waiting are the gates that statements wait at. While nobody asks their questions a
// statement does not wait for somebody who may never come, unless its status says that it
// has failed.
func Waiting(in model.Input, silence Silence) Gates {
	gates := GatesOf(in)
	if silence.Reason == "" || silence.Initial {
		return gates
	}
	out := Gates{}
	for _, a := range in.Applications {
		accepted := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionAccepted)
		if accepted != nil && accepted.ObservedGeneration == a.Generation && accepted.Reason == ReasonTestsFailed && len(gates[a.UID]) > 0 {
			out[a.UID] = gates[a.UID]
		}
	}
	return out
}

// Tell tells assertions what came of them. Of a statement that is not in force yet it is
// told as well: whoever looks at the policy must see that something waits for it. Silence
// is why nothing is known.
func Tell(asserted []*policy.Assertion, standing map[types.UID]*Standing, silence Silence) {
	if len(asserted) == 0 || standing == nil {
		return
	}
	byName := make(map[model.Name]*Standing, len(standing))
	for _, s := range standing {
		byName[model.Name{Namespace: s.Application.Namespace, Name: s.Application.Name}] = s
	}
	for _, a := range asserted {
		if s := byName[model.Name{Namespace: a.Subject.Namespace, Name: a.Subject.Application}]; s != nil {
			a.Answer = s.answer(a, silence)
		}
	}
}

func (s *Standing) answer(of *policy.Assertion, silence Silence) *policy.Answer {
	out := &policy.Answer{Outcome: policy.Unknown, Says: "it has not been asked yet"}
	if s.Verdict == nil {
		if silence.Reason != "" {
			out.Says = silence.Message
		}
		return out
	}
	if a := s.asked(of); a != nil {
		out.Says, out.Ask = a.Says, a.Ask
		switch a.State {
		case verdict.Passed:
			out.Outcome = policy.Pass
		case verdict.Failed:
			out.Outcome = policy.Fail
		case verdict.Unknown:
		}
		if !s.Present() && out.Outcome != policy.Pass {
			out.Says = fmt.Sprintf("%s; %s", out.Says, s.Says())
		}
	}
	return out
}

// asked is what was asked for an assertion, or nil. Of a statement that is not in force the
// question may be another one, which its rule names. Two versions of a policy may have a
// rule of that name: then it is the one that does not hold, so that none hides another.
func (s *Standing) asked(of *policy.Assertion) *verdict.Assertion {
	digest, binding := of.Digest(), of.Binding.Ref.String()
	var named *verdict.Assertion
	for i := range s.Verdict.Assertions {
		switch a := &s.Verdict.Assertions[i]; {
		case a.Of == digest:
			return a
		case s.Present() || a.Binding != binding || a.Rule != of.Rule:
		case named == nil || named.State == verdict.Passed || a.State == verdict.Failed:
			named = a
		}
	}
	return named
}
