// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"crypto/x509"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/trellis-mesh/trellis/test/oracle"
	"github.com/trellis-mesh/trellis/test/stack"
)

const probeKey = "c2VjcmV0LXByb2JlLWtleQ"

//go:embed testdata/platform.yaml
var platform string

//go:embed testdata/applications.yaml
var applications string

// world is the mesh that all tests share; nil before TestMain has started it.
var world *universe

// universe is a mesh with gateways, workloads and issuers, and the documents of
// testdata applied.
type universe struct {
	*mesh
	// public is exclusive to one ingress; edge is shared by two.
	public, edge *stack.Gateway
	pools        map[string]*x509.CertPool // by the host's domain
	apps         map[string]*stack.Application
	issuers      map[string]*stack.Issuer
	tokens       map[string]string
}

func TestMain(m *testing.M) {
	flag.Parse()
	if fuzzing := flag.Lookup("test.fuzz").Value.String() != ""; fuzzing && flag.Lookup("test.fuzzworker").Value.String() == "false" {
		os.Exit(m.Run()) // the workers send the requests
	}
	os.Exit(run(m))
}

// run starts the mesh, also in the workers of a fuzz test.
func run(m *testing.M) int {
	log.SetLogger(logr.Discard()) // the API server warns of every EnvoyFilter
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	started := time.Now()
	w, err := startUniverse(ctx)
	if w != nil && w.mesh != nil {
		defer w.Stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if w != nil && w.outcome != nil {
			for _, f := range w.outcome.Findings {
				fmt.Fprintln(os.Stderr, f.Severity, f.Object, f.Field, f.Reason, f.Message)
			}
		}
		if w != nil && w.mesh != nil {
			w.KeepFiles()
		}
		return 1
	}
	world = w
	fmt.Fprintf(os.Stderr, "the mesh took %.1f s\n", time.Since(started).Seconds())
	code := m.Run()
	if err := w.Failed(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code != 0 {
		w.KeepFiles()
		fmt.Fprintln(os.Stderr, "logs are in", w.Logs())
	}
	return code
}

func startUniverse(ctx context.Context) (*universe, error) {
	m, err := startMesh(ctx)
	if err != nil {
		return nil, err
	}
	w := &universe{mesh: m, pools: map[string]*x509.CertPool{}, apps: map[string]*stack.Application{}, issuers: map[string]*stack.Issuer{}}
	public := map[string]string{"exposure": "public"}
	for name, labels := range map[string]map[string]string{
		"istio-ingress": nil, "edge": nil, "checkout": nil, "monitoring": nil, "legacy": nil,
		"shop": public, "rival": {"exposure": "public", "edge": "true"}, "orders": {"exposure": "public", "edge": "true"},
	} {
		if err := m.Namespace(ctx, name, labels); err != nil {
			return w, err
		}
	}
	if err := errors.Join(w.startGateways(ctx), w.startApplications(ctx), w.makeIssuers()); err != nil {
		return w, err
	}
	if err := m.apply(ctx, w.withKeys(platform)+"---\n"+applications); err != nil {
		return w, err
	}
	return w, w.reachable(ctx)
}

func (w *universe) startGateways(ctx context.Context) error {
	for _, g := range []struct {
		namespace, name string
		gateway         **stack.Gateway
	}{{"istio-ingress", "ingressgateway", &w.public}, {"edge", "edge", &w.edge}} {
		var err error
		*g.gateway, err = w.Gateway(ctx, stack.GatewayOptions{
			Namespace: g.namespace, Name: g.name, Labels: map[string]string{"istio": g.name, "marked": "true"},
		})
		if err != nil {
			return err
		}
		w.proxies[g.name] = (*g.gateway).Proxy
	}
	for _, c := range []struct{ namespace, secret, domain string }{
		{"istio-ingress", "wildcard", "example.com"}, {"edge", "alpha", "alpha.test"}, {"edge", "beta", "beta.test"},
	} {
		var err error
		if w.pools[c.domain], err = w.Certificate(ctx, c.namespace, c.secret, "*."+c.domain); err != nil {
			return err
		}
	}
	return nil
}

// startApplications starts workloads side by side: most of the time goes into
// waiting for certificates and configuration.
func (w *universe) startApplications(ctx context.Context) error {
	answer := func(application, port string, number int, protocol string) stack.Port {
		return stack.Port{Name: port, Port: number, Protocol: protocol, Handler: oracle.Backend(application, port)}
	}
	echo := stack.Port{Name: "raw", Port: 9083, Protocol: "tcp", Conn: func(c net.Conn) {
		defer func() { _ = c.Close() }()
		_, _ = io.Copy(c, c)
	}}
	all := []stack.ApplicationOptions{
		{Namespace: "shop", Name: "shop", Ports: []stack.Port{
			answer("shop", "web", 9080, "http"), answer("shop", "undeclared", 9081, "http"), answer("shop", "rpc", 9082, "grpc"), echo,
		}},
		{Namespace: "shop", Name: "raw"}, {Namespace: "shop", Name: "hidden"}, {Namespace: "rival", Name: "multi"},
		{Namespace: "checkout", Name: "checkout"}, {Namespace: "checkout", Name: "cart"}, {Namespace: "monitoring", Name: "prometheus"},
		{Namespace: "orders", Name: "orders", Ports: []stack.Port{answer("orders", "web", 9080, "http"), answer("orders", "extra", 9084, "http")}},
		{Namespace: "orders", Name: "billing"},
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	for _, options := range all {
		if options.Ports == nil {
			options.Ports = []stack.Port{answer(options.Name, "web", 9080, "http")}
		}
		wait.Go(func() {
			a, err := w.Application(ctx, options)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, err)
				return
			}
			w.apps[options.Name] = a
			w.proxies[options.Name] = a.Proxy
		})
	}
	wait.Wait()
	return errors.Join(failures...)
}

// withKeys fills in the public keys of the issuers.
func (w *universe) withKeys(documents string) string {
	for name, issuer := range w.issuers {
		documents = strings.ReplaceAll(documents, "KEYS("+name+")", issuer.JWKS())
	}
	return documents
}

// reachable waits until the gateways know the endpoints of the applications:
// these come by a path of their own.
func (w *universe) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, r := range []struct {
		gateway *stack.Gateway
		host    string
		path    string
	}{{w.public, "shop.example.com", "/"}, {w.edge, "multi.alpha.test", "/pages"}, {w.edge, "multi.beta.test", "/pages"}} {
		err := stack.Until(ctx, r.host+" to answer", func(ctx context.Context) error {
			answer, err := w.https(ctx, r.gateway, stack.Request{Host: r.host, Path: r.path})
			if err == nil && answer.Status != 200 {
				err = fmt.Errorf("%d %s", answer.Status, answer.Body)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// https sends a request and trusts what signs for its host's domain.
func (w *universe) https(ctx context.Context, g *stack.Gateway, r stack.Request) (*stack.Response, error) {
	host, _, _ := strings.Cut(r.Host, ":")
	_, domain, _ := strings.Cut(strings.ToLower(host), ".")
	return g.HTTPS(ctx, w.pools[domain], r)
}
