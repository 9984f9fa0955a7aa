// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package examine

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

const (
	// maxAlone is how many Applications that fail together are tried alone.
	maxAlone = 8
	// maxConfirm is how often the rest is run again without those that failed.
	maxConfirm = 4
)

// Settled is what came of all tests of a cluster.
type Settled struct {
	// Applications are those that were tested, in order.
	Applications []verdict.Application
	// Choice is what will be in force by that.
	Choice Choice
}

// settling is one search for what passes together.
type settling struct {
	state    *observe.State
	at       time.Time
	standing []inforce.Standing
	// out are those whose present statement is not in the world.
	out     map[types.UID]bool
	results map[model.Name]verdict.Application
}

// Settle runs the tests of all Applications. It begins with the world in which every
// statement is in force, since changes of several Applications may belong together.
// A statement that has not been in force and fails there is tried once more with the
// others that failed left out; what passes then is taken. So a verdict holds in the
// world that will be, and nobody waits for another one's mistake.
func Settle(ctx context.Context, state *observe.State, at time.Time) (*Settled, error) {
	s := &settling{state: state, at: at, out: map[types.UID]bool{}, results: map[model.Name]verdict.Application{}}
	s.standing = standing(state, at)
	failing, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range failing {
		s.out[s.standing[i].Application.UID] = true
	}
	if len(failing) > 1 {
		if err := s.alone(ctx, failing[:min(len(failing), maxAlone)]); err != nil {
			return nil, err
		}
	}
	if err := s.confirm(ctx, len(failing) > 0); err != nil {
		return nil, err
	}
	out := &Settled{Applications: []verdict.Application{}, Choice: s.choice()}
	for i := range s.standing {
		a := s.standing[i].Application
		if r, ok := s.results[model.Name{Namespace: a.Namespace, Name: a.Name}]; ok {
			out.Applications = append(out.Applications, r)
		}
	}
	return out, nil
}

// standing is how it stands with all Applications before anybody has run their tests.
func standing(state *observe.State, at time.Time) []inforce.Standing {
	newest := inforce.Newest(state.Records)
	in := state.Input
	in.At = at
	gates := inforce.GatesOf(in)
	var out []inforce.Standing
	for _, a := range state.Input.Applications {
		var last *inforce.Record
		if r, ok := newest[a.UID]; ok {
			last = &r
		}
		out = append(out, inforce.Settle(a, last, nil, gates[a.UID]))
	}
	return out
}

// InForce are the statements that are in force at this moment: those that wait for their
// tests are not.
func InForce(state *observe.State, at time.Time) Choice {
	var out Choice
	for _, s := range standing(state, at) {
		if s.InForce != nil {
			out = append(out, s.InForce)
		}
	}
	return out
}

// alone tries each that failed in a world without the others that did.
func (s *settling) alone(ctx context.Context, failing []int) error {
	for _, i := range failing {
		uid := s.standing[i].Application.UID
		delete(s.out, uid)
		again, err := s.run(ctx)
		if err != nil {
			return err
		}
		for _, j := range again {
			if j == i {
				s.out[uid] = true
			}
		}
	}
	return nil
}

// confirm runs what is left until it all passes. What does not come to an end is
// left untested: it is not in force then.
func (s *settling) confirm(ctx context.Context, changed bool) error {
	for range maxConfirm {
		if !changed {
			return nil
		}
		failing, err := s.run(ctx)
		if err != nil {
			return err
		}
		for _, i := range failing {
			s.out[s.standing[i].Application.UID] = true
		}
		changed = len(failing) > 0
	}
	if changed {
		for i := range s.standing {
			a := s.standing[i].Application
			if !s.standing[i].Present() && !s.out[a.UID] {
				s.out[a.UID] = true
				delete(s.results, model.Name{Namespace: a.Namespace, Name: a.Name})
			}
		}
	}
	return nil
}

// run runs the tests of all present statements that are in the world, and returns
// those that did not pass and have not been in force.
func (s *settling) run(ctx context.Context) ([]int, error) {
	results, _, err := Run(ctx, s.state, s.choice(), s.at, func(a *v1alpha1.Application) bool { return !s.out[a.UID] })
	if err != nil {
		return nil, err
	}
	failed := map[model.Name]bool{}
	for _, r := range results {
		name := model.Name{Namespace: r.Namespace, Name: r.Name}
		s.results[name] = r
		failed[name] = r.State != verdict.Passed
	}
	var out []int
	for i := range s.standing {
		a := s.standing[i].Application
		if !s.standing[i].Present() && !s.out[a.UID] && failed[model.Name{Namespace: a.Namespace, Name: a.Name}] {
			out = append(out, i)
		}
	}
	return out, nil
}

// choice is the world at this point of the search.
func (s *settling) choice() Choice {
	var out Choice
	for i := range s.standing {
		switch st := &s.standing[i]; {
		case !s.out[st.Application.UID]:
			out = append(out, st.Application)
		case st.InForce != nil:
			out = append(out, st.InForce)
		}
	}
	return out
}
