// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/controller/openreports"
	"github.com/trellis-mesh/trellis/internal/gather"
)

// How long changes are joined, and how much is written at once.
const (
	quiet    = 50 * time.Millisecond
	longest  = 500 * time.Millisecond
	parallel = 16
	// calm is how long nothing was rebuilt before memory goes back to the system;
	// restless is when it does in any case.
	calm     = 3 * time.Second
	restless = time.Minute
)

// Cluster is what the loop reads: package gather provides it.
type Cluster interface {
	// Gather reads the caches and makes no call.
	Gather() (gather.State, error)
	// Changed receives after a change that Gather would show.
	Changed() <-chan struct{}
}

// Options are what a Reconciler works with.
type Options struct {
	Cluster Cluster
	// Client writes, and reads past every cache.
	Client client.Client
	// Ledger is the one that the Cluster tells about its caches.
	Ledger *apply.Ledger
	// ClusterID is that of all references.
	ClusterID string
	// Programmed and Prober may be nil; then the conditions are Unknown.
	Programmed ProgrammedSource
	Prober     Prober
	// Tests says what came of tests; nil where nobody waits for them.
	Tests TestSource
	// Reports shows policies as other tools read them; nil where nobody does.
	Reports  *openreports.Keeper
	Recorder events.EventRecorder
	Registry prometheus.Registerer
	Clock    clock.Clock
	Log      *slog.Logger
}

// Reconciler is the loop. It has one worker.
type Reconciler struct {
	cluster    Cluster
	client     client.Client
	ledger     *apply.Ledger
	applier    *apply.Applier
	preparer   apply.Preparer
	programmed ProgrammedSource
	prober     Prober
	tests      *trials
	reports    *openreports.Keeper
	statuses   *statusWriter
	events     *announcer
	metrics    *meters
	inbox      *inbox
	clock      clock.Clock
	log        *slog.Logger
	// began is when this process began to look.
	began time.Time
	// rebuilt receives after a rebuild.
	rebuilt chan struct{}
	// stale is true when the cluster has changed since the last rebuild began.
	stale atomic.Bool
	last  *round
}

// New makes a Reconciler.
func New(o Options) (*Reconciler, error) {
	metrics, err := newMeters(o.Registry)
	if err != nil {
		return nil, err
	}
	r := &Reconciler{
		cluster: o.Cluster, client: o.Client, ledger: o.Ledger, programmed: o.Programmed, prober: o.Prober, reports: o.Reports,
		applier:  &apply.Applier{Client: o.Client, Ledger: o.Ledger, Cluster: o.ClusterID, Parallel: parallel, Now: o.Clock.Now},
		statuses: newStatusWriter(o.Client, parallel, o.Clock),
		events:   &announcer{recorder: o.Recorder},
		metrics:  metrics, inbox: newInbox(), clock: o.Clock, log: o.Log, began: o.Clock.Now(),
		rebuilt: make(chan struct{}, 1),
	}
	if o.Tests != nil {
		r.tests = newTrials(o.Tests, o.Client)
	}
	r.stale.Store(true)
	return r, nil
}

// mesh is the only request there is: everything is rebuilt at once.
var mesh = reconcile.Request{}

// SetupWithManager registers the loop and the sources of status. All run on the
// leader alone.
func (r *Reconciler) SetupWithManager(m ctrl.Manager) error {
	unnamed := true
	err := ctrl.NewControllerManagedBy(m).Named("mesh").
		WithOptions(controller.Options{MaxConcurrentReconciles: 1, SkipNameValidation: &unnamed}).
		WatchesRawSource(source.Func(r.trigger)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("registering the loop: %w", err)
	}
	if r.programmed != nil {
		err = errors.Join(err, m.Add(manager.RunnableFunc(func(ctx context.Context) error {
			return r.programmed.Run(ctx, r.inbox.putVerdicts)
		})))
	}
	if r.prober != nil {
		err = errors.Join(err, m.Add(manager.RunnableFunc(func(ctx context.Context) error {
			return r.prober.Run(ctx, r.inbox.putResults)
		})))
	}
	if r.tests != nil {
		err = errors.Join(err, m.Add(manager.RunnableFunc(func(ctx context.Context) error {
			return r.tests.source.Run(ctx, r.tests.put)
		})))
	}
	return err
}

// trigger turns changes into requests.
func (r *Reconciler) trigger(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	queue.Add(mesh)
	go debounce(ctx, r.clock, quiet, longest, r.cluster.Changed(), func() {
		r.stale.Store(true)
		queue.Add(mesh)
	})
	go debounce(ctx, r.clock, quiet, longest, r.inbox.changed, func() { queue.Add(mesh) })
	if r.tests != nil {
		go debounce(ctx, r.clock, quiet, longest, r.tests.changed, func() {
			r.stale.Store(true)
			queue.Add(mesh)
		})
	}
	// A rebuild needs for a moment what is idle for hours afterwards.
	go debounce(ctx, r.clock, calm, restless, r.rebuilt, debug.FreeOSMemory)
	return nil
}

// Reconcile gathers, compiles, applies and prunes where the cluster has changed,
// and then brings the statuses up to date.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if r.stale.Swap(false) {
		if err := r.renew(ctx); err != nil {
			r.stale.Store(true)
			if errors.Is(err, apply.ErrStale) {
				r.log.Info("the cluster changed while it was written to; beginning again", "reason", err)
				return reconcile.Result{RequeueAfter: quiet}, nil
			}
			return reconcile.Result{}, err
		}
	}
	if r.last == nil {
		return reconcile.Result{}, nil
	}
	reported, err := r.report(ctx, r.last)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !reported.all {
		return reconcile.Result{RequeueAfter: time.Nanosecond}, nil
	}
	if len(r.last.state.Blockers) > 0 {
		return reconcile.Result{RequeueAfter: reported.later}, nil
	}
	left, unreported := r.reports.Write(ctx, r.last.posture, r.clock.Now(), r.stale.Load)
	again, err := r.keepClaims(ctx, r.last)
	if r.last.unrecorded != nil {
		r.stale.Store(true)
		again = recordAgain
	}
	if reported.later > 0 && (again == 0 || reported.later < again) {
		again = reported.later
	}
	if left {
		again = time.Nanosecond
	}
	return reconcile.Result{RequeueAfter: again}, errors.Join(err, unreported)
}

// renew does a rebuild, when everything has been read.
func (r *Reconciler) renew(ctx context.Context) error {
	state, err := r.cluster.Gather()
	if err != nil {
		return fmt.Errorf("gathering: %w", err)
	}
	if !state.Synced {
		return nil
	}
	if r.last == nil || !slices.Equal(r.last.state.Blockers, state.Blockers) {
		for _, b := range state.Blockers {
			r.log.Warn("nothing can be applied", "reason", b.Reason, "message", b.Message, "fix", b.Fix)
		}
	}
	done, err := r.rebuild(ctx, state)
	if err != nil {
		return err
	}
	r.logChanges(ctx, done.result.Changes)
	programmed, probed := done.follow()
	r.inbox.follow(programmed, probed, r.clock.Now())
	if r.programmed != nil {
		r.programmed.Follow(done.snapshot, programmed, done.generated)
	}
	done.generated = nil
	if r.prober != nil {
		r.prober.Follow(done.snapshot, probed)
	}
	r.last = done
	select {
	case r.rebuilt <- struct{}{}:
	default:
	}
	return nil
}

// logChanges names each object that was put back; what follows from a change of
// what is wanted is counted, since that may be thousands.
func (r *Reconciler) logChanges(ctx context.Context, changes []apply.Change) {
	if len(changes) == 0 {
		return
	}
	verbs := map[apply.Verb]int{}
	for _, c := range changes {
		level := slog.LevelDebug
		if c.Edit != nil {
			level = slog.LevelInfo
		}
		verbs[c.Verb]++
		r.log.Log(ctx, level, "wrote a generated object", "object", c.Ref.String(), "verb", c.Verb, "reverted", c.Edit != nil)
	}
	r.log.Info("the cluster follows", "created", verbs[apply.VerbCreate], "updated", verbs[apply.VerbUpdate], "deleted", verbs[apply.VerbDelete])
}
