// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	rollout "github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/test/stack"
)

var server *stack.Stack

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		var err error
		if server, err = stack.Start(ctx, stack.Options{WithoutIstio: true}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Stop()
		if err := errors.Join(server.InstallTrellisCRDs(ctx), server.InstallIstioCRDs(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

var errKilled = errors.New("the operator was killed")

// world is a namespace, a rollout about the Service "cart" in it, and the controller. It
// is also what foresees and sees.
type world struct {
	*testing.T
	namespace, name string
	// client is the user's.
	client   client.WithWatch
	clock    *clocktesting.FakeClock
	recorder *events.FakeRecorder
	registry *prometheus.Registry
	r        *rollout.Reconciler
	// edges are what was seen since looking began.
	edges  []traffic.Edge
	looks  time.Time
	unseen error
	// tally is a server that sees instead, where there is one.
	tally *sighting.Tally
	// writes counts those of the controller. At the one with the number kill it is
	// ended: before it, or after where late is set.
	writes, kill int
	late         bool
	// refuse makes creations fail; may be nil.
	refuse error
}

var worlds atomic.Int64

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config := server.Config()
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	n := worlds.Add(1)
	w := &world{
		T: t, namespace: fmt.Sprintf("shop-%d", n), name: fmt.Sprintf("rollout-%d", n), client: c,
		clock: clocktesting.NewFakeClock(time.Now().Add(window + 2*time.Second)), recorder: events.NewFakeRecorder(1000), registry: prometheus.NewRegistry(),
	}
	w.looks = w.clock.Now().Add(-time.Hour)
	if err := server.Namespace(t.Context(), w.namespace, nil); err != nil {
		t.Fatal(err)
	}
	w.create(&v1alpha1.MutualTLSRollout{
		ObjectMeta: metav1.ObjectMeta{Name: w.name},
		Spec: v1alpha1.MutualTLSRolloutSpec{
			Namespaces: v1alpha1.RolloutNamespaces{Names: []string{w.namespace}},
			Observation: v1alpha1.RolloutObservation{
				Source: v1alpha1.ObservationSource{AccessLogs: &v1alpha1.AccessLogSource{}},
				Window: metav1.Duration{Duration: window}, Soak: metav1.Duration{Duration: soak}, Silence: v1alpha1.SilenceProceed,
			},
		},
	})
	w.restart()
	return w
}

// Seen is what was seen of traffic.
func (w *world) Seen(_ context.Context, from time.Time) (traffic.Seen, error) {
	if w.tally != nil && w.unseen == nil {
		return w.tally.Seen(from, w.clock.Now()), nil
	}
	out := traffic.Seen{From: w.looks, To: w.clock.Now()}
	if from.After(out.From) {
		out.From = from
	}
	for _, e := range w.edges {
		if e.LastPlaintext != nil && !e.LastPlaintext.Before(from) || e.LastFailed != nil && !e.LastFailed.Before(from) {
			out.Edges = append(out.Edges, e)
		}
	}
	return out, w.unseen
}

// restart replaces the controller by another process, as it were.
func (w *world) restart() {
	w.Helper()
	w.kill = 0
	write := func(do func() error) error {
		w.writes++
		dies := w.kill > 0 && w.writes >= w.kill
		if dies && (!w.late || w.writes > w.kill) {
			return errKilled
		}
		if err := do(); err != nil || !dies {
			return err
		}
		return errKilled
	}
	watched := interceptor.NewClient(w.client, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if w.refuse != nil {
				return w.refuse
			}
			return write(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return write(func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return write(func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return write(func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	})
	var err error
	w.r, err = rollout.New(rollout.Options{
		Client: watched, Forecasts: w, AccessLogs: w, Recorder: w.recorder, Registry: w.registry, Clock: w.clock,
		Log: slog.New(slog.NewTextHandler(w.Output(), nil)),
	})
	if err != nil {
		w.Fatal(err)
	}
}

// Run is that of Forecasts, and not used: worlds without a manager say what is foreseen
// before each round.
func (*world) Run(ctx context.Context, _ func(*verdict.Forecasts, error)) error {
	<-ctx.Done()
	return nil
}

// object is the PeerAuthentication of the stage; nil where there is none.
func (w *world) object() *unstructured.Unstructured {
	w.Helper()
	u := w.named()
	err := w.client.Get(w.Context(), client.ObjectKeyFromObject(u), u)
	if client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return u
}

func (w *world) named() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("security.istio.io/v1")
	u.SetKind("PeerAuthentication")
	u.SetNamespace(w.namespace)
	u.SetName("trellis-rollout-cart")
	return u
}

// foresee is what a server says that sees the cluster as it is.
func (w *world) foresee() *verdict.Forecasts {
	w.Helper()
	stage := verdict.Stage{
		Name: w.namespace + "/cart", Namespace: w.namespace, Object: "trellis-rollout-cart",
		Selector: map[string]string{"app": "cart"}, Services: []string{w.namespace + "/cart"}, Mode: "PERMISSIVE",
	}
	if u := w.object(); u != nil {
		if mode, _, _ := unstructured.NestedString(u.Object, "spec", "mtls", "mode"); mode == "STRICT" {
			stage.Mode = mode
		}
	}
	return &verdict.Forecasts{Rollouts: []verdict.Forecast{{Rollout: w.name, Generation: w.read().Generation, Stages: []verdict.Stage{stage}}}}
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.client.Create(w.Context(), o, client.FieldOwner("user")); err != nil {
		w.Fatal(err)
	}
}

func (w *world) read() *v1alpha1.MutualTLSRollout {
	w.Helper()
	out := &v1alpha1.MutualTLSRollout{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Name: w.name}, out); err != nil {
		w.Fatal(err)
	}
	return out
}

// change edits the rollout as a user does.
func (w *world) change(change func(*v1alpha1.MutualTLSRollout)) {
	w.Helper()
	is := w.read()
	before := is.DeepCopy()
	change(is)
	if err := w.client.Patch(w.Context(), is, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) once() (reconcile.Result, error) {
	w.Helper()
	w.r.Hear(w.foresee(), nil)
	return w.r.Reconcile(w.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: w.name}})
}

// reconcile works once, which must not fail, and says when it wants to again.
func (w *world) reconcile() time.Duration {
	w.Helper()
	result, err := w.once()
	if err != nil {
		w.Fatal(err)
	}
	return result.RequeueAfter
}

// pass lets time pass, as much as is asked for at once.
func (w *world) pass(d time.Duration) {
	w.Helper()
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end); {
		again := w.reconcile()
		w.clock.Step(min(again, end.Sub(w.clock.Now())))
	}
	w.reconcile()
}

// fails is a request at this moment.
func (w *world) fails() {
	now := w.clock.Now()
	w.edges = []traffic.Edge{{Client: "legacy/job", Services: []string{w.namespace + "/cart"}, Port: 8080, Failed: 1, LastFailed: &now, Why: "it has no proxy"}}
}

// is checks the rollout's and the stage's phase, and what the condition says.
func (w *world) is(phase v1alpha1.RolloutPhase, stage v1alpha1.RolloutStagePhase, parts ...string) {
	w.Helper()
	s := w.read().Status
	ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	if s.Phase != phase || len(s.Stages) != 1 || s.Stages[0].Phase != stage {
		w.Fatalf("it is %+v, want %s with a stage that is %s", s, phase, stage)
	}
	for _, part := range parts {
		if !strings.Contains(ready.Message, part) {
			w.Errorf("it says %q, want %q in it", ready.Message, part)
		}
	}
}

// strict checks whether the object is there as the rollout makes it.
func (w *world) strict(want bool) {
	w.Helper()
	u := w.object()
	if u == nil {
		if want {
			w.Fatal("there is no PeerAuthentication")
		}
		return
	}
	spec := fmt.Sprint(u.Object["spec"])
	is := spec == "map[mtls:map[mode:STRICT] selector:map[matchLabels:map[app:cart]]]" && rollout.Ours(u.GetLabels(), w.name)
	if is != want {
		w.Fatalf("the PeerAuthentication is %v of %v", spec, u.GetLabels())
	}
}

// news are the events since the last time.
func (w *world) news() string {
	var out []string
	for {
		select {
		case e := <-w.recorder.Events:
			out = append(out, e)
		default:
			return strings.Join(out, "\n")
		}
	}
}

func (w *world) told(parts ...string) {
	w.Helper()
	news := w.news()
	for _, part := range parts {
		if !strings.Contains(news, part) {
			w.Errorf("the events are %q, want %q in them", news, part)
		}
	}
}
