// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
	"github.com/trellis-mesh/trellis/internal/policy/parameter"
)

// checkParameters looks at what a template declares.
func (c *compiler) checkParameters() {
	for i, p := range c.spec.Parameters {
		at := index("spec.parameters", i)
		if slices.ContainsFunc(c.spec.Parameters[:i], func(o v1alpha1.PolicyParameter) bool { return o.Name == p.Name }) {
			c.problem(at+".name", fmt.Sprintf("the parameter %s is declared twice", p.Name))
		}
		if expression.Reserved(p.Name) {
			c.problem(at+".name", fmt.Sprintf("CEL reserves the word %s, so no expression could read a parameter of that name", p.Name))
		}
		if p.Default == nil {
			continue
		}
		if p.Required {
			c.problem(at+".default", fmt.Sprintf("the parameter %s has a default, so it is not required: take out one of the two", p.Name))
		}
		if _, err := parameter.Read(p, p.Default.Raw); err != nil {
			c.problem(at+".default", err.Error())
		}
	}
}

// parameters fits the values of a binding into what its template declares.
func (s *Set) parameters(b *Binding) {
	declared := b.Template.Spec.Parameters
	values := make(map[string]any, len(declared))
	given := make(map[string]bool, len(b.Spec.Parameters))
	for i, v := range b.Spec.Parameters {
		k := slices.IndexFunc(declared, func(p v1alpha1.PolicyParameter) bool { return p.Name == v.Name })
		at := index("spec.parameters", i)
		if given[v.Name] {
			s.brokenBinding(b, at+".name", "ParameterRepeated", "the parameter "+v.Name+" is set twice", "set it once")
			continue
		}
		given[v.Name] = true
		if k < 0 {
			s.brokenBinding(b, at+".name", "ParameterUnknown",
				fmt.Sprintf("policy %s %s has no parameter %s; it has %s", b.Spec.Policy.Name, b.Spec.Policy.Version, v.Name, parameterNames(declared)),
				"use one of these names, or leave it out")
			continue
		}
		value, err := parameter.Read(declared[k], v.Value.Raw)
		if err != nil {
			s.brokenBinding(b, at+".value", "ParameterInvalid", err.Error(), "give a value of that type")
			continue
		}
		values[v.Name] = value
	}
	for _, p := range declared {
		if given[p.Name] {
			continue
		}
		if p.Required {
			s.brokenBinding(b, "spec.parameters", "ParameterMissing",
				fmt.Sprintf("policy %s %s needs the parameter %s", b.Spec.Policy.Name, b.Spec.Policy.Version, p.Name), "set it")
			continue
		}
		values[p.Name] = parameter.Default(p)
	}
	if b.Broken == "" {
		b.values, b.params = values, expression.Params(declared, values)
	}
}

func parameterNames(declared []v1alpha1.PolicyParameter) string {
	if len(declared) == 0 {
		return "none"
	}
	out := make([]string, len(declared))
	for i, p := range declared {
		out[i] = p.Name
	}
	return strings.Join(out, ", ")
}
