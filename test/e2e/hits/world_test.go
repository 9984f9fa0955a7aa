// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package hits proves that what trellis-server counts is what was sent: requests of known
// kinds go through real proxies, which are told what the documentation tells people to
// tell them, and a server that is killed and started again counts them.
package hits

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/server"
	"github.com/trellis-mesh/trellis/test/docs"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/sink"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

const (
	repository = "../../.."
	system     = installation.Namespace
	ingress    = "istio-ingress"
	host       = "bookinfo.example.com"
)

// asServer names a file with what a process of this test needs to be trellis-server, so
// that it can be killed.
const asServer = "TRELLIS_TEST_SERVER"

// process is what it is told.
type process struct {
	Host, Token                           string
	CA                                    []byte
	Address, Envoy, Health, Metrics, Hits string
}

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if file := os.Getenv(asServer); file != "" {
		if err := serve(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve is trellis-server.
func serve(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var p process
	if err := json.Unmarshal(raw, &p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config := &rest.Config{Host: p.Host, BearerToken: p.Token, TLSClientConfig: rest.TLSClientConfig{CAData: p.CA}}
	options := installation.ServerOptions(p.Address)
	options.EnvoyAddress, options.HealthAddress, options.MetricsAddress, options.Hits.Dir = p.Envoy, p.Health, p.Metrics, p.Hits
	options.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return server.Run(ctx, config, options)
}

// mesh is bookinfo behind a gateway, a workload that everybody may call and one of another
// environment, and an operator.
type mesh struct {
	*stack.Stack
	t                                            *testing.T
	client                                       client.Client
	gateway                                      *stack.Gateway
	pool                                         *x509.CertPool
	issuer                                       *stack.Issuer
	productpage, reviews, details, ratings, test *stack.Application
	way                                          sink.Way
	sink                                         *sink.Sink
	process                                      process
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T) *mesh {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	m := &mesh{t: t, sink: newSink(t)}
	m.way.Lead(m.sink.Address())
	m.process = process{
		Address: loopback.Unused(t), Envoy: loopback.Unused(t), Health: loopback.Unused(t), Metrics: loopback.Unused(t),
	}
	config, err := docs.MeshConfig(docs.Hits)
	must(t, err)
	m.Stack, err = stack.Start(ctx, stack.Options{OwnAddresses: true, MeshConfig: config})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			m.KeepFiles()
			t.Log("logs are in", m.Logs())
		}
		m.Stop()
	})
	m.install(ctx)
	m.workloads(ctx)
	m.operate(ctx)
	m.state(ctx)
	return m
}

// install makes what is there before the operator.
func (m *mesh) install(ctx context.Context) {
	scheme := runtime.NewScheme()
	must(m.t, load.AddToScheme(scheme))
	var err error
	m.client, err = client.New(m.Config(), client.Options{Scheme: scheme})
	must(m.t, err)
	for name, labels := range map[string]map[string]string{
		system: nil, ingress: nil, "bookinfo": {"exposure": "public", "env": "staging"}, "test": {"env": "test"},
	} {
		must(m.t, m.Namespace(ctx, name, labels))
	}
	must(m.t, m.InstallTrellisCRDs(ctx))
	must(m.t, installation.Apply(ctx, m.Stack, m.process.Address, "rbac", "serviceaccount", "server"))
	telemetry, err := docs.Telemetry(docs.Hits)
	must(m.t, err)
	must(m.t, m.Apply(ctx, telemetry))
}

// workloads are there, too, and one by which proxies find the collector.
func (m *mesh) workloads(ctx context.Context) {
	_, err := m.Application(ctx, stack.ApplicationOptions{
		Namespace: system, Name: "trellis-server", NoSidecar: true,
		Ports: []stack.Port{{Name: "grpc-als", Port: 4318, Protocol: "grpc", Conn: m.way.HandOn}},
	})
	must(m.t, err)
	m.pool, err = m.Certificate(ctx, ingress, "wildcard-example-com", "*.example.com")
	must(m.t, err)
	m.gateway, err = m.Gateway(ctx, stack.GatewayOptions{Namespace: ingress, Name: "istio-ingressgateway", Labels: map[string]string{"istio": "ingressgateway"}})
	must(m.t, err)
	web := []stack.Port{{Port: 9080}}
	for _, one := range []struct {
		into            **stack.Application
		namespace, name string
		ports           []stack.Port
	}{
		{&m.productpage, "bookinfo", "productpage", web}, {&m.reviews, "bookinfo", "reviews", web}, {&m.details, "bookinfo", "details", web},
		{&m.ratings, "bookinfo", "ratings", []stack.Port{{Port: 9080}, {Name: "tcp", Port: 9090, Protocol: "tcp", Conn: echo}}},
		{&m.test, "test", "runner", web},
	} {
		*one.into, err = m.Application(ctx, stack.ApplicationOptions{Namespace: one.namespace, Name: one.name, Ports: one.ports})
		must(m.t, err)
	}
	m.issuer, err = stack.NewIssuer("https://login.example.com")
	must(m.t, err)
}

// state applies what people write: the Applications of the example, and the platform's and
// security's part.
func (m *mesh) state(ctx context.Context) {
	for _, name := range []string{"productpage", "reviews", "details"} {
		text, err := os.ReadFile(filepath.Join(repository, "examples", "bookinfo", name, "application.yaml"))
		must(m.t, err)
		must(m.t, m.Apply(ctx, text))
	}
	template, err := os.ReadFile(filepath.Join(repository, "catalog", "isolate-environments", "policy.yaml"))
	must(m.t, err)
	must(m.t, m.Apply(ctx, template))
	must(m.t, m.Apply(ctx, fmt.Appendf(nil, written, m.issuer.JWKS())))
}

// operate runs the operator with the rights of the chart.
func (m *mesh) operate(ctx context.Context) {
	options := installation.OperatorOptions()
	options.GatewayNamespaces = []string{ingress}
	options.Log = slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("program", "operator")
	var err error
	options.Tests, err = installation.Tests(ctx, m.Stack, m.process.Address)
	must(m.t, err)
	stop, err := installation.RunOperator(ctx, m.Stack, options)
	must(m.t, err)
	m.t.Cleanup(func() { must(m.t, stop()) })
	account, err := m.ServiceAccountConfig(ctx, system, "trellis-server")
	must(m.t, err)
	m.process.Host, m.process.Token, m.process.CA = account.Host, account.BearerToken, account.CAData
}

// run starts trellis-server as a process, with a store, and waits until it is ready. Kill
// ends it without a word.
func (m *mesh) run(store string) (kill func()) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "server.json")
	p := m.process
	p.Hits = store
	raw, err := json.Marshal(p)
	must(m.t, err)
	must(m.t, os.WriteFile(file, raw, 0o600))
	output, err := os.OpenFile(m.Logs()+"/trellis-server.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(m.t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asServer+"="+file)
	cmd.Stdout, cmd.Stderr = output, output
	must(m.t, cmd.Start())
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = output.Close()
		}
	}
	m.t.Cleanup(kill)
	m.until("the server to be ready", func(ctx context.Context) error {
		_, err := get(ctx, "http://"+m.process.Health+"/readyz")
		return err
	})
	return kill
}

// kept is how many verdicts the store of the server has.
func (m *mesh) kept(ctx context.Context) (uint64, error) {
	text, err := get(ctx, "http://"+m.process.Metrics+"/metrics")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if value, is := strings.CutPrefix(lines.Text(), "trellis_hits_kept_total "); is {
			n, err := strconv.ParseFloat(value, 64)
			return uint64(n), err
		}
	}
	return 0, errors.New("it does not say how many verdicts it has")
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	var b strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&b); err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%d: %s", answer.StatusCode, b.String())
	}
	return b.String(), nil
}

func (m *mesh) until(what string, check func(context.Context) error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 4*time.Minute)
	defer cancel()
	must(m.t, stack.Until(ctx, what, check))
}
