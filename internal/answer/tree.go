// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// Node is one thing of the tree, with what is below it.
type Node struct {
	// Kind is Goal, Binding, a kind of object, or Rule.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// State is how it stands; empty for what has none of its own.
	State string `json:"state,omitempty"`
	// Says is a sentence about it.
	Says string `json:"says,omitempty"`
	// Hits is how often it was hit; nil where that is not known.
	Hits *Hit `json:"hits,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`

	// Open is what of Says is no secret of the object, and Statement how others name it:
	// "Application shop/cart".
	Open      string `json:"-"`
	Statement string `json:"-"`
	// Enforced says of a binding that its mode is Enforce.
	Enforced bool `json:"-"`

	Below []*Node `json:"below,omitempty"`
}

// Grow makes the trees of the goals with the names, or of everything.
func Grow(p *posture.Posture, outcome *compile.Outcome, goals ...string) ([]*Node, error) {
	made := posture.MadeBy(p, outcome)
	out := []*Node{}
	for _, name := range goals {
		g := p.Goal(name)
		if g == nil {
			return nil, fmt.Errorf("there is no Goal %s; trellis tree without a name shows all", name)
		}
		out = append(out, goalNode(g, made))
	}
	if len(goals) > 0 {
		return out, nil
	}
	for _, g := range p.Goals {
		out = append(out, goalNode(g, made))
	}
	for _, b := range p.Bindings {
		if len(b.Goals) == 0 {
			out = append(out, bindingNode(b, made))
		}
	}
	return out, nil
}

func goalNode(g *posture.Goal, made posture.Made) *Node {
	v := g.Verdict()
	out := &Node{Kind: "Goal", Name: g.Goal.Name, State: v.Word(), Says: "“" + g.Goal.Spec.Title + "”: " + v.Message,
		Open: "“" + g.Goal.Spec.Title + "”", Statement: g.Ref.String()}
	for _, b := range g.Bindings {
		out.Below = append(out.Below, bindingNode(b, made))
	}
	return out
}

func bindingNode(b *posture.Binding, made posture.Made) *Node {
	v := b.Verdict()
	name := b.Ref.Name
	if b.Ref.Namespace != "" {
		name = b.Ref.Namespace + "/" + name
	}
	out := &Node{
		Kind: b.Ref.Kind, Name: name, State: v.Word(),
		Open: fmt.Sprintf("%s %s, %s, %s", b.Spec.Policy.Name, b.Spec.Policy.Version, b.Origin.Layer, b.Spec.Mode), Statement: b.Ref.String(),
		Enforced: b.Spec.Mode == v1alpha1.ModeEnforce,
	}
	out.Says = out.Open + ": " + v.Message
	if b.Rollout != nil {
		out.Says += "; " + b.Rollout.String()
	}
	for _, ref := range b.Objects() {
		out.Below = append(out.Below, objectNode(b, ref, made))
	}
	return out
}

// objectNode is one that a binding is about: what of it is not as the policy has it, what the
// policy adds, and what was made for that.
func objectNode(b *posture.Binding, ref model.Reference, made posture.Made) *Node {
	out := &Node{Kind: ref.Kind, Name: strings.TrimPrefix(ref.String(), ref.Kind+" "), State: string(b.StateOf(ref)), Statement: ref.String()}
	var says []string
	for i := range b.Contributions {
		if c := b.Contributions[i]; c.Subject.Origin.Object == ref && c.Message != "" {
			says = append(says, c.Message)
		}
	}
	out.Says = strings.Join(says, "; ")
	for i := range b.Judgements {
		j := &b.Judgements[i]
		if j.Subject.Origin.Object == ref {
			kind := string(j.Subject.Sort)
			if j.Asserts {
				kind = "Assertion"
			}
			out.Below = append(out.Below, &Node{Kind: kind, Name: strings.TrimSpace(j.Rule + " " + j.Subject.Origin.Field), State: string(j.Outcome), Says: j.Message})
		}
	}
	var last *Node
	for _, rule := range made.Of(b.Ref, ref) {
		name := strings.TrimPrefix(rule.Object.String(), rule.Object.Kind+" ")
		if last == nil || last.Kind != rule.Object.Kind || last.Name != name {
			last = &Node{Kind: rule.Object.Kind, Name: name}
			if rule.Shadow {
				last.Says = "Istio's dry run: it counts what it would deny"
			}
			out.Below = append(out.Below, last)
		}
		if id := rule.ID(); id != "" {
			last.Below = append(last.Below, &Node{Kind: "Rule", Name: id})
		}
	}
	return out
}
