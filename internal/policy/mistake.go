// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/trellis-mesh/trellis/internal/policy/blame"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// mistake is what is said of an expression that gives an error, and what to do where that
// is not the template's mistake; else fix is empty.
type mistake struct{ says, fix string }

// maxMistakes bounds how many mistakes of a PolicyBinding are looked into: nobody pays for it.
const maxMistakes = 16

// mistaken finds out whose mistake an error is. It is that of a binding where the expression
// gives none with another value of a parameter, all else being the same. Again evaluates
// it with other parameters.
func (b *Binding) mistaken(rule, part string, err error, again func(expression.Value) error) mistake {
	out := mistake{says: "its " + part + " gives an error (" + strings.Join(strings.Fields(err.Error()), " ") + ")"}
	key := rule + "\x00" + out.says
	if known, ok := b.mistakes[key]; ok {
		return known
	}
	if b.budget != nil && len(b.mistakes) >= maxMistakes {
		return out
	}
	if field, what := blame.Parameter(&b.Template.Spec, b.Spec.Parameters, b.values, again); field != "" {
		out.says += " with the value of " + what + " in " + b.Ref.String()
		out.fix = "ask for the value to be corrected: " + b.Ref.String() + " " + field
	}
	if b.mistakes == nil {
		b.mistakes = map[string]mistake{}
	}
	b.mistakes[key] = out
	return out
}
