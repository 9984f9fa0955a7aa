// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/suggestion"
)

// Suggestion is what is proposed for an Application, as JSON and YAML have it.
type Suggestion struct {
	suggestion.Suggestion
	// Stated is spec.access as it is now.
	Stated *v1alpha1.Access `json:"stated,omitempty"`
	From   *time.Time       `json:"from,omitempty"`
	To     *time.Time       `json:"to,omitempty"`
	// Ran are the times in which somebody counted, and Gaps those of which nothing is known;
	// absent where logs were counted.
	Ran  []Interval `json:"ran,omitempty"`
	Gaps []Interval `json:"gaps,omitempty"`
}
