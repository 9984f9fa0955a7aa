// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/ask/origin"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Answers are full of these.
type (
	// Origin is the statement that a rule was made from.
	Origin = origin.Origin
	// Origins knows the statements behind generated objects.
	Origins = origin.Origins
	// Made is one rule of a generated object with its statement.
	Made = origin.Made
)

// NewOrigins is origin.New.
func NewOrigins(objects []runtime.Object, position func(object, field string) model.Position) *Origins {
	return origin.New(objects, position)
}

// PolicyName is origin.PolicyName.
func PolicyName(o decide.Object) string { return origin.PolicyName(o) }
