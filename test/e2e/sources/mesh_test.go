// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package sources holds the end-to-end tests of the sources of status: what
// istiod says (Programmed) and what the gateway answers (Enforced), on the real
// stack and without the operator's loop around them.
package sources

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	operatorNamespace = "trellis-system"
	probeKey          = "a-probe-key-that-only-this-test-knows"
	host              = "shop.example.com"
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

// mesh is one stack for all tests of the package: two replicas of istiod, of
// which the gateway's proxy is connected to one and the application's to the
// other.
type mesh struct {
	*stack.Stack
	gateway     *stack.Gateway
	application *stack.Application
	issuer      *stack.Issuer
}

var shared mesh

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	err := shared.start(ctx)
	cancel()
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if shared.Stack != nil {
		shared.Stop()
	}
	os.Exit(code)
}

func (m *mesh) start(ctx context.Context) error {
	var err error
	m.Stack, err = stack.Start(ctx, stack.Options{
		IstiodReplicas:    2,
		IstiodEnvironment: []string{"DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES=" + operatorNamespace},
	})
	if err != nil {
		return err
	}
	for _, namespace := range []string{operatorNamespace, "elsewhere", "istio-ingress", "bookinfo"} {
		if err := m.Namespace(ctx, namespace, nil); err != nil {
			return err
		}
	}
	for _, account := range []string{operatorNamespace, "elsewhere"} {
		manifest := fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: trellis-operator, namespace: %s}\n", account)
		if err := m.Apply(ctx, []byte(manifest)); err != nil {
			return err
		}
	}
	if m.issuer, err = m.Issuer("https://login.example.com"); err != nil {
		return err
	}
	if _, err := m.Certificate(ctx, "istio-ingress", "wildcard", "*.example.com"); err != nil {
		return err
	}
	if m.gateway, err = m.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: "ingressgateway"}); err != nil {
		return err
	}
	m.application, err = m.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "productpage"})
	return err
}

// statement is the two documents of the test, which a test may change.
type statement struct {
	ingress     *v1alpha1.SecureIngress
	application *v1alpha1.Application
}

func stated(t *testing.T) statement {
	t.Helper()
	s := statement{&v1alpha1.SecureIngress{}, &v1alpha1.Application{}}
	must(t, yaml.UnmarshalStrict(fmt.Appendf(nil, secureIngress, shared.issuer.JWKS()), s.ingress))
	must(t, yaml.UnmarshalStrict([]byte(application), s.application))
	return s
}

// snapshot reads the cluster as the operator does.
func (m *mesh) snapshot(ctx context.Context, t *testing.T, s statement) *model.Snapshot {
	t.Helper()
	builder := load.NewBuilder(model.DefaultMesh())
	builder.Add(s.ingress)
	builder.Add(s.application)
	for _, list := range []client.ObjectList{
		&corev1.NamespaceList{}, &corev1.ServiceList{}, &corev1.PodList{}, &corev1.SecretList{}, &networkingv1.WorkloadEntryList{},
	} {
		must(t, m.Client().List(ctx, list))
		objects, err := apimeta(list)
		must(t, err)
		for _, object := range objects {
			builder.Add(object)
		}
	}
	input := builder.Input()
	input.ProbeKey = probeKey
	return model.NewSnapshot(input)
}

// apply writes what the statement becomes and returns what is to be followed.
func (m *mesh) apply(ctx context.Context, t *testing.T, s statement) (*model.Snapshot, *compile.Outcome, []controller.ProgrammedTarget) {
	t.Helper()
	snapshot := m.snapshot(ctx, t, s)
	outcome := compile.Compile(snapshot)
	for _, finding := range outcome.Findings {
		if finding.Severity == model.SeverityError {
			t.Fatalf("the statement is refused: %+v", finding)
		}
	}
	written := map[model.Reference]time.Time{}
	for _, object := range outcome.Objects {
		if object.Ref.Kind == "HostClaim" {
			continue
		}
		content, err := yaml.Marshal(object.Value)
		must(t, err)
		must(t, m.Apply(ctx, content))
		written[object.Ref] = time.Now()
	}
	return snapshot, outcome, targets(outcome, written)
}

func targets(outcome *compile.Outcome, written map[model.Reference]time.Time) []controller.ProgrammedTarget {
	var out []controller.ProgrammedTarget
	add := func(owner model.Reference, generated []model.Reference, proxies ...compile.WorkloadSelector) {
		target := controller.ProgrammedTarget{Owner: owner, Proxies: proxies}
		for _, ref := range generated {
			if at, ok := written[ref]; ok {
				target.Objects = append(target.Objects, &controller.Written{Ref: ref, At: at})
			}
		}
		out = append(out, target)
	}
	for ref, a := range outcome.Applications {
		add(ref, a.Generated, append(a.Gateways, a.Workloads)...)
	}
	for ref, i := range outcome.Ingresses {
		add(ref, i.Generated, i.Workloads)
	}
	return out
}

func apimeta(list client.ObjectList) ([]runtime.Object, error) {
	switch l := list.(type) {
	case *corev1.NamespaceList:
		return pointers(l.Items), nil
	case *corev1.ServiceList:
		return pointers(l.Items), nil
	case *corev1.PodList:
		return pointers(l.Items), nil
	case *corev1.SecretList:
		return pointers(l.Items), nil
	case *networkingv1.WorkloadEntryList:
		out := make([]runtime.Object, len(l.Items))
		for i := range l.Items {
			out[i] = l.Items[i]
		}
		return out, nil
	}
	return nil, fmt.Errorf("unexpected list %T", list)
}

func pointers[T any, P interface {
	*T
	runtime.Object
}](items []T) []runtime.Object {
	out := make([]runtime.Object, len(items))
	for i := range items {
		out[i] = P(&items[i])
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func secret(t *testing.T, namespace, name string) map[string][]byte {
	t.Helper()
	var s corev1.Secret
	must(t, shared.Client().Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &s))
	return s.Data
}
