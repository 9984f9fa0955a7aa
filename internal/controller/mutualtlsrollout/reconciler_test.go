// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	rollout "github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/test/stack"
)

func TestAStageIsMadeInTheClusterWatchedAndDone(t *testing.T) {
	w := newWorld(t)
	if again := w.reconcile(); again != 2*time.Second {
		t.Errorf("it looks again after %s", again)
	}
	w.is(v1alpha1.RolloutWatching, v1alpha1.StageWatching, w.namespace+"/cart")
	w.strict(true)
	w.told("Normal StageMade " + w.namespace + "/cart")
	w.pass(soak + 2*time.Second)
	w.is(v1alpha1.RolloutComplete, v1alpha1.StageDone)
	w.told("Normal StageDone", "Normal Complete")
	err := testutil.GatherAndCompare(w.registry, strings.NewReader(`# HELP trellis_mutual_tls_rollout_steps_total Stages that were made, are done, or were taken back.
# TYPE trellis_mutual_tls_rollout_steps_total counter
trellis_mutual_tls_rollout_steps_total{step="done"} 1
trellis_mutual_tls_rollout_steps_total{step="made"} 1
`), "trellis_mutual_tls_rollout_steps_total")
	if err != nil {
		t.Error(err)
	}
	writes := w.writes
	w.pass(10 * time.Minute)
	if w.writes != writes {
		t.Errorf("nothing changed, and %d writes were made", w.writes-writes)
	}
}

func TestAStageIsTakenBackInTheClusterAndStaysSoUntilARetry(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.clock.Step(2 * time.Second)
	w.fails()
	w.reconcile()
	w.is(v1alpha1.RolloutSteppedBack, v1alpha1.StageSteppedBack, "legacy/job", "it has no proxy")
	w.strict(false)
	w.told("Warning SteppedBack", "legacy/job")
	w.pass(2 * window)
	w.is(v1alpha1.RolloutSteppedBack, v1alpha1.StageSteppedBack)
	w.change(func(r *v1alpha1.MutualTLSRollout) { r.Annotations = map[string]string{v1alpha1.RetryAnnotation: "now"} })
	w.reconcile()
	w.is(v1alpha1.RolloutWatching, v1alpha1.StageWatching)
	w.strict(true)
}

// An operator that ends at any write, before or after it was made, is followed by one
// that comes to the same end.
func TestAnOperatorThatIsKilledAtAnyWriteLosesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		trouble bool
		stage   v1alpha1.RolloutStagePhase
	}{
		"towards its end": {false, v1alpha1.StageDone},
		"towards trouble": {true, v1alpha1.StageSteppedBack},
	} {
		for _, late := range []bool{false, true} {
			for kill, killed := 1, true; killed; kill++ {
				t.Run(fmt.Sprintf("%s, killed at write %d, after it: %t", name, kill, late), func(t *testing.T) {
					w := newWorld(t)
					w.kill, w.late = kill, late
					killed = w.survive(c.trouble)
					if got := w.read().Status.Stages[0].Phase; got != c.stage {
						t.Fatalf("the stage is %s, want %s", got, c.stage)
					}
					w.strict(c.stage == v1alpha1.StageDone)
				})
			}
		}
	}
}

// survive works for two minutes, with trouble once a stage is made, and says whether the
// operator was killed.
func (w *world) survive(trouble bool) (killed bool) {
	w.Helper()
	for end := w.clock.Now().Add(2 * time.Minute); w.clock.Now().Before(end); {
		if u := w.object(); u != nil && trouble && w.edges == nil {
			w.fails()
		}
		result, err := w.once()
		switch {
		case errors.Is(err, errKilled):
			killed = true
			w.restart()
		case err != nil:
			w.Fatal(err)
		}
		w.clock.Step(max(result.RequeueAfter, time.Second))
	}
	return killed
}

func TestAnObjectOfSomebodyElseIsNeverWritten(t *testing.T) {
	w := newWorld(t)
	u := w.named()
	u.Object["spec"] = map[string]any{"mtls": map[string]any{"mode": "PERMISSIVE"}}
	w.create(u)
	before := w.object()
	w.reconcile()
	w.pass(2 * window)
	w.is(v1alpha1.RolloutBlocked, v1alpha1.StageBlocked, "trellis-rollout-cart", "somebody else")
	if after := w.object(); after.GetResourceVersion() != before.GetResourceVersion() {
		t.Error("it was written")
	}
	if err := w.client.Delete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	w.is(v1alpha1.RolloutWatching, v1alpha1.StageWatching)
	w.strict(true)
}

func TestAnObjectThatBecameSomebodyElsesIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	u := w.object()
	u.SetLabels(map[string]string{"team": "shop"})
	if err := w.client.Update(t.Context(), u, client.FieldOwner("user")); err != nil {
		t.Fatal(err)
	}
	w.clock.Step(2 * time.Second)
	w.fails()
	w.reconcile()
	w.is(v1alpha1.RolloutSteppedBack, v1alpha1.StageSteppedBack)
	if w.object() == nil {
		t.Error("it was deleted")
	}
}

func TestAHandEditIsPutBackAsAWhole(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	w.pass(soak + 2*time.Second)
	w.news()
	u := w.object()
	for field, value := range map[string]any{"mtls": map[string]any{"mode": "PERMISSIVE"}, "portLevelMtls": map[string]any{"8080": map[string]any{"mode": "DISABLE"}}} {
		if err := unstructured.SetNestedField(u.Object, value, "spec", field); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.client.Update(t.Context(), u, client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	w.strict(false)
	w.reconcile()
	w.strict(true)
	w.is(v1alpha1.RolloutWatching, v1alpha1.StageWatching)
	w.told("Warning StageChanged", "is not as it was made", "spec.paused of MutualTLSRollout "+w.name)
}

func TestWhenARolloutIsDeletedWhatItMadeStays(t *testing.T) {
	w := newWorld(t)
	w.reconcile()
	if err := w.client.Delete(t.Context(), w.read()); err != nil {
		t.Fatal(err)
	}
	result, err := w.r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: w.name}})
	if err != nil || result.RequeueAfter != 0 {
		t.Errorf("it ends with %v, %v", result, err)
	}
	w.strict(true)
}

func TestADecisionAboutAStatementThatHasChangedIsNotCarriedOut(t *testing.T) {
	w := newWorld(t)
	w.edges = nil
	raced := &racing{world: w}
	w.r, _ = rollout.New(rollout.Options{
		Client: w.client, Forecasts: w, AccessLogs: raced, Recorder: w.recorder, Registry: w.registry, Clock: w.clock, Log: slog.New(slog.DiscardHandler),
	})
	if again := w.reconcile(); again != time.Second || !raced.done {
		t.Errorf("it looks again after %s", again)
	}
	w.strict(false)
	w.reconcile()
	w.is(v1alpha1.RolloutPaused, v1alpha1.StagePending)
}

// racing is a source that is slow: meanwhile somebody pauses the rollout.
type racing struct {
	*world
	done bool
}

func (r *racing) Seen(ctx context.Context, from time.Time) (traffic.Seen, error) {
	if !r.done {
		r.done = true
		r.change(func(r *v1alpha1.MutualTLSRollout) { r.Spec.Paused = true })
	}
	return r.world.Seen(ctx, from)
}

func TestWhatTheAPIServerRefusesIsSaidAndTriedAgainOnceAMinute(t *testing.T) {
	w := newWorld(t)
	w.refuse = apierrors.NewForbidden(schema.GroupResource{Resource: "peerauthentications"}, "trellis-rollout-cart", errors.New("no policy allows it"))
	if _, err := w.once(); err == nil {
		t.Fatal("it was not refused")
	}
	w.clock.Step(5 * time.Second)
	w.reconcile()
	w.is(v1alpha1.RolloutBlocked, v1alpha1.StageBlocked, "no policy allows it")
	w.refuse = nil
	w.pass(70 * time.Second)
	w.is(v1alpha1.RolloutWatching, v1alpha1.StageWatching)
	w.strict(true)
}

func TestWithoutSourcesAStatusSaysWhatIsNeeded(t *testing.T) {
	w := newWorld(t)
	none := func() {
		var err error
		if w.r, err = rollout.New(rollout.Options{Client: w.client, Recorder: w.recorder, Registry: w.registry, Clock: w.clock, Log: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
	}
	none()
	request := ctrl.Request{NamespacedName: types.NamespacedName{Name: w.name}}
	says := func(want string) {
		t.Helper()
		if _, err := w.r.Reconcile(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		got := w.read().Status
		if got.Phase != v1alpha1.RolloutWaiting || len(got.Conditions) == 0 || got.Conditions[0].Message != want {
			t.Errorf("it is %+v, want %q", got, want)
		}
	}
	says("nobody foresees what would become of the stages: that needs trellis-server (the chart's value server.enabled)")
	w.r.Hear(w.foresee(), nil)
	says("traffic is not seen: access logs are collected by trellis-server, and there is none (the chart's value server.enabled)")
	w.change(func(r *v1alpha1.MutualTLSRollout) {
		r.Spec.Observation.Source = v1alpha1.ObservationSource{Prometheus: &v1alpha1.PrometheusSource{URL: "http://prometheus.monitoring:9090"}}
	})
	w.r.Hear(w.foresee(), nil)
	says("traffic is not seen: this operator cannot ask Prometheus")
	w.r.Hear(nil, errors.New("connection refused"))
	says("trellis-server does not say what would become of the stages: connection refused")
}

// told is a server that says once what it foresees, and then when it changes.
type told struct {
	*world
	forecasts chan *verdict.Forecasts
}

func (t *told) Run(ctx context.Context, report func(*verdict.Forecasts, error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-t.forecasts:
			report(f, nil)
		}
	}
}

func TestTheManagerHearsOfRolloutsAndForecasts(t *testing.T) {
	w := newWorld(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	m, err := ctrl.NewManager(server.Config(), ctrl.Options{Scheme: w.client.Scheme(), Logger: logr.FromSlogHandler(log.Handler()), Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	// Nothing but news wakes it before the test is over.
	w.change(func(r *v1alpha1.MutualTLSRollout) { r.Spec.Observation.Window.Duration = 160 * time.Hour })
	w.looks = time.Now().Add(-200 * time.Hour)
	source := &told{w, make(chan *verdict.Forecasts)}
	r, err := rollout.New(rollout.Options{
		Client: w.client, Forecasts: source, AccessLogs: live{w}, Recorder: m.GetEventRecorder("trellis"), Registry: w.registry, Clock: clock.RealClock{}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetupWithManager(m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
	await := func(what string, phase v1alpha1.RolloutPhase, stages int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if err := stack.Until(ctx, what, func(context.Context) error {
			if got := w.read().Status; got.Phase != phase || len(got.Stages) != stages {
				return fmt.Errorf("it is %+v", got)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	await("the rollout to wait for a forecast", v1alpha1.RolloutWaiting, 0)
	source.forecasts <- w.foresee()
	await("the stage to be listed", v1alpha1.RolloutWaiting, 1)
	w.change(func(r *v1alpha1.MutualTLSRollout) { r.Spec.Paused = true })
	await("the rollout to be paused", v1alpha1.RolloutPaused, 1)
}

// live sees by the real clock.
type live struct{ *world }

func (l live) Seen(_ context.Context, from time.Time) (traffic.Seen, error) {
	return traffic.Seen{From: from, To: time.Now()}, nil
}
