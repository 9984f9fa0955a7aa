// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy holds the end-to-end tests of policies: the operator with the rights of
// the chart, on a real mesh, is told of goals, policies of the catalog, bindings and
// exceptions, and real requests through real proxies are the judges.
package policy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	operatorNamespace = installation.Namespace
	ingressNamespace  = "istio-ingress"
	account           = installation.Operator
	host              = "orders.example.com"
	// slowly is longer than any timeout that a policy gives here.
	slowly = 3 * time.Second
)

const secureIngress = `
apiVersion: trellis.dev/v1alpha1
kind: SecureIngress
metadata: {name: public, namespace: istio-ingress}
spec:
  domains: [{name: main, domain: example.com}]
  gateway: {service: ingressgateway, exclusive: true}
  tls: {secretName: wildcard}
  identityProviders:
  - {name: customers, issuer: "https://login.example.com", jwks: %q, audiences: [shop], default: true}
  applications: [{name: all, namespaceSelector: {}, hostnames: ["*"]}]
`

// application is open to the mesh on purpose: what is closed is closed by policies.
const application = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: staging}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes:
  - {name: start, port: web, paths: [{prefix: /start}], methods: [GET], authentication: {mode: None}}
  - {name: items, port: web, paths: [{prefix: /items}], methods: [GET]}
  - {name: buy, port: web, paths: [{prefix: /buy}], methods: [POST]}
  - {name: slow, port: web, paths: [{prefix: /slow}], methods: [GET]}
  - {name: long, port: web, paths: [{prefix: /long}], methods: [GET], timeout: 1m}
  exposures: [{name: public, hostnames: [orders], routes: [start, items, buy, slow, long]}]
  access: {callers: [{name: mesh, peer: {any: {}}}]}
`

// mesh is an application in staging that two others call, one of staging and one of test,
// and a gateway that publishes it.
type mesh struct {
	*stack.Stack
	client               client.Client
	gateway              *stack.Gateway
	orders, desk, runner *stack.Application
	issuer               *stack.Issuer
	pool                 *x509.CertPool
	stop                 func() error
}

var world *mesh

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // the API server warns of every EnvoyFilter
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
		defer cancel()
		var err error
		world = &mesh{}
		if world.Stack, err = stack.Start(ctx, stack.Options{
			IstiodEnvironment: installation.IstiodEnvironment(),
		}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer world.Stop()
		code := 1
		if err = world.start(ctx); err == nil {
			code = m.Run()
		}
		if world.stop != nil {
			err = errors.Join(err, world.stop(), world.Failed())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if code != 0 {
			world.KeepFiles()
			fmt.Fprintln(os.Stderr, "logs are in", world.Logs())
		}
		return code
	}())
}

func (m *mesh) start(ctx context.Context) error {
	if err := m.install(ctx); err != nil {
		return err
	}
	var err error
	if m.pool, err = m.Certificate(ctx, ingressNamespace, "wildcard", "*.example.com"); err != nil {
		return err
	}
	if m.gateway, err = m.Gateway(ctx, stack.GatewayOptions{Namespace: ingressNamespace, Name: "ingressgateway"}); err != nil {
		return err
	}
	for _, one := range []struct {
		into            **stack.Application
		namespace, name string
		port            stack.Port
	}{
		{&m.orders, "staging", "orders", stack.Port{Port: 9080, Handler: http.HandlerFunc(serve)}},
		{&m.desk, "staging", "desk", stack.Port{Port: 8080}},
		{&m.runner, "test", "runner", stack.Port{Port: 8080}},
	} {
		if *one.into, err = m.Application(ctx, stack.ApplicationOptions{Namespace: one.namespace, Name: one.name, Ports: []stack.Port{one.port}}); err != nil {
			return err
		}
	}
	if m.issuer, err = stack.NewIssuer("https://login.example.com"); err != nil {
		return err
	}
	if err := m.operate(ctx); err != nil {
		return err
	}
	return errors.Join(m.Apply(ctx, fmt.Appendf(nil, secureIngress, m.issuer.JWKS())), m.Apply(ctx, []byte(application)), m.open(ctx))
}

// install makes what is there before the operator.
func (m *mesh) install(ctx context.Context) error {
	scheme := runtime.NewScheme()
	err := load.AddToScheme(scheme)
	if err != nil {
		return err
	}
	if m.client, err = client.New(m.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for name, environment := range map[string]string{operatorNamespace: "prod", ingressNamespace: "prod", "staging": "staging", "test": "test"} {
		if err := m.Namespace(ctx, name, map[string]string{"env": environment}); err != nil {
			return err
		}
	}
	rights, err := os.ReadFile("../../../config/rbac/rbac.yaml")
	if err != nil {
		return err
	}
	return errors.Join(m.InstallTrellisCRDs(ctx), m.Apply(ctx, rights), installation.Apply(ctx, m.Stack, "", "guards"))
}

// operate runs the operator with the rights of the chart, until stop.
func (m *mesh) operate(ctx context.Context) error {
	options := installation.OperatorOptions()
	options.GatewayNamespaces = []string{ingressNamespace}
	var err error
	if options.Istiod, err = installation.Asking(m.Stack); err != nil {
		return err
	}
	m.stop, err = installation.RunOperator(ctx, m.Stack, options)
	return err
}

// asked are the requests to a path that answers the second time, by their identity, which
// those that a proxy repeats share.
var asked sync.Map

// serve echoes a request, and takes its time below two paths. At another one it is
// unavailable once to each request.
func serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/items/second" {
		if _, again := asked.LoadOrStore(r.Header.Get("X-Request-Id"), true); !again {
			w.Header().Set("Grpc-Status", "14")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
	}
	if r.URL.Path == "/slow" || r.URL.Path == "/long" {
		select {
		case <-time.After(slowly):
		case <-r.Context().Done():
		}
	}
	stack.Echo("orders").ServeHTTP(w, r)
}

// open waits until everybody is let in whom the application lets in.
func (m *mesh) open(ctx context.Context) error {
	for _, r := range []request{called(m.desk, "/start"), called(m.runner, "/start"), plainly(m.runner, "/start"), published("GET", "/start", "")} {
		if err := r.until(ctx, http.StatusOK); err != nil {
			return err
		}
	}
	return published("GET", "/items", "").until(ctx, http.StatusForbidden)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
