// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/test/metricstore"
)

// quietMesh foresees one stage, and has seen nothing for as long as anybody asks.
type quietMesh struct{ rollout, namespace string }

func (q quietMesh) Run(ctx context.Context, report func(*verdict.Forecasts, error)) error {
	report(&verdict.Forecasts{Rollouts: []verdict.Forecast{{Rollout: q.rollout, Generation: 1, Stages: []verdict.Stage{{
		Name: q.namespace + "/shop", Namespace: q.namespace, Object: "trellis-rollout-shop",
		Selector: map[string]string{"app": "shop"}, Services: []string{q.namespace + "/shop"}, Mode: "PERMISSIVE",
	}}}}}, nil)
	<-ctx.Done()
	return nil
}

func (quietMesh) Seen(_ context.Context, from time.Time) (traffic.Seen, error) {
	return traffic.Seen{From: from, To: time.Now()}, nil
}

// rolloutOf makes a MutualTLSRollout of a namespace, which goes when the test ends.
func (w *world) rolloutOf(namespace string) *v1alpha1.MutualTLSRollout {
	w.t.Helper()
	return w.rolloutSeenBy(namespace, v1alpha1.ObservationSource{AccessLogs: &v1alpha1.AccessLogSource{}}, time.Second)
}

func (w *world) rolloutSeenBy(namespace string, source v1alpha1.ObservationSource, window time.Duration) *v1alpha1.MutualTLSRollout {
	w.t.Helper()
	r := &v1alpha1.MutualTLSRollout{
		ObjectMeta: metav1.ObjectMeta{Name: "of-" + namespace},
		Spec: v1alpha1.MutualTLSRolloutSpec{
			Namespaces: v1alpha1.RolloutNamespaces{Names: []string{namespace}},
			Observation: v1alpha1.RolloutObservation{
				Source: source,
				Window: metav1.Duration{Duration: window}, Soak: metav1.Duration{Duration: time.Minute}, Silence: v1alpha1.SilenceProceed,
			},
		},
	}
	w.create(r)
	w.t.Cleanup(func() { _ = w.client.Delete(context.Background(), r) })
	return r
}

func (w *world) awaitRollout(r *v1alpha1.MutualTLSRollout, phase v1alpha1.RolloutPhase, part string) {
	w.t.Helper()
	w.await(fmt.Sprintf("the rollout to be %s", phase), func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
		if r.Status.Phase != phase || ready == nil || !strings.Contains(ready.Message, part) {
			return fmt.Errorf("it is %+v", r.Status)
		}
		return nil
	})
}

func TestTheOperatorMakesTheStageOfARolloutAndLeavesItAloneOtherwise(t *testing.T) {
	w := newWorld(t, server)
	mesh := quietMesh{"of-" + w.shop, w.shop}
	w.options.Forecasts, w.options.AccessLogs = mesh, mesh
	w.start()
	r := w.rolloutOf(w.shop)
	w.awaitRollout(r, v1alpha1.RolloutWatching, w.shop+"/shop")
	// The status says what is to be made before it is made.
	made := &securityv1.PeerAuthentication{}
	w.await("the PeerAuthentication of the stage", func(ctx context.Context) error {
		return w.client.Get(ctx, client.ObjectKey{Namespace: w.shop, Name: "trellis-rollout-shop"}, made)
	})
	// The compiler of Applications prunes what is Trellis's own, and this is not.
	w.published()
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(made), made); err != nil {
		t.Fatal(err)
	}
}

// scraped are samples of Istio's metric of requests, as a proxy of the shop counts them: one
// each half minute for an hour, the last one now, that grow for as long as the client
// calls.
func scraped(namespace, client, policy string, until time.Time) metricstore.Series {
	source, workload, _ := strings.Cut(client, "/")
	out := metricstore.Series{Labels: map[string]string{
		"__name__": "istio_requests_total", "reporter": "destination", "response_code": "200", "response_flags": "-",
		"connection_security_policy": policy, "source_workload_namespace": source, "source_workload": workload,
		"destination_service_namespace": namespace, "destination_service_name": "shop",
	}}
	now, value := time.Now(), 0.0
	for at := now.Add(-time.Hour); !at.After(now); at = at.Add(30 * time.Second) {
		if at.Before(until) {
			value++
		}
		out.Samples = append(out.Samples, metricstore.Sample{At: at, Value: value})
	}
	return out
}

// TestARolloutGoesByWhatPrometheusHas asks a real one.
func TestARolloutGoesByWhatPrometheusHas(t *testing.T) {
	for _, c := range []struct {
		name  string
		ended time.Duration
		phase v1alpha1.RolloutPhase
		says  string
	}{
		{"a client that sent plaintext in the window", 4 * time.Minute, v1alpha1.RolloutBlocked, "legacy/job calls"},
		{"one that ended before it", 30 * time.Minute, v1alpha1.RolloutWaiting, "/shop: no plaintext was seen since"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := metricstore.Start(t, metricstore.Prometheus)
			w := newWorld(t, server)
			w.options.Forecasts = quietMesh{"of-" + w.shop, w.shop}
			w.start()
			now := time.Now()
			store.Write(t, scraped(w.shop, "shop/front", "mutual_tls", now), scraped(w.shop, "legacy/job", "none", now.Add(-c.ended)))
			r := w.rolloutSeenBy(w.shop, v1alpha1.ObservationSource{Prometheus: &v1alpha1.PrometheusSource{URL: store.URL}}, 10*time.Minute)
			w.awaitRollout(r, c.phase, c.says)
		})
	}
}

func TestWithoutTheServerARolloutSaysWhatItNeeds(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	w.awaitRollout(w.rolloutOf(w.shop), v1alpha1.RolloutWaiting, "that needs trellis-server")
}
