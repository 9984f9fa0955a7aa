// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	rollout "github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

func TestStagesAreMadeOneAfterTheOtherUntilAllIsDone(t *testing.T) {
	s := newScene(t, "a", "b")
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Watching, b Pending", "shop/a", "05:00:40")
	s.has("a")
	s.told(rollout.EventStageMade, "shop/a", "trellis-rollout-a")
	s.pass(soak - time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching, b Pending")
	s.pass(2 * time.Second)
	s.is(v1alpha1.RolloutWatching, "a Done, b Watching")
	s.told(rollout.EventStageDone, "shop/a")
	s.pass(soak + 2*time.Second)
	s.is(v1alpha1.RolloutComplete, "a Done, b Done")
	s.told(rollout.EventRolloutIsDone)
	s.has("a", "b")
	if s.rollout.Status.Done != "2/2" || len(s.rollout.Status.Conditions) != 1 {
		t.Errorf("the status is %+v", s.rollout.Status)
	}
}

func TestWhatIsMadeIsStrictForThePodsOfTheStageAndHasTheLabelsOfTheRollout(t *testing.T) {
	s := newScene(t, "a")
	got := s.round().Make.Body
	want := map[string]any{
		"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
		"metadata": map[string]any{
			"namespace": "shop", "name": "trellis-rollout-a",
			"labels": map[string]any{"app.kubernetes.io/managed-by": "trellis-rollout", "trellis.dev/rollout": "all"},
		},
		"spec": map[string]any{"mtls": map[string]any{"mode": "STRICT"}, "selector": map[string]any{"matchLabels": map[string]any{"app": "a"}}},
	}
	if fmt.Sprint(got.Object) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got.Object, want)
	}
}

// Each of these keeps a stage from being made, says so, and is over when it is gone.
func TestNoStageIsMadeWhileItIsNotKnownThatNobodyWouldBeShutOut(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(*scene)
		phase         v1alpha1.RolloutPhase
		says          string
	}{
		"paused": {
			func(s *scene) { s.rollout.Spec.Paused = true },
			func(s *scene) { s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Paused = false }) },
			v1alpha1.RolloutPaused, "spec.paused",
		},
		"a dry run": {
			func(s *scene) { s.rollout.Spec.DryRun = true },
			func(s *scene) { s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.DryRun = false }) },
			v1alpha1.RolloutWaiting, "shop/a would be made now",
		},
		"no forecast": {
			func(s *scene) { s.forecast.Generation = 7 },
			func(s *scene) { s.forecast.Generation = 1 },
			v1alpha1.RolloutWaiting, "has not looked at the statement as it is now",
		},
		"nobody who looks": {
			func(s *scene) { s.seen.To = s.now.Add(-2 * time.Minute) },
			func(s *scene) { s.seen.To = time.Time{} },
			v1alpha1.RolloutWaiting, "what is seen of traffic ends at 2026-03-04T04:58:00Z",
		},
		"something lost": {
			func(s *scene) { s.seen.Lost = 1 },
			func(s *scene) { s.seen.Lost = 0 },
			v1alpha1.RolloutWaiting, "was lost",
		},
		"a short observation": {
			func(s *scene) { s.seen.From = s.now.Add(-40 * time.Second) },
			func(s *scene) { s.pass(20 * time.Second) },
			v1alpha1.RolloutWaiting, "shop/a: no plaintext was seen since 2026-03-04T04:59:20Z; if none is until 2026-03-04T05:00:20Z, its turn is then",
		},
		"silence": {
			func(s *scene) { s.rollout.Spec.Observation.Silence = "" },
			func(s *scene) { s.edge("shop/web", "a").Requests = 1 },
			v1alpha1.RolloutBlocked, "no request to shop/a was seen in the window",
		},
		"silence before the window is over": {
			func(s *scene) {
				s.rollout.Spec.Observation.Silence = v1alpha1.SilenceWait
				s.seen.From = s.now.Add(-40 * time.Second)
			},
			func(s *scene) {
				s.edge("shop/web", "a").Requests = 1
				s.pass(20 * time.Second)
			},
			v1alpha1.RolloutWaiting, "if none is until",
		},
		"plaintext": {
			func(s *scene) { s.plaintext("legacy/job", "a") },
			func(s *scene) { s.pass(window + 2*time.Second) },
			v1alpha1.RolloutBlocked, "legacy/job calls shop/a in plaintext",
		},
		"plaintext of a client with a proxy": {
			func(s *scene) { s.plaintext("shop/web", "a"); s.edge("shop/web", "a").Proxied = true },
			func(s *scene) { s.pass(window + 2*time.Second) },
			v1alpha1.RolloutBlocked, "shop/web calls shop/a in plaintext",
		},
		"requests that fail anyway": {
			func(s *scene) { s.fails("shop/web", "a") },
			func(s *scene) { s.pass(window + 2*time.Second) },
			v1alpha1.RolloutBlocked, "requests of shop/web to shop/a fail: its connection is no mutual TLS",
		},
		"a conflict of a client with a proxy": {
			func(s *scene) {
				s.stage("a").Conflicts = []verdict.Conflict{{Client: "shop/web", Proxied: true, Port: 80, Why: "it sends plaintext"}}
			},
			func(s *scene) { s.stage("a").Conflicts = nil },
			v1alpha1.RolloutBlocked, "shop/web and shop/a do not get on by mutual TLS: it sends plaintext",
		},
		"a policy of somebody else": {
			func(s *scene) {
				s.stage("a").Refusals = []verdict.Refusal{{Object: "PeerAuthentication shop/old", Message: "it decides first", Fix: "delete it"}}
			},
			func(s *scene) { s.stage("a").Refusals = nil },
			v1alpha1.RolloutBlocked, "PeerAuthentication shop/old: it decides first",
		},
		"an object of somebody else": {
			func(s *scene) { s.foreign["shop/trellis-rollout-a"] = "somebody else" },
			func(s *scene) { delete(s.foreign, "shop/trellis-rollout-a") },
			v1alpha1.RolloutBlocked, "has the name of the one that is to be made",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "a")
			c.before(s)
			s.round()
			if s.last.Make != nil || len(s.objects) > 0 {
				t.Fatal("a stage was made")
			}
			message := meta.FindStatusCondition(s.rollout.Status.Conditions, v1alpha1.ConditionReady).Message
			if s.rollout.Status.Phase != c.phase || !strings.Contains(message, c.says) {
				t.Errorf("it is %s and says %q, want %s and %q", s.rollout.Status.Phase, message, c.phase, c.says)
			}
			c.after(s)
			s.pass(3 * time.Second)
			s.has("a")
		})
	}
}

func TestAStageOfANamespaceIsAboutWorkloadsWithoutAServiceToo(t *testing.T) {
	s := newScene(t, "a")
	f := s.stage("a")
	f.Name, f.Object, f.Selector, f.Services = "shop", "trellis-rollout", nil, []string{"shop/a"}
	s.plaintext("legacy/job", "worker")
	s.round()
	if got := s.rollout.Status.Stages; len(got) != 1 || got[0].Phase != v1alpha1.StageBlocked || got[0].Blocks[0].Client != "legacy/job" {
		t.Errorf("the stages are %+v", got)
	}
}

func TestAClientWithoutAProxyThatWasNotSeenBlocksNothing(t *testing.T) {
	s := newScene(t, "a")
	s.stage("a").Conflicts = []verdict.Conflict{{Client: "legacy/job", Port: 80, Why: "it has no proxy"}}
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Watching")
	s.pass(soak + 2*time.Second)
	s.is(v1alpha1.RolloutComplete, "a Done")
}

func TestABlockedStageIsPassedOverAndTheWholeIsBlockedWhenNothingElseIsLeft(t *testing.T) {
	s := newScene(t, "a", "b")
	s.plaintext("legacy/job", "a")
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Blocked, b Watching")
	for range 30 {
		s.plaintext("legacy/job", "a")
		s.pass(2 * time.Second)
	}
	s.is(v1alpha1.RolloutBlocked, "a Blocked, b Done", "shop/a", "legacy/job")
	s.told(rollout.EventStageBlocked, "legacy/job")
	b := s.status("a").Blocks[0]
	if b.Count != 31 || b.Port != 8080 || !b.LastSeen.Time.Equal(s.now.Add(-2*time.Second)) {
		t.Errorf("the block is %+v", b)
	}
	s.pass(window + 2*time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching, b Done")
}

func TestAStageAtWhichAClientFailsIsTakenBackAndNothingIsMadeUntilSomebodySaysSo(t *testing.T) {
	s := newScene(t, "a", "b")
	s.round()
	s.pass(10 * time.Second)
	s.fails("legacy/job", "a")
	s.pass(2 * time.Second)
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack, b Pending", "shop/a was taken back", "legacy/job", "trellis.dev/retry")
	s.has()
	s.told(rollout.EventSteppedBack, "shop/a", "legacy/job")
	s.blocks("a", "Failed legacy/job")
	// Proxies hear of it a little later.
	s.fails("legacy/job", "a")
	s.fails("legacy/job", "a")
	s.pass(2 * time.Second)
	if n := s.status("a").FailedRequests; n != 3 {
		t.Errorf("%d requests failed, want 3", n)
	}
	s.pass(time.Hour)
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack, b Pending")
	s.has()
	s.rollout.Annotations[v1alpha1.RetryAnnotation] = "once more"
	s.plaintext("legacy/job", "a")
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Blocked, b Watching")
	s.told(rollout.EventRetried)
	s.pass(window + soak + 4*time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching, b Done")
}

func TestAfterARetryTheWindowBeginsWithTheStepBack(t *testing.T) {
	s := newScene(t, "a")
	s.round()
	s.stage("a").Conflicts = []verdict.Conflict{{Client: "shop/web", Proxied: true, Port: 80, Why: "it sends plaintext"}}
	s.pass(2 * time.Second)
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack", "shop/web")
	s.blocks("a", "Conflict shop/web")
	s.stage("a").Conflicts = nil
	s.rollout.Annotations[v1alpha1.RetryAnnotation] = "1"
	s.round()
	s.is(v1alpha1.RolloutWaiting, "a Pending", "05:01:02")
	s.pass(window - 2*time.Second)
	s.has()
	s.pass(4 * time.Second)
	s.has("a")
}

func TestARetryFromBeforeAStepBackIsNone(t *testing.T) {
	s := newScene(t, "a")
	s.rollout.Annotations[v1alpha1.RetryAnnotation] = "old"
	s.round()
	s.rollout.Annotations[v1alpha1.RetryAnnotation] = "also old"
	s.fails("legacy/job", "a")
	s.round()
	s.pass(10 * time.Minute)
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack")
}

func TestWhatFailedBeforeAStageWasMadeDoesNotTakeItBack(t *testing.T) {
	s := newScene(t, "a")
	s.now = start.Add(300 * time.Millisecond)
	s.round()
	if at := s.status("a").MadeAt; !at.Time.Equal(start) {
		t.Fatalf("it was made at %s", at)
	}
	made := s.now
	s.now = start.Add(-time.Millisecond)
	s.fails("legacy/job", "a")
	s.now = made
	s.pass(2 * time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching")
	// In the second in which it was made: times of what was seen are full seconds.
	s.edge("legacy/job", "a").LastFailed = &start
	s.pass(2 * time.Second)
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack")
}

func TestWatchingAndSteppingBackGoOn(t *testing.T) {
	for name, change := range map[string]func(*scene){
		"while it is paused":           func(s *scene) { s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Paused = true }) },
		"in a dry run":                 func(s *scene) { s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.DryRun = true }) },
		"without the server":           func(s *scene) { s.forecast = nil },
		"out of scope":                 func(s *scene) { s.forecast.Stages = nil },
		"after what was seen was lost": func(s *scene) { s.seen.Lost = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "a")
			s.round()
			change(s)
			s.pass(4 * time.Second)
			if got := s.phases(); got != "a Watching" {
				t.Fatalf("it is %q", got)
			}
			s.fails("legacy/job", "a")
			s.pass(2 * time.Second)
			s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack", "legacy/job")
			s.has()
		})
	}
}

func TestAStageIsDoneOnlyWhenItWasWatchedForASoakAndHasHadItsEffect(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(*scene)
		says          string
	}{
		"nobody looked":           {func(s *scene) { s.seen = nil }, func(s *scene) { s.seen = newScene(t).seen }, "traffic is not seen: nobody looks"},
		"something was lost":      {func(s *scene) { s.seen.Lost = 1 }, func(s *scene) { s.seen.Lost = 0 }, "not everything was seen"},
		"the looking began late":  {func(s *scene) { s.seen.From = s.now.Add(30 * time.Second) }, func(s *scene) { s.pass(30 * time.Second) }, "not everything was seen"},
		"the server was away":     {func(s *scene) { s.forecast = nil }, func(s *scene) { f := newScene(t, "a").forecast; s.forecast = f; s.foresee() }, "whether it has had its effect is not known"},
		"somebody else's decides": {func(s *scene) { s.stage("a").Mode = "PERMISSIVE" }, func(s *scene) { s.foresee() }, "does not see yet that it has had its effect"},
		"somebody else's is named": {func(s *scene) {
			s.stage("a").Mode = "DISABLE"
			s.stage("a").Refusals = []verdict.Refusal{{Object: "PeerAuthentication shop/old", Message: "it decides first", Fix: "delete it"}}
		}, func(s *scene) { s.stage("a").Refusals = nil; s.foresee() }, "its workloads take plaintext: PeerAuthentication shop/old"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "a")
			s.round()
			s.pass(time.Second)
			c.before(s)
			s.pass(soak + 4*time.Second)
			s.is(v1alpha1.RolloutWatching, "a Watching", c.says)
			c.after(s)
			s.pass(4 * time.Second)
			s.is(v1alpha1.RolloutComplete, "a Done")
		})
	}
}

func TestWhatIsDoneStaysWhenRequestsFailAndSaysSo(t *testing.T) {
	s := newScene(t, "a", "b")
	s.round()
	s.pass(soak + 2*time.Second)
	s.fails("legacy/job", "a")
	s.pass(soak + 4*time.Second)
	s.is(v1alpha1.RolloutComplete, "a Done, b Done", "requests fail at shop/a", "legacy/job")
	s.has("a", "b")
	s.told(rollout.EventRequestsFail, "shop/a", "legacy/job")
	s.pass(window)
	s.blocks("a")
}

func TestWhatIsStrictAlreadyIsDoneAtOnceAndIsLookedAtAgainWhenItIsNotAnyMore(t *testing.T) {
	s := newScene(t, "a", "b")
	s.already["a"] = true
	s.foresee()
	s.plaintext("legacy/job", "b")
	s.round()
	s.is(v1alpha1.RolloutBlocked, "a Done, b Blocked")
	s.has()
	delete(s.already, "a")
	s.foresee()
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Watching, b Blocked")
	s.told(rollout.EventStageChanged, "take plaintext again", "shop/a")
}

func TestWhatSomebodyChangedOrDeletedIsMadeAgainByTheSameRules(t *testing.T) {
	for name, change := range map[string]func(*scene){
		"deleted": func(s *scene) { s.delete("shop/trellis-rollout-a") },
		"opened": func(s *scene) {
			s.put("shop/trellis-rollout-a", map[string]any{"mtls": map[string]any{"mode": "PERMISSIVE"}})
		},
		"opened at a port": func(s *scene) {
			spec := map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "a"}}, "mtls": map[string]any{"mode": "STRICT"}}
			spec["portLevelMtls"] = map[string]any{"8080": map[string]any{"mode": "DISABLE"}}
			s.put("shop/trellis-rollout-a", spec)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "a")
			s.round()
			made := s.objects["shop/trellis-rollout-a"]
			s.pass(soak + 2*time.Second)
			s.is(v1alpha1.RolloutComplete, "a Done")
			s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Paused = true })
			change(s)
			changed := fmt.Sprint(s.objects)
			s.pass(time.Minute)
			if got := fmt.Sprint(s.objects); got != changed {
				t.Fatal("it was put back although the rollout is paused")
			}
			s.told(rollout.EventStageChanged, "spec.paused")
			s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Paused = false })
			s.plaintext("legacy/job", "a")
			s.round()
			s.is(v1alpha1.RolloutBlocked, "a Blocked", "legacy/job")
			s.pass(window + 2*time.Second)
			s.is(v1alpha1.RolloutWatching, "a Watching")
			if got := s.objects["shop/trellis-rollout-a"]; fmt.Sprint(got.Spec) != fmt.Sprint(made.Spec) {
				t.Errorf("it is %v, want %v", got.Spec, made.Spec)
			}
		})
	}
}

func TestAnObjectWithoutAStatusIsWatchedFromWhenItWasMade(t *testing.T) {
	s := newScene(t, "a", "b", "c")
	s.round()
	s.pass(20 * time.Second)
	made := *s.status("a").MadeAt
	s.rollout.Status = v1alpha1.MutualTLSRolloutStatus{}
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Watching, b Pending, c Pending")
	if got := s.status("a").MadeAt; !got.Equal(&made) {
		t.Errorf("it was made at %s, want %s", got, made)
	}
	s.pass(22 * time.Second)
	s.is(v1alpha1.RolloutWatching, "a Done, b Watching, c Pending")
	s.rollout.Status = v1alpha1.MutualTLSRolloutStatus{}
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Done, b Watching, c Pending")
}

func TestWhatLeavesTheScopeKeepsItsObjectAndLeavesTheList(t *testing.T) {
	s := newScene(t, "a", "b")
	s.round()
	s.pass(soak + 2*time.Second)
	s.is(v1alpha1.RolloutWatching, "a Done, b Watching")
	both := s.forecast.Stages
	s.forecast.Stages = both[1:]
	s.pass(soak + 2*time.Second)
	s.is(v1alpha1.RolloutComplete, "b Done")
	s.has("a", "b")
	s.forecast.Stages = both
	s.round()
	s.is(v1alpha1.RolloutComplete, "a Done, b Done")
}

func TestAShortInterruptionOfLookingForgetsNoClient(t *testing.T) {
	s := newScene(t, "a")
	s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Observation.Window.Duration = 10 * time.Minute })
	s.seen.From = start.Add(-5 * time.Minute)
	s.plaintext("legacy/job", "a")
	s.round()
	s.pass(time.Minute)
	// What looks is started anew, and knows nothing of before.
	s.seen.Edges, s.seen.From = nil, s.now.Add(30*time.Second)
	s.pass(40 * time.Second)
	s.is(v1alpha1.RolloutBlocked, "a Blocked", "legacy/job")
	if from := s.rollout.Status.Observation.From; from.Time.Before(start.Add(-5*time.Minute)) || from.After(start.Add(-4*time.Minute)) {
		t.Errorf("it looks since %s", from)
	}
	s.pass(8*time.Minute + 10*time.Second)
	s.is(v1alpha1.RolloutBlocked, "a Blocked")
	s.pass(time.Minute)
	s.is(v1alpha1.RolloutWatching, "a Watching")
}

func TestALongInterruptionOfLookingBeginsTheWindowAnew(t *testing.T) {
	s := newScene(t, "a")
	s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Observation.Window.Duration = 10 * time.Minute })
	s.seen.From = start.Add(-9 * time.Minute)
	s.round()
	s.is(v1alpha1.RolloutWaiting, "a Pending")
	seen := s.seen
	s.seen = nil
	s.pass(61 * time.Second)
	s.is(v1alpha1.RolloutWaiting, "a Pending", "traffic is not seen: nobody looks")
	s.seen = seen
	seen.From = s.now
	s.round()
	s.is(v1alpha1.RolloutWaiting, "a Pending", "05:11:01")
	s.pass(9*time.Minute + 50*time.Second)
	s.has()
	s.pass(20 * time.Second)
	s.has("a")
}

func TestAStatusStaysSmallHoweverManyStagesAndClientsThereAre(t *testing.T) {
	var names []string
	for i := range 700 {
		names = append(names, fmt.Sprintf("s%03d", i))
	}
	s := newScene(t, names...)
	for i := range 100 {
		s.already[fmt.Sprintf("s%03d", i)] = true
	}
	s.foresee()
	for i := range 40 {
		s.plaintext(fmt.Sprintf("legacy/job-%02d", i), "s100")
	}
	s.round()
	if got := s.rollout.Status; len(got.Stages) != 512 || got.Done != "100/700" {
		t.Errorf("there are %d stages, done are %s", len(got.Stages), got.Done)
	}
	blocked := s.status("s100")
	if len(blocked.Blocks) != 2 || blocked.MoreBlocks != 38 {
		t.Errorf("there are %d blocks and %d more", len(blocked.Blocks), blocked.MoreBlocks)
	}
	s.has("s101")
	s.pass(soak + 2*time.Second)
	s.has("s101", "s102")
}

func TestOfManyClientsTheLastOnesSeenAreNamedInAnOrderThatStays(t *testing.T) {
	s := newScene(t, "a")
	for i := range 20 {
		s.now = start.Add(time.Duration(i) * time.Second)
		s.plaintext(fmt.Sprintf("legacy/job-%02d", i%10*2+i/10), "a")
	}
	s.round()
	blocked := s.status("a")
	if len(blocked.Blocks) != 16 || blocked.MoreBlocks != 4 || blocked.Blocks[0].Client != "legacy/job-01" {
		t.Errorf("the blocks are %+v and %d more", blocked.Blocks, blocked.MoreBlocks)
	}
}

func TestWhatChangesAllTheTimeIsWrittenNowAndThen(t *testing.T) {
	s := newScene(t, "a")
	s.plaintext("legacy/job", "a")
	s.round()
	was := s.rollout.Status
	for seconds, want := range map[int]bool{10: false, 29: false, 30: true} {
		s.now = start.Add(time.Duration(seconds) * time.Second)
		s.plaintext("legacy/job", "a")
		is := s.decide().Status
		if got := rollout.Worth(&was, &is); got != want {
			t.Errorf("after %d seconds it is %t that a status is worth to be written", seconds, got)
		}
	}
	s.now = start.Add(time.Second)
	s.plaintext("legacy/other", "a")
	if is := s.decide().Status; !rollout.Worth(&was, &is) {
		t.Error("another client is not worth to be written")
	}
}

func TestOneLooksOftenWhereSomethingMayFailAndSoonWhereAWindowEnds(t *testing.T) {
	prometheus := v1alpha1.ObservationSource{Prometheus: &v1alpha1.PrometheusSource{URL: "http://prometheus:9090"}}
	for name, c := range map[string]struct {
		change func(*scene)
		want   time.Duration
	}{
		"by access logs": {func(*scene) {}, 2 * time.Second},
		"by metrics":     {func(s *scene) { s.rollout.Spec.Observation.Source = prometheus }, 5 * time.Second},
		"a window ends":  {func(s *scene) { s.seen.From = s.now.Add(-57 * time.Second) }, 3 * time.Second},
		"blocked":        {func(s *scene) { s.plaintext("legacy/job", "a") }, 10 * time.Second},
		"a short window": {func(s *scene) {
			s.plaintext("legacy/job", "a")
			s.rollout.Spec.Observation.Window.Duration = 8 * time.Second
		}, 2 * time.Second},
		"the shortest one": {func(s *scene) {
			s.plaintext("legacy/job", "a")
			s.rollout.Spec.Observation.Window.Duration = time.Second
		}, time.Second},
		"nothing is in it ": {func(s *scene) { s.forecast.Stages = nil }, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "a")
			c.change(s)
			if got := s.round().After; got != c.want {
				t.Errorf("the next look is after %s, want %s", got, c.want)
			}
		})
	}
}

func TestAConditionKeepsTheTimeSinceWhichItHasItsStatus(t *testing.T) {
	s := newScene(t, "a")
	s.round()
	s.pass(10 * time.Second)
	c := meta.FindStatusCondition(s.rollout.Status.Conditions, v1alpha1.ConditionReady)
	if !c.LastTransitionTime.Equal(&metav1.Time{Time: start}) || c.ObservedGeneration != 1 {
		t.Errorf("the condition is %+v", c)
	}
}

func TestAnOperatorThatEndsWhileItTakesAStageBackDoesNotMakeItAgain(t *testing.T) {
	s := newScene(t, "a")
	s.round()
	s.pass(2 * time.Second)
	s.fails("legacy/job", "a")
	// The object is deleted, and the operator ends before that is written down.
	s.delete("shop/trellis-rollout-a")
	seen := s.seen
	s.seen = nil
	s.pass(10 * time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching", "traffic is not seen")
	s.has()
	s.seen = seen
	s.pass(2 * time.Second)
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack", "legacy/job")
}

func TestALongerWindowIsNoneOfWhichAPartIsForgotten(t *testing.T) {
	s := newScene(t, "a")
	s.rollout.Spec.Paused = true
	s.plaintext("legacy/job", "a")
	s.round()
	s.pass(window + 2*time.Second)
	s.is(v1alpha1.RolloutPaused, "a Pending")
	s.seen.Edges, s.seen.From = nil, s.now
	s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) {
		spec.Paused, spec.Observation.Window.Duration = false, 10*time.Minute
	})
	s.pass(9 * time.Minute)
	s.is(v1alpha1.RolloutWaiting, "a Pending")
	s.pass(time.Minute + 2*time.Second)
	s.is(v1alpha1.RolloutWatching, "a Watching")
}

func TestAWatchedStageThatIsGoneHoldsUpTheOthersForItsSoakOnly(t *testing.T) {
	s := newScene(t, "a", "b")
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Watching, b Pending")
	// Its Service is deleted, has no pods any more, or is out of scope.
	s.forecast.Stages = s.forecast.Stages[1:]
	s.pass(soak - 2*time.Second)
	s.is(v1alpha1.RolloutWatching, "b Pending, a Watching")
	s.pass(8 * time.Second)
	s.is(v1alpha1.RolloutWatching, "b Watching")
	s.has("a", "b")
}

func TestWhatOnlyClientsProxiesSayLeavesOpenWhoElseCalls(t *testing.T) {
	s := newScene(t, "a")
	s.rollout.Spec.Observation.Silence = v1alpha1.SilenceWait
	e := s.edge("shop/web", "a")
	e.Requests, e.SentOnly = 5, true
	s.round()
	s.is(v1alpha1.RolloutBlocked, "a Blocked", "no request to shop/a was seen in the window")
	e.SentOnly = false
	s.pass(15 * time.Second)
	s.has("a")
}

func TestTheWindowIsThatOfWhoLooksWhoseClockMayBeBehind(t *testing.T) {
	s := newScene(t, "a")
	s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Observation.Window.Duration = 10 * time.Minute })
	behind := func() { s.seen.To = s.now.Add(-50 * time.Second) }
	behind()
	s.now = start.Add(-10*time.Minute - 20*time.Second)
	s.plaintext("legacy/job", "a")
	s.now = start
	s.round()
	s.is(v1alpha1.RolloutBlocked, "a Blocked", "legacy/job")
	s.now = start.Add(40 * time.Second)
	behind()
	s.round()
	s.is(v1alpha1.RolloutWatching, "a Watching")
	// It fails by the clock of who looks.
	s.now = s.now.Add(-49 * time.Second)
	s.fails("legacy/job", "a")
	s.now = s.now.Add(51 * time.Second)
	behind()
	s.round()
	s.is(v1alpha1.RolloutSteppedBack, "a SteppedBack", "legacy/job")
}

func TestTheWindowBeginsWhenTheRolloutWasMade(t *testing.T) {
	s := newScene(t, "a")
	s.rollout.CreationTimestamp = metav1.NewTime(start)
	s.round()
	s.is(v1alpha1.RolloutWaiting, "a Pending", "shop/a: no plaintext was seen since 2026-03-04T05:00:00Z")
	s.pass(window - time.Second)
	s.has()
	s.pass(2 * time.Second)
	s.has("a")
}

func TestAStageThatAppearsLaterIsLookedAtForAWindowOfItsOwn(t *testing.T) {
	for name, appears := range map[string]func(*scene, []verdict.Stage){
		"with its proxies": func(s *scene, all []verdict.Stage) { s.forecast.Stages = all },
		"with other pods": func(s *scene, all []verdict.Stage) {
			s.forecast.Stages = all
			s.stage("b").Selector = map[string]string{"app": "other"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "a", "b")
			all := s.forecast.Stages
			s.rollout.Spec.Paused = true
			if name == "with its proxies" {
				s.forecast.Stages = all[:1]
				s.already["a"] = true
				s.foresee()
			} else {
				s.already["a"] = true
				s.foresee()
			}
			s.round()
			s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Paused = false })
			appears(s, all)
			s.foresee()
			s.round()
			s.is(v1alpha1.RolloutWaiting, "a Done, b Pending", "shop/b: no plaintext was seen since 2026-03-04T05:00:00Z")
			s.pass(window - time.Second)
			s.has()
			s.pass(2 * time.Second)
			s.has("b")
		})
	}
}

func TestInterruptionsOfLookingAddUp(t *testing.T) {
	s := newScene(t, "a")
	s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Observation.Window.Duration = 10 * time.Minute })
	seen := s.seen
	seen.From = s.now
	s.round()
	// What looks ends again and again, and looks for ten seconds of each minute.
	for range 11 {
		s.seen = nil
		s.pass(50 * time.Second)
		s.seen, seen.From = seen, s.now
		s.round()
		s.pass(10 * time.Second)
	}
	s.has()
	s.pass(10 * time.Minute)
	s.has("a")
}

func TestAStatusOfManyNamespacesStaysSmallWhateverServicesTheyHave(t *testing.T) {
	s := newScene(t)
	for i := range 512 {
		f := verdict.Stage{Name: fmt.Sprintf("team-%03d", i), Namespace: fmt.Sprintf("team-%03d", i), Object: "trellis-rollout", Mode: "PERMISSIVE"}
		for j := range 100 {
			f.Services = append(f.Services, fmt.Sprintf("%s/some-service-%03d", f.Name, j))
		}
		s.forecast.Stages = append(s.forecast.Stages, f)
	}
	s.plaintext("legacy/job", "a")
	s.seen.Edges[0].Services = []string{"team-000/some-service-077"}
	s.round()
	if written, err := json.Marshal(s.rollout.Status); err != nil || len(written) > 500_000 {
		t.Errorf("it has %d bytes, %v", len(written), err)
	}
	if stage := s.rollout.Status.Stages[0]; stage.Phase != v1alpha1.StageBlocked || !strings.Contains(stage.Blocks[0].Message, "legacy/job calls team-000 in plaintext") {
		t.Errorf("the stage is %+v", stage)
	}
	if s.last.Make == nil || s.last.Make.Stage != "team-001" {
		t.Errorf("it makes %+v", s.last.Make)
	}
}
