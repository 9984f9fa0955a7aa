// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// Callers are all that policies choose among.
type Callers struct {
	snapshot *model.Snapshot
	// namespace is one as expressions see it.
	namespace func(name string) expression.Value
	// namespaces and applications are nil until a policy chooses among them.
	namespaces   []expression.Facts
	applications []caller
}

// caller is one of whom expressions are asked. App is nil where that is a namespace.
type caller struct {
	name  string
	app   *v1alpha1.Application
	facts expression.Facts
}

// NewCallers are those of a Snapshot.
func NewCallers(s *model.Snapshot, namespace func(string) expression.Value) *Callers {
	return &Callers{snapshot: s, namespace: namespace}
}

// Question is which callers an expression means.
type Question struct {
	// Of is asked of namespaces, or of Applications.
	Of            *expression.Program
	ByApplication bool
	// Facts are its parameters.
	Facts expression.Facts
}

// Answer is whom an expression means.
type Answer struct {
	byApplication bool
	// Namespaces are in order.
	Namespaces   []string
	applications []Application
	Doubts       Doubts
}

// Doubts are callers of whom an expression gives an error, so that nobody knows whether they
// are meant.
type Doubts struct {
	// Names are theirs, in order.
	Names []string
	// Says and Fix are what is wrong with the expression and what to do, for who is told.
	Says, Fix string
	// Err is that of the first of them, and again asks of it with other parameters.
	Err          error
	again        func(params expression.Value) error
	applications []Application
}

// Again asks of the first of them with other parameters.
func (d *Doubts) Again(params expression.Value) error { return d.again(params) }

// Ask finds out whom several expressions mean. Those of somebody may cost so many units
// together for each caller, since how many there are, and with what labels, is for others to
// say; what costs more is in doubt about that caller. Zero: each may cost what one may.
func (c *Callers) Ask(whose string, units uint64, questions []Question) []*Answer {
	out := make([]*Answer, len(questions))
	byApplication, byNamespace := false, false
	for i := range questions {
		out[i] = &Answer{byApplication: questions[i].ByApplication}
		byApplication, byNamespace = byApplication || out[i].byApplication, byNamespace || !out[i].byApplication
	}
	if byNamespace {
		for i, n := range c.snapshot.Namespaces() {
			c.ask(whose, units, questions, out, caller{name: n.Name, facts: c.inNamespaces()[i]})
		}
	}
	if byApplication {
		for _, one := range c.stated() {
			c.ask(whose, units, questions, out, one)
		}
	}
	return out
}

// ask asks of one caller. Where that costs too much together no answer counts, so that none
// hangs on the order.
func (c *Callers) ask(whose string, units uint64, questions []Question, out []*Answer, of caller) {
	var budget *expression.Budget
	if units > 0 {
		budget = expression.NewBudget(whose, units)
	}
	about := func(q *Question) bool { return q.ByApplication == (of.app != nil) }
	means, wrong := make([]bool, len(questions)), make([]error, len(questions))
	for i := range questions {
		if q := &questions[i]; about(q) {
			means[i], wrong[i] = q.Of.Bool(of.facts.Like(q.Facts).Within(budget))
		}
	}
	for i := range questions {
		q := &questions[i]
		switch {
		case !about(q):
		case budget.Over():
			out[i].doubt(of, budget.Err(), q, c.snapshot)
		case wrong[i] != nil:
			out[i].doubt(of, wrong[i], q, c.snapshot)
		case means[i] && of.app != nil:
			out[i].applications = append(out[i].applications, Of(c.snapshot, of.app))
		case means[i]:
			out[i].Namespaces = append(out[i].Namespaces, of.name)
		}
	}
}

// doubt notes a caller of whom nobody knows whether it is meant.
func (a *Answer) doubt(of caller, err error, q *Question, s *model.Snapshot) {
	d := &a.Doubts
	if d.Err == nil {
		facts := of.facts.Like(q.Facts)
		d.Err, d.again = err, func(params expression.Value) error {
			_, err := q.Of.Bool(facts.Anew(params))
			return err
		}
	}
	d.Names = append(d.Names, of.name)
	if of.app != nil {
		d.applications = append(d.applications, Of(s, of.app))
	}
}

// Access is whom those keep away who are meant, or all but these. Who is in doubt is kept
// away.
func (a *Answer) Access(only bool) *Access {
	out := &Access{Only: only, ByApplication: a.byApplication, Namespaces: a.Namespaces, Doubts: a.Doubts}
	apps := a.applications
	if !only {
		apps = slices.Concat(apps, a.Doubts.applications)
		slices.SortFunc(apps, func(x, y Application) int {
			return cmp.Or(strings.Compare(x.Name.Namespace, y.Name.Namespace), strings.Compare(x.Name.Name, y.Name.Name))
		})
		if !a.byApplication {
			out.Namespaces = slices.Sorted(slices.Values(slices.Concat(a.Namespaces, a.Doubts.Names)))
		}
	}
	for _, app := range apps {
		out.mean(app)
	}
	return out
}

// inNamespaces are all namespaces as expressions see them.
func (c *Callers) inNamespaces() []expression.Facts {
	if all := c.snapshot.Namespaces(); c.namespaces == nil {
		c.namespaces = make([]expression.Facts, len(all))
		for i, n := range all {
			c.namespaces[i] = expression.NewFacts(map[string]expression.Value{"caller": c.namespace(n.Name)})
		}
	}
	return c.namespaces
}

// stated are all Applications as expressions see them.
func (c *Callers) stated() []caller {
	if c.applications == nil {
		for _, app := range c.snapshot.Stated() {
			c.applications = append(c.applications, caller{app.Namespace + "/" + app.Name, app, expression.NewFacts(map[string]expression.Value{
				"caller": expression.CallingApplication(app.Name, app.Labels), "callerNamespace": c.namespace(app.Namespace),
			})})
		}
	}
	return c.applications
}
