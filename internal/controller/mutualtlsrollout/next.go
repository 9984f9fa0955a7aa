// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// round is one decision on its way.
type round struct {
	Facts
	spec   *v1alpha1.MutualTLSRolloutSpec
	was    *v1alpha1.MutualTLSRolloutStatus
	status v1alpha1.MutualTLSRolloutStatus
	out    Decision
	// foreseen are the stages of the forecast by name.
	foreseen map[string]*verdict.Stage
	// hold is why no stage is made now, and due when the first of those would be whose
	// turn it is; both may be empty.
	hold string
	due  time.Time
	next *v1alpha1.RolloutStage
	// total counts the stages, those included that a status has no room for, and done
	// those of them that are.
	total, done int
}

// Next decides what is to be done. It is pure, and changes nothing that it was given.
func Next(f Facts) Decision {
	n := &round{
		Facts: f, spec: &f.Rollout.Spec, was: &f.Rollout.Status, status: *f.Rollout.Status.DeepCopy(),
		foreseen: map[string]*verdict.Stage{},
	}
	n.observe()
	n.retry()
	n.list()
	for i := range n.status.Stages {
		n.settle(&n.status.Stages[i])
	}
	n.choose()
	n.conclude()
	n.bound()
	n.out.Status, n.out.After = n.status, n.after()
	return n.out
}

func (n *round) window() time.Duration { return n.spec.Observation.Window.Duration }

func (n *round) soak() time.Duration { return n.spec.Observation.Soak.Duration }

func (n *round) tell(warning bool, reason, action, note string, arguments ...any) {
	n.out.Events = append(n.out.Events, Event{Warning: warning, Reason: reason, Action: action, Note: fmt.Sprintf(note, arguments...)})
}

// retry lets go on what was stepped back, where somebody said so after what was made is
// gone.
func (n *round) retry() {
	text := n.Rollout.Annotations[v1alpha1.RetryAnnotation]
	if text == n.status.Retried {
		return
	}
	for i := range n.status.Stages {
		if s := &n.status.Stages[i]; s.Phase == v1alpha1.StageSteppedBack && n.lingers(s) {
			return
		}
	}
	n.status.Retried = text
	for i := range n.status.Stages {
		s := &n.status.Stages[i]
		if s.Phase != v1alpha1.StageSteppedBack {
			continue
		}
		// When it was taken back stays: the window begins then.
		s.Phase, s.PeerAuthentication, s.MadeAt, s.FailedRequests, s.Blocks, s.MoreBlocks = v1alpha1.StagePending, "", nil, 0, nil, 0
		n.tell(false, EventRetried, "Retry", "%s may be made again once its window is over: the annotation %s has changed", s.Name, v1alpha1.RetryAnnotation)
	}
}

// lingers reports whether the object of a stage that was taken back may be there still.
func (n *round) lingers(s *v1alpha1.RolloutStage) bool {
	_, there := n.Objects[s.PeerAuthentication]
	return there || n.Unreadable != ""
}

// list has the stages in the order of the forecast. Those that are out of scope stay
// only for as long as they are watched, or until somebody has looked at why they were
// taken back; what was made for the others stays in the cluster.
func (n *round) list() {
	if n.Forecast == nil {
		return
	}
	known := map[string]v1alpha1.RolloutStage{}
	for _, s := range n.status.Stages {
		known[s.Name] = s
	}
	stages := make([]v1alpha1.RolloutStage, 0, len(n.Forecast.Stages))
	for i := range n.Forecast.Stages {
		f := &n.Forecast.Stages[i]
		s, ok := known[f.Name]
		if !ok {
			s = v1alpha1.RolloutStage{Name: f.Name, Phase: v1alpha1.StagePending}
		}
		if !ok && len(known) > 0 || ok && !maps.Equal(s.Selector, f.Selector) {
			s.ListedAt = at(n.Now)
		}
		s.Selector, s.Services = f.Selector, listed(f)
		stages = append(stages, s)
		n.foreseen[f.Name] = f
	}
	for _, s := range n.status.Stages {
		if n.foreseen[s.Name] == nil && (s.Phase == v1alpha1.StageWatching || s.Phase == v1alpha1.StageSteppedBack) {
			stages = append(stages, s)
		}
	}
	n.status.Stages = stages
}

// mostServices are as many as a stage of a namespace lists: its name says the others, and a
// status must be stored.
const mostServices = 16

func listed(f *verdict.Stage) []string {
	if !strings.Contains(f.Name, "/") && len(f.Services) > mostServices {
		return nil
	}
	return f.Services
}

// settle finds out where a stage is.
func (n *round) settle(s *v1alpha1.RolloutStage) {
	switch s.Phase {
	case v1alpha1.StageWatching:
		n.watch(s)
	case v1alpha1.StageSteppedBack:
		n.count(s)
	case v1alpha1.StageDone:
		n.keep(s)
	}
	if s.Phase == v1alpha1.StagePending || s.Phase == v1alpha1.StageBlocked {
		n.consider(s)
	}
}

// consider looks at a stage that is not made: somebody may have, and otherwise there may
// be something in its way.
func (n *round) consider(s *v1alpha1.RolloutStage) {
	f := n.foreseen[s.Name]
	if f != nil && n.Unreadable == "" {
		object := ref(f.Namespace, f.Object)
		if there := n.intact(object, f.Selector); there != nil {
			n.adopt(s, f, there)
			return
		}
		_, altered := n.Objects[object]
		if f.Mode == modeStrict && !altered {
			*s = v1alpha1.RolloutStage{Name: s.Name, Phase: v1alpha1.StageDone, Selector: s.Selector, Services: s.Services, DoneAt: at(n.Now)}
			return
		}
	}
	n.block(s, f)
}

const modeStrict = "STRICT"

// adopt takes up a stage that was made and is not written down: a status was lost, has
// no room for it, or its namespace was out of scope for a while.
func (n *round) adopt(s *v1alpha1.RolloutStage, f *verdict.Stage, there *Object) {
	*s = v1alpha1.RolloutStage{
		Name: s.Name, Phase: v1alpha1.StageWatching, PeerAuthentication: ref(there.Namespace, there.Name),
		Selector: s.Selector, Services: s.Services, MadeAt: at(there.Created),
	}
	if over := there.Created.Add(n.soak()); f.Mode == modeStrict && n.Now.After(over) {
		s.Phase, s.DoneAt = v1alpha1.StageDone, at(over)
	}
}
