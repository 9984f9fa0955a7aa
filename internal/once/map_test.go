// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package once_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/trellis-mesh/trellis/internal/once"
)

func TestAValueIsMadeOnce(t *testing.T) {
	var m once.Map[string, int]
	var made atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got := m.Get("a", func() int { return int(made.Add(1)) }); got != 1 {
				t.Errorf("the value is %d", got)
			}
		})
	}
	all.Wait()
}

func TestAValueMayNeedAnother(t *testing.T) {
	var m once.Map[string, int]
	got := m.Get("a", func() int { return 1 + m.Get("b", func() int { return 1 }) })
	if got != 2 {
		t.Errorf("the value is %d", got)
	}
}

func TestWhoAsksForAnotherDoesNotWait(t *testing.T) {
	var m once.Map[string, int]
	begun, end := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	slow.Go(func() {
		m.Get("slow", func() int {
			close(begun)
			<-end
			return 1
		})
	})
	<-begun
	if got := m.Get("quick", func() int { return 2 }); got != 2 {
		t.Errorf("the value is %d", got)
	}
	close(end)
	slow.Wait()
}
