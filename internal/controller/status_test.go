// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

func TestWhatOnlySaysWhySomethingIsAwaitedWaitsForTheIntervalAndAnAnswerDoesNot(t *testing.T) {
	one := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: reason, ObservedGeneration: 1}
	}
	accepted := one(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted")
	awaited := one(v1alpha1.ConditionEnforced, metav1.ConditionUnknown, "Pending")
	before := []metav1.Condition{accepted, awaited, one(v1alpha1.ConditionReconciling, metav1.ConditionTrue, "Pending")}
	refused := one(v1alpha1.ConditionEnforced, metav1.ConditionFalse, "RouteOpen")
	newer := awaited
	newer.ObservedGeneration = 2
	for name, test := range map[string]struct {
		before, after []metav1.Condition
		held          bool
	}{
		"another reason why nobody knows":  {before, []metav1.Condition{accepted, one(v1alpha1.ConditionEnforced, metav1.ConditionUnknown, "Unreachable")}, true},
		"an answer":                        {before, []metav1.Condition{accepted, one(v1alpha1.ConditionEnforced, metav1.ConditionTrue, "Probed")}, false},
		"a refusal":                        {before, []metav1.Condition{accepted, refused}, false},
		"another refusal":                  {[]metav1.Condition{accepted, refused}, []metav1.Condition{accepted, one(v1alpha1.ConditionEnforced, metav1.ConditionFalse, "WrongCertificate")}, false},
		"another statement":                {before, []metav1.Condition{accepted, newer}, false},
		"the first status that there ever": {nil, []metav1.Condition{accepted, awaited}, false},
	} {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(time.Unix(1000, 0))
			s := newStatusWriter(nil, 1, clock)
			uid := types.UID("a")
			s.at[uid] = clock.Now()
			write := statusWrite{uid: uid, before: test.before, after: test.after}
			now, later := s.hold([]statusWrite{write})
			if held := len(now) == 0; held != test.held || (later == interval) != test.held {
				t.Errorf("%d written at once and again after %s, want held %v", len(now), later, test.held)
			}
			clock.SetTime(clock.Now().Add(interval))
			if now, later := s.hold([]statusWrite{write}); len(now) != 1 || later != 0 {
				t.Errorf("after the interval %d written and again after %s, want one and never", len(now), later)
			}
		})
	}
}
