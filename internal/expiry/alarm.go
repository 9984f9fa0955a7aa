// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expiry

import (
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/model"
)

// longest is how long a timer is trusted: clocks are set and machines sleep, and no
// timer notices.
const longest = time.Hour

// Alarm tells when policies are to be judged anew. It is for one goroutine.
type Alarm struct {
	clock clock.Clock
	// judged is the moment up to which it has told.
	judged time.Time
	timer  clock.Timer
}

// NewAlarm makes an Alarm for what is judged from now on.
func NewAlarm(c clock.Clock) *Alarm { return &Alarm{clock: c, judged: c.Now().Round(0)} }

// Due reports, once, that policies are judged otherwise since it was asked last, and
// sets the timer for the next time. Who is told judges by the clock afterwards. It is
// to be asked whenever policies have changed or the timer has fired.
func (a *Alarm) Due(p model.Policies) bool {
	// Without the reading of a monotonic clock, which knows nothing of dates.
	now := a.clock.Now().Round(0)
	if now.Before(a.judged) {
		// The clock was set back: what had expired will do so again.
		a.judged = now
	}
	next, ok := Next(p, a.judged)
	due := ok && !next.After(now)
	if due {
		a.judged = now
		next, ok = Next(p, now)
	}
	a.Stop()
	if ok {
		a.timer = a.clock.NewTimer(min(next.Sub(now), longest))
	}
	return due
}

// Fired receives when Due is to be asked; nil while nothing expires.
func (a *Alarm) Fired() <-chan time.Time {
	if a.timer == nil {
		return nil
	}
	return a.timer.C()
}

// Stop lets the timer go.
func (a *Alarm) Stop() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}
