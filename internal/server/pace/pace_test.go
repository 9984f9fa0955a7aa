// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package pace_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/server/pace"
)

// Times are those of the bubble, in which waiting takes none.
func TestWorkFollowsChanges(t *testing.T) {
	for _, c := range []struct {
		name string
		// changes are after how long they come, each after the one before.
		changes []time.Duration
		// takes is how long the work does, and fails how often it does at first.
		takes time.Duration
		fails int
		every time.Duration
		until time.Duration
		// want is when work began, and when there was nothing to do.
		want string
	}{
		{"nothing changes", nil, 0, 0, 0, time.Hour, ""},
		{"one change", []time.Duration{time.Second}, time.Second, 0, 0, time.Minute, "work 1.2s"},
		{"changes that come close together", []time.Duration{time.Second, 100 * time.Millisecond, 150 * time.Millisecond}, time.Second, 0, 0, time.Minute, "work 1.45s"},
		{"changes that never rest", many(40, 130*time.Millisecond), 0, 0, 0, 10 * time.Second, "work 2.13s, work 4.21s, work 5.4s"},
		{"a change while it works, after which it rests", []time.Duration{time.Second, time.Second}, 5 * time.Second, 0, 0, time.Minute, "work 1.2s, work 11.4s"},
		{"work that fails is repeated", []time.Duration{time.Second}, 0, 2, 0, 5 * time.Minute, "work 1.2s, work 31.2s, work 1m1.2s"},
		{"nothing to do", []time.Duration{90 * time.Second}, 0, 0, time.Minute, 3 * time.Minute, "idle 1m0s, work 1m30.2s, idle 2m30.2s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.until)
				defer cancel()
				changed, began := make(chan struct{}, 1), time.Now()
				var mu sync.Mutex
				var got []string
				note := func(what string) {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, what+" "+time.Since(began).String())
				}
				w := &pace.Worker{Changed: changed, Clock: clock.RealClock{}, Turn: &sync.Mutex{}, Do: func(context.Context) (bool, error) {
					note("work")
					<-time.After(c.takes)
					if c.fails--; c.fails >= 0 {
						return true, errors.New("it failed")
					}
					return true, nil
				}}
				if c.every > 0 {
					w.Every, w.Idle = c.every, func() { note("idle") }
				}
				go func() {
					for _, after := range c.changes {
						<-time.After(after)
						select {
						case changed <- struct{}{}:
						default:
						}
					}
				}()
				if err := w.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if all := strings.Join(got, ", "); all != c.want {
					t.Errorf("%s, want %s", all, c.want)
				}
			})
		})
	}
}

func many(n int, after time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = after
	}
	return out
}
