// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/stack"
)

// board collects verdicts as the operator would.
type board struct {
	mu   sync.Mutex
	last map[model.Reference]controller.Verdict
	all  []controller.Verdict
}

func (b *board) report(verdicts []controller.Verdict) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range verdicts {
		b.last[v.Owner] = v
		b.all = append(b.all, v)
	}
}

func (b *board) of(owner model.Reference) controller.Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[owner]
}

// config is how an operator in a namespace asks istiod.
func config(t *testing.T, namespace string) istiod.Config {
	t.Helper()
	kube, err := kubernetes.NewForConfig(shared.Config())
	must(t, err)
	return istiod.Config{
		Replicas: istiod.Pods{
			Reader: shared.Client(), Namespace: "istio-system", Selector: map[string]string{"app": "istiod"}, Port: 15012,
		},
		Roots:      istiod.RootsFromConfigMap(shared.Client(), namespace),
		Token:      istiod.TokenFromRequest(kube, namespace, "trellis-operator", clock.RealClock{}),
		Identity:   istiod.Identity{Namespace: namespace, ServiceAccount: "trellis-operator"},
		ServerName: "istiod.istio-system.svc",
		Cluster:    "Kubernetes",
		Clock:      clock.RealClock{},
	}
}

// follow runs a source until the test ends.
func follow(t *testing.T, config istiod.Config) (*istiod.Source, *board) {
	t.Helper()
	source, b := istiod.New(config), &board{last: map[model.Reference]controller.Verdict{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx, b.report) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return source, b
}

func await(t *testing.T, b *board, owner model.Reference, lastWrite time.Time, status metav1.ConditionStatus, reason string) controller.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var v controller.Verdict
	must(t, stack.Until(ctx, fmt.Sprintf("%s to be %s %s", owner, status, reason), func(context.Context) error {
		if v = b.of(owner); v.Status != status || v.Reason != reason || v.LastWrite.Before(lastWrite) {
			return fmt.Errorf("it is %s %s: %s", v.Status, v.Reason, v.Message)
		}
		return nil
	}))
	return v
}

func TestProgrammedIsTrueWhenEveryProxyHasAcknowledged(t *testing.T) {
	source, b := follow(t, config(t, operatorNamespace))
	began := time.Now()
	snapshot, outcome, targets := shared.apply(t.Context(), t, stated(t))
	source.Follow(snapshot, targets, packed(t, outcome))
	for _, target := range targets {
		await(t, b, target.Owner, target.LastWrite(), metav1.ConditionTrue, istiod.ReasonAcknowledged)
	}
	t.Logf("acknowledged %s after the first write", time.Since(began))

	t.Run("and a change is true only when the gateway answers accordingly", func(t *testing.T) {
		for i := range 4 {
			s := stated(t)
			want := 403
			if i%2 == 0 {
				s.application.Spec.Routes[1].Authentication = &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}
				want = 200
			}
			began := time.Now()
			snapshot, outcome, targets := shared.apply(t.Context(), t, s)
			source.Follow(snapshot, targets, packed(t, outcome))
			for _, target := range targets {
				await(t, b, target.Owner, target.LastWrite(), metav1.ConditionTrue, istiod.ReasonAcknowledged)
			}
			answer, err := shared.gateway.HTTPS(t.Context(), pool(t), stack.Request{Host: host, Path: "/api/v1/x"})
			must(t, err)
			if answer.Status != want {
				t.Errorf("change %d: programmed after %s, and the gateway answers %d, not %d", i, time.Since(began), answer.Status, want)
			}
			t.Logf("change %d: acknowledged in %s", i, time.Since(began))
		}
	})
}

// An identity that istiod does not show everything asks over the same port,
// from the same loopback address as the one that is allowed: what makes it work
// is neither the address nor the port.
func TestProgrammedIsUnknownForAnIdentityThatIstiodDoesNotAllow(t *testing.T) {
	snapshot, outcome, targets := shared.apply(t.Context(), t, stated(t))
	source, b := follow(t, config(t, "elsewhere"))
	source.Follow(snapshot, targets, packed(t, outcome))
	for _, target := range targets {
		await(t, b, target.Owner, target.LastWrite(), metav1.ConditionUnknown, istiod.ReasonIstiodRefuses)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.all {
		if v.Status == metav1.ConditionTrue {
			t.Errorf("a refused identity reported %+v", v)
		}
	}
}

func TestProgrammedIsUnknown(t *testing.T) {
	snapshot, outcome, targets := shared.apply(t.Context(), t, stated(t))
	kube, err := kubernetes.NewForConfig(shared.Config())
	must(t, err)
	for _, test := range []struct {
		name   string
		change func(*istiod.Config)
		reason string
	}{
		{"without a token for istiod's audience", func(c *istiod.Config) {
			c.Token = func(ctx context.Context) (string, error) { return "not.a.token", nil }
		}, istiod.ReasonIstiodRefuses},
		{"with a token of another account than it says", func(c *istiod.Config) {
			c.Token = istiod.TokenFromRequest(kube, "elsewhere", "trellis-operator", clock.RealClock{})
		}, istiod.ReasonIstiodRefuses},
		{"when istiod's certificate has another name", func(c *istiod.Config) { c.ServerName = "istiod.example.com" }, istiod.ReasonIstiodUnreachable},
		{"when istiod's certificate has another root", func(c *istiod.Config) {
			c.Roots = func(context.Context) (*x509.CertPool, error) { return x509.NewCertPool(), nil }
		}, istiod.ReasonIstiodUnreachable},
		{"when there is no istiod", func(c *istiod.Config) {
			c.Replicas = istiod.Pods{Reader: shared.Client(), Namespace: "elsewhere", Selector: map[string]string{"app": "istiod"}}
		}, istiod.ReasonIstiodUnreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := config(t, operatorNamespace)
			test.change(&c)
			source, b := follow(t, c)
			source.Follow(snapshot, targets, packed(t, outcome))
			v := await(t, b, targets[0].Owner, targets[0].LastWrite(), metav1.ConditionUnknown, test.reason)
			t.Log(v.Message)
		})
	}
}

func packed(t *testing.T, outcome *compile.Outcome) []compile.Packed {
	t.Helper()
	out := make([]compile.Packed, len(outcome.Objects))
	for i, o := range outcome.Objects {
		var err error
		out[i], err = compile.Pack(o)
		must(t, err)
	}
	return out
}

func pool(t *testing.T) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	raw := secret(t, "istio-ingress", "wildcard")
	if !pool.AppendCertsFromPEM(raw["tls.crt"]) {
		t.Fatal("the certificate's Secret holds no certificate")
	}
	return pool
}

// What istiod sends is compared with what was written, not only looked for by
// name: a change that istiod has not seen is never taken for acknowledged.
func TestProgrammedIsNotTrueOfWhatWasOnlyPlanned(t *testing.T) {
	shared.apply(t.Context(), t, stated(t))
	for _, test := range []struct {
		name   string
		change func(statement)
	}{
		{"a route that needs no token any more", func(s statement) {
			s.application.Spec.Routes[1].Authentication = &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}
		}},
		{"a route that asks for a scope", func(s statement) {
			s.application.Spec.Routes[1].Authentication = &v1alpha1.Authentication{Scopes: []v1alpha1.ClaimValue{"read"}}
		}},
		{"another path", func(s statement) {
			path := "/api/v2"
			s.application.Spec.Routes[1].Paths[0].Prefix = &path
		}},
		{"another method", func(s statement) {
			s.application.Spec.Routes[0].Methods = append(s.application.Spec.Routes[0].Methods, "HEAD")
		}},
		{"another route", func(s statement) {
			s.application.Spec.Exposures[0].Routes = s.application.Spec.Exposures[0].Routes[:1]
		}},
		{"another host", func(s statement) {
			s.application.Spec.Exposures[0].Hostnames = append(s.application.Spec.Exposures[0].Hostnames, "other")
		}},
		{"another audience", func(s statement) {
			s.ingress.Spec.IdentityProviders[0].Audiences = append(s.ingress.Spec.IdentityProviders[0].Audiences, "desk")
		}},
		{"another caller", func(s statement) {
			s.application.Spec.Access.Callers = []v1alpha1.Caller{{
				Name: "probes", Peer: v1alpha1.Peer{ServiceAccount: &v1alpha1.NamespacedName{Name: "prometheus", Namespace: "monitoring"}},
			}}
		}},
		{"a permissive application", func(s statement) { s.application.Spec.Access.MutualTLS = v1alpha1.MutualTLSPermissive }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := stated(t)
			test.change(s)
			snapshot := shared.snapshot(t.Context(), t, s)
			outcome := compile.Compile(snapshot)
			now, written := time.Now(), map[model.Reference]time.Time{}
			for _, object := range outcome.Objects {
				written[object.Ref] = now
			}
			source, b := follow(t, config(t, operatorNamespace))
			source.Follow(snapshot, targets(outcome, written), packed(t, outcome))
			ref := only(t, outcome)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			must(t, stack.Until(ctx, "what is missing to be named", func(context.Context) error {
				v := b.of(ref)
				if !strings.Contains(v.Message, " is not as written ") && !strings.Contains(v.Message, " is not in what is sent ") {
					return fmt.Errorf("it is %s %s: %s", v.Status, v.Reason, v.Message)
				}
				return nil
			}))
			t.Log(b.of(ref).Message)
		})
	}
}

const refusedByEnvoy = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: broken, namespace: istio-ingress}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: GATEWAY, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
    patch:
      operation: INSERT_FIRST
      value:
        name: broken
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
          rules: {policies: {p: {permissions: [{url_path: {path: {safe_regex: {regex: "("}}}}], principals: [{any: true}]}}}
`

func TestProgrammedNamesAProxyThatRefuses(t *testing.T) {
	source, b := follow(t, config(t, operatorNamespace))
	must(t, shared.Apply(t.Context(), []byte(refusedByEnvoy)))
	broken := &unstructured.Unstructured{}
	must(t, yaml.Unmarshal([]byte(refusedByEnvoy), &broken.Object))
	s := stated(t)
	s.application.Spec.Routes[1].Authentication = &v1alpha1.Authentication{Scopes: []v1alpha1.ClaimValue{"read"}}
	snapshot, outcome, targets := shared.apply(t.Context(), t, s)
	source.Follow(snapshot, targets, packed(t, outcome))
	v := await(t, b, only(t, outcome), targets[0].LastWrite(), metav1.ConditionFalse, istiod.ReasonRejected)
	if !strings.Contains(v.Message, "Pod istio-ingress/ingressgateway") || !strings.Contains(v.Message, "istiod-") {
		t.Errorf("the message names neither proxy nor replica: %s", v.Message)
	}
	t.Log(v.Message)
	must(t, shared.Client().Delete(t.Context(), broken))
	await(t, b, only(t, outcome), targets[0].LastWrite(), metav1.ConditionTrue, istiod.ReasonAcknowledged)
}

// fixed replicas, whatever the cluster says.
type fixed []istiod.Replica

func (f fixed) Replicas(context.Context) ([]istiod.Replica, error) { return f, nil }

// The gateway's proxy is connected to one replica and the application's to the
// other: each knows only its own.
func TestProgrammedNeedsEveryReplica(t *testing.T) {
	snapshot, outcome, targets := shared.apply(t.Context(), t, stated(t))
	all, err := config(t, operatorNamespace).Replicas.Replicas(t.Context())
	must(t, err)
	if len(all) != 2 {
		t.Fatalf("there are %d replicas, want 2", len(all))
	}
	for _, test := range []struct {
		name     string
		replicas fixed
		status   metav1.ConditionStatus
		reason   string
	}{
		{"one of them is not asked", fixed{all[1]}, metav1.ConditionFalse, istiod.ReasonNotConnected},
		{"one of them is away", fixed{{Name: all[0].Name, Address: "127.0.0.1:1"}, all[1]}, metav1.ConditionUnknown, istiod.ReasonIstiodUnreachable},
		{"both are there", fixed{all[0], all[1]}, metav1.ConditionTrue, istiod.ReasonAcknowledged},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := config(t, operatorNamespace)
			c.Replicas = test.replicas
			source, b := follow(t, c)
			source.Follow(snapshot, targets, packed(t, outcome))
			await(t, b, only(t, outcome), targets[0].LastWrite(), test.status, test.reason)
		})
	}
}

func TestProgrammedIsNotTrueOfAPodWithoutAProxy(t *testing.T) {
	_, err := shared.Application(t.Context(), stack.ApplicationOptions{Namespace: "elsewhere", Name: "bare", NoSidecar: true})
	must(t, err)
	snapshot, outcome, targets := shared.apply(t.Context(), t, stated(t))
	targets[0].Proxies = []compile.WorkloadSelector{{Namespace: "elsewhere", Selector: map[string]string{"app": "bare"}}}
	source, b := follow(t, config(t, operatorNamespace))
	source.Follow(snapshot, targets[:1], packed(t, outcome))
	v := await(t, b, targets[0].Owner, targets[0].LastWrite(), metav1.ConditionFalse, istiod.ReasonNotConnected)
	if !strings.Contains(v.Message, "Pod elsewhere/bare") {
		t.Errorf("the message does not name the pod: %s", v.Message)
	}
}
