// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// Facts are the values of the variables of one evaluation. They are read only.
type Facts struct {
	// Params is the variable params.
	Params Value
	// variables are all others, by name.
	variables map[string]Value
	// size is the greatest of any.
	size int
	// budget is what evaluations may cost together; nil: each may cost CostLimit.
	budget *Budget
}

// Budget is what many evaluations may cost together, and whose they are.
type Budget struct {
	whose      string
	most, left uint64
	over       bool
}

// ErrBudget is the error of evaluations that cost too much together. It says nothing of what
// was asked: which of them come too late is for whoever shares the budget to make no
// difference.
var ErrBudget = errors.New("which is the most that they may")

// NewBudget is one of so many units, for evaluations of somebody.
func NewBudget(whose string, units uint64) *Budget {
	return &Budget{whose: whose, most: units, left: units}
}

// Over reports whether evaluations cost more than they may together. In which order they
// were made makes no difference. Those after that are not made.
func (b *Budget) Over() bool { return b != nil && b.over }

// Err is what is wrong where it is spent.
func (b *Budget) Err() error {
	return fmt.Errorf("the expressions of %s cost more than %d units together, %w", b.whose, b.most, ErrBudget)
}

// spend takes the cost of an evaluation; one that was stopped says nothing of it.
func (b *Budget) spend(details *cel.EvalDetails, limit uint64) {
	cost := limit
	if details != nil && details.ActualCost() != nil {
		cost = min(*details.ActualCost(), limit)
	}
	b.over = b.over || cost > b.left
	b.left -= min(cost, b.left)
}

// NewFacts are the values of all variables but params.
func NewFacts(variables map[string]Value) Facts {
	f := Facts{variables: variables}
	for _, v := range variables {
		f.size = max(f.size, size(v))
	}
	return f
}

// With are the same facts for other parameters.
func (f Facts) With(params Value) Facts {
	f.Params = params
	return f
}

// Within are the same facts for evaluations of a budget, which may be nil. It is spent on what
// may cost much: all else is never counted.
func (f Facts) Within(b *Budget) Facts {
	f.budget = b
	return f
}

// Anew are the same facts for other parameters, to find out whose mistake an error is. That
// is charged to nobody's budget: each may cost little.
func (f Facts) Anew(params Value) Facts {
	if f.budget != nil {
		f.budget = NewBudget(f.budget.whose, SmallCostLimit)
	}
	return f.With(params)
}

// Like are the same facts for the parameters and the budget of others.
func (f Facts) Like(other Facts) Facts { return f.With(other.Params).Within(other.budget) }

// ResolveName and Parent make Facts a cel.Activation.
func (f Facts) ResolveName(name string) (any, bool) {
	if name == "params" {
		return f.Params, f.Params != nil
	}
	v, ok := f.variables[name]
	return v, ok
}

// Parent is nil: there is nothing around them.
func (f Facts) Parent() cel.Activation { return nil }

func (p *Program) eval(f Facts) (ref.Val, error) {
	if max(f.size, size(f.Params)) <= p.upTo {
		out, _, err := p.plain.Eval(f)
		return out, err
	}
	if f.budget.Over() {
		return nil, f.budget.Err()
	}
	program, limit := p.counted, uint64(CostLimit)
	if f.budget != nil && f.budget.most < limit {
		limit = SmallCostLimit
		var err error
		if program, err = p.small(); err != nil {
			return nil, err
		}
	}
	out, details, err := program.Eval(f)
	if f.budget != nil {
		f.budget.spend(details, limit)
		if f.budget.Over() {
			return nil, f.budget.Err()
		}
	}
	if err == nil {
		return out, nil
	}
	if strings.Contains(err.Error(), "cost limit") {
		return nil, fmt.Errorf("the expression costs more than %d units here, which is the most that one may cost", limit)
	}
	return nil, err
}

// Bool evaluates an expression that gives true or false.
func (p *Program) Bool(f Facts) (bool, error) {
	out, err := p.eval(f)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the expression gave %s and must give a bool", out.Type())
	}
	return bool(b), nil
}

// Text evaluates an expression that gives a string.
func (p *Program) Text(f Facts) (string, error) {
	out, err := p.eval(f)
	if err != nil {
		return "", err
	}
	s, ok := out.(types.String)
	if !ok {
		return "", fmt.Errorf("the expression gave %s and must give a string", out.Type())
	}
	return string(s), nil
}

// Duration evaluates an expression that gives a duration.
func (p *Program) Duration(f Facts) (time.Duration, error) {
	out, err := p.eval(f)
	if err != nil {
		return 0, err
	}
	d, ok := out.(types.Duration)
	if !ok {
		return 0, fmt.Errorf("the expression gave %s and must give a duration", out.Type())
	}
	return d.Duration, nil
}

// Whole evaluates an expression that gives a whole number.
func (p *Program) Whole(f Facts) (int64, error) {
	out, err := p.eval(f)
	if err != nil {
		return 0, err
	}
	n, ok := out.(types.Int)
	if !ok {
		return 0, fmt.Errorf("the expression gave %s and must give an int", out.Type())
	}
	return int64(n), nil
}

// Texts evaluates an expression that gives a list of strings.
func (p *Program) Texts(f Facts) ([]string, error) {
	out, err := p.eval(f)
	if err != nil {
		return nil, err
	}
	l, ok := out.(traits.Lister)
	if !ok {
		return nil, fmt.Errorf("the expression gave %s and must give a list of strings", out.Type())
	}
	var texts []string
	for it := l.Iterator(); it.HasNext() == types.True; {
		s, ok := it.Next().(types.String)
		if !ok {
			return nil, fmt.Errorf("the expression gave a list with something else than strings")
		}
		texts = append(texts, string(s))
	}
	return texts, nil
}
