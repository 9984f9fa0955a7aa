// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import "github.com/trellis-mesh/trellis/internal/policy"

// usualRetries is how often Istio repeats a request where nothing is said
// (istio.io/istio, pilot/pkg/networking/core/route/retry). A policy that allows more does
// not ask for more.
const usualRetries = 2

// contributeRetries bounds how often a request of a route is repeated: the least of what
// policies say. Applications say nothing of it.
func (r *resolver) contributeRetries(a *Application, route *Route, i int, all []*policy.Contribution) {
	for _, c := range all {
		if !r.keptAt(a, route, i, c) || !c.Holds() {
			continue
		}
		most := min(*c.Retries, usualRetries)
		if route.Retries == nil || most < *route.Retries {
			route.Retries = &most
		}
	}
}
