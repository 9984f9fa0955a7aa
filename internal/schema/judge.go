// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/trellis-mesh/trellis/internal/document"
)

// judge checks objects at the same time, and gives what becomes of each in their
// order. The definitions are only read, as an API server does for all its requests.
func (c *Checker) judge(ctx context.Context, objects []document.Object) []*judgement {
	out := make([]*judgement, len(objects))
	var taken atomic.Int64
	var judges sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(objects)) {
		judges.Go(func() {
			for i := int(taken.Add(1)) - 1; i < len(objects); i = int(taken.Add(1)) - 1 {
				o := &objects[i]
				out[i], _ = o.Once(c, func() any { return c.check(ctx, o) }).(*judgement)
			}
		})
	}
	judges.Wait()
	return out
}
