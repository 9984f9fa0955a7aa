// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/gather"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// rebuild compiles the whole state and makes the cluster follow.
func (r *Reconciler) rebuild(ctx context.Context, state gather.State) (*round, error) {
	cluster := state.Input.Mesh.Cluster
	done := &round{state: state, input: state.Input, targets: map[model.Reference]ProgrammedTarget{}}
	if len(state.Blockers) == 0 {
		r.tests.settle(ctx, done, r.log)
	}
	done.snapshot = model.NewSnapshot(done.input)
	if len(state.Blockers) > 0 {
		done.outcome, done.findings = &compile.Outcome{}, findingsOf(state.Findings, nil)
		done.posture = posture.Of(done.snapshot, done.outcome)
		return done, nil
	}
	began := r.clock.Now()
	outcome := compile.Stream(done.snapshot, r.preparer.Add)
	desired, err := r.preparer.Done()
	if err = errors.Join(outcome.Err, err); err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	r.metrics.compiled(r.clock.Now().Sub(began), desired)

	began = r.clock.Now()
	inforce.Tell(outcome.Assertions, done.standing, done.bulletin.silence)
	done.posture = posture.Of(done.snapshot, outcome)
	done.outcome, done.findings = outcome, findingsOf(state.Findings, slices.Concat(outcome.Findings, done.posture.Asserted()))
	conflicts, failures, err := r.carryOut(ctx, done, desired, frozen(state.Input, cluster))
	if err != nil {
		return nil, err
	}
	r.metrics.applied(r.clock.Now().Sub(began), done.result)
	done.conflicts, done.desired = conflicts, len(desired)
	done.blame(conflicts, failures)
	r.setTargets(done)
	done.generated = packed(desired)
	r.events.report(done, desired)
	outcome.Objects, done.state.Live = nil, nil
	return done, nil
}

// carryOut applies what is desired. Where something that restricts cannot be
// written, the routes of its owners are compiled away before any route is
// written: what cannot be protected is not served.
func (r *Reconciler) carryOut(ctx context.Context, done *round, desired []apply.Desired, frozen apply.Frozen) ([]apply.Conflict, []apply.Failure, error) {
	withheld := map[model.Reference]bool{}
	for {
		done.state.Live = r.ledger.Merge(done.state.Live)
		plan, err := r.ledger.Compare(desired, done.state.Live, frozen, done.keeps)
		if err != nil {
			return nil, nil, err
		}
		restricted, err := r.applier.Restrict(ctx, plan)
		done.result.Changes = append(done.result.Changes, restricted.Changes...)
		if err != nil {
			return nil, nil, err
		}
		conflicts := slices.Concat(plan.Conflicts, restricted.Conflicts)
		failures := slices.Concat(plan.Altered, restricted.Failures)
		if withhold(withheld, conflicts, failures) {
			if desired, err = r.withoutRoutesOf(done.input, desired, withheld); err != nil {
				return nil, nil, err
			}
			continue
		}
		routed, err := r.finish(ctx, plan)
		done.result.Changes = append(done.result.Changes, routed.Changes...)
		return slices.Concat(conflicts, routed.Conflicts), slices.Concat(failures, routed.Failures), err
	}
}

// finish does the routes, and takes away what is no longer needed unless a route
// that may still need it could not be changed.
func (r *Reconciler) finish(ctx context.Context, plan *apply.Plan) (apply.Result, error) {
	result, err := r.applier.Route(ctx, plan)
	if err != nil || len(result.Failures) > 0 {
		return result, err
	}
	released, err := r.applier.Release(ctx, plan)
	result.Add(released)
	return result, err
}

// withhold adds the owners of restrictions that are not in place, and reports
// whether there are new ones. An object with Applications among its owners
// protects these; one without is the ingress's own.
func withhold(withheld map[model.Reference]bool, conflicts []apply.Conflict, failures []apply.Failure) bool {
	news := false
	add := func(o compile.Packed) {
		if !apply.Restricts(o.Ref) {
			return
		}
		owners := slices.DeleteFunc(slices.Clone(o.Owners), func(ref model.Reference) bool { return ref.Kind != string(kindApplication) })
		if len(owners) == 0 {
			owners = o.Owners
		}
		for _, owner := range owners {
			news = news || !withheld[owner]
			withheld[owner] = true
		}
	}
	for _, c := range conflicts {
		add(c.Object)
	}
	for _, f := range failures {
		add(f.Object)
	}
	return news
}

// withoutRoutesOf keeps everything that was desired but the routes, and takes
// these from a compilation without the withheld owners.
func (r *Reconciler) withoutRoutesOf(in model.Input, desired []apply.Desired, withheld map[model.Reference]bool) ([]apply.Desired, error) {
	in = without(in, in.Mesh.Cluster, withheld)
	var p apply.Preparer
	outcome := compile.Stream(model.NewSnapshot(in), func(o compile.Object) {
		if apply.Routes(o.Ref) {
			p.Add(o)
		}
	})
	prepared, err := p.Done()
	if err = errors.Join(outcome.Err, err); err != nil {
		return nil, fmt.Errorf("compiling without what cannot be protected: %w", err)
	}
	kept := slices.DeleteFunc(slices.Clone(desired), func(d apply.Desired) bool { return apply.Routes(d.Ref) })
	return append(kept, prepared...), nil
}

func packed(desired []apply.Desired) []compile.Packed {
	out := make([]compile.Packed, len(desired))
	for i := range desired {
		out[i] = desired[i].Packed
	}
	return out
}

// setTargets notes which objects must have reached which proxies.
func (r *Reconciler) setTargets(done *round) {
	written := writtenObjects(r.ledger, r.ledger.Merge(done.state.Live), r.began)
	for ref, a := range done.outcome.Applications {
		done.target(written, r.began, ref, a.Generated, append([]compile.WorkloadSelector{a.Workloads}, a.Gateways...))
	}
	for ref, i := range done.outcome.Ingresses {
		done.target(written, r.began, ref, i.Generated, []compile.WorkloadSelector{i.Workloads})
	}
}
