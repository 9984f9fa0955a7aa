// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/gather"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/model"
)

// facts are everything that an owner's conditions follow from.
type facts struct {
	owner      model.Reference
	generation int64
	blockers   []gather.Blocker
	accepted   bool
	paused     bool
	// problems are findings about the owner and what went wrong when its objects
	// were written, errors first.
	problems []model.Finding
	// unwritten is the reason and message of the first object that could not be
	// written, or empty.
	unwritten *model.Finding
	// generated is how many objects there are.
	generated int
	// programmed is nil where no source has said anything about the last write.
	programmed *Verdict
	// exposed is true when there ought to be probes.
	exposed bool
	probes  []compile.Probe
	result  func(compile.Probe) (ProbeResult, bool)
	// certificates and records are the Ready conditions of what is kept for the
	// owner outside of the mesh, nil for one that nobody has looked at yet.
	certificates, records []kept
	// tests is how many tests the statement has.
	tests int
	// standing is nil where nobody waits for tests; silence is why nothing is known
	// of them.
	standing *inforce.Standing
	silence  inforce.Silence
}

// kept is one certificate or entry that a controller of its own keeps.
type kept struct {
	name  string
	ready *metav1.Condition
	// until is when a certificate of another controller expires; nil where that
	// is not known, or shown elsewhere.
	until *metav1.Time
	// handedOver is true for what another controller does and does not confirm.
	handedOver bool
}

// allKept goes by the first one that is not there, those that failed before those
// that are awaited.
func allKept(what string, all []kept) judgement {
	var awaited *judgement
	for _, k := range all {
		switch {
		case k.ready != nil && k.ready.Status == metav1.ConditionTrue:
		case k.ready != nil && k.ready.Status == metav1.ConditionFalse:
			return no(k.ready.Reason, k.name+": "+k.ready.Message)
		case awaited == nil:
			j := unknown(reasonPending, k.name+": nothing is known yet")
			if k.ready != nil {
				j.message = k.name + ": " + k.ready.Message
			}
			awaited = &j
		}
	}
	if awaited != nil {
		return *awaited
	}
	return keptBy(what, all)
}

// judgement is one condition without its bookkeeping.
type judgement struct {
	status          metav1.ConditionStatus
	reason, message string
}

func yes(reason, message string) judgement { return judgement{metav1.ConditionTrue, reason, message} }
func no(reason, message string) judgement  { return judgement{metav1.ConditionFalse, reason, message} }
func unknown(reason, message string) judgement {
	return judgement{metav1.ConditionUnknown, reason, message}
}

// reasonPending is that of everything that will be known by waiting.
const reasonPending = "Pending"

// judge is one step of the way to a condition: it reports false where it has
// nothing to say and the next one is asked.
type judge func(*facts) (judgement, bool)

// ask returns the first judgement of a list, whose last one always has one.
func ask(f *facts, judges ...judge) judgement {
	for _, j := range judges {
		if out, ok := j(f); ok {
			return out
		}
	}
	return unknown("Undecided", "no rule decided about this condition")
}

func blocked(f *facts) (judgement, bool) {
	if len(f.blockers) == 0 {
		return judgement{}, false
	}
	b := f.blockers[0]
	return unknown(b.Reason, b.Message+"; "+b.Fix), true
}

func refused(f *facts) (judgement, bool) {
	if f.accepted {
		return judgement{}, false
	}
	errors := 0
	first := model.Finding{Reason: "Refused", Message: "the statement was refused"}
	for _, p := range f.problems {
		if p.Severity == model.SeverityError {
			if errors == 0 {
				first = p
			}
			errors++
		}
	}
	message := sentence(first)
	if errors > 1 {
		message = fmt.Sprintf("%s (and %d more, see status.problems)", message, errors-1)
	}
	return no(first.Reason, message), true
}

func sentence(f model.Finding) string {
	out := f.Message
	if f.Field != "" {
		out = f.Field + ": " + out
	}
	if f.Fix != "" {
		out += "; " + f.Fix
	}
	return out
}

func acceptable(*facts) (judgement, bool) {
	return yes("Accepted", "every part of the statement is in force"), true
}

func unwritten(f *facts) (judgement, bool) {
	if f.unwritten == nil {
		return judgement{}, false
	}
	return no(f.unwritten.Reason, sentence(*f.unwritten)), true
}

func noEffect(f *facts) (judgement, bool) {
	return no("NoEffect", "nothing follows from this statement, so nothing was generated"), f.generated == 0
}

func acknowledged(f *facts) (judgement, bool) {
	if f.programmed == nil {
		return unknown(reasonPending, "waiting for istiod to say that every proxy has the last change"), true
	}
	return judgement{f.programmed.Status, f.programmed.Reason, f.programmed.Message}, true
}

func unprobed(f *facts) (judgement, bool) {
	return unknown("NoProbes", "nothing is published that could be probed"), f.exposed && len(f.probes) == 0
}

// seen goes by the worst of all probes.
func seen(f *facts) (judgement, bool) {
	var failed, unsure, waiting int
	var worst ProbeResult
	for _, p := range f.probes {
		r, ok := f.result(p)
		switch {
		case !ok:
			waiting++
		case r.Status == metav1.ConditionFalse:
			if failed == 0 {
				worst = r
			}
			failed++
		case r.Status != metav1.ConditionTrue:
			if failed == 0 && unsure == 0 {
				worst = r
			}
			unsure++
		}
	}
	switch {
	case failed > 0:
		return no(worst.Reason, fmt.Sprintf("%s (%d of %d probes failed)", worst.Message, failed, len(f.probes))), true
	case waiting > 0:
		// No count of those that are out: it would be a write for each answer.
		return unknown(reasonPending, fmt.Sprintf("waiting for the answers of %d probes that were sent since the last change", len(f.probes))), true
	case unsure > 0:
		return unknown(worst.Reason, fmt.Sprintf("%s (%d of %d probes could not tell)", worst.Message, unsure, len(f.probes))), true
	}
	return yes("Probed", fmt.Sprintf("%d probes were answered as stated by every gateway pod", len(f.probes))), true
}

// conditions are all conditions of an owner, in their order. Those that do not
// apply are left out.
func conditions(f *facts) []metav1.Condition {
	accepted := ask(f, blocked, awaitingTests, refused, acceptable)
	programmed := f.ofGeneration(ask(f, blocked, unwritten, nothingInForce, noEffect, acknowledged))
	out := []metav1.Condition{
		condition(v1alpha1.ConditionAccepted, accepted),
		condition(v1alpha1.ConditionProgrammed, programmed),
	}
	parts := []judgement{accepted, programmed}
	if f.exposed {
		enforced := f.ofGeneration(ask(f, blocked, unprobed, seen))
		parts = append(parts, enforced)
		out = append(out, condition(v1alpha1.ConditionEnforced, enforced))
	}
	for _, k := range []struct {
		condition, what string
		all             []kept
	}{
		{v1alpha1.ConditionCertificatesReady, "certificates were issued and are renewed", f.certificates},
		{v1alpha1.ConditionDNSReady, "names are in the DNS", f.records},
	} {
		if len(k.all) > 0 {
			judged := allKept(k.what, k.all)
			parts = append(parts, judged)
			out = append(out, condition(k.condition, judged))
		}
	}
	if f.tests > 0 {
		// That nobody has run them is no part of readiness: what is in force has
		// passed its tests once, or Accepted says that it is not in force.
		passed := ask(f, blocked, func(f *facts) (judgement, bool) { return testsPassed(f), true })
		if passed.status == metav1.ConditionFalse {
			parts = append(parts, passed)
		}
		out = append(out, condition(v1alpha1.ConditionTestsPassed, passed))
	}
	ready := readiness(f, parts)
	out = append(out, condition(v1alpha1.ConditionReady, ready))
	switch {
	case stalled(f, ready):
		out = append(out, condition(v1alpha1.ConditionStalled, yes(ready.reason, ready.message)))
	case ready.status == metav1.ConditionUnknown && (ready.reason == reasonPending || ready.reason == inforce.ReasonAwaitingTests):
		out = append(out, condition(v1alpha1.ConditionReconciling, yes(ready.reason, ready.message)))
	}
	for i := range out {
		out[i].ObservedGeneration = f.generation
	}
	return out
}

// readiness is the first thing that is wrong, or else the first that is not known.
func readiness(f *facts, parts []judgement) judgement {
	if f.paused {
		return no("Paused", fmt.Sprintf("the annotation %s stops the repair of what was generated; probes go on", v1alpha1.PausedAnnotation))
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionFalse, metav1.ConditionUnknown} {
		for _, p := range parts {
			if p.status == status {
				return p
			}
		}
	}
	return yes("Ready", "everything that was stated is in force")
}

// stalled is true when only a person can help.
func stalled(f *facts, ready judgement) bool {
	return !f.paused && ready.status != metav1.ConditionTrue && (len(f.blockers) > 0 || !f.accepted && !(f.standing != nil && f.standing.Awaits()) || f.unwritten != nil)
}

func condition(kind string, j judgement) metav1.Condition {
	const longest = 2048
	if len(j.message) > longest {
		j.message = strings.ToValidUTF8(j.message[:longest], "") + "…"
	}
	return metav1.Condition{Type: kind, Status: j.status, Reason: j.reason, Message: j.message}
}

// settle gives each condition the time of its last change of status.
func settle(now metav1.Time, was, is []metav1.Condition) []metav1.Condition {
	for i := range is {
		is[i].LastTransitionTime = now
		if old := meta.FindStatusCondition(was, is[i].Type); old != nil && old.Status == is[i].Status {
			is[i].LastTransitionTime = old.LastTransitionTime
		}
	}
	return is
}
