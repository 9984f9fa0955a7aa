// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

// watch looks at a stage that was made: clients that fail since take it back, and after
// the soak without any it is done.
func (n *round) watch(s *v1alpha1.RolloutStage) {
	failures := n.failuresSince(s, s.MadeAt)
	s.FailedRequests = max(s.FailedRequests, requestsOf(failures))
	if trouble := append(failures, n.conflicts(s)...); len(trouble) > 0 {
		n.stepBack(s, trouble)
		return
	}
	if !n.stands(s) {
		// It may be that it was being taken back when the operator ended. So it is
		// not made again before it is known that nobody has failed.
		if n.Since != nil {
			n.demote(s, "it is made again by the same rules as any other")
		}
		return
	}
	if !n.soaked(s) {
		return
	}
	f := n.foreseen[s.Name]
	if f == nil && n.Forecast != nil {
		// Its workloads are gone or out of scope: nobody will say more of it, and
		// the others would wait forever.
		s.Phase, s.DoneAt, s.Blocks, s.MoreBlocks = v1alpha1.StageDone, at(n.Now), nil, 0
		n.tell(false, EventStageDone, "Watch", "%s was watched to its end: it has no workloads in the namespaces of the rollout any more", s.Name)
		return
	}
	if f == nil || f.Mode != modeStrict {
		// Whether it has had its effect is not known, or it has none.
		n.keepFrom(s)
		return
	}
	s.Phase, s.DoneAt, s.Blocks, s.MoreBlocks = v1alpha1.StageDone, at(n.Now), nil, 0
	n.tell(false, EventStageDone, "Watch", "%s takes mutual TLS only, and nobody has failed for %s", s.Name, n.soak())
}

// keepFrom says what keeps a stage from having its effect.
func (n *round) keepFrom(s *v1alpha1.RolloutStage) {
	f := n.foreseen[s.Name]
	if f == nil {
		return
	}
	s.Blocks, s.MoreBlocks = n.fewest(refusalsOf(f))
}

// stands reports whether the object of a stage is there as it is to be, as far as that
// can be known.
func (n *round) stands(s *v1alpha1.RolloutStage) bool {
	return n.Unreadable != "" || n.intact(s.PeerAuthentication, s.Selector) != nil
}

// soaked reports whether failures were looked for during a whole soak, with nothing lost.
func (n *round) soaked(s *v1alpha1.RolloutStage) bool {
	if n.Since == nil || n.Since.Lost > 0 || n.Since.To.Before(s.MadeAt.Add(n.soak())) {
		return false
	}
	begin := later(s.MadeAt.Time, n.Since.To.Add(-n.soak()))
	return n.Since.Missed(begin) <= bearable(n.soak())
}

// stepBack takes a stage back.
func (n *round) stepBack(s *v1alpha1.RolloutStage, trouble []v1alpha1.RolloutBlock) {
	s.Phase, s.SteppedBackAt = v1alpha1.StageSteppedBack, at(n.Now)
	s.Blocks, s.MoreBlocks = n.fewest(trouble)
	n.remove(s)
	n.tell(true, EventSteppedBack, "StepBack", "%s is taken back: %s", s.Name, brief(s))
}

// remove has the object of a stage deleted, if it is there and of this rollout.
func (n *round) remove(s *v1alpha1.RolloutStage) {
	if there, ok := n.Objects[s.PeerAuthentication]; ok {
		n.out.Delete = append(n.out.Delete, there)
	}
}

// count goes on counting until proxies have heard of the step back.
func (n *round) count(s *v1alpha1.RolloutStage) {
	n.remove(s)
	if !inAftermath(s, n.Now) {
		return
	}
	if failures := n.failuresSince(s, s.MadeAt); len(failures) > 0 {
		s.FailedRequests = max(s.FailedRequests, requestsOf(failures))
		s.Blocks, s.MoreBlocks = n.fewest(append(failures, ofReason(s.Blocks, v1alpha1.BlockConflict)...))
	}
}

// keep looks at a stage that is done.
func (n *round) keep(s *v1alpha1.RolloutStage) {
	f := n.foreseen[s.Name]
	open := f != nil && f.Mode != modeStrict
	switch {
	case s.PeerAuthentication == "" && open:
		n.demote(s, "its workloads take plaintext again")
		return
	case s.PeerAuthentication == "":
		return
	case !n.stands(s):
		n.demote(s, "it is made again by the same rules as any other")
		return
	case open:
		// Somebody's policy decides before ours: it is watched until that is gone.
		s.Phase, s.MadeAt, s.DoneAt, s.FailedRequests = v1alpha1.StageWatching, at(n.Now), nil, 0
		n.tell(true, EventStageChanged, "Watch", "the workloads of %s take plaintext again, although the PeerAuthentication %s is there: %s", s.Name, s.PeerAuthentication, first(refusalsOf(f)))
		n.keepFrom(s)
		return
	}
	if n.Window == nil {
		return
	}
	quiet := len(s.Blocks) == 0
	s.Blocks, s.MoreBlocks = n.fewest(n.failures(s, n.Window, s.DoneAt.Time))
	if quiet && len(s.Blocks) > 0 {
		n.tell(true, EventRequestsFail, "Watch", "%s is done, and stays: %s", s.Name, brief(s))
	}
}

// demote makes a stage one that has not been made.
func (n *round) demote(s *v1alpha1.RolloutStage, and string) {
	object := s.PeerAuthentication
	*s = v1alpha1.RolloutStage{Name: s.Name, Phase: v1alpha1.StagePending, Selector: s.Selector, Services: s.Services}
	if object == "" {
		n.tell(true, EventStageChanged, "Repair", "%s is not done any more: %s", s.Name, and)
		return
	}
	what := "is not there"
	if _, there := n.Objects[object]; there {
		what = "is not as it was made"
	}
	n.tell(true, EventStageChanged, "Repair", "the PeerAuthentication %s of %s %s; %s. To leave it as it is, set spec.paused of MutualTLSRollout %s",
		object, s.Name, what, and, n.Rollout.Name)
}

// failuresSince are the clients that have failed at a stage.
func (n *round) failuresSince(s *v1alpha1.RolloutStage, since *metav1.Time) []v1alpha1.RolloutBlock {
	if since == nil {
		return nil
	}
	answer := n.Since
	if answer == nil {
		answer = n.Window
	}
	return n.failures(s, answer, since.Time)
}

// failures are the clients whose requests have failed at a stage at a time or later,
// which is a full second: so are the times of what is seen.
func (n *round) failures(s *v1alpha1.RolloutStage, seen *traffic.Seen, since time.Time) []v1alpha1.RolloutBlock {
	return blocksOf(seen, s, func(e *traffic.Edge) *v1alpha1.RolloutBlock {
		last := lastOf(e.Failed, e.LastFailed, seen)
		if last == nil || last.Before(since) {
			return nil
		}
		return &v1alpha1.RolloutBlock{
			Reason: v1alpha1.BlockFailed, Client: e.Client, Port: int32(e.Port), Count: int64(e.Failed), LastSeen: at(*last),
			Message: failedMessage(e, s), Fix: fixOf(e.Client, e.Proxied, s),
		}
	})
}

func requestsOf(failures []v1alpha1.RolloutBlock) int64 {
	var sum int64
	for i := range failures {
		sum += failures[i].Count
	}
	return sum
}
