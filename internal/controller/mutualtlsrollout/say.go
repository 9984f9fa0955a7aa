// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

const (
	// maxStages bounds the stages of a status, maxMessage the octets of a message, and
	// maxBlock those of a block's.
	maxStages  = 512
	maxMessage = 1024
	maxBlock   = 320
	// noteEvery is how often is written down what changes all the time.
	noteEvery = 30 * time.Second
)

// count of stages in each phase, and the first of each.
type tally struct {
	of    map[v1alpha1.RolloutStagePhase]int
	first map[v1alpha1.RolloutStagePhase]*v1alpha1.RolloutStage
}

func (n *round) tally() tally {
	t := tally{map[v1alpha1.RolloutStagePhase]int{}, map[v1alpha1.RolloutStagePhase]*v1alpha1.RolloutStage{}}
	for i := range n.status.Stages {
		s := &n.status.Stages[i]
		t.of[s.Phase]++
		if t.first[s.Phase] == nil {
			t.first[s.Phase] = s
		}
	}
	return t
}

// conclude says where the whole is.
func (n *round) conclude() {
	t := n.tally()
	phase, subject := n.phase(t)
	n.status.ObservedGeneration, n.status.Phase, n.status.Stage = n.Rollout.Generation, phase, ""
	if phase == v1alpha1.RolloutComplete && n.was.Phase == phase {
		// Nobody waits for it, and it would be a write now and then.
		n.status.Observation = n.was.Observation
	}
	if subject != nil {
		n.status.Stage = subject.Name
	}
	n.total, n.done = len(n.status.Stages), t.of[v1alpha1.StageDone]
	if n.Forecast != nil || n.status.Done == "" {
		n.status.Done = fmt.Sprintf("%d/%d", n.done, n.total)
	}
	message := clip(n.message(phase, subject, t), maxMessage)
	n.conditions(phase, message)
	switch {
	case phase == v1alpha1.RolloutComplete && n.was.Phase != phase:
		n.tell(false, EventRolloutIsDone, "Watch", "%s", message)
	case phase == v1alpha1.RolloutBlocked && n.was.Phase != phase:
		n.tell(true, EventStageBlocked, "Wait", "%s", message)
	}
}

// phase is where the whole is, and the stage that this is about.
func (n *round) phase(t tally) (v1alpha1.RolloutPhase, *v1alpha1.RolloutStage) {
	left := len(n.status.Stages) - t.of[v1alpha1.StageDone]
	watching, blocked := t.first[v1alpha1.StageWatching], t.first[v1alpha1.StageBlocked]
	subject := watching
	if subject == nil {
		subject = n.next
	}
	if subject == nil {
		subject = blocked
	}
	switch {
	case t.of[v1alpha1.StageSteppedBack] > 0:
		return v1alpha1.RolloutSteppedBack, t.first[v1alpha1.StageSteppedBack]
	case n.Forecast != nil && n.Unreadable == "" && left == 0 && len(n.status.Stages) > 0:
		return v1alpha1.RolloutComplete, nil
	case n.spec.Paused:
		return v1alpha1.RolloutPaused, subject
	case watching != nil:
		return v1alpha1.RolloutWatching, watching
	case left > 0 && t.of[v1alpha1.StageBlocked] == left:
		return v1alpha1.RolloutBlocked, blocked
	}
	return v1alpha1.RolloutWaiting, subject
}

func (n *round) message(phase v1alpha1.RolloutPhase, subject *v1alpha1.RolloutStage, t tally) string {
	switch phase {
	case v1alpha1.RolloutSteppedBack:
		return n.steppedBack(subject)
	case v1alpha1.RolloutComplete:
		return "everything in its scope takes mutual TLS only" + n.failing()
	case v1alpha1.RolloutPaused:
		message := "no stage is made until spec.paused is taken out"
		if watching := t.first[v1alpha1.StageWatching]; watching != nil {
			message += "; " + n.watched(watching)
		}
		return message + n.failing()
	case v1alpha1.RolloutWatching:
		return n.watched(subject) + n.failing()
	case v1alpha1.RolloutBlocked:
		message := "all that is left is blocked: " + subject.Name + ": " + brief(subject)
		if others := t.of[v1alpha1.StageBlocked] - 1; others > 0 {
			message += fmt.Sprintf("; blocked for reasons of their own: %d more", others)
		}
		return message + n.failing()
	}
	return n.awaited(subject) + blockedToo(t) + n.failing()
}

// blockedToo names a stage that is passed over.
func blockedToo(t tally) string {
	blocked := t.first[v1alpha1.StageBlocked]
	switch more := t.of[v1alpha1.StageBlocked] - 1; {
	case blocked == nil:
		return ""
	case more > 0:
		return fmt.Sprintf("; blocked: %s (%s) and %d more", blocked.Name, brief(blocked), more)
	default:
		return fmt.Sprintf("; blocked: %s (%s)", blocked.Name, brief(blocked))
	}
}

func (n *round) steppedBack(s *v1alpha1.RolloutStage) string {
	message := fmt.Sprintf("%s was taken back: %s", s.Name, brief(s))
	if len(n.out.Delete) > 0 && s.SteppedBackAt.Time.Before(n.Now.Add(-lookOften)) {
		message += fmt.Sprintf("; the PeerAuthentication %s is there still, and is being deleted", s.PeerAuthentication)
	}
	return message + "; no stage is made until the text of the annotation " + v1alpha1.RetryAnnotation + " changes"
}

func (n *round) watched(s *v1alpha1.RolloutStage) string {
	message := fmt.Sprintf("%s: it takes mutual TLS only since %s, and failures are watched until %s", s.Name, clockTime(s.MadeAt.Time), clockTime(s.MadeAt.Add(n.soak())))
	switch over := !n.Now.Before(s.MadeAt.Add(n.soak())); {
	case n.Since == nil && n.Unseen != "":
		message += ", but traffic is not seen: " + n.Unseen
	case over && !n.soaked(s):
		message += ", but not everything was seen since then"
	case over && len(s.Blocks) > 0:
		message = fmt.Sprintf("%s: the PeerAuthentication %s is there, and its workloads take plaintext: %s", s.Name, s.PeerAuthentication, brief(s))
	case over && n.Forecast == nil:
		message += ", but whether it has had its effect is not known: " + n.Unforeseen
	case over:
		message += ", but trellis-server does not see yet that it has had its effect"
	}
	return message
}

// awaited is what is waited for before a stage is made.
func (n *round) awaited(s *v1alpha1.RolloutStage) string {
	switch unknown := n.unknown(); {
	case unknown != "":
		return unknown
	case s == nil:
		return "there are no workloads in its namespaces that could take mutual TLS only"
	case n.due.IsZero():
		return s.Name + ": traffic has not been seen yet"
	case n.due.After(n.Now):
		since, _ := n.quietSince(s)
		return fmt.Sprintf("%s: no plaintext was seen since %s; if none is until %s, its turn is then%s", s.Name, clockTime(since), clockTime(n.due), n.would())
	case n.spec.DryRun:
		return s.Name + " would be made now; it is a dry run (spec.dryRun)"
	}
	return s.Name + ": its turn is next"
}

func (n *round) would() string {
	if n.spec.DryRun {
		return ", but for the dry run (spec.dryRun)"
	}
	return ""
}

// failing names a stage that is done and at which requests fail.
func (n *round) failing() string {
	for i := range n.status.Stages {
		if s := &n.status.Stages[i]; s.Phase == v1alpha1.StageDone && len(s.Blocks) > 0 {
			return fmt.Sprintf("; requests fail at %s, which is done and stays: %s", s.Name, brief(s))
		}
	}
	return ""
}

// conditions are as kstatus reads them: Reconciling where it goes on by itself, Stalled
// where somebody has to do something, and neither where somebody has stopped it.
func (n *round) conditions(phase v1alpha1.RolloutPhase, message string) {
	ready := metav1.ConditionFalse
	abnormal := v1alpha1.ConditionReconciling
	switch {
	case phase == v1alpha1.RolloutComplete:
		ready, abnormal = metav1.ConditionTrue, ""
	case phase == v1alpha1.RolloutSteppedBack, phase == v1alpha1.RolloutBlocked:
		abnormal = v1alpha1.ConditionStalled
	case phase == v1alpha1.RolloutPaused, n.spec.DryRun && phase == v1alpha1.RolloutWaiting:
		abnormal = ""
	}
	n.set(metav1.Condition{Type: v1alpha1.ConditionReady, Status: ready, Reason: string(phase), Message: message})
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if kind != abnormal {
			meta.RemoveStatusCondition(&n.status.Conditions, kind)
			continue
		}
		n.set(metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: string(phase), Message: message})
	}
}

func (n *round) set(c metav1.Condition) {
	c.ObservedGeneration, c.LastTransitionTime = n.Rollout.Generation, stamp(n.Now)
	meta.SetStatusCondition(&n.status.Conditions, c)
}

// bound leaves out stages for which a status has no room: those that are done first,
// since they can be told by their objects.
func (n *round) bound() {
	excess := len(n.status.Stages) - maxStages
	if excess <= 0 {
		return
	}
	drop := map[int]bool{}
	for i := 0; i < len(n.status.Stages) && len(drop) < excess; i++ {
		if n.status.Stages[i].Phase == v1alpha1.StageDone {
			drop[i] = true
		}
	}
	for i := len(n.status.Stages) - 1; i >= 0 && len(drop) < excess; i-- {
		if p := n.status.Stages[i].Phase; p == v1alpha1.StagePending || p == v1alpha1.StageBlocked {
			drop[i] = true
		}
	}
	kept := make([]v1alpha1.RolloutStage, 0, maxStages)
	for i, s := range n.status.Stages {
		if !drop[i] {
			kept = append(kept, s)
		}
	}
	n.status.Stages = kept
}

// Worth reports whether a status is worth to be written over another one. What changes
// all the time is written now and then, and with what else changes.
func Worth(was, is *v1alpha1.MutualTLSRolloutStatus) bool {
	if !equality.Semantic.DeepEqual(steady(was), steady(is)) {
		return true
	}
	if is.Observation == nil || is.Phase == v1alpha1.RolloutComplete {
		return false
	}
	return is.Observation.To.Sub(was.Observation.To.Time) >= noteEvery
}

// steady is a status without what changes all the time.
func steady(s *v1alpha1.MutualTLSRolloutStatus) *v1alpha1.MutualTLSRolloutStatus {
	out := s.DeepCopy()
	if out.Observation != nil {
		out.Observation.To = metav1.Time{}
	}
	for i := range out.Stages {
		if out.Stages[i].Phase == v1alpha1.StageSteppedBack {
			continue
		}
		for j := range out.Stages[i].Blocks {
			out.Stages[i].Blocks[j].Count, out.Stages[i].Blocks[j].LastSeen = 0, nil
		}
	}
	return out
}

// brief is the first of the blocks of a stage, and how many there are besides.
func brief(s *v1alpha1.RolloutStage) string {
	more := len(s.Blocks) - 1 + int(s.MoreBlocks)
	if more > 0 {
		return fmt.Sprintf("%s, and %d more", first(s.Blocks), more)
	}
	return first(s.Blocks)
}

func first(blocks []v1alpha1.RolloutBlock) string {
	if len(blocks) == 0 {
		return "nothing is known to be the reason"
	}
	return blocks[0].Message
}

func failedMessage(e *traffic.Edge, s *v1alpha1.RolloutStage) string {
	why := e.Why
	if why == "" {
		why = "for want of mutual TLS"
	}
	return clip(fmt.Sprintf("requests of %s to %s fail: %s", e.Client, servicesOf(s), why), maxBlock)
}

// servicesOf names a few of a stage's Services.
func servicesOf(s *v1alpha1.RolloutStage) string {
	const most = 3
	switch {
	case len(s.Services) == 0:
		return s.Name
	case len(s.Services) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(s.Services[:most], ", "), len(s.Services)-most)
	}
	return strings.Join(s.Services, ", ")
}

// fixOf says what helps a client.
func fixOf(client string, proxied bool, s *v1alpha1.RolloutStage) string {
	switch {
	case !strings.Contains(client, "/"):
		return "find out by its address what it is, and give it a proxy of the mesh, have it come in by a gateway, or end its calls"
	case !proxied:
		return fmt.Sprintf("give %s a proxy of the mesh, have it come in by a gateway, or end its calls", client)
	case len(s.Services) == 0:
		return "let its proxy send mutual TLS: trellis mtls check shows what it sends"
	}
	return fmt.Sprintf("let its proxy send mutual TLS: trellis mtls fix --context CONTEXT %s %s", client, s.Services[0])
}

func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most-len("…")], "") + "…"
	}
	return s
}
