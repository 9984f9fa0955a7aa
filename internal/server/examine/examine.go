// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package examine runs the tests of Applications on a cluster that was observed: it
// compiles what is stated, has Istio's generator say what each proxy would be sent,
// and asks about every request of the tests. It writes nothing and asks nobody.
package examine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask/tell"
	"github.com/trellis-mesh/trellis/internal/ask/trial"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/internal/world"
)

// Choice are the Applications of a world: of each the statement that is taken to be
// in force.
type Choice []*v1alpha1.Application

// Findings are what the compiler has to say about a choice.
type Findings []model.Finding

// Run compiles the choice, runs the generator, and runs the tests of those
// Applications for which wanted is true. At is the moment at which policies are judged
// and tokens are looked at. The results are in order of their names. An error says that nothing is known,
// never that a test failed; a panic of the generator about odd objects is one.
func Run(ctx context.Context, state *observe.State, choice Choice, at time.Time, wanted func(*v1alpha1.Application) bool) (results []verdict.Application, findings Findings, err error) {
	defer func() {
		if p := recover(); p != nil {
			results, findings, err = nil, nil, fmt.Errorf("running tests: these objects are too odd for Istio's generator: %v\n%s", p, debug.Stack())
		}
	}()
	in, outcome, err := Compile(state, choice, at)
	if err != nil {
		return nil, nil, err
	}
	w, err := world.Open(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	results, err = examine(ctx, w, in.Mesh, outcome, wanted)
	return results, outcome.Findings, err
}

// Compile compiles a choice. The input has all that Istio would find then.
func Compile(state *observe.State, choice Choice, at time.Time) (world.Input, *compile.Outcome, error) {
	in := state.Input
	in.Applications, in.At = choice, at
	outcome := compile.Compile(model.NewSnapshot(in))
	if outcome.Err != nil {
		return world.Input{}, nil, fmt.Errorf("compiling: %w", outcome.Err)
	}
	return InputOf(state, choice, outcome, at), outcome, nil
}

// InputOf is the input for what was made of a choice.
func InputOf(state *observe.State, choice Choice, outcome *compile.Outcome, at time.Time) world.Input {
	return world.Input{
		Objects: objects(state, outcome), MeshConfig: state.MeshConfig, Mesh: state.Input.Mesh, Applications: choice, At: at,
	}
}

// objects are all that Istio would find. A generated object that is there already
// keeps its age.
func objects(state *observe.State, outcome *compile.Outcome) []client.Object {
	out := slices.Clone(state.Objects)
	for i := range outcome.Objects {
		object, ok := outcome.Objects[i].Value.(client.Object)
		ref := outcome.Objects[i].Ref
		if !ok || ref.Group == v1alpha1.GroupName {
			continue
		}
		ref.Cluster = ""
		if at, ok := state.Created[ref]; ok {
			object.SetCreationTimestamp(at)
		}
		out = append(out, object)
	}
	return out
}

func examine(ctx context.Context, w *world.World, mesh model.Mesh, outcome *compile.Outcome, wanted func(*v1alpha1.Application) bool) ([]verdict.Application, error) {
	trials := map[string][]*trial.Trial{}
	for _, t := range trial.OfApplications(w.World, mesh.ClusterDomain, world.Addresses(outcome, mesh.Cluster)) {
		trials[t.Of] = append(trials[t.Of], t)
	}
	for _, t := range trial.OfAssertions(w.World, outcome.Assertions, mesh.ClusterDomain, world.Addresses(outcome, mesh.Cluster)) {
		trials[t.Of] = append(trials[t.Of], t)
	}
	out := []verdict.Application{}
	for _, a := range w.Applications {
		own := trials[fmt.Sprintf("Application %s/%s", a.Namespace, a.Name)]
		if len(own) == 0 || !wanted(a) {
			continue
		}
		one := verdict.Application{
			Namespace: a.Namespace, Name: a.Name, Digest: verdict.Digest(&a.Spec),
			State: verdict.Passed, Tests: len(a.Spec.Tests),
		}
		for _, t := range own {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("running tests: %w", err)
			}
			r := trial.Run(w.World, t)
			if t.Assertion == nil || assert(&one, &r) {
				add(&one, w, r)
			}
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b verdict.Application) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, nil
}

// assert notes what came of an assertion, and reports whether it counts as a test: one
// that holds back a new generation does. Of one that cannot be told the policy may be to
// blame, which must not hold back everybody.
func assert(to *verdict.Application, r *trial.Result) bool {
	a := r.Assertion
	r.Tell()
	to.Assertions = append(to.Assertions, verdict.Assertion{
		Of: a.Digest(), Binding: a.Binding.Ref.String(), Rule: a.Rule, State: verdict.State(r.Status), Says: a.Answer.Says, Ask: a.Answer.Ask,
	})
	if !a.Holds() || r.Status == trial.Unknown {
		return false
	}
	to.Tests++
	return true
}

// add counts one result. One that failed weighs more than one that is not known.
func add(to *verdict.Application, w *world.World, r trial.Result) {
	if r.Status == trial.Passed {
		return
	}
	f := verdict.Failure{Test: r.Name, Field: r.Field, State: verdict.State(r.Status), Says: r.Says}
	if r.Assertion != nil {
		b := r.Assertion.Binding
		f.Policy, f.Rule, f.Wrong, f.Fix = b.Ref.String(), b.String(), r.Assertion.Wrong, b.Remediation()
	}
	if f.State == verdict.Failed || to.State == verdict.Passed {
		to.State = f.State
	}
	if r.Request != nil {
		f.Ask = trial.Command(r.Request)
	}
	if r.Answer != nil {
		told := tell.Tell(w.World, r.Request, r.Answer)
		f.Why = told.Why
		if told.Decided != nil {
			place := tell.PlaceOf(*told.Decided)
			f.By, f.Whom = strings.TrimSpace(place.Object+" "+place.Field), place.Whom
			if place.Source != "" {
				f.By += " (" + place.Source + ")"
			}
		} else if len(told.Change) > 0 {
			f.Whom = told.Change[0].Whom
		}
	}
	if len(to.Failures) == verdict.MaxFailures {
		to.More++
		return
	}
	to.Failures = append(to.Failures, f)
}
