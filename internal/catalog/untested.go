// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"fmt"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Untested says of which rules the tests of a template show one side alone: a constraint
// that nothing breaks, or that nothing meets, a contribution that changes nothing,
// and an assertion that asks nothing or everybody.
// Results are those of its tests.
func Untested(ctx context.Context, template *v1alpha1.PolicyTemplate, results []Result) ([]string, error) {
	var out []string
	for i := range template.Spec.Constraints {
		name := template.Spec.Constraints[i].Name
		broken := refused(results, name)
		if broken == 0 {
			out = append(out, fmt.Sprintf("no test has something that breaks constraint %s", name))
		}
		// What meets a constraint is what is refused beside the rest once nothing can meet it.
		strict := template.DeepCopy()
		strict.Spec.Constraints[i].Expression = "false"
		all, err := Test(ctx, strict)
		if err != nil {
			return nil, err
		}
		if refused(all, name) <= broken {
			out = append(out, fmt.Sprintf("no test has something that meets constraint %s", name))
		}
	}
	for i := range template.Spec.Contributions {
		name := template.Spec.Contributions[i].Name
		if !changes(results, name) {
			out = append(out, fmt.Sprintf("no test has something that contribution %s changes", name))
		}
	}
	for i := range template.Spec.Assertions {
		one := &template.Spec.Assertions[i]
		asked := asks(results, one.Name)
		if asked == 0 {
			out = append(out, fmt.Sprintf("no test has something that assertion %s asks of", one.Name))
		}
		if one.When == "" {
			continue
		}
		everywhere := template.DeepCopy()
		everywhere.Spec.Assertions[i].When = ""
		all, err := Test(ctx, everywhere)
		if err != nil {
			return nil, err
		}
		if asks(all, one.Name) <= asked {
			out = append(out, fmt.Sprintf("no test has something that assertion %s is not about", one.Name))
		}
	}
	return out, nil
}

// refused counts what a constraint refuses.
func refused(results []Result, name v1alpha1.LabelName) int {
	n := 0
	for i := range results {
		for _, v := range results[i].Found.Violations {
			if v.Constraint == name {
				n++
			}
		}
	}
	return n
}

func changes(results []Result, name v1alpha1.LabelName) bool { return asks(results, name) > 0 }

// asks counts the effects of a rule.
func asks(results []Result, name v1alpha1.LabelName) int {
	n := 0
	for i := range results {
		for _, e := range results[i].Found.Effects {
			if e.Contribution == name {
				n++
			}
		}
	}
	return n
}
