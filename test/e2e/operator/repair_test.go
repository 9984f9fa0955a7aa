// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package operator holds the end-to-end tests of the operator's loop: with the
// rights of the chart and no others, on a real mesh, with the real sources of
// status. What the rules do to requests is the subject of package security.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	operatorNamespace = installation.Namespace
	ingressNamespace  = "istio-ingress"
	account           = installation.Operator
)

const secureIngress = `
metadata: {name: public, namespace: istio-ingress}
spec:
  domains: [{name: main, domain: example.com}]
  gateway: {service: ingressgateway, exclusive: true}
  tls: {secretName: wildcard}
  identityProviders:
  - {name: customers, issuer: "https://login.example.com", jwks: %q, audiences: [shop], default: true}
  applications:
  - {name: shops, namespaceSelector: {}, hostnames: ["*"]}
`

const application = `
metadata: {name: productpage, namespace: bookinfo}
spec:
  service: productpage
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes:
  - {name: pages, port: web, paths: [{prefix: /productpage}], methods: [GET], authentication: {mode: None}}
  - {name: api, port: web, paths: [{prefix: /api/v1}]}
  exposures: [{name: public, hostnames: [shop], routes: [pages, api]}]
  access: {mutualTLS: Strict}
`

// mesh is a real mesh with one gateway, one application and the operator.
type mesh struct {
	*stack.Stack
	t       *testing.T
	client  client.Client
	gateway *stack.Gateway
	ingress *v1alpha1.SecureIngress
	app     *v1alpha1.Application
}

func start(t *testing.T) *mesh {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{
		IstiodEnvironment: installation.IstiodEnvironment(),
	})
	must(t, err)
	t.Cleanup(s.Stop)
	m := &mesh{Stack: s, t: t}
	scheme := runtime.NewScheme()
	must(t, errors.Join(securityv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	m.client, err = client.New(s.Config(), client.Options{Scheme: scheme})
	must(t, err)
	for _, namespace := range []string{operatorNamespace, ingressNamespace, "bookinfo"} {
		must(t, s.Namespace(ctx, namespace, nil))
	}
	must(t, s.InstallTrellisCRDs(ctx))
	rights, err := os.ReadFile("../../../config/rbac/rbac.yaml")
	must(t, err)
	must(t, s.Apply(ctx, rights))
	_, err = s.Certificate(ctx, ingressNamespace, "wildcard", "*.example.com")
	must(t, err)
	m.gateway, err = s.Gateway(ctx, stack.GatewayOptions{Namespace: ingressNamespace, Name: "ingressgateway"})
	must(t, err)
	_, err = s.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "productpage"})
	must(t, err)
	m.operate(ctx)
	m.state(ctx)
	return m
}

// operate runs the operator with the rights of the chart.
func (m *mesh) operate(ctx context.Context) {
	options := installation.OperatorOptions()
	options.GatewayNamespaces, options.LeaderElect = []string{ingressNamespace}, true
	options.Log = slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	options.Istiod, err = installation.Asking(m.Stack)
	must(m.t, err)
	stop, err := installation.RunOperator(ctx, m.Stack, options)
	must(m.t, err)
	m.t.Cleanup(func() { must(m.t, stop()) })
}

// state applies the two documents and waits until both are seen working.
func (m *mesh) state(ctx context.Context) {
	issuer, err := m.Issuer("https://login.example.com")
	must(m.t, err)
	m.ingress, m.app = &v1alpha1.SecureIngress{}, &v1alpha1.Application{}
	must(m.t, yaml.UnmarshalStrict(fmt.Appendf(nil, secureIngress, issuer.JWKS()), m.ingress))
	must(m.t, yaml.UnmarshalStrict([]byte(application), m.app))
	must(m.t, m.client.Create(ctx, m.ingress))
	must(m.t, m.client.Create(ctx, m.app))
	m.await(m.ingress, v1alpha1.ConditionReady, metav1.ConditionTrue, time.Minute)
	m.await(m.app, v1alpha1.ConditionReady, metav1.ConditionTrue, time.Minute)
}

// await waits for a condition about the current generation.
func (m *mesh) await(o client.Object, kind string, status metav1.ConditionStatus, within time.Duration) *metav1.Condition {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), within)
	defer cancel()
	var found *metav1.Condition
	must(m.t, stack.Until(ctx, fmt.Sprintf("%s of %s to be %s", kind, o.GetName(), status), func(ctx context.Context) error {
		if err := m.client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		var conditions []metav1.Condition
		switch o := o.(type) {
		case *v1alpha1.Application:
			conditions = o.Status.Conditions
		case *v1alpha1.SecureIngress:
			conditions = o.Status.Conditions
		}
		if found = meta.FindStatusCondition(conditions, kind); found == nil || found.Status != status || found.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("conditions are %+v", conditions)
		}
		return nil
	}))
	return found
}

// pause stops or resumes the repair of everything.
func (m *mesh) pause(value string) {
	m.t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.PausedAnnotation, value)
	for _, o := range []client.Object{m.ingress, m.app} {
		must(m.t, m.client.Patch(m.t.Context(), o, client.RawPatch(types.MergePatchType, patch)))
	}
}

// denials are the gateway's DENY policies.
func (m *mesh) denials(ctx context.Context) []*securityv1.AuthorizationPolicy {
	m.t.Helper()
	list := &securityv1.AuthorizationPolicyList{}
	must(m.t, m.client.List(ctx, list, client.InNamespace(ingressNamespace)))
	var out []*securityv1.AuthorizationPolicy
	for _, p := range list.Items {
		if p.Spec.Action == securityv1beta1.AuthorizationPolicy_DENY {
			out = append(out, p)
		}
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestATokenRuleThatIsTakenAwayIsNoticedWhilePausedAndPutBackOtherwise(t *testing.T) {
	m := start(t)

	t.Run("paused, it is noticed within thirty seconds", func(t *testing.T) {
		m.t = t
		m.pause(`"true"`)
		for _, o := range []client.Object{m.ingress, m.app} {
			if c := m.await(o, v1alpha1.ConditionReady, metav1.ConditionFalse, 10*time.Second); c.Reason != "Paused" {
				t.Fatalf("Ready is false for another reason: %+v", c)
			}
		}
		removed := m.denials(t.Context())
		if len(removed) == 0 {
			t.Fatal("the gateway has no DENY policy")
		}
		for _, p := range removed {
			must(t, m.client.Delete(t.Context(), p))
		}
		for _, o := range []client.Object{m.app, m.ingress} {
			c := m.await(o, v1alpha1.ConditionEnforced, metav1.ConditionFalse, 30*time.Second)
			t.Logf("%s: %s", c.Reason, c.Message)
		}
		if left := m.denials(t.Context()); len(left) != 0 {
			t.Errorf("%d policies were put back while the repair was paused", len(left))
		}
	})

	t.Run("resumed, everything is put back and seen working", func(t *testing.T) {
		m.t = t
		m.pause("null")
		for _, o := range []client.Object{m.app, m.ingress} {
			m.await(o, v1alpha1.ConditionEnforced, metav1.ConditionTrue, 30*time.Second)
			m.await(o, v1alpha1.ConditionReady, metav1.ConditionTrue, 30*time.Second)
		}
	})

	t.Run("not paused, it is back within two seconds", func(t *testing.T) {
		m.t = t
		for _, p := range m.denials(t.Context()) {
			key, uid := client.ObjectKeyFromObject(p), p.UID
			must(t, m.client.Delete(t.Context(), p))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			must(t, stack.Until(ctx, key.Name+" to be back", func(ctx context.Context) error {
				again := &securityv1.AuthorizationPolicy{}
				if err := m.client.Get(ctx, key, again); err != nil {
					return err
				}
				if again.UID == uid {
					return errors.New("it has not gone yet")
				}
				return nil
			}))
			cancel()
		}
		m.await(m.app, v1alpha1.ConditionReady, metav1.ConditionTrue, 30*time.Second)
	})

	t.Run("a policy that somebody switches to dry run is no hole", func(t *testing.T) {
		m.t = t
		p := m.denials(t.Context())[0]
		must(t, m.client.Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"istio.io/dry-run":"true"}}}`))))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		must(t, stack.Until(ctx, "the annotation to go", func(ctx context.Context) error {
			if err := m.client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			if _, there := p.Annotations["istio.io/dry-run"]; there {
				return errors.New("it is there")
			}
			return nil
		}))
	})
}
