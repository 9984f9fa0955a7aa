// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sight

import (
	"cmp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/report/assessment"
)

// Tree is what is seen of trees. A goal or a binding is in it that the viewer may read, or
// that is about an object of theirs.
func (s *Sight) Tree(nodes []*answer.Node) []*answer.Node {
	if s.Full() {
		return nodes
	}
	out := []*answer.Node{}
	for _, n := range nodes {
		if seen := s.node(n); seen != nil {
			out = append(out, seen)
		}
	}
	return out
}

// node is a goal or a binding.
func (s *Sight) node(n *answer.Node) *answer.Node {
	out := *n
	out.Below = nil
	for _, below := range n.Below {
		switch {
		case below.Kind == "ClusterPolicyBinding" || below.Kind == "PolicyBinding":
			if seen := s.node(below); seen != nil {
				out.Below = append(out.Below, seen)
			}
		case s.Named(below.Statement):
			out.Below = append(out.Below, below)
		default:
			out.Redacted = true
		}
	}
	if s.Named(n.Statement) {
		return &out
	}
	if len(out.Below) == 0 {
		return nil
	}
	out.Redacted, out.Says, out.State, out.Hits = true, n.Open, worst(out.Below), nil
	if n.Kind == "Goal" && out.State == "Met" && !slices.ContainsFunc(out.Below, func(b *answer.Node) bool { return b.Enforced }) {
		out.State, out.Says = "NotMet", n.Open+": "+notEnforced
	}
	return &out
}

// notEnforced is said of a goal that is kept from nobody, as posture.Goal.Verdict says it.
const notEnforced = "nothing that serves it is enforced"

// worst is how it stands with the objects that are seen, in the words of a binding.
func worst(nodes []*answer.Node) string {
	state := ""
	for _, n := range nodes {
		switch n.State {
		case "Failing", "NotMet":
			return "NotMet"
		case "Unknown":
			state = "Unknown"
		case "":
		default:
			if state == "" {
				state = "Met"
			}
		}
	}
	return state
}

// stands are the bindings that findings are of, and how it stands with those that are not met
// for all of them.
func stands(findings []assessment.Finding) (about map[string]bool, state map[string]string) {
	about, state = map[string]bool{}, map[string]string{}
	for i := range findings {
		f := &findings[i]
		about[f.Binding] = true
		switch {
		case f.State == string(policy.Fail):
			state[f.Binding] = "NotMet"
		case f.State == string(policy.Unknown) && state[f.Binding] == "":
			state[f.Binding] = "Unknown"
		}
	}
	return about, state
}

// Assessment is what is seen of a report.
func (s *Sight) Assessment(of *assessment.Assessment) *assessment.Assessment {
	if s.Full() {
		return of
	}
	out := *of
	out.Redacted, out.Applications = true, 0
	out.Findings, _ = kept(of.Findings, func(f *assessment.Finding) bool {
		return s.Object(f.Reference.Kind, f.Reference.Namespace)
	})
	out.Exempt, _ = kept(of.Exempt, func(e *assessment.Exception) bool { return s.Namespace(e.Namespace) })
	// How it stands with the viewer's own objects is theirs to know.
	about, own := stands(out.Findings)
	out.Policies, _ = kept(of.Policies, func(p *assessment.Policy) bool { return s.Named(p.Binding) || about[p.Binding] || s.holds(p) })
	bound, enforced := map[string]bool{}, map[string]bool{}
	for i := range out.Policies {
		p := &out.Policies[i]
		bound[p.Binding], enforced[p.Binding] = true, p.Mode == string(v1alpha1.ModeEnforce)
		if !s.Named(p.Binding) {
			p.Redacted, p.Counts, p.Hits, p.State, p.Message, p.Rollout = true, nil, nil, cmp.Or(own[p.Binding], "Met"), "", ""
		}
	}
	out.Goals, _ = kept(of.Goals, func(g *assessment.Goal) bool {
		return s.Goals || slices.ContainsFunc(g.Bindings, func(b string) bool { return bound[b] })
	})
	for i := range out.Goals {
		if g := &out.Goals[i]; !s.Goals {
			g.Redacted, g.Counts, g.Hits, g.Message, g.Owner = true, nil, nil, "", ""
			g.Bindings, _ = kept(g.Bindings, func(b *string) bool { return bound[*b] })
			if g.State = worstOf(g.Bindings, own); g.State == "Met" && !slices.ContainsFunc(g.Bindings, func(b string) bool { return enforced[b] }) {
				g.State, g.Message = "NotMet", notEnforced
			}
		}
	}
	return &out
}

// worstOf is how it stands with all bindings, by those with which it does not stand well.
func worstOf(bindings []string, own map[string]string) string {
	state := "Met"
	for _, b := range bindings {
		if own[b] == "NotMet" || own[b] == "Unknown" && state == "Met" {
			state = own[b]
		}
	}
	return state
}

// holds reports whether a binding is about an object that is seen.
func (s *Sight) holds(p *assessment.Policy) bool {
	for _, ref := range p.About() {
		if s.Object(ref.Kind, ref.Namespace) {
			return true
		}
	}
	return false
}

// Totals are the counts of the viewer's own Applications.
func (s *Sight) Totals(of []hits.Total) []hits.Total {
	if s.Everywhere {
		return of
	}
	out, _ := kept(of, func(t *hits.Total) bool { return t.Namespace != "" && s.Namespace(t.Namespace) })
	return out
}

// Samples are those that are seen of examples, which are of Totals.
func (s *Sight) Samples(of []hits.Sample) []hits.Sample {
	if s.Full() {
		return of
	}
	out := make([]hits.Sample, 0, len(of))
	for _, one := range of {
		if !s.Everywhere && (one.Namespace == "" || !s.Namespace(one.Namespace)) {
			continue
		}
		if !s.Named(one.Statement) {
			one.Field = ""
		}
		out = append(out, one)
	}
	return out
}

// Lines are the lines that are seen of those that could be hit.
func (s *Sight) Lines(of []hits.Line) []hits.Line {
	if s.Everywhere {
		return of
	}
	out, _ := kept(of, func(l *hits.Line) bool {
		return (l.Namespace == "" || s.Namespace(l.Namespace)) && s.Named(l.Statement) && s.name(l.Name)
	})
	return out
}

// name is that of a policy, with its kind, or of a goal, without.
func (s *Sight) name(name string) bool {
	if name != "" && !strings.Contains(name, " ") {
		return s.Goals
	}
	return s.Named(name)
}

// Counts are what is seen of counts that are kept apart, which are of Totals.
func (s *Sight) Counts(of *answer.Totals) *answer.Totals {
	if s.Full() {
		return of
	}
	out := *of
	out.Redacted = true
	out.Totals = slices.Clone(of.Totals)
	for i := range out.Totals {
		t := &out.Totals[i]
		if !s.Named(t.Statement) {
			t.Field = ""
		}
		if !s.Named(t.Object) {
			t.Object, t.Rule = "", -1
		}
	}
	return &out
}

// Hits are what is seen of counts, which are of Totals and Lines.
func (s *Sight) Hits(of *answer.Hits) *answer.Hits {
	if s.Full() {
		return of
	}
	out := *of
	out.Redacted = true
	out.Rows = slices.Clone(of.Rows)
	for i := range out.Rows {
		if r := &out.Rows[i]; !s.Named(r.Statement) {
			r.Field = ""
		}
	}
	return &out
}
