// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout_test

import (
	"errors"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
)

// begun has a server look from a moment before the scene on, with a window of ten minutes.
func begun(t *testing.T, before time.Duration) *scene {
	s := newScene(t, "a")
	s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Observation.Window.Duration = 10 * time.Minute })
	s.tally = sighting.NewTally(sighting.DefaultLimits, start.Add(-before))
	s.round()
	return s
}

// anew has the server away for a while, and then go on with what it had written until so
// long before.
func (s *scene) anew(unwritten, away time.Duration) {
	s.Helper()
	kept := s.tally.Kept(s.now.Add(-unwritten))
	seen := s.seen
	s.tally, s.seen = nil, nil
	s.pass(away)
	tally, err := sighting.Restore(sighting.DefaultLimits, kept, s.now)
	if err != nil {
		s.Fatal(err)
	}
	s.tally, s.seen = tally, seen
}

func (s *scene) calls(client string, plaintext bool) {
	one := &sighting.Sighting{Client: client, Services: []string{"shop/a"}, Port: 8080, Plaintext: plaintext}
	if !plaintext {
		one.Cause, one.Why = "Refused", "its connection is no mutual TLS"
	}
	s.tally.Add(one, s.now)
}

func TestAServerThatIsAwayForTwentySecondsHoldsAWindowUpByThem(t *testing.T) {
	s := begun(t, 5*time.Minute)
	s.pass(time.Minute)
	s.anew(5*time.Second, 20*time.Second)
	// The same gap is in every answer from now on, and counts each time as one, and once.
	s.pass(3*time.Minute + 50*time.Second)
	s.has()
	s.is(v1alpha1.RolloutWaiting, "a Pending")
	if from, want := s.rollout.Status.Observation.From.Time, start.Add(-5*time.Minute+20*time.Second); from.Before(want) || from.After(want.Add(7*time.Second)) {
		t.Errorf("it looks since %s, want %s and a little", from, want)
	}
	s.pass(30 * time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching")
}

// Nobody but the server knows what was seen, when the observation is not written down.
func TestWhatAServerWatchedBeforeItWasAwayCountsForWhoAsksFirst(t *testing.T) {
	s := begun(t, 5*time.Minute)
	s.pass(4 * time.Minute)
	s.anew(0, 20*time.Second)
	s.pass(50 * time.Second)
	s.is(v1alpha1.RolloutWaiting, "a Pending")
	s.rollout.Status = v1alpha1.MutualTLSRolloutStatus{}
	s.round()
	s.is(v1alpha1.RolloutWaiting, "a Pending")
	s.pass(20 * time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching")
}

func TestAServerThatIsAwayForFiveMinutesBeginsTheWindowAnew(t *testing.T) {
	s := begun(t, 8*time.Minute)
	s.pass(time.Minute)
	s.anew(0, 5*time.Minute)
	back := s.now
	s.pass(9*time.Minute + 50*time.Second)
	s.has()
	if from := s.rollout.Status.Observation.From.Time; !from.Equal(back) {
		t.Errorf("it looks since %s, want %s", from, back)
	}
	s.pass(20 * time.Second)
	s.has("a")
}

func TestManyShortAbsencesOfAServerAreALongOne(t *testing.T) {
	s := begun(t, 0)
	for range 10 {
		s.pass(30 * time.Second)
		s.anew(10*time.Second, 30*time.Second)
	}
	// Ten minutes have passed, of which half was watched, but for what was not written.
	s.pass(4 * time.Minute)
	s.has()
	s.pass(3 * time.Minute)
	s.has("a")
}

func TestAServerThatWasAwayHasForgottenNoClient(t *testing.T) {
	s := begun(t, 5*time.Minute)
	s.calls("legacy/job", true)
	s.pass(time.Minute)
	s.anew(0, 20*time.Second)
	// Not even one that the rollout has never written down.
	s.rollout.Status = v1alpha1.MutualTLSRolloutStatus{}
	s.round()
	s.is(v1alpha1.RolloutBlocked, "a Blocked", "legacy/job")
	s.pass(8*time.Minute + 30*time.Second)
	s.is(v1alpha1.RolloutBlocked, "a Blocked")
	s.pass(time.Minute)
	s.is(v1alpha1.RolloutWatching, "a Watching")
}

func TestAServerThatIsAwayDuringASoakBeginsItAnewUnlessItIsShort(t *testing.T) {
	for _, c := range []struct {
		away  time.Duration
		phase v1alpha1.RolloutPhase
		then  string
	}{{8 * time.Second, v1alpha1.RolloutComplete, "a Done"}, {12 * time.Second, v1alpha1.RolloutWatching, "a Watching"}} {
		s := begun(t, 20*time.Minute)
		s.is(v1alpha1.RolloutWatching, "a Watching")
		s.pass(soak / 2)
		s.anew(0, c.away)
		s.pass(soak/2 - c.away + 2*time.Second)
		s.is(c.phase, c.then)
		s.pass(soak)
		s.is(v1alpha1.RolloutComplete, "a Done")
	}
}

func TestAFailureBeforeAServerWasAwayTakesAStageBack(t *testing.T) {
	s := begun(t, 20*time.Minute)
	s.pass(soak / 2)
	s.calls("shop/web", false)
	s.anew(0, 8*time.Second)
	s.round()
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack", "shop/web")
}

func TestAServerThatIsStartedAnewInTheClusterHoldsAWindowUp(t *testing.T) {
	for _, c := range []struct{ away, made time.Duration }{{20 * time.Second, 10*time.Minute + 20*time.Second}, {5 * time.Minute, 20 * time.Minute}} {
		w := newWorld(t)
		w.change(func(r *v1alpha1.MutualTLSRollout) { r.Spec.Observation.Window.Duration = 10 * time.Minute })
		began := w.clock.Now()
		w.tally = sighting.NewTally(sighting.DefaultLimits, began)
		w.pass(5 * time.Minute)
		kept := w.tally.Kept(w.clock.Now())
		w.unseen = errors.New("the server is away")
		w.pass(c.away)
		var err error
		if w.tally, err = sighting.Restore(sighting.DefaultLimits, kept, w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		w.unseen = nil
		w.pass(began.Add(c.made - 5*time.Second).Sub(w.clock.Now()))
		w.is(v1alpha1.RolloutWaiting, v1alpha1.StagePending)
		w.strict(false)
		w.pass(20 * time.Second)
		w.is(v1alpha1.RolloutWatching, v1alpha1.StageWatching)
		w.strict(true)
	}
}
