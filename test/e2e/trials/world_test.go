// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package trials holds the end-to-end tests of tests at admission: operator and
// trellis-server with the rights of the chart and no others, on a real mesh, and the
// gateway's own answers as the judge of what is in force.
package trials

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

const (
	repository        = "../../.."
	operatorNamespace = installation.Namespace
	ingressNamespace  = "istio-ingress"
	serverUser        = "system:serviceaccount:" + installation.Namespace + ":" + installation.Server
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
  tests:
  - {name: anonymous cannot read the API, from: {internet: {}}, request: {path: /api/v1/reviews}, expect: {verdict: Deny}}
  - {name: everybody sees the pages, from: {internet: {}}, request: {path: /productpage}, expect: {verdict: Allow}}
`

// mesh is a real mesh with one gateway and one application, an operator, and a
// server that a test starts and stops.
type mesh struct {
	*stack.Stack
	t       *testing.T
	client  client.Client
	gateway *stack.Gateway
	pool    *x509.CertPool
	ingress *v1alpha1.SecureIngress
	app     *v1alpha1.Application
	// address is where the server answers.
	address string
	// stopServer ends the server that runs.
	stopServer func()

	mu       sync.Mutex
	warnings []string
}

func start(t *testing.T) *mesh {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{
		IstiodEnvironment: installation.IstiodEnvironment(),
		AuditedUser:       serverUser,
	})
	must(t, err)
	t.Cleanup(s.Stop)
	m := &mesh{Stack: s, t: t, address: loopback.Unused(t), stopServer: func() {}}
	scheme := runtime.NewScheme()
	must(t, errors.Join(clientgoscheme.AddToScheme(scheme), securityv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	config := s.Config()
	config.WarningHandler = m
	m.client, err = client.New(config, client.Options{Scheme: scheme})
	must(t, err)
	for _, namespace := range []string{operatorNamespace, ingressNamespace, "bookinfo"} {
		must(t, s.Namespace(ctx, namespace, nil))
	}
	must(t, s.InstallTrellisCRDs(ctx))
	must(t, installation.Apply(ctx, s, m.address, "rbac", "serviceaccount", "server", "server-webhook"))
	m.pool, err = s.Certificate(ctx, ingressNamespace, "wildcard", "*.example.com")
	must(t, err)
	m.gateway, err = s.Gateway(ctx, stack.GatewayOptions{Namespace: ingressNamespace, Name: "ingressgateway"})
	must(t, err)
	_, err = s.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "productpage"})
	must(t, err)
	m.operate(ctx)
	return m
}

// HandleWarningHeader keeps what the API server warns of.
func (m *mesh) HandleWarningHeader(_ int, _, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warnings = append(m.warnings, text)
}

// warned are the warnings since it was called last.
func (m *mesh) warned() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := strings.Join(m.warnings, "\n")
	m.warnings = nil
	return all
}

// operate runs the operator with the rights of the chart.
func (m *mesh) operate(ctx context.Context) {
	options := installation.OperatorOptions()
	options.GatewayNamespaces, options.LeaderElect = []string{ingressNamespace}, true
	options.Log = slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	options.Istiod, err = installation.Asking(m.Stack)
	must(m.t, err)
	options.Tests, err = installation.Tests(ctx, m.Stack, m.address)
	must(m.t, err)
	stop, err := installation.RunOperator(ctx, m.Stack, options)
	must(m.t, err)
	m.t.Cleanup(func() {
		m.stopServer()
		must(m.t, stop())
	})
}

// token is one of an account; without audiences it is for the API server.
func (m *mesh) token(ctx context.Context, account string, audiences ...string) string {
	m.t.Helper()
	token, err := installation.Token(ctx, m.Stack, account, audiences...)
	must(m.t, err)
	return token
}

// serve runs the server with the rights of the chart, and waits until the API
// server gets an answer from it.
func (m *mesh) serve() {
	m.t.Helper()
	options := installation.ServerOptions(m.address)
	options.CollectorAddress = "127.0.0.1:0"
	options.Log = slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	stop, err := installation.RunServer(m.t.Context(), m.Stack, options)
	must(m.t, err)
	m.stopServer = func() { must(m.t, stop()) }
	m.until("a change to be tried by the server", 90*time.Second, func(ctx context.Context) error {
		m.warned()
		probe := m.stated("name: productpage, namespace", "name: tried, namespace", "service: productpage", "service: nowhere", "hostnames: [shop]", "hostnames: [tried]")
		if err := m.client.Create(ctx, probe, client.DryRunAll); err != nil {
			return err
		}
		if got := m.warned(); !strings.Contains(got, "cannot pass yet") {
			return fmt.Errorf("the warnings are %q", got)
		}
		return nil
	})
}

// stated is the application's document with texts replaced.
func (m *mesh) stated(replace ...string) *v1alpha1.Application {
	m.t.Helper()
	a := &v1alpha1.Application{}
	must(m.t, yaml.UnmarshalStrict([]byte(strings.NewReplacer(replace...).Replace(application)), a))
	return a
}

// change replaces what the application states.
func (m *mesh) change(replace ...string) error {
	m.t.Helper()
	must(m.t, m.client.Get(m.t.Context(), client.ObjectKeyFromObject(m.app), m.app))
	m.app.Spec = m.stated(replace...).Spec
	return m.client.Update(m.t.Context(), m.app)
}

func (m *mesh) until(what string, within time.Duration, check func(context.Context) error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), within)
	defer cancel()
	must(m.t, stack.Until(ctx, what, check))
}

// await waits for a condition of the application about its present generation.
func (m *mesh) await(kind string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	m.t.Helper()
	var found *metav1.Condition
	m.until(fmt.Sprintf("%s to be %s (%s)", kind, status, reason), time.Minute, func(ctx context.Context) error {
		if err := m.client.Get(ctx, client.ObjectKeyFromObject(m.app), m.app); err != nil {
			return err
		}
		found = meta.FindStatusCondition(m.app.Status.Conditions, kind)
		if found == nil || found.Status != status || reason != "" && found.Reason != reason || found.ObservedGeneration != m.app.Generation {
			return fmt.Errorf("generation %d: conditions are %+v", m.app.Generation, m.app.Status.Conditions)
		}
		return nil
	})
	return found
}

// answers waits until the gateway answers a request without a token like this.
func (m *mesh) answers(path string, status int) {
	m.t.Helper()
	m.until(fmt.Sprintf("%s to be answered %d", path, status), 30*time.Second, func(ctx context.Context) error {
		got, err := m.gateway.HTTPS(ctx, m.pool, stack.Request{Host: host, Path: path})
		if err == nil && got.Status != status {
			err = fmt.Errorf("it is answered %d", got.Status)
		}
		return err
	})
}

// still checks that the gateway answers like this now.
func (m *mesh) still(path string, status int) {
	m.t.Helper()
	got, err := m.gateway.HTTPS(m.t.Context(), m.pool, stack.Request{Host: host, Path: path})
	must(m.t, err)
	if got.Status != status {
		m.t.Errorf("%s is answered %d, want %d as before", path, got.Status, status)
	}
}

// records are the generations that were put in force and are kept.
func (m *mesh) records() []int64 {
	m.t.Helper()
	list := &appsv1.ControllerRevisionList{}
	must(m.t, m.client.List(m.t.Context(), list, client.InNamespace("bookinfo")))
	var out []int64
	for i := range list.Items {
		out = append(out, list.Items[i].Revision)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
