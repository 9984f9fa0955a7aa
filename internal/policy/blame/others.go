// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package blame

import (
	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy/parameter"
)

// maxOthers bounds how many values are tried.
const maxOthers = 4

// others are some values of a parameter that are known to make sense: its default, unless it
// must be set, and those of the tests of its template.
func others(p v1alpha1.PolicyParameter, tests []v1alpha1.PolicyTest) []any {
	var out []any
	if !p.Required {
		out = append(out, parameter.Default(p))
	}
	for i := range tests {
		for _, v := range tests[i].Parameters {
			if v.Name != p.Name || len(out) == maxOthers {
				continue
			}
			if value, err := parameter.Read(p, v.Value.Raw); err == nil {
				out = append(out, value)
			}
		}
	}
	return out
}
