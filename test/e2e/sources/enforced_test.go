// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/probe"
	"github.com/trellis-mesh/trellis/test/stack"
)

// results collects what probes showed, by route.
type results struct {
	mu   sync.Mutex
	last map[string]controller.ProbeResult
}

func (r *results) report(results []controller.ProbeResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, result := range results {
		r.last[result.Probe.Route] = result
	}
}

func (r *results) await(t *testing.T, route string, since time.Time, status metav1.ConditionStatus, reason string) controller.ProbeResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got controller.ProbeResult
	must(t, stack.Until(ctx, fmt.Sprintf("route %s to be %s", route, reason), func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if got = r.last[route]; got.Status != status || got.Reason != reason || got.At.Before(since) {
			return fmt.Errorf("it is %s %s: %s", got.Status, got.Reason, got.Message)
		}
		return nil
	}))
	return got
}

func TestEnforcedIsWhatTheGatewayAnswers(t *testing.T) {
	snapshot, outcome, _ := shared.apply(t.Context(), t, stated(t))
	prober, r := probe.New(probe.Config{Interval: time.Second}), &results{last: map[string]controller.ProbeResult{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- prober.Run(ctx, r.report) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	probesOf := func(outcome *compile.Outcome) []controller.ProbeTarget {
		var out []controller.ProbeTarget
		for ref, a := range outcome.Applications {
			out = append(out, controller.ProbeTarget{Owner: ref, Probes: a.Probes})
		}
		return out
	}
	prober.Follow(snapshot, probesOf(outcome))
	r.await(t, "pages", time.Time{}, metav1.ConditionTrue, probe.ReasonAsExpected)
	r.await(t, "api", time.Time{}, metav1.ConditionTrue, probe.ReasonAsExpected)

	t.Run("the token rules taken away by hand are noticed", func(t *testing.T) {
		removed := time.Now()
		remove(t, func(o compile.Object) bool {
			_, policy := o.Value.(*securityv1.AuthorizationPolicy)
			return policy && o.Ref.Namespace == "istio-ingress"
		}, outcome)
		got := r.await(t, "api", removed, metav1.ConditionFalse, probe.ReasonRouteOpen)
		t.Logf("after %s: %s", got.At.Sub(removed), got.Message)
		shared.apply(t.Context(), t, stated(t))
		r.await(t, "api", time.Now(), metav1.ConditionTrue, probe.ReasonAsExpected)
	})

	t.Run("a gateway that serves another certificate is noticed", func(t *testing.T) {
		other := *outcome.Applications[only(t, outcome)]
		other.Probes = append([]compile.Probe{}, other.Probes...)
		for i := range other.Probes {
			other.Probes[i].Fingerprint = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		}
		prober.Follow(snapshot, []controller.ProbeTarget{{Owner: other.Ref, Probes: other.Probes}})
		r.await(t, "api", time.Now(), metav1.ConditionFalse, probe.ReasonWrongCertificate)

		// A renewed certificate is the expected one as soon as it is served.
		_, err := shared.Certificate(t.Context(), "istio-ingress", "wildcard", "*.example.com")
		must(t, err)
		snapshot, outcome, _ := shared.apply(t.Context(), t, stated(t))
		prober.Follow(snapshot, probesOf(outcome))
		r.await(t, "api", time.Now(), metav1.ConditionTrue, probe.ReasonAsExpected)
	})
}

func only(t *testing.T, outcome *compile.Outcome) model.Reference {
	t.Helper()
	for ref := range outcome.Applications {
		return ref
	}
	t.Fatal("no application")
	return model.Reference{}
}

func remove(t *testing.T, which func(compile.Object) bool, outcome *compile.Outcome) {
	t.Helper()
	removed := 0
	for _, object := range outcome.Objects {
		if which(object) {
			value, ok := object.Value.(client.Object)
			if !ok {
				t.Fatalf("%s is no object", object.Ref)
			}
			must(t, shared.Client().Delete(t.Context(), value))
			removed++
		}
	}
	if removed == 0 {
		t.Fatal("nothing to remove")
	}
}

func TestOperatorsThatStartTogetherShareOneProbeKey(t *testing.T) {
	for _, test := range []struct{ name, namespace string }{
		{"when nobody has made the Secret", "elsewhere"},
		{"when the Secret was installed empty", operatorNamespace},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, api := t.Context(), shared.Client()
			empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: test.namespace, Name: load.ProbeSecretName}}
			if test.namespace == operatorNamespace {
				must(t, api.Create(ctx, empty))
			}
			t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(ctx), empty) })
			keys, failures := make(chan string, 8), make(chan error, 8)
			for range cap(keys) {
				go func() {
					key, err := probe.EnsureKey(ctx, api, test.namespace, rand.Reader)
					keys <- key
					failures <- err
				}()
			}
			distinct := map[string]bool{}
			var err error
			for range cap(keys) {
				distinct[<-keys] = true
				err = errors.Join(err, <-failures)
			}
			must(t, err)
			if len(distinct) != 1 || distinct[""] {
				t.Errorf("the operators have the keys %v, want one", distinct)
			}
			for key := range distinct {
				if len(key) != 43 {
					t.Errorf("the key has %d characters, want 32 bytes in base64url", len(key))
				}
				if stored := string(secret(t, test.namespace, load.ProbeSecretName)[load.ProbeSecretKey]); stored != key {
					t.Errorf("the Secret holds another key than the operators")
				}
			}
		})
	}
}
