// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/access"
	"github.com/trellis-mesh/trellis/internal/policy/bounds"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
	"github.com/trellis-mesh/trellis/internal/policy/hosts"
)

// Contribution is what one rule adds to a subject. The outcome of its Judgement is Pass
// where it holds, Exempt where an exception keeps it away, and Unknown where it could not
// be evaluated; then it has no effect of its own, and its subject is closed.
type Contribution struct {
	Judgement
	// Access is nil where it is not about callers.
	Access *access.Access
	// MutualTLS makes workloads take nothing else.
	MutualTLS bool
	// Authentication makes routes ask for a token, those of which Asks is true.
	Authentication bool
	// Scopes that a token must have.
	Scopes []string
	// Maximum and Fallback bound how long routes may take; zero where they say nothing.
	Maximum, Fallback time.Duration
	// MinimumVersion of TLS at gateways; empty where it says nothing.
	MinimumVersion v1alpha1.TLSVersion
	// Retries is how often a request is repeated at the most; nil where it says nothing.
	Retries *int64
	// Egress is nil where it is not about hosts outside of the mesh.
	Egress *hosts.List

	when *expression.Program
}

// Holds reports whether it is in force.
func (c *Contribution) Holds() bool {
	return c.Outcome == Pass && c.Binding.Spec.Mode == v1alpha1.ModeEnforce
}

// Shadowed reports whether it would be in force and is only tried.
func (c *Contribution) Shadowed() bool {
	return c.Outcome == Pass && c.Binding.Spec.Mode == v1alpha1.ModeShadow
}

// Closes reports whether its subject must be closed, since it is not known what would be
// added.
func (c *Contribution) Closes() bool { return c.Outcome == Unknown && c.Binding.Closes() }

// Contributions are what is added to the Application, in order of the bindings and of
// their templates.
func (a *Application) Contributions() []*Contribution {
	var out []*Contribution
	of := a.subject(v1alpha1.SubjectApplication, a.origin)
	for _, b := range a.bound {
		if b.Broken != "" {
			continue
		}
		for i := range b.compiled.contributions {
			if b.compiled.contributions[i].spec.TLS == nil {
				out = append(out, a.set.contribute(b, i, of))
			}
		}
	}
	return out
}

// IngressContributions are what is added to a SecureIngress.
func (s *Set) IngressContributions(in *v1alpha1.SecureIngress, origin model.Origin) []*Contribution {
	var out []*Contribution
	for _, b := range s.bindingsOf(in.Namespace) {
		if b.Broken != "" {
			continue
		}
		for i := range b.compiled.contributions {
			if b.compiled.contributions[i].spec.TLS != nil {
				out = append(out, s.contribute(b, i, ingressSubject(in, origin)))
			}
		}
	}
	return out
}

func (s *Set) contribute(b *Binding, i int, of Subject) *Contribution {
	out := *s.contributed(b, i)
	out.Subject = of
	out.Judgement = s.kept(out.Judgement)
	b.record(of.Origin.Object, out.Outcome)
	return &out
}

// contributed is what a contribution of a binding adds to any subject, but for exceptions:
// its expressions read parameters and namespaces of callers, and nothing of the subject.
func (s *Set) contributed(b *Binding, i int) *Contribution {
	if b.contributions == nil {
		b.contributions = make([]*Contribution, len(b.compiled.contributions))
	}
	if known := b.contributions[i]; known != nil {
		return known
	}
	one := &b.compiled.contributions[i]
	out := &Contribution{Judgement: Judgement{Binding: b, Rule: string(one.spec.Name), Outcome: Pass}, when: one.when}
	facts := b.facts(expression.Facts{})
	if err := s.evaluate(out, one, facts); err != nil {
		out.Judgement = out.unknown("expression", err, func(params expression.Value) error {
			return s.evaluate(&Contribution{Judgement: out.Judgement}, one, facts.Anew(params))
		})
	} else if out.Access != nil && out.Access.Doubts.Err != nil {
		d := &out.Access.Doubts
		found := b.mistaken(out.Rule, "expression", d.Err, d.Again)
		d.Says, d.Fix = found.says, found.fix
	}
	b.contributions[i] = out
	return out
}

// answer is whom an expression of a binding means, which is asked with all those of its
// namespace: they have some cost together.
func (s *Set) answer(b *Binding, of *expression.Program) *access.Answer {
	if b.answers != nil {
		return b.answers[of]
	}
	together, whose, units := []*Binding{b}, "", uint64(0)
	if b.budget != nil {
		together = slices.DeleteFunc(slices.Clone(s.Bindings), func(o *Binding) bool { return o.namespace != b.namespace || o.Broken != "" })
		whose, units = ofNamespace(b.namespace), expression.SmallCostLimit
	}
	var questions []access.Question
	for _, o := range together {
		questions = append(questions, o.compiled.questions(o.facts(expression.Facts{}))...)
	}
	answers := s.callers.Ask(whose, units, questions)
	for _, o := range together {
		o.answers = make(map[*expression.Program]*access.Answer)
		for range o.compiled.questions(expression.Facts{}) {
			o.answers[questions[0].Of] = answers[0]
			questions, answers = questions[1:], answers[1:]
		}
	}
	return b.answers[of]
}

// questions are all that a template asks of callers.
func (p *programs) questions(facts expression.Facts) []access.Question {
	var out []access.Question
	for i := range p.contributions {
		if c := &p.contributions[i]; c.from != nil || c.calling != nil {
			out = append(out, access.Question{Of: cmp.Or(c.from, c.calling), ByApplication: c.calling != nil, Facts: facts})
		}
	}
	for i := range p.assertions {
		if from := p.assertions[i].from; from != nil {
			out = append(out, access.Question{Of: from, Facts: facts})
		}
	}
	return out
}

// kept looks for an exception that keeps a contribution away from its subject.
func (s *Set) kept(j Judgement) Judgement {
	if j.Failed() {
		return s.exempt(j)
	}
	if e := s.exemption(j.Binding, v1alpha1.LabelName(j.Rule), j.Subject); e != nil {
		if j.Binding.part != partBefore {
			e.exempts(j.Subject)
		}
		j.Outcome, j.Exception = Exempt, e
		j.Message = "policy " + string(j.Binding.Spec.Policy.Name) + " " + j.Message + ", but " + e.Ref.String() + " keeps it away until " +
			e.Spec.Expires.UTC().Format("2006-01-02") + " (" + e.Spec.Reason + ")"
	}
	return j
}

// evaluate fills in what a contribution adds.
func (s *Set) evaluate(out *Contribution, one *contribution, facts expression.Facts) error {
	var err error
	switch spec := one.spec; {
	case spec.DenyAccess != nil, spec.RestrictAccess != nil:
		out.Access = s.answer(out.Binding, cmp.Or(one.from, one.calling)).Access(spec.RestrictAccess != nil)
		out.Message = out.Access.String()
	case spec.MutualTLS != nil:
		out.MutualTLS, out.Message = true, "takes mutual TLS alone"
	case spec.Authentication != nil:
		out.Authentication, out.Message = true, "asks for a token"
		if one.scopes != nil {
			if out.Scopes, err = one.scopes.Texts(facts); err == nil {
				out.Scopes, err = bounds.Scopes(out.Scopes)
			}
			if len(out.Scopes) > 0 {
				out.Message += " with " + strings.Join(out.Scopes, ", ")
			}
		}
	case spec.Timeout != nil:
		return out.timeout(one, facts)
	case spec.TLS != nil:
		return out.minimum(one, facts)
	case spec.Egress != nil:
		return out.egress(one, facts)
	case spec.Retries != nil:
		return out.retries(one, facts)
	}
	return err
}

func (c *Contribution) timeout(one *contribution, facts expression.Facts) error {
	var err error
	var words []string
	if one.maximum != nil {
		if c.Maximum, err = one.maximum.Duration(facts); err != nil {
			return err
		}
		words = append(words, "gives routes "+c.Maximum.String()+" at the most")
	}
	if one.fallback != nil {
		if c.Fallback, err = one.fallback.Duration(facts); err != nil {
			return err
		}
		words = append(words, "gives "+c.Fallback.String()+" to routes that say nothing")
	}
	if err := bounds.Timeouts(c.Maximum, c.Fallback); err != nil {
		return err
	}
	c.Message = strings.Join(words, " and ")
	return nil
}

func (c *Contribution) retries(one *contribution, facts expression.Facts) error {
	n, err := one.retries.Whole(facts)
	if err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("%d is negative, and requests are repeated no time or more", n)
	}
	c.Retries = &n
	switch n {
	case 0:
		c.Message = "repeats no request that fails"
	case 1:
		c.Message = "repeats a request that fails once at the most"
	default:
		c.Message = fmt.Sprintf("repeats a request that fails %d times at the most", n)
	}
	return nil
}

func (c *Contribution) minimum(one *contribution, facts expression.Facts) error {
	text, err := one.minimumVersion.Text(facts)
	if err != nil {
		return err
	}
	c.MinimumVersion = v1alpha1.TLSVersion(text)
	if c.MinimumVersion != v1alpha1.TLSv12 && c.MinimumVersion != v1alpha1.TLSv13 {
		return fmt.Errorf("%q is neither TLSv1_2 nor TLSv1_3", text)
	}
	c.Message = "takes " + text + " at the least"
	return nil
}

// About reports whether a contribution that holds for the Application is about one of its
// routes, and what comes of it there: Pass, Unknown where that cannot be told, or Exempt by
// an exception for the route. Conditions read what was stated, and not what other policies
// make of it: so no policy can take away what another one asks for.
func (a *Application) About(c *Contribution, stated Route) (Judgement, bool) {
	j := c.Judgement
	j.Subject = a.subject(v1alpha1.SubjectRoute, stated.Origin)
	j.Subject.Route = stated.Name
	if c.when != nil {
		facts := c.Binding.facts(a.routeFacts(stated))
		asks, err := c.when.Bool(facts)
		if err == nil && !asks {
			return j, false
		}
		if err != nil {
			j = j.unknown("when", err, again(c.when, facts))
		}
	}
	return j, true
}

// Kept is a judgement of About where the route would be changed, or nobody knows whether:
// an exception for the route may keep the contribution away.
func (a *Application) Kept(j Judgement) Judgement {
	j = a.set.kept(j)
	j.Binding.record(a.origin.Object, j.Outcome)
	return j
}

// Exceeds is the judgement of what a contribution asks for where that, with all that others
// ask for, is more than can be held.
func (a *Application) Exceeds(j Judgement, why string) Judgement {
	j.Outcome = Unknown
	j.Message = "rule " + j.Rule + " cannot be held: " + why
	j.fix = "let policies ask for less, or unbind some of them"
	j = a.set.exempt(j)
	j.Binding.record(a.origin.Object, j.Outcome)
	return j
}

// KeepsAway is the judgement of a caller that a contribution about access refuses.
func (a *Application) KeepsAway(c *Contribution, caller *v1alpha1.Caller, origin model.Origin) Judgement {
	j := c.Judgement
	j.Outcome = Fail
	j.Subject.Origin, j.Subject.Sort = origin, v1alpha1.SubjectCaller
	j.Message = fmt.Sprintf("caller %s is %s, and a policy %s", caller.Name, c.Access.Seen(&caller.Peer), c.Message)
	if c.Access.Doubted(&caller.Peer) {
		j.Outcome, j.fix = Unknown, c.Access.Doubts.Fix
		j.Message = fmt.Sprintf("caller %s is %s, of which rule %s cannot tell whether it is meant: %s", caller.Name, c.Access.Seen(&caller.Peer), j.Rule, c.Access.Doubts.Says)
	}
	j.Binding.record(a.origin.Object, j.Outcome)
	return j
}

// Doubts is the judgement of an Application where it is not known of some callers whether a
// contribution about access means them; false where it is. These are kept away, and nothing
// else is closed.
func (a *Application) Doubts(c *Contribution) (Judgement, bool) {
	j := c.Judgement
	if len(c.Access.Doubts.Names) == 0 {
		return j, false
	}
	j.Doubts, j.Outcome, j.fix = true, Unknown, c.Access.Doubts.Fix
	j.Message = fmt.Sprintf("rule %s cannot tell whether it means %s: %s; requests from there are denied", j.Rule, c.Access.InDoubt(), c.Access.Doubts.Says)
	if c.Binding.Spec.Mode != v1alpha1.ModeEnforce {
		j.Message += " where it is enforced"
	}
	j.Binding.record(a.origin.Object, j.Outcome)
	return j, true
}
