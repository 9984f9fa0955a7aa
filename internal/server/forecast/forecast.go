// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package forecast says what would become of the stages of MutualTLSRollouts in a cluster
// that was observed: it makes the mesh as it is and with all stages applied, by Istio's
// generator, and compares what clients send with what workloads take. It writes nothing
// and asks nobody.
package forecast

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/mtls/rollout"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// Found is what was found out of all MutualTLSRollouts.
type Found []*one

// one is about one of them.
type one struct {
	of         *v1alpha1.MutualTLSRollout
	namespaces []string
	stages     []rollout.Stage
	// problem is why stages are not known; empty where they are.
	problem string
}

// Run finds the stages of all MutualTLSRollouts and judges them. At is the moment at
// which policies are judged and tokens are looked at. An error says that nothing is known; a panic of the generator
// about odd objects is one.
func Run(ctx context.Context, state *observe.State, at time.Time) (found Found, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = nil, fmt.Errorf("forecasting rollouts: these objects are too odd for Istio's generator: %v\n%s", p, debug.Stack())
		}
	}()
	for _, r := range state.Rollouts {
		found = append(found, scoped(r, state))
	}
	in, _, err := examine.Compile(state, examine.InForce(state, at), at)
	if err != nil {
		return nil, err
	}
	in.Common = &generator.Common{}
	before, err := world.Open(ctx, in)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, before.Close()) }()
	policies := world.Policies(in.Objects, in.Mesh, before.Problems)
	checker := mtls.New(before.World, policies)
	for _, o := range found {
		if o.problem != "" {
			continue
		}
		o.stages = rollout.Stages(
			rollout.Mesh{World: before.World, Checker: checker, Policies: policies, Owner: world.MadeFor},
			rollout.Scope{Kind: rollout.KindOf(&o.of.Spec), Rollout: o.of.Name, In: func(n string) bool { return slices.Contains(o.namespaces, n) }})
	}
	found.disagree()
	return found, found.judge(ctx, in, checker)
}

// scoped finds the namespaces of a rollout.
func scoped(r *v1alpha1.MutualTLSRollout, state *observe.State) *one {
	out := &one{of: r}
	chosen, missing, err := rollout.Chosen(r.Spec.Namespaces, state.Input.Namespaces)
	switch {
	case err != nil:
		out.problem = err.Error()
	case len(missing) > 0:
		out.problem = fmt.Sprintf("there is no namespace %s: correct spec.namespaces.names of MutualTLSRollout %s, or create it", strings.Join(missing, ", "), r.Name)
	}
	out.namespaces = chosen
	return out
}

// disagree takes the stages from rollouts of which two would make the same workloads
// STRICT: each would watch, and take back, what the other has made.
func (f Found) disagree() {
	claims := map[string][]*one{}
	for _, o := range f {
		for i := range o.stages {
			if n := o.stages[i].Namespace; !slices.Contains(claims[n], o) {
				claims[n] = append(claims[n], o)
			}
		}
	}
	for _, o := range f {
		for i := range o.stages {
			at := &o.stages[i]
			for _, other := range claims[at.Namespace] {
				if other != o && o.problem == "" {
					o.problem = fmt.Sprintf("%s is a stage of MutualTLSRollout %s and its namespace is one of MutualTLSRollout %s, too: leave namespace %s to one of them", at.Name, o.of.Name, other.of.Name, at.Namespace)
				}
			}
		}
	}
	for _, o := range f {
		if o.problem != "" {
			o.stages = nil
		}
	}
}

// judge makes the mesh anew with all stages.
func (f Found) judge(ctx context.Context, in world.Input, before *mtls.Checker) (err error) {
	var all []rollout.Stage
	for _, o := range f {
		all = append(all, o.stages...)
	}
	if len(all) == 0 {
		return nil
	}
	after := before
	if trial := rollout.Trial(all); len(trial) > 0 {
		in.Objects = world.Replaced(in.Objects, trial...)
		changed, err := world.Open(ctx, in)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, changed.Close()) }()
		after = mtls.New(changed.World, world.Policies(in.Objects, in.Mesh, changed.Problems))
	}
	rollout.Judge(all, before, after)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("forecasting rollouts: %w", err)
	}
	for _, o := range f {
		o.stages, all = all[:len(o.stages)], all[len(o.stages):]
	}
	return nil
}

// Told is what is told of it. Stages are in order, for which it counts who was seen to
// call whom; nil: nobody was.
func (f Found) Told(seen *traffic.Seen) []verdict.Forecast {
	out := []verdict.Forecast{}
	for _, o := range f {
		told := verdict.Forecast{Rollout: o.of.Name, Generation: o.of.Generation, Problem: o.problem, Stages: []verdict.Stage{}}
		for _, s := range rollout.Order(o.stages, seen) {
			told.Stages = append(told.Stages, stage(&s))
		}
		out = append(out, told)
	}
	return out
}

func stage(s *rollout.Stage) verdict.Stage {
	out := verdict.Stage{
		Name: s.Name, Namespace: s.Namespace, Object: s.Object.Name, Selector: s.Object.Spec.GetSelector().GetMatchLabels(),
		Services: slices.Concat([]string{}, s.Services), Mode: string(s.Mode),
	}
	if s.Mode == "" {
		out.Mode = string(resolve.Permissive)
	}
	for _, r := range s.Refusals {
		out.Refusals = append(out.Refusals, verdict.Refusal{Object: r.Object, Message: r.Message, Fix: r.Fix})
	}
	for _, c := range s.Conflicts {
		out.Conflicts = append(out.Conflicts, verdict.Conflict(c))
	}
	return out
}
