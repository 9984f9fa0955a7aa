// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"errors"

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
	applications []calling
}

// calling is an Application that calls.
type calling struct {
	app   *v1alpha1.Application
	facts expression.Facts
}

// NewCallers are those of a Snapshot.
func NewCallers(s *model.Snapshot, namespace func(string) expression.Value) *Callers {
	return &Callers{snapshot: s, namespace: namespace}
}

// Doubts are callers of whom an expression gives an error, so that nobody knows whether they
// are meant.
type Doubts struct {
	// Names are theirs, in order.
	Names []string
	// Err is that of the first of them.
	Err error
	// again asks of the first of them with other parameters.
	again        func(params expression.Value) error
	namespaces   []string
	applications []Application
}

// Again asks of the first of them with other parameters.
func (d *Doubts) Again(params expression.Value) error { return d.again(params) }

// add notes one more, unless the error says nothing of that one.
func (d *Doubts) add(name string, err error, asked *expression.Program, facts expression.Facts) error {
	if errors.Is(err, expression.ErrBudget) {
		return err
	}
	if d.Err == nil {
		d.Err = err
		d.again = func(params expression.Value) error {
			_, err := asked.Bool(facts.With(params))
			return err
		}
	}
	d.Names = append(d.Names, name)
	return nil
}

// Namespaces are those of which an expression is true, in order. An error is about all.
func (c *Callers) Namespaces(from *expression.Program, facts expression.Facts) ([]string, *Doubts, error) {
	all := c.snapshot.Namespaces()
	if c.namespaces == nil {
		c.namespaces = make([]expression.Facts, len(all))
		for i, n := range all {
			c.namespaces[i] = expression.NewFacts(map[string]expression.Value{"caller": c.namespace(n.Name)})
		}
	}
	var out []string
	doubts := &Doubts{}
	for i, n := range all {
		asked := c.namespaces[i].Like(facts)
		yes, err := from.Bool(asked)
		if err != nil {
			if err := doubts.add(n.Name, err, from, asked); err != nil {
				return nil, nil, err
			}
			doubts.namespaces = append(doubts.namespaces, n.Name)
		}
		if yes {
			out = append(out, n.Name)
		}
	}
	return out, doubts, nil
}

// Choose is whom those keep away of which an expression is true: from of namespaces, or else
// calling of Applications. Of whom it gives an error are kept away, too. An error is about
// all.
func (c *Callers) Choose(only bool, from, calling *expression.Program, facts expression.Facts) (*Access, error) {
	out := &Access{Only: only, ByApplication: calling != nil}
	if out.ByApplication {
		return out, c.chooseApplications(out, calling, facts)
	}
	names, doubts, err := c.Namespaces(from, facts)
	if err != nil {
		return out, err
	}
	out.Namespaces, out.Doubts = names, *doubts
	if !only {
		out.Namespaces = sortedNames(append(names, doubts.namespaces...))
	}
	return out, nil
}

func (c *Callers) chooseApplications(out *Access, from *expression.Program, facts expression.Facts) error {
	if c.applications == nil {
		c.applications = c.stated()
	}
	for _, one := range c.applications {
		asked := one.facts.Like(facts)
		yes, err := from.Bool(asked)
		if err != nil {
			if err := out.Doubts.add(one.app.Namespace+"/"+one.app.Name, err, from, asked); err != nil {
				return err
			}
			out.Doubts.applications = append(out.Doubts.applications, Of(c.snapshot, one.app))
		}
		if yes || err != nil && !out.Only {
			out.mean(Of(c.snapshot, one.app))
		}
	}
	return nil
}

func (c *Callers) stated() []calling {
	all := c.snapshot.Stated()
	out := make([]calling, len(all))
	for i, app := range all {
		out[i] = calling{app, expression.NewFacts(map[string]expression.Value{
			"caller": expression.CallingApplication(app.Name, app.Labels), "callerNamespace": c.namespace(app.Namespace),
		})}
	}
	return out
}
