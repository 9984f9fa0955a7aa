// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

const (
	// parallel is how many rollouts are worked on at once.
	parallel = 4
	// patience bounds how long an answer about traffic is waited for.
	patience = 10 * time.Second
	// slowest bounds how long it takes to try again after a failure: a stage that
	// shuts clients out must not wait for it.
	slowest = 5 * time.Second
	// rewrite is how often is tried again to write what was refused.
	rewrite = time.Minute
)

// Forecasts knows what would become of stages.
type Forecasts interface {
	// Run works until the context ends. It calls report, which does not block, with
	// everything that is known whenever that has changed, and with an error when
	// nothing is. An error ends the operator.
	Run(ctx context.Context, report func(*verdict.Forecasts, error)) error
}

// Traffic knows what was seen of traffic. It is safe for concurrent use.
type Traffic interface {
	// Seen says what was seen from a time until now. Where looking began later, the
	// answer begins later.
	Seen(ctx context.Context, from time.Time) (traffic.Seen, error)
}

// Options are what a Reconciler works with.
type Options struct {
	// Client reads past every cache, and writes.
	Client client.Client
	// Forecasts come from trellis-server; nil where there is none: no stage is made
	// then.
	Forecasts Forecasts
	// AccessLogs are those that trellis-server collects; nil where nobody does.
	AccessLogs Traffic
	// Prometheus makes what asks such an API; nil where none can be asked.
	Prometheus func(v1alpha1.PrometheusSource) Traffic
	Recorder   events.EventRecorder
	Registry   prometheus.Registerer
	Clock      clock.Clock
	Log        *slog.Logger
}

// Reconciler takes rollouts a step further. Make one with New. It is for one process at
// a time, the leader, and safe for concurrent use in it by different rollouts.
type Reconciler struct {
	options Options
	client  client.Client
	clock   clock.Clock
	log     *slog.Logger
	metrics *meters
	// wake is for the news of forecasts.
	wake chan event.GenericEvent

	mu         sync.Mutex
	forecasts  *verdict.Forecasts
	unforeseen string
	// windows are when it was asked last what was seen in the window of a rollout.
	windows map[string]time.Time
	// refusals are PeerAuthentications that could not be written.
	refusals map[string]refusal
}

// refusal is why something could not be written, and when.
type refusal struct {
	why string
	at  time.Time
}

// New makes a Reconciler. It makes no call.
func New(o Options) (*Reconciler, error) {
	metrics, err := newMeters(o.Registry)
	if err != nil {
		return nil, err
	}
	r := &Reconciler{
		options: o, client: o.Client, clock: o.Clock, log: o.Log, metrics: metrics,
		wake: make(chan event.GenericEvent, 1), windows: map[string]time.Time{}, refusals: map[string]refusal{},
		unforeseen: "trellis-server has not been asked yet what would become of the stages",
	}
	if o.Forecasts == nil {
		r.unforeseen = "nobody foresees what would become of the stages: that needs trellis-server (the chart's value server.enabled)"
	}
	return r, nil
}

// SetupWithManager registers it, on the leader alone. What only changes a status is no
// reason to look.
func (r *Reconciler) SetupWithManager(m ctrl.Manager) error {
	unnamed := true
	limits := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, slowest)
	all := func(ctx context.Context, _ client.Object) []reconcile.Request {
		return everyRollout(ctx, m.GetCache(), r.log)
	}
	err := ctrl.NewControllerManagedBy(m).Named("mutual-tls-rollout").
		WithOptions(controller.Options{MaxConcurrentReconciles: parallel, RateLimiter: limits, SkipNameValidation: &unnamed}).
		For(&v1alpha1.MutualTLSRollout{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WatchesRawSource(source.Channel(r.wake, handler.EnqueueRequestsFromMapFunc(all))).
		Complete(r)
	if err == nil && r.options.Forecasts != nil {
		err = m.Add(manager.RunnableFunc(func(ctx context.Context) error { return r.options.Forecasts.Run(ctx, r.hear) }))
	}
	if err != nil {
		return fmt.Errorf("registering the controller of rollouts of mutual TLS: %w", err)
	}
	return nil
}

func everyRollout(ctx context.Context, cache client.Reader, log *slog.Logger) []reconcile.Request {
	list := &v1alpha1.MutualTLSRolloutList{}
	if err := cache.List(ctx, list); err != nil {
		log.Error("rollouts could not be listed, and hear of news a little later", "error", err)
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

// hear is what Forecasts reports to.
func (r *Reconciler) hear(all *verdict.Forecasts, err error) {
	r.mu.Lock()
	r.forecasts, r.unforeseen = all, ""
	if err != nil {
		r.forecasts, r.unforeseen = nil, "trellis-server does not say what would become of the stages: "+err.Error()
	}
	r.mu.Unlock()
	select {
	case r.wake <- event.GenericEvent{Object: &v1alpha1.MutualTLSRollout{}}:
	default:
	}
}

// foresee is what was heard last of a rollout.
func (r *Reconciler) foresee(rollout *v1alpha1.MutualTLSRollout) (*verdict.Forecast, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.forecasts == nil {
		return nil, r.unforeseen
	}
	return Foresee(r.forecasts, rollout)
}

// Reconcile takes one rollout a step further, and says when to go on.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	rollout := &v1alpha1.MutualTLSRollout{}
	err := r.client.Get(ctx, req.NamespacedName, rollout)
	if apierrors.IsNotFound(err) || err == nil && rollout.DeletionTimestamp != nil {
		r.forget(req.Name)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading the MutualTLSRollout %s: %w", req.Name, err)
	}
	decision, err := r.decide(ctx, rollout)
	if err == nil {
		err = r.carryOut(ctx, rollout, decision)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		// Somebody wrote at the same time: what was decided is of another moment.
		r.log.Debug("the state was raced for", "rollout", req.Name, "error", err)
		return reconcile.Result{RequeueAfter: lookOften}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	r.metrics.observe(rollout.Name, &decision.Status)
	return reconcile.Result{RequeueAfter: decision.After}, nil
}

func (r *Reconciler) forget(name string) {
	r.mu.Lock()
	delete(r.windows, name)
	r.mu.Unlock()
	r.metrics.forget(name)
}

// maxNote is what the API server takes as the note of an event.
const maxNote = 1024

func (r *Reconciler) tell(rollout *v1alpha1.MutualTLSRollout, e Event) {
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	r.options.Recorder.Eventf(rollout, nil, kind, e.Reason, e.Action, "%s", clip(e.Note, maxNote))
}
