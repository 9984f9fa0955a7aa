// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// recordAgain is how long it takes to try again to record what is in force.
const recordAgain = 5 * time.Second

// TestSource knows what came of the tests of Applications. It works in a goroutine
// of its own; the rebuild loop never waits for it.
type TestSource interface {
	// Run works until the context ends. It calls report, which does not block, with
	// everything that is known whenever that has changed, and with an error when
	// nothing is. An error ends the operator.
	Run(ctx context.Context, report func(*verdict.Report, error)) error
}

// trials are what the loop has where changes wait for their tests.
type trials struct {
	source  TestSource
	keeper  *inforce.Keeper
	changed chan struct{}

	mu     sync.Mutex
	latest bulletin
}

// bulletin is what the source said last.
type bulletin struct {
	verdicts map[verdict.Key]*verdict.Application
	// silence is why nothing is known.
	silence inforce.Silence
}

func newTrials(source TestSource, c client.Client) *trials {
	return &trials{
		source: source, keeper: inforce.NewKeeper(c, parallel), changed: make(chan struct{}, 1),
		latest: bulletin{silence: inforce.Silence{Reason: inforce.ReasonNotRun, Message: "trellis-server has not been asked yet", Initial: true}},
	}
}

// put is what a TestSource reports to.
func (t *trials) put(r *verdict.Report, err error) {
	b := bulletin{verdicts: map[verdict.Key]*verdict.Application{}}
	switch {
	case err != nil:
		b.silence = inforce.Silence{Reason: inforce.ReasonServerUnavailable, Message: err.Error()}
	case r.Problem != "":
		b.silence = inforce.Silence{Reason: inforce.ReasonNotRun, Message: "trellis-server cannot run them: " + r.Problem}
	default:
		for i := range r.Applications {
			b.verdicts[r.Applications[i].Key()] = &r.Applications[i]
		}
	}
	t.mu.Lock()
	t.latest = b
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// settle decides what is in force in a round. It does nothing where nobody waits
// for tests.
func (t *trials) settle(ctx context.Context, done *round, log *slog.Logger) {
	if t == nil {
		return
	}
	t.mu.Lock()
	done.bulletin = t.latest
	t.mu.Unlock()
	all, err := t.keeper.Keep(ctx, done.state.Input.Applications, done.state.Records, done.bulletin.verdicts, inforce.Waiting(done.state.Input, done.bulletin.silence))
	if err != nil {
		log.Error("what is in force could not be recorded", "error", err)
		done.unrecorded = err
	}
	done.standing = make(map[types.UID]*inforce.Standing, len(all))
	done.input.Applications = nil
	for i := range all {
		done.standing[all[i].Application.UID] = &all[i]
		if all[i].InForce != nil {
			done.input.Applications = append(done.input.Applications, all[i].InForce)
		}
	}
}

// suspended reports whether an Application is there of which nothing is in force:
// what restricts its workload stays, so that a record that is lost opens nothing.
func (r *round) suspended(owner model.Reference) bool {
	for _, s := range r.standing {
		if a := s.Application; s.InForce == nil && reference(owner.Cluster, kindApplication, a) == owner {
			return true
		}
	}
	return false
}

// tested adds what is known of an Application's tests to its facts.
func (r *round) tested(a *v1alpha1.Application, f *facts) {
	f.standing, f.silence = r.standing[a.UID], r.bulletin.silence
	if f.standing == nil {
		return
	}
	f.tests += f.standing.Gates
	inForce := f.standing.InForce
	f.exposed = inForce != nil && len(inForce.Spec.Exposures) > 0
	j, _ := awaitingTests(f)
	f.problems = append(f.standing.Findings(f.owner, j.reason, j.message), f.problems...)
}

func awaitingTests(f *facts) (judgement, bool) {
	switch {
	case f.standing == nil || f.standing.Present():
		return judgement{}, false
	case f.standing.Awaits():
		return unknown(inforce.ReasonAwaitingTests, f.standing.Says()+": "+testsPassed(f).message), true
	}
	return no(inforce.ReasonTestsFailed, f.standing.Says()+": "+testsPassed(f).message), true
}

func nothingInForce(f *facts) (judgement, bool) {
	return unknown("NotInForce", "no generation is in force, so nothing was generated"), f.standing != nil && f.standing.InForce == nil
}

// ofGeneration says of what is true of another generation that it is.
func (f *facts) ofGeneration(j judgement) judgement {
	if f.standing == nil || f.standing.Present() || f.standing.InForce == nil || j.status != metav1.ConditionTrue {
		return j
	}
	return unknown("NotInForce", fmt.Sprintf("%s; of that one: %s", f.standing.Says(), j.message))
}

// testsPassed is the condition of that name, of an Application with tests.
func testsPassed(f *facts) judgement {
	if f.standing == nil {
		return unknown(inforce.ReasonNotRun, fmt.Sprintf("nobody runs tests in this cluster (the chart's value server.enabled); "+
			"`trellis test -f FILES` runs the %d of spec.tests, before a change is applied", f.tests))
	}
	status, reason, message := f.standing.TestsPassed(f.silence)
	return judgement{status, reason, message}
}
