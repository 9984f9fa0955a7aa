// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"slices"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// Lines are what can be hit, in order, each once: what people stated of which there are
// rules and routes in proxies. A statement that becomes something else, such as a
// certificate, is none of them. Objects that Trellis did not make are their own statements.
func (x *Index) Lines() []hits.Line {
	var out []hits.Line
	add := func(key hits.Key) {
		if key.Statement != "" {
			out = append(out, hits.Line{Statement: key.Statement, Field: key.Field})
		}
	}
	for _, o := range x.policies {
		for _, key := range o.rules {
			add(key)
		}
	}
	for _, list := range x.routes {
		for i := range list {
			add(list[i].key)
		}
	}
	slices.SortFunc(out, hits.Line.Compare)
	return slices.Compact(out)
}
