// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy/rollout"
)

var noon = time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)

// binding rolls 2.0.0 out over 1.3.0 in the stages dev and test, an hour each.
func binding(status *v1alpha1.PolicyRolloutStatus) *v1alpha1.ClusterPolicyBinding {
	b := &v1alpha1.ClusterPolicyBinding{}
	b.Spec.Policy = v1alpha1.PolicyVersion{Name: "policy", Version: "2.0.0"}
	b.Spec.Rollout = &v1alpha1.PolicyRolloutSpec{
		From: "1.3.0", Soak: metav1.Duration{Duration: time.Hour}, Stages: []v1alpha1.PolicyRolloutStage{{Name: "dev"}, {Name: "test"}},
	}
	b.Status.Rollout = status
	return b
}

// after is a moment so long after noon.
func after(d time.Duration) *metav1.Time {
	out := metav1.NewTime(noon.Add(d))
	return &out
}

// tried is the status of a stage that is tried since noon, quiet since so long after it;
// negative: not quiet.
func tried(stage string, quiet time.Duration, trouble int32, holds ...string) *v1alpha1.PolicyRolloutStatus {
	out := &v1alpha1.PolicyRolloutStatus{
		Version: "2.0.0", From: "1.3.0", Stage: stage, State: v1alpha1.RolloutTrying, Since: after(0), Stages: 3, Holds: holds, Trouble: trouble,
	}
	if quiet >= 0 {
		out.QuietSince = after(quiet)
	}
	return out
}

// begun is the status of a stage that begins to be tried so long after noon.
func begun(stage string, at time.Duration, holds ...string) *v1alpha1.PolicyRolloutStatus {
	out := tried(stage, at, 0, holds...)
	out.Since = after(at)
	return out
}

func changed(s *v1alpha1.PolicyRolloutStatus, change func(*v1alpha1.PolicyRolloutStatus)) *v1alpha1.PolicyRolloutStatus {
	change(s)
	return s
}

func TestAStageHoldsAfterItsSoakWithoutTroubleAndTheNextIsTried(t *testing.T) {
	trouble := []string{"Application shop/web spec.routes[0] (token)"}
	complete := changed(begun("rest", 0, "dev", "test", "rest"), func(s *v1alpha1.PolicyRolloutStatus) {
		s.State, s.QuietSince = v1alpha1.RolloutHolding, nil
	})
	for name, test := range map[string]struct {
		was     *v1alpha1.PolicyRolloutStatus
		trouble []string
		after   time.Duration
		want    *v1alpha1.PolicyRolloutStatus
	}{
		"nothing is known, so the first stage is tried":   {nil, nil, 0, begun("dev", 0)},
		"the first stage begins with trouble":             {nil, trouble, 0, tried("dev", -1, 1)},
		"the soak is not over":                            {tried("dev", 0, 0), nil, time.Hour - 1, tried("dev", 0, 0)},
		"the soak is over":                                {tried("dev", 0, 0), nil, time.Hour, begun("test", time.Hour, "dev")},
		"long after the soak one stage goes on, not two":  {tried("dev", 0, 0), nil, 9 * time.Hour, begun("test", 9*time.Hour, "dev")},
		"trouble comes":                                   {tried("test", 0, 0, "dev"), trouble, time.Minute, tried("test", -1, 1, "dev")},
		"trouble comes at the very end of the soak":       {tried("test", 0, 0, "dev"), trouble, time.Hour, tried("test", -1, 1, "dev")},
		"trouble stays, however long":                     {tried("test", -1, 1, "dev"), trouble, 99 * time.Hour, tried("test", -1, 1, "dev")},
		"trouble is gone, and the soak begins anew":       {tried("test", -1, 1, "dev"), nil, 2 * time.Hour, tried("test", 2*time.Hour, 0, "dev")},
		"the new soak is over":                            {tried("test", 2*time.Hour, 0, "dev"), nil, 3 * time.Hour, begun("rest", 3*time.Hour, "dev", "test")},
		"the last stage holds":                            {tried("rest", 0, 0, "dev", "test"), nil, time.Hour, changed(complete.DeepCopy(), func(s *v1alpha1.PolicyRolloutStatus) { s.Since = after(time.Hour) })},
		"what is complete stays so":                       {complete, trouble, 99 * time.Hour, complete},
		"another version starts anew":                     {changed(tried("rest", 0, 0, "dev", "test"), func(s *v1alpha1.PolicyRolloutStatus) { s.Version = "1.9.0" }), nil, 0, begun("dev", 0)},
		"coming from another version starts anew":         {changed(complete.DeepCopy(), func(s *v1alpha1.PolicyRolloutStatus) { s.From = "" }), nil, 0, begun("dev", 0)},
		"a new stage before others is tried before them":  {tried("rest", 0, 0, "test"), nil, 9 * time.Hour, begun("dev", 9*time.Hour)},
		"a stage that is gone is skipped, and no further": {tried("old", 0, 0, "dev"), nil, 9 * time.Hour, begun("test", 9*time.Hour, "dev")},
		"no stage holds by what its name alone says":      {changed(tried("rest", 0, 0), func(s *v1alpha1.PolicyRolloutStatus) { s.State = v1alpha1.RolloutHolding }), nil, 0, begun("dev", 0)},
		"a status knows whole seconds, and none too few":  {nil, nil, time.Millisecond, begun("dev", time.Second)},
		"of a status without times the soak begins":       {changed(tried("dev", -1, 0), func(s *v1alpha1.PolicyRolloutStatus) { s.Since = nil }), nil, 0, begun("dev", 0)},
	} {
		if got := rollout.Of(binding(test.was)).Next(test.trouble, noon.Add(test.after)); !equality.Semantic.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v\nwant %+v", name, got, test.want)
		}
	}
}

func TestAMomentThatIsNotKnownMovesNothing(t *testing.T) {
	for _, was := range []*v1alpha1.PolicyRolloutStatus{nil, tried("dev", 0, 0), tried("test", -1, 0, "dev")} {
		p := rollout.Of(binding(was))
		if got := rollout.Of(binding(p.Next(nil, time.Time{}))); got.Holding != p.Holding {
			t.Errorf("%v became %v", p, got)
		}
	}
}

func TestWithoutPersonsARolloutOnlyEverGoesOn(t *testing.T) {
	// Trouble comes and goes in all ways, and a stage is always tried for its soak.
	for pattern := range 1 << 8 {
		var status *v1alpha1.PolicyRolloutStatus
		// quiet is the step at which the soak began.
		holding, quiet := 0, 0
		for step := range 8 {
			var trouble []string
			if pattern>>step&1 == 1 {
				trouble = []string{"something"}
			}
			status = rollout.Of(binding(status)).Next(trouble, noon.Add(time.Duration(step)*30*time.Minute))
			now := rollout.Of(binding(status)).Holding
			soaked := trouble == nil && step-quiet >= 2 && holding < 3
			if want := holding + map[bool]int{true: 1}[soaked]; now != want {
				t.Fatalf("pattern %b, step %d: from %d to %d stages, and it is quiet since step %d", pattern, step, holding, now, quiet)
			}
			switch {
			case trouble != nil:
				quiet = step + 1
			case soaked:
				quiet = step
			}
			holding = now
		}
	}
}

func TestARolloutSaysInWordsHowFarItHasCome(t *testing.T) {
	complete := rollout.Of(binding(tried("rest", 0, 0, "dev", "test"))).Next(nil, noon.Add(time.Hour))
	five := []string{"a", "b", "c", "d", "e"}
	for want, status := range map[string]*v1alpha1.PolicyRolloutStatus{
		"stage dev, tried": nil,
		"stage test, tried since 2027-01-10T12:00:00Z":                     tried("test", 0, 0, "dev"),
		"stage test, tried since 2027-01-10T12:00:00Z, stopped by trouble": tried("test", -1, 5, "dev"),
		"all stages hold since 2027-01-10T13:00:00Z":                       complete,
	} {
		if got := rollout.Of(binding(status)).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, test := range []struct {
		of     *v1alpha1.PolicyRolloutStatus
		status metav1.ConditionStatus
		reason string
		parts  string
	}{
		{tried("test", 0, 0, "dev"), metav1.ConditionTrue, "Trying", "stage test, 2 of 3, is tried; version 2.0.0 holds there at 2027-01-10T13:00:00Z"},
		{tried("test", -1, 5, "dev"), metav1.ConditionFalse, "Trouble", "stage test: a; b; c; and 2 more."},
		{complete, metav1.ConditionTrue, "Complete", "holds in all 3 stages; spec.rollout can be taken out"},
	} {
		c := rollout.Condition(test.of, five, time.Hour)
		if c.Type != "Progressing" || c.Status != test.status || c.Reason != test.reason || !strings.Contains(c.Message, test.parts) {
			t.Errorf("%+v, want %s %s %q", c, test.status, test.reason, test.parts)
		}
	}
}
