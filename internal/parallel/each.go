// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package parallel does pieces of work side by side, a bounded number of them at a
// time, where each leaves its result in a place of its own.
package parallel

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Each does n pieces of work, each once, at most so many at the same time, and returns
// when all are done. Where one panics the caller does, so that it may recover: the panic
// of a goroutine would end the process.
func Each(n, atOnce int, do func(i int)) {
	var work errgroup.Group
	var panicked atomic.Value
	work.SetLimit(atOnce)
	for i := range n {
		work.Go(func() error {
			defer func() {
				if p := recover(); p != nil {
					panicked.Store(fmt.Sprintf("%v\n%s", p, debug.Stack()))
				}
			}()
			do(i)
			return nil
		})
	}
	// None of them fails.
	_ = work.Wait()
	if p := panicked.Load(); p != nil {
		panic(p)
	}
}
