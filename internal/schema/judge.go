// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"context"
	"runtime"

	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/parallel"
)

// judge checks objects at the same time, and gives what becomes of each in their
// order. The definitions are only read, as an API server does for all its requests.
func (c *Checker) judge(ctx context.Context, objects []document.Object) []*judgement {
	out := make([]*judgement, len(objects))
	parallel.Each(len(objects), runtime.GOMAXPROCS(0), func(i int) {
		o := &objects[i]
		out[i], _ = o.Once(c, func() any { return c.check(ctx, o) }).(*judgement)
	})
	return out
}
