// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package parallel does pieces of work side by side, a bounded number of them at a
// time, where each leaves its result in a place of its own.
package parallel

import "golang.org/x/sync/errgroup"

// Each does n pieces of work, each once, at most so many at the same time, and returns
// when all are done.
func Each(n, atOnce int, do func(i int)) {
	var work errgroup.Group
	work.SetLimit(atOnce)
	for i := range n {
		work.Go(func() error {
			do(i)
			return nil
		})
	}
	// None of them fails.
	_ = work.Wait()
}
