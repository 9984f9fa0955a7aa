// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expiry_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/expiry"
	"github.com/trellis-mesh/trellis/internal/model"
)

var noon = time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)

// policies are exceptions that expire that long after noon.
func policies(counted bool, after ...time.Duration) model.Policies {
	var p model.Policies
	for _, d := range after {
		p.Exceptions = append(p.Exceptions, &v1alpha1.PolicyException{
			Spec: v1alpha1.PolicyExceptionSpec{Expires: metav1.NewTime(noon.Add(d))},
		})
	}
	subject := v1alpha1.SubjectRoute
	if counted {
		subject = v1alpha1.SubjectPolicyException
	}
	p.Templates = []*v1alpha1.PolicyTemplate{{Spec: v1alpha1.PolicyTemplateSpec{Constraints: []v1alpha1.Constraint{{Subject: subject}}}}}
	return p
}

func TestTheNextMomentIsThatOfTheFirstExceptionThatHasNotExpired(t *testing.T) {
	const day, none = 24 * time.Hour, time.Duration(-1)
	for name, test := range map[string]struct {
		of   model.Policies
		want time.Duration
	}{
		"no exception":                             {policies(false), none},
		"all have expired":                         {policies(false, -time.Hour, -day), none},
		"one expires at this moment":               {policies(false, 0), none},
		"the first of several":                     {policies(false, 3*day, -time.Hour, time.Hour, 2*day), time.Hour},
		"days are counted":                         {policies(true, 3*day+time.Hour), time.Hour},
		"days are counted, at the turn of one":     {policies(true, 3*day), day},
		"days are counted, on the last of them":    {policies(true, time.Minute), time.Minute},
		"days are counted, at the last turn":       {policies(true, day), day},
		"days are counted, a nanosecond to a turn": {policies(true, day+1), 1},
		"days are counted, by several":             {policies(true, 9*day+5*time.Hour, 2*day+4*time.Hour), 4 * time.Hour},
	} {
		at, ok := expiry.Next(test.of, noon)
		if ok != (test.want != none) || ok && !at.Equal(noon.Add(test.want)) {
			t.Errorf("%s: %s, %t; want %s after noon", name, at, ok, test.want)
		}
	}
}

// rolling is a binding of which a stage is tried, quiet since so long after noon; negative: not quiet.
func rolling(quiet, soak time.Duration) *v1alpha1.ClusterPolicyBinding {
	b := &v1alpha1.ClusterPolicyBinding{}
	b.Spec.Policy.Version = "2.0.0"
	b.Spec.Rollout = &v1alpha1.PolicyRolloutSpec{Soak: metav1.Duration{Duration: soak}, Stages: []v1alpha1.PolicyRolloutStage{{Name: "dev"}}}
	b.Status.Rollout = &v1alpha1.PolicyRolloutStatus{Version: "2.0.0", Stage: "dev", State: v1alpha1.RolloutTrying}
	if quiet >= 0 {
		since := metav1.NewTime(noon.Add(quiet))
		b.Status.Rollout.QuietSince = &since
	}
	return b
}

func TestTheEndOfASoakIsAMomentToo(t *testing.T) {
	other := rolling(0, time.Hour)
	other.Status.Rollout.Version = "1.0.0"
	for name, test := range map[string]struct {
		rollouts   []*v1alpha1.ClusterPolicyBinding
		exceptions []time.Duration
		want       time.Duration
	}{
		"no rollout":                     {[]*v1alpha1.ClusterPolicyBinding{{}}, nil, -1},
		"one that soaks":                 {[]*v1alpha1.ClusterPolicyBinding{rolling(time.Minute, time.Hour)}, nil, 61 * time.Minute},
		"one that trouble has stopped":   {[]*v1alpha1.ClusterPolicyBinding{rolling(-1, time.Hour)}, nil, -1},
		"one whose soak is over":         {[]*v1alpha1.ClusterPolicyBinding{rolling(0, 0)}, nil, -1},
		"one about another version":      {[]*v1alpha1.ClusterPolicyBinding{other}, nil, -1},
		"the first of several":           {[]*v1alpha1.ClusterPolicyBinding{rolling(0, 3*time.Hour), rolling(0, 2*time.Hour)}, []time.Duration{5 * time.Hour}, 2 * time.Hour},
		"an exception that ends earlier": {[]*v1alpha1.ClusterPolicyBinding{rolling(0, 3*time.Hour)}, []time.Duration{time.Hour}, time.Hour},
	} {
		p := policies(false, test.exceptions...)
		p.ClusterBindings = test.rollouts
		at, ok := expiry.Next(p, noon)
		if ok != (test.want >= 0) || ok && !at.Equal(noon.Add(test.want)) {
			t.Errorf("%s: %s, %t; want %s after noon", name, at, ok, test.want)
		}
	}
}

// TestEverythingIsJudgedAlikeUntilTheNextMoment counts days as constraints do.
func TestEverythingIsJudgedAlikeUntilTheNextMoment(t *testing.T) {
	p := policies(true, 30*time.Hour, 49*time.Hour, 100*time.Hour+7*time.Minute)
	left := func(at time.Time) (out [3]int) {
		for i, e := range p.Exceptions {
			out[i] = int((e.Spec.Expires.Sub(at) + 24*time.Hour - 1) / (24 * time.Hour))
			out[i] = max(out[i], 0)
		}
		return out
	}
	moments := 0
	for at := noon; ; moments++ {
		next, ok := expiry.Next(p, at)
		if !ok {
			break
		}
		if left(at) != left(next.Add(-1)) || left(at) == left(next) {
			t.Errorf("days are %v at %s, %v before %s, and %v from then on", left(at), at, left(next.Add(-1)), next, left(next))
		}
		at = next
	}
	if want := 2 + 3 + 5; moments != want {
		t.Errorf("%d moments, want %d", moments, want)
	}
}

func fired(a *expiry.Alarm) bool {
	select {
	case <-a.Fired():
		return true
	default:
		return false
	}
}

func TestAnAlarmTellsOnceOfEachMoment(t *testing.T) {
	clock := clocktesting.NewFakeClock(noon)
	alarm := expiry.NewAlarm(clock)
	p := policies(false, 10*time.Minute, 20*time.Minute)
	step := func(d time.Duration, wantFired, wantDue bool) {
		t.Helper()
		clock.Step(d)
		if got := fired(alarm); got != wantFired {
			t.Errorf("at %s the timer has fired: %t", clock.Now(), got)
		}
		if got := alarm.Due(p); got != wantDue {
			t.Errorf("at %s it is due: %t", clock.Now(), got)
		}
		if alarm.Due(p) {
			t.Errorf("at %s it is due again", clock.Now())
		}
	}
	if alarm.Due(p) {
		t.Error("it is due at noon")
	}
	step(9*time.Minute, false, false)
	step(time.Minute, true, true)
	step(11*time.Minute, true, true)
	if alarm.Fired() != nil || clock.HasWaiters() {
		t.Error("a timer runs though nothing will expire")
	}
	step(1000*time.Hour, false, false)
}

func TestAnAlarmMissesNothingThatPassedUnnoticed(t *testing.T) {
	clock := clocktesting.NewFakeClock(noon)
	alarm := expiry.NewAlarm(clock)
	clock.Step(time.Hour)
	if !alarm.Due(policies(false, time.Minute)) {
		t.Error("it expired before it was looked at, after what it was part of was judged")
	}
	clock.SetTime(noon)
	if alarm.Due(policies(false, time.Minute)) {
		t.Error("the clock was set back: it has not expired")
	}
	clock.Step(time.Minute)
	if !fired(alarm) || !alarm.Due(policies(false, time.Minute)) {
		t.Error("it expired once more")
	}
	alarm.Due(policies(false, 1000*time.Hour))
	clock.Step(time.Hour)
	if !fired(alarm) {
		t.Error("a timer of many days is trusted that long")
	}
	alarm.Due(policies(false, 1000*time.Hour))
	alarm.Stop()
	if clock.HasWaiters() || alarm.Fired() != nil {
		t.Error("the timer runs on")
	}
}
