// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package admission holds the end-to-end tests of the validating webhook: a real
// API server asks it, by the registration that the chart renders.
package admission

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/webhook"
	"github.com/trellis-mesh/trellis/test/chart"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	repository        = "../../.."
	operatorNamespace = "trellis-system"
	registration      = "trellis"
)

// cluster is an API server without a mesh, which admission does not need.
type cluster struct {
	*stack.Stack
	// api is a client that knows Trellis's kinds and keeps warnings.
	api      client.WithWatch
	warnings *warnings
}

var shared cluster

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
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

func (c *cluster) start(ctx context.Context) error {
	var err error
	if c.Stack, err = stack.Start(ctx, stack.Options{WithoutIstio: true}); err != nil {
		return err
	}
	if err := c.InstallTrellisCRDs(ctx); err != nil {
		return err
	}
	for _, namespace := range []string{operatorNamespace, "istio-ingress", "shop", "rival"} {
		if err := c.Namespace(ctx, namespace, map[string]string{"exposure": "public"}); err != nil {
			return err
		}
	}
	c.warnings = &warnings{}
	config := c.Config()
	config.WarningHandler = c.warnings
	c.api, err = newClient(config)
	return err
}

func newClient(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// warnings keeps what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

func (w *warnings) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.text, "\n")
	w.text = nil
	return all
}

// input reads everything from the API server, as an operator's caches have it.
func (c *cluster) input() (model.Input, error) {
	builder := load.NewBuilder(model.DefaultMesh())
	for _, list := range []client.ObjectList{
		&corev1.NamespaceList{}, &corev1.ServiceList{}, &corev1.PodList{},
		&v1alpha1.ApplicationList{}, &v1alpha1.SecureIngressList{}, &v1alpha1.HostClaimList{},
		&v1alpha1.GoalList{}, &v1alpha1.PolicyTemplateList{}, &v1alpha1.ClusterPolicyBindingList{}, &v1alpha1.PolicyBindingList{}, &v1alpha1.PolicyExceptionList{},
	} {
		if err := c.api.List(context.Background(), list); err != nil {
			return model.Input{}, err
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			return model.Input{}, err
		}
		for _, object := range objects {
			builder.Add(object)
		}
	}
	in := builder.Input()
	in.At = time.Now()
	return in, nil
}

// register installs what the chart renders for an operator at an address outside
// of the cluster.
func (c *cluster) register(t *testing.T, address string) {
	t.Helper()
	manifest, err := chart.Template(t.Context(), "--set", "webhook.url=https://"+address, "--show-only", "templates/webhook.yaml")
	must(t, err)
	must(t, c.Apply(t.Context(), manifest))
}

// serve runs one replica of the webhook, and returns its identity and how to end
// it; the test's end does so too.
func (c *cluster) serve(t *testing.T, address string, now clock.Clock) (*webhook.Identity, func()) {
	t.Helper()
	identity := webhook.NewIdentity(webhook.IdentityConfig{
		Client: c.api, Namespace: operatorNamespace, Registration: registration,
		Names: webhook.ServiceNames(operatorNamespace), Clock: now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	server, err := webhook.NewServer(address, identity, webhook.New(c.input))
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 2)
	go func() { done <- identity.Start(ctx) }()
	go func() { done <- server.Start(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			must(t, <-done)
			must(t, <-done)
		})
	}
	t.Cleanup(stop)
	// A webhook that registers anew is asked a moment later.
	c.until(t, "the webhook to be asked", func(ctx context.Context) error {
		if err := identity.Check(nil); err != nil {
			return err
		}
		err := c.api.Create(ctx, read(t, application("shop", "prefix: /pages", "prefix: /pages/../x")), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "PathInvalid") {
			return fmt.Errorf("a bad path is answered: %w", err)
		}
		return nil
	})
	c.warnings.take()
	return identity, stop
}

func (c *cluster) until(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, what, check))
}

// application is a document with one text replaced.
func application(namespace, from, to string) string {
	text := `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: ` + namespace + `}
spec:
  service: web
  ports: [{name: web, port: 80, protocol: HTTP}]
  routes: [{name: pages, port: web, paths: [{prefix: /pages}]}]
  exposures: [{name: public, hostnames: [shop], routes: [pages]}]
`
	return strings.Replace(text, from, to, 1)
}

const secureIngress = `
apiVersion: trellis.dev/v1alpha1
kind: SecureIngress
metadata: {name: public, namespace: istio-ingress}
spec:
  domains: [{name: main, domain: example.com}]
  gateway: {service: gateway, exclusive: true}
  tls: {secretName: wildcard}
  applications: [{name: shops, namespaceSelector: {matchLabels: {exposure: public}}, hostnames: ["*"]}]
`

const hostClaim = `
apiVersion: trellis.dev/v1alpha1
kind: HostClaim
metadata: {name: shop.example.com}
spec: {namespace: shop}
`

func read(t *testing.T, text string) client.Object {
	t.Helper()
	var object client.Object
	switch {
	case strings.Contains(text, "kind: Application"):
		object = &v1alpha1.Application{}
	case strings.Contains(text, "kind: SecureIngress"):
		object = &v1alpha1.SecureIngress{}
	default:
		object = &v1alpha1.HostClaim{}
	}
	must(t, yaml.UnmarshalStrict([]byte(text), object))
	return object
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
