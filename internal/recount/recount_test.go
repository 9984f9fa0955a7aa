// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package recount_test

import (
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/recount"
)

// TestRequestsOfWhichNobodyKnowsHowTheyEndAreSaidToBeThere: what an external service decides
// was counted as it decided, and a draft may refuse it.
func TestRequestsOfWhichNobodyKnowsHowTheyEndAreSaidToBeThere(t *testing.T) {
	ending := func(outcome decide.Outcome, why string) ask.Ending {
		return ask.Ending{Moment: ask.Moment{Outcome: outcome, Why: why}}
	}
	asked := ending(decide.Unknown, "the external authorization service login decides")
	for name, test := range map[string]struct {
		after ask.Ending
		notes int
	}{
		"it is refused":        {ending(decide.Deny, ""), 1},
		"another one is asked": {ending(decide.Unknown, "the external authorization service other decides"), 1},
		"the same is asked":    {asked, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := recount.New(attribution.New(attribution.Input{}), nil, "")
			r.Add(&ask.Compared{HTTP: true, Before: asked, After: test.after})
			found := r.Report(nil, nil, func(hits.Key) *recount.Left { return nil })
			if len(found.Notes) != test.notes {
				t.Errorf("the notes are %q", found.Notes)
			}
		})
	}
}
