// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package blame finds out which parameter of a binding makes an expression give an error. It
// is pure.
package blame

import (
	"fmt"
	"maps"
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// Parameter is the field of a parameter that was given without whose value there is no
// error, or the field of all of them; empty where it is there with other values too. Values
// are those of all parameters, and again evaluates the expression with others.
func Parameter(of *v1alpha1.PolicyTemplateSpec, given []v1alpha1.ParameterValue, values map[string]any, again func(expression.Value) error) (field, what string) {
	all := maps.Clone(values)
	for i, one := range given {
		k := slices.IndexFunc(of.Parameters, func(p v1alpha1.PolicyParameter) bool { return p.Name == one.Name })
		sensible := others(of.Parameters[k], of.Tests)
		for _, other := range sensible {
			changed := maps.Clone(values)
			changed[one.Name] = other
			if again(expression.Params(of.Parameters, changed)) == nil {
				return fmt.Sprintf("spec.parameters[%d].value", i), "parameter " + one.Name
			}
		}
		if len(sensible) > 0 {
			all[one.Name] = sensible[0]
		}
	}
	if len(given) > 1 && again(expression.Params(of.Parameters, all)) == nil {
		return "spec.parameters", "some parameters"
	}
	return "", ""
}
