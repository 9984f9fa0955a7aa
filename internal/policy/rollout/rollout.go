// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package rollout knows how far a version of a policy has come, stage after stage, and how
// far it comes next. It is pure: what it knows is in the binding and its status, and the
// moment is given.
package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Rest is the stage of the namespaces that no other stage selects.
const Rest = "rest"

// Position is how far a version has come.
type Position struct {
	// Stages are the names of all, the last one included.
	Stages []string
	// Holding is in how many of them, from the first one on, the version holds. The one
	// after these is tried.
	Holding int
	// Since when the stage is tried, or when all came to hold; zero where nobody has written it.
	Since time.Time
	// Trouble is whether trouble was seen when the status was written.
	Trouble bool

	version, from string
	soak          time.Duration
	quietSince    time.Time
}

// Of is the position of a binding with a rollout. A status that is about another version, or
// none, is the first stage tried; and no stage holds before all before it do.
func Of(b *v1alpha1.ClusterPolicyBinding) Position {
	spec, status := b.Spec.Rollout, b.Status.Rollout
	out := Position{version: b.Spec.Policy.Version, from: spec.From, soak: spec.Soak.Duration}
	for i := range spec.Stages {
		out.Stages = append(out.Stages, string(spec.Stages[i].Name))
	}
	out.Stages = append(out.Stages, Rest)
	if status == nil || status.Version != out.version || status.From != out.from {
		return out
	}
	for out.Holding < len(out.Stages) && slices.Contains(status.Holds, out.Stages[out.Holding]) {
		out.Holding++
	}
	if status.Stage != out.Stage() || (status.State == v1alpha1.RolloutHolding) != out.Complete() {
		return out
	}
	if status.Since != nil {
		out.Since = status.Since.Time
	}
	if status.QuietSince != nil {
		out.quietSince = status.QuietSince.Time
	}
	out.Trouble = status.QuietSince == nil && !out.Complete()
	return out
}

// Complete reports whether the version holds in all stages.
func (p Position) Complete() bool { return p.Holding >= len(p.Stages) }

// Stage is the one that is tried, or the last one where all hold.
func (p Position) Stage() string {
	return p.Stages[min(p.Holding, len(p.Stages)-1)]
}

// String is the position in words.
func (p Position) String() string {
	if p.Complete() {
		return "all stages hold" + since(p.Since)
	}
	out := "stage " + p.Stage() + ", tried" + since(p.Since)
	if p.Trouble {
		out += ", stopped by trouble"
	}
	return out
}

func since(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " since " + at.UTC().Format("2006-01-02T15:04:05Z")
}

// Ends is the moment at which the stage that is tried comes to hold if there is no trouble
// until then; false: there is none.
func (p Position) Ends() (time.Time, bool) {
	if p.Complete() || p.quietSince.IsZero() {
		return time.Time{}, false
	}
	return p.quietSince.Add(p.soak), true
}

// Next is the status that follows from what was found at a moment while the version stood at
// the position. Trouble names what the version refuses in the stages that it has come to. A
// moment that is not known moves nothing.
func (p Position) Next(trouble []string, at time.Time) *v1alpha1.PolicyRolloutStatus {
	n := p
	// A status knows whole seconds: no stage is tried for less than was asked for.
	now := at.Add(time.Second - 1).UTC().Truncate(time.Second)
	if at.IsZero() {
		now = time.Time{}
	}
	if n.Since.IsZero() {
		n.Since = now
	}
	switch ends, quiet := p.Ends(); {
	case p.Complete():
	case len(trouble) > 0:
		n.quietSince = time.Time{}
	case !quiet:
		n.quietSince = now
	case !at.IsZero() && !ends.After(at):
		n.Holding++
		n.Since, n.quietSince = now, now
	}
	return n.status(int32(len(trouble)))
}

func (p Position) status(trouble int32) *v1alpha1.PolicyRolloutStatus {
	out := &v1alpha1.PolicyRolloutStatus{
		Version: p.version, From: p.from, Stage: p.Stage(), State: v1alpha1.RolloutTrying,
		Stages: int32(len(p.Stages)), Since: timeOf(p.Since), QuietSince: timeOf(p.quietSince), Trouble: trouble,
	}
	if p.Holding > 0 {
		out.Holds = slices.Clone(p.Stages[:p.Holding])
	}
	if p.Complete() {
		out.State, out.QuietSince, out.Trouble = v1alpha1.RolloutHolding, nil, 0
	}
	return out
}

func timeOf(at time.Time) *metav1.Time {
	if at.IsZero() {
		return nil
	}
	out := metav1.NewTime(at)
	return &out
}

// named is how many subjects a condition names.
const named = 3

// Condition says of a status whether the rollout goes on. Trouble is as Next was given it,
// and goes before all else.
func Condition(status *v1alpha1.PolicyRolloutStatus, trouble []string, soak time.Duration) metav1.Condition {
	out := metav1.Condition{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionTrue}
	switch {
	case status.State == v1alpha1.RolloutHolding:
		out.Reason = "Complete"
		out.Message = fmt.Sprintf("version %s holds in all %d stages; spec.rollout can be taken out", status.Version, status.Stages)
	case status.Trouble > 0:
		out.Status, out.Reason = metav1.ConditionFalse, "Trouble"
		out.Message = fmt.Sprintf("version %s would refuse what the version before does not, so nothing goes on from stage %s: %s",
			status.Version, status.Stage, strings.Join(trouble[:min(len(trouble), named)], "; "))
		if more := len(trouble) - named; more > 0 {
			out.Message += fmt.Sprintf("; and %d more", more)
		}
		out.Message += fmt.Sprintf(". Mend it or approve exceptions; the stage holds once there was no trouble for %s", soak)
	default:
		out.Reason = string(v1alpha1.RolloutTrying)
		out.Message = fmt.Sprintf("stage %s, %d of %d, is tried", status.Stage, len(status.Holds)+1, status.Stages)
		if status.QuietSince != nil {
			out.Message += fmt.Sprintf("; version %s holds there at %s if there is no trouble until then",
				status.Version, status.QuietSince.Add(soak).UTC().Format(time.RFC3339))
		}
	}
	return out
}
