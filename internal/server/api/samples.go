// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// shownSamples bounds how many examples an answer has.
const shownSamples = 100

// samples answers with the newest requests that were counted. Who may see what was counted of
// a namespace may see its examples, with what is stated left out that they may not read.
func (a *API) samples(_ context.Context, c *call) (any, error) {
	back, err := since(c)
	if err != nil {
		return nil, err
	}
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	out := &answer.Samples{Samples: []answer.Sample{}}
	if a.config.Samples == nil {
		out.Notes = []string{"nobody counts: this server takes no access logs"}
		return out, nil
	}
	query := c.r.URL.Query()
	now := a.config.Clock.Now()
	only := hits.Filter{Namespace: namespace, Application: query.Get("application"), Statement: query.Get("statement")}
	verdict := hits.Verdict(query.Get("verdict"))
	var all []answer.Sample
	for _, one := range c.sight.Samples(a.config.Samples.All(only, now.Add(-back), now)) {
		if verdict == "" || one.Verdict == verdict {
			all = append(all, answer.SampleOf(&one))
		}
	}
	if len(all) > shownSamples {
		out.More = len(all) - shownSamples
		all = all[:shownSamples]
	}
	out.Samples = append(out.Samples, all...)
	out.Redacted = !c.sight.Full()
	return out, nil
}
