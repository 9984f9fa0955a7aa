// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"slices"
)

// A mass change deletes or changes more than guardShare of a zone's record sets
// that are ours, if they are guardFrom or more, or all of them at guardAll names
// or more. Fewer names cannot tell a mistake from a move.
const (
	guardShare = 0.30
	guardFrom  = 10
	guardAll   = 3
)

// census is what a mass change is measured by.
type census struct {
	owned int
	names map[Name]bool
	// hurt is how many record sets are deleted or changed, here or in what waits
	// for somebody's word since earlier.
	hurt  int
	here  []*task
	steps []string
}

// guard stops mass changes that nobody has confirmed, and lets everything else
// pass: what creates hurts nobody.
func (r *run) guard(z Zone, todo []*task) []*task {
	c := r.count(z, todo)
	share := c.owned >= guardFrom && float64(c.hurt) > guardShare*float64(c.owned)
	all := c.hurt >= c.owned && len(c.names) >= guardAll
	if len(c.here) == 0 || !share && !all {
		return todo
	}
	token := digest(z.ID, c.steps)
	if slices.Contains(r.o.Confirmed, token) {
		for _, s := range c.steps {
			r.account.approved[s] = true
		}
		return todo
	}
	for _, t := range c.here {
		o := &r.out[t.i]
		o.Steps, o.Confirm, o.NextTry = t.plan.Steps, token, r.now.Add(lastBackoff)
		r.fail(t.i, fmt.Errorf("%w: %d of %d record sets of ours in %s; the token is %s", errMassChange, c.hurt, c.owned, z.Name, token))
		if m := r.account.memory[wishOf(r.wanted[t.i])]; m != nil {
			m.had, m.hurt = t.plan.Had, len(hurts(t.plan))
		}
	}
	return slices.DeleteFunc(todo, func(t *task) bool { return slices.Contains(c.here, t) })
}

// count takes the census of a zone, from plans and from memory.
func (r *run) count(z Zone, todo []*task) census {
	c := census{names: map[Name]bool{}}
	planned := map[wish]bool{}
	for _, t := range todo {
		w := r.wanted[t.i]
		planned[wishOf(w)] = true
		if c.owned += t.plan.Had; t.plan.Had > 0 {
			c.names[w.Name] = true
		}
		steps := hurts(t.plan)
		if len(steps) > 0 && !r.account.approvedAll(steps) {
			c.hurt += len(steps)
			c.here = append(c.here, t)
			c.steps = append(c.steps, steps...)
		}
	}
	for w, m := range r.account.memory {
		if !planned[w] && !w.shared && m.outcome.Zone.ID == z.ID && m.had > 0 {
			c.owned += m.had
			c.hurt += m.hurt
			c.names[w.name] = true
		}
	}
	slices.Sort(c.steps)
	return c
}

// hurts is the steps of a plan that delete or change what is ours.
func hurts(p *Plan) []string {
	var out []string
	for _, s := range p.Steps {
		if !p.Wanted.Shared && !p.Wanted.DryRun && p.Had > 0 && (s.Verb == "delete" || s.Verb == "update") {
			out = append(out, digest(s))
		}
	}
	return out
}

func (a *account) approvedAll(steps []string) bool {
	return !slices.ContainsFunc(steps, func(s string) bool { return !a.approved[s] })
}

// used ends the approval of what was done.
func (a *account) used(p *Plan) {
	for _, s := range hurts(p) {
		delete(a.approved, s)
	}
}
