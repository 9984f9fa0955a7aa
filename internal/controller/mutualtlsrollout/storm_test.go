// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	rollout "github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// storm is a scene in which anything happens, and what must hold in it.
type storm struct {
	*scene
	dice *rand.Rand
	// happened are what was done, for whoever reads a failure.
	happened []string
	forecast *verdict.Forecast
	// known are times of plaintext that was in an answer whose decision was carried
	// out, by stage.
	known map[string][]time.Time
	// retry is the text of the annotation when a step back was written down, and
	// stepped whether one is.
	retry   string
	stepped bool
	made    int
}

func newStorm(t *testing.T, seed uint64) *storm {
	s := &storm{scene: newScene(t, "a", "b", "c"), dice: rand.New(rand.NewPCG(seed, 1)), known: map[string][]time.Time{}}
	s.forecast = s.scene.forecast
	return s
}

func (s *storm) note(format string, arguments ...any) {
	s.happened = append(s.happened, s.now.Format("15:04:05 ")+fmt.Sprintf(format, arguments...))
}

func (s *storm) violated(format string, arguments ...any) {
	s.Helper()
	s.Fatalf("%s\n%s\nstatus %+v", fmt.Sprintf(format, arguments...), strings.Join(s.happened[max(0, len(s.happened)-60):], "\n"), s.rollout.Status)
}

func (s *storm) service() string { return []string{"a", "b", "c"}[s.dice.IntN(3)] }

// happen lets something happen. What calls does so only where somebody looks: nothing
// can be known of the rest.
func (s *storm) happen() {
	name := s.service()
	switch s.dice.IntN(60) {
	case 0, 1:
		switch o, there := s.objects["shop/trellis-rollout-"+name]; {
		case s.seen == nil:
		case there && strict(o):
			s.note("plaintext is refused at %s", name)
			s.fails("legacy/job", name)
		default:
			s.note("plaintext at %s", name)
			s.plaintext("legacy/job", name)
		}
	case 2:
		if s.seen != nil {
			s.note("failure at %s", name)
			s.fails("shop/web", name)
		}
	case 3:
		s.note("pause is turned")
		s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.Paused = !spec.Paused })
	case 4:
		s.note("dry run is turned")
		s.edit(func(spec *v1alpha1.MutualTLSRolloutSpec) { spec.DryRun = !spec.DryRun })
	case 5:
		s.note("retry")
		s.rollout.Annotations[v1alpha1.RetryAnnotation] = fmt.Sprint(s.now.UnixNano())
	case 6:
		s.note("the server comes or goes")
		if s.scene.forecast == nil {
			s.scene.forecast = s.forecast
			s.forecast.Generation = s.rollout.Generation
			s.foresee()
		} else {
			s.scene.forecast = nil
		}
	case 7:
		s.note("whoever looks is started anew")
		s.seen = &traffic.Seen{From: s.now}
	case 8:
		if s.seen != nil {
			s.note("whoever looks goes")
			s.seen = nil
		}
	case 9:
		s.note("somebody deletes the object of %s", name)
		s.delete("shop/trellis-rollout-" + name)
	case 10:
		s.note("somebody opens the object of %s", name)
		if _, ok := s.objects["shop/trellis-rollout-"+name]; ok {
			s.put("shop/trellis-rollout-"+name, map[string]any{"mtls": map[string]any{"mode": "PERMISSIVE"}})
		}
	case 11:
		s.conflict(name)
	case 12:
		if s.dice.IntN(10) == 0 {
			s.note("the status is lost")
			s.rollout.Status, s.stepped = v1alpha1.MutualTLSRolloutStatus{}, false
		}
	}
}

func (s *storm) conflict(name string) {
	if s.scene.forecast == nil {
		return
	}
	f := s.stage(name)
	if len(f.Conflicts) > 0 {
		s.note("%s has no conflict any more", name)
		f.Conflicts = nil
		return
	}
	s.note("%s has a conflict", name)
	f.Conflicts = []verdict.Conflict{{Client: "shop/web", Proxied: true, Port: 80, Why: "it sends plaintext"}}
}

// step decides, looks whether that is right, and does as much of it as the operator lives
// to do.
func (s *storm) step() {
	before := *s.rollout.Status.DeepCopy()
	d := s.decide()
	s.last = d
	s.check(before, d)
	lives := s.dice.IntN(20)
	for _, o := range d.Delete {
		s.note("%s is deleted", o.Name)
		s.delete(o.Namespace + "/" + o.Name)
	}
	if lives == 0 {
		s.note("the operator ends before it writes the status")
		return
	}
	if rollout.Worth(&before, &d.Status) {
		s.rollout.Status = d.Status
		s.remember(d)
	}
	if lives == 1 {
		s.note("the operator ends before it makes anything")
		return
	}
	if m := d.Make; m != nil {
		s.note("%s is made", m.Stage)
		s.made++
		s.create(m)
	}
}

func (s *storm) remember(d rollout.Decision) {
	s.stepped = false
	for _, stage := range d.Status.Stages {
		if stage.Phase == v1alpha1.StageSteppedBack {
			s.stepped, s.retry = true, d.Status.Retried
		}
		if s.seen == nil {
			continue
		}
		for _, e := range s.seen.Edges {
			if e.Services[0] == stage.Name && e.LastPlaintext != nil {
				s.known[stage.Name] = append(s.known[stage.Name], *e.LastPlaintext)
			}
		}
	}
}

// check is what always holds.
func (s *storm) check(before v1alpha1.MutualTLSRolloutStatus, d rollout.Decision) {
	watched := 0
	for _, stage := range d.Status.Stages {
		if stage.Phase == v1alpha1.StageWatching {
			watched++
			if stage.MadeAt == nil || stage.PeerAuthentication == "" {
				s.violated("%s is watched, and is not said to be made", stage.Name)
			}
		}
	}
	for _, o := range d.Delete {
		ours := false
		for _, stage := range d.Status.Stages {
			ours = ours || stage.Phase == v1alpha1.StageSteppedBack && stage.PeerAuthentication == o.Namespace+"/"+o.Name
		}
		if _, there := s.objects[o.Namespace+"/"+o.Name]; !ours || !there {
			s.violated("%s is deleted, and is of no stage that is taken back", o.Name)
		}
	}
	if s.stepped && s.rollout.Annotations[v1alpha1.RetryAnnotation] == s.retry && d.Make != nil {
		s.violated("%s is made after a step back, and nobody said so", d.Make.Stage)
	}
	if d.Make == nil {
		return
	}
	s.checkMaking(before, d, watched)
}

func (s *storm) checkMaking(before v1alpha1.MutualTLSRolloutStatus, d rollout.Decision, watched int) {
	name := d.Make.Stage
	switch {
	case watched != 1:
		s.violated("%s is made while another stage is watched", name)
	case s.rollout.Spec.Paused || s.rollout.Spec.DryRun:
		s.violated("%s is made in a pause or a dry run", name)
	case s.scene.forecast == nil || s.seen == nil:
		s.violated("%s is made blindly", name)
	case len(s.stage(strings.TrimPrefix(name, "shop/")).Conflicts) > 0:
		s.violated("%s is made with a conflict", name)
	}
	begin := s.now.Add(-window)
	for _, at := range s.known[name] {
		if at.After(begin) {
			s.violated("%s is made, and plaintext was seen there at %s", name, at)
		}
	}
	for _, e := range s.seen.Edges {
		if e.Services[0] == name && e.LastPlaintext != nil && e.LastPlaintext.After(begin) {
			s.violated("%s is made, and plaintext is seen there", name)
		}
	}
	for _, stage := range before.Stages {
		if stage.Name == name && stage.SteppedBackAt != nil && stage.SteppedBackAt.After(begin) {
			s.violated("%s is made within a window after its step back", name)
		}
	}
}

// seeds is how many storms there are.
const seeds uint64 = 100

func TestWhateverHappensNoStageIsMadeThatMayShutSomebodyOut(t *testing.T) {
	made := 0
	for seed := range seeds {
		s := newStorm(t, seed)
		for range 400 {
			s.happen()
			s.now = s.now.Add(time.Duration(s.dice.IntN(4000)) * time.Millisecond)
			s.step()
		}
		made += s.made
	}
	if made < int(seeds) {
		t.Errorf("only %d stages were made: nothing is tested", made)
	}
	t.Logf("%d stages were made", made)
}
