// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/suggestion"
)

// suggestion answers what an Application could state of who calls it and whom it calls. Who
// may see an Application may see all of that, whatever namespace the other one is of: it is
// its own traffic.
func (a *API) suggestion(ctx context.Context, c *call) (any, error) {
	namespace, name, err := c.application()
	if err != nil {
		return nil, err
	}
	sums, err := a.sums(ctx, c)
	if err != nil {
		return nil, err
	}
	stated := c.picture.Application(namespace, name)
	query := c.r.URL.Query()
	out := &answer.Suggestion{Stated: stated.Spec.Access}
	out.Application = namespace + "/" + name
	out.Callers, out.Calls = []suggestion.Party{}, []suggestion.Party{}
	if sums == nil {
		out.Notes = []string{"nobody counts: this server takes no access logs"}
		return out, nil
	}
	out.From, out.To = answer.Moment(sums.from), answer.Moment(sums.to)
	out.Ran, out.Gaps = intervals(sums.ran), intervals(gaps(sums.ran, sums.from, sums.to))
	if sums.known() {
		out.Suggestion = *suggestion.Of(c.picture.Snapshot, stated, sums.totals, suggestion.Options{Denied: query.Get("denied") == "true", Calls: query.Get("calls") == "true"})
	}
	return out, nil
}
