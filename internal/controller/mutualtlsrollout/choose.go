// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// choose has the first stage made that may be. One that is blocked is passed over.
func (n *round) choose() {
	n.hold = n.held()
	for i := range n.status.Stages {
		s := &n.status.Stages[i]
		if s.Phase != v1alpha1.StagePending || n.foreseen[s.Name] == nil {
			continue
		}
		since, known := n.quietSince(s)
		due := since.Add(n.window())
		ripe := known && !due.After(n.seenUntil())
		if ripe && n.hold == "" {
			n.make(s)
			return
		}
		// What could be made comes before what still has to be looked at.
		if n.next == nil || known && (n.due.IsZero() || due.Before(n.due)) {
			n.next = s
			if known {
				n.due = due
			}
		}
	}
}

// seenUntil is until when traffic was seen, by the clock of whoever looks. That may be
// behind, and so may be what it has read.
func (n *round) seenUntil() time.Time {
	if n.Window != nil && n.Window.To.Before(n.Now) {
		return n.Window.To
	}
	return n.Now
}

// quietSince is since when no plaintext was seen at a stage that nothing blocks.
func (n *round) quietSince(s *v1alpha1.RolloutStage) (time.Time, bool) {
	if n.status.Observation == nil {
		return time.Time{}, false
	}
	// Proxies may be as new as the rollout, while the mesh has been looked at for long.
	since := later(n.status.Observation.From.Time, n.Rollout.CreationTimestamp.Time)
	for _, begun := range []*metav1.Time{s.SteppedBackAt, s.ListedAt} {
		if begun != nil {
			since = later(since, begun.Time)
		}
	}
	return since, true
}

// held is why no stage is made now, whichever it is; empty: one may be.
func (n *round) held() string {
	for _, s := range n.status.Stages {
		switch s.Phase {
		case v1alpha1.StageSteppedBack:
			return s.Name + " was taken back"
		case v1alpha1.StageWatching:
			return s.Name + " is watched"
		}
	}
	switch {
	case n.spec.Paused:
		return "it is paused"
	case n.unknown() != "":
		return n.unknown()
	case n.spec.DryRun:
		return "it is a dry run"
	}
	return ""
}

// unknown is what would have to be known, and is not; empty: everything is.
func (n *round) unknown() string {
	switch {
	case n.Forecast == nil:
		return n.Unforeseen
	case n.Unreadable != "":
		return n.Unreadable
	case n.Window == nil && n.Unseen != "":
		return "traffic is not seen: " + n.Unseen
	case n.Window == nil:
		return "traffic is about to be looked at"
	case n.Window.Lost > 0:
		return fmt.Sprintf("some of what was seen in the last %s was lost, and a client in plaintext may be among it: the last %s have to be without a loss", n.window(), n.window())
	case n.Now.Sub(n.Window.To) > lagOf(n.spec):
		return "what is seen of traffic ends at " + clockTime(n.Window.To)
	}
	return ""
}

// make has a stage made. The time is that of the full second in which it is, by the clock
// of whoever looks: what fails later in that second has failed since.
func (n *round) make(s *v1alpha1.RolloutStage) {
	f := n.foreseen[s.Name]
	object := ref(f.Namespace, f.Object)
	*s = v1alpha1.RolloutStage{
		Name: s.Name, Phase: v1alpha1.StageWatching, PeerAuthentication: object,
		Selector: f.Selector, Services: s.Services, MadeAt: at(n.seenUntil()),
	}
	n.out.Make = &Making{Stage: s.Name, Body: bodyOf(n.Rollout.Name, object, f.Selector)}
	if there, ok := n.Objects[object]; ok {
		n.out.Make.There = &there
	}
	n.tell(false, EventStageMade, "Make", "%s takes mutual TLS only by PeerAuthentication %s: no plaintext was seen there for %s", s.Name, object, n.window())
}

// after is when to look again.
func (n *round) after() time.Duration {
	wait := pace(n.window())
	for i := range n.status.Stages {
		s := &n.status.Stages[i]
		if s.Phase == v1alpha1.StageWatching || inAftermath(s, n.Now) {
			wait = min(wait, watchPace(n.spec))
		}
	}
	if n.hold == "" && !n.due.IsZero() {
		until := n.due.Sub(n.Now)
		if until <= 0 {
			until = watchPace(n.spec) // what is seen is behind
		}
		wait = min(wait, until)
	}
	return max(wait, lookOften)
}
