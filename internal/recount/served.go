// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package recount

import (
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// sample is a path of a route, with the methods of the route; none: any.
type sample struct {
	path    string
	methods []v1alpha1.Method
}

// below is what of a prefix stands for all that is not the prefix itself.
const below = "/any-other"

// servedBy are paths of all routes of Applications.
func servedBy(applications []*v1alpha1.Application) map[owner][]sample {
	out := map[owner][]sample{}
	for _, a := range applications {
		of := owner{hits.Workload, a.Namespace, a.Name}
		for i := range a.Spec.Routes {
			route := &a.Spec.Routes[i]
			for _, p := range route.Paths {
				switch {
				case p.Exact != nil:
					out[of] = append(out[of], sample{*p.Exact, route.Methods})
				case p.Prefix != nil:
					out[of] = append(out[of], sample{*p.Prefix, route.Methods}, sample{strings.TrimSuffix(*p.Prefix, "/") + below, route.Methods})
				}
			}
		}
	}
	return out
}

// within are the methods by which a class has the path; none: it has it by none.
func (s sample) within(c *ask.Compared) []string {
	if at, told := c.Point.Value(class.Dimension{Kind: class.Path}); told && !at.Has(false, s.path) {
		return nil
	}
	if len(s.methods) == 0 {
		return []string{c.Request.Method}
	}
	var out []string
	at, told := c.Point.Value(class.Dimension{Kind: class.Method})
	for _, method := range s.methods {
		if !told || at.Has(false, string(method)) {
			out = append(out, string(method))
		}
	}
	return out
}
