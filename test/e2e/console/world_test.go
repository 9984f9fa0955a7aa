// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package console holds the browser tests of the console: Chromium looks at every page, as
// each role of the chart, served by a real trellis-server about a real mesh. What the pages
// must show is in web/console/browser; each test there is one here.
package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/trellis-mesh/trellis/internal/console"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

const (
	repository = "../../.."
	system     = installation.Namespace
	ingress    = "istio-ingress"
)

// people are bound to the roles of the chart. The stranger has none.
const people = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: developers, namespace: bookinfo}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-application-developer}
subjects: [{kind: ServiceAccount, name: developer, namespace: people}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-viewer}
subjects:
- {kind: ServiceAccount, name: platform, namespace: people}
- {kind: ServiceAccount, name: security, namespace: people}
- {kind: ServiceAccount, name: viewer, namespace: people}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: platform}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-platform-operator}
subjects: [{kind: ServiceAccount, name: platform, namespace: people}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-security-officer}
subjects: [{kind: ServiceAccount, name: security, namespace: people}]
`

// mesh is examples/bookinfo with a goal and a policy on its way, one Application of another
// team, an operator and a server.
type mesh struct {
	*stack.Stack
	t       *testing.T
	kube    kubernetes.Interface
	address string
}

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // the API server warns of every EnvoyFilter
	os.Exit(m.Run())
}

func start(t *testing.T) *mesh {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{IstiodEnvironment: installation.IstiodEnvironment()})
	must(t, err)
	t.Cleanup(s.Stop)
	m := &mesh{Stack: s, t: t, address: loopback.Unused(t)}
	m.kube, err = kubernetes.NewForConfig(s.Config())
	must(t, err)
	for _, namespace := range []string{system, ingress, "people", "other"} {
		must(t, s.Namespace(ctx, namespace, nil))
	}
	must(t, s.Namespace(ctx, "bookinfo", map[string]string{"exposure": "public", "env": "staging"}))
	must(t, s.InstallTrellisCRDs(ctx))
	m.install(ctx)
	_, err = s.Gateway(ctx, stack.GatewayOptions{Namespace: ingress, Name: "istio-ingressgateway", Labels: map[string]string{"istio": "ingressgateway"}})
	must(t, err)
	for _, name := range []string{"productpage", "reviews", "details"} {
		_, err := s.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: name})
		must(t, err)
	}
	_, err = s.Certificate(ctx, ingress, "wildcard-example-com", "*.example.com")
	must(t, err)
	m.operate(ctx)
	m.state(ctx)
	m.serve(ctx)
	return m
}

// install applies the rights and roles of the chart.
func (m *mesh) install(ctx context.Context) {
	m.t.Helper()
	must(m.t, installation.Apply(ctx, m.Stack, m.address, "rbac", "serviceaccount", "server", "user-roles"))
	must(m.t, m.Apply(ctx, []byte(people)))
	_, err := m.Certificate(ctx, system, "trellis-server", "trellis-server."+system+".svc")
	must(m.t, err)
}

// state applies the statements of the examples.
func (m *mesh) state(ctx context.Context) {
	m.t.Helper()
	issuer, err := stack.NewIssuer("https://login.example.com")
	must(m.t, err)
	keys := strings.NewReplacer("jwksURI: https://login.example.com/keys", "jwks: '"+issuer.JWKS()+"'")
	for _, name := range []string{
		"policies/security/goals.yaml", "policies/security/templates/no-anonymous-routes-1.0.0.yaml", "policies/security/templates/isolate-environments-1.0.0.yaml",
		"policies/security/bindings.yaml", "bookinfo/platform/secure-ingress.yaml",
		"bookinfo/productpage/application.yaml", "bookinfo/reviews/application.yaml", "bookinfo/details/application.yaml",
	} {
		raw, err := os.ReadFile(filepath.Join(repository, "examples", name))
		must(m.t, err)
		must(m.t, m.Apply(ctx, []byte(keys.Replace(string(raw)))))
	}
	other := "apiVersion: trellis.dev/v1alpha1\nkind: Application\nmetadata: {name: hidden, namespace: other}\n" +
		"spec: {service: hidden, ports: [{name: web, port: 80, protocol: HTTP}], routes: [{name: pages, port: web, paths: [{prefix: /}]}]}\n"
	must(m.t, m.Apply(ctx, []byte(other)))
}

// operate runs the operator with the rights of the chart.
func (m *mesh) operate(ctx context.Context) {
	m.t.Helper()
	options := installation.OperatorOptions()
	options.GatewayNamespaces, options.Log = []string{ingress}, m.log()
	var err error
	options.Istiod, err = installation.Asking(m.Stack)
	must(m.t, err)
	stop, err := installation.RunOperator(ctx, m.Stack, options)
	must(m.t, err)
	m.t.Cleanup(func() { must(m.t, stop()) })
}

// serve runs the server with the rights of the chart and with counts of known numbers.
func (m *mesh) serve(ctx context.Context) {
	m.t.Helper()
	options := installation.ServerOptions(loopback.Unused(m.t))
	options.APIAddress, options.Console, options.Repository = m.address, console.Files(), "https://git.example.com/shop/blob/main/{path}"
	options.EnvoyAddress, options.Hits.Dir, options.Log = loopback.Unused(m.t), m.counts(ctx), m.log()
	stop, err := installation.RunServer(ctx, m.Stack, options)
	must(m.t, err)
	m.t.Cleanup(func() { must(m.t, stop()) })
}

// counts is the directory of a store with what would have been counted in two hours, with a
// gap of three minutes. That what proxies decide is counted is shown elsewhere.
func (m *mesh) counts(ctx context.Context) string {
	m.t.Helper()
	dir := m.t.TempDir()
	store, err := embedded.Open(dir, embedded.Options{})
	must(m.t, err)
	now := time.Now().Truncate(time.Minute)
	page := hits.Key{Namespace: "bookinfo", Application: "productpage", Route: "pages", Place: hits.Gateway, Rule: -1, Statement: "Application bookinfo/productpage", Field: "spec.routes[0]", Verdict: hits.Allowed, Peer: hits.Internet}
	denied := page
	denied.Route, denied.Field, denied.Reason, denied.Verdict = "catalogue", "spec.routes[1].authentication", "NoToken", hits.Denied
	shadow := page
	shadow.Statement, shadow.Field, shadow.Reason, shadow.Verdict = "ClusterPolicyBinding no-anonymous-routes", "", "NoToken", hits.WouldDeny
	stranger := page
	stranger.Route, stranger.Place, stranger.Verdict, stranger.Peer, stranger.Field = "", hits.Workload, hits.Denied, "batch/job", ""
	// Who comes by the gateway is counted by the Application's own proxy, too.
	inside := page
	inside.Route, inside.Place, inside.Peer, inside.Field = "", hits.Workload, ingress+"/istio-ingressgateway", "spec.exposures[0]"
	last := now.Add(-20 * time.Minute)
	must(m.t, store.Append(ctx, hits.Interval{From: now.Add(-2 * time.Hour), To: now.Add(-time.Hour)}, []hits.Count{
		{Key: page, N: 1200, At: now.Add(-61 * time.Minute)}, {Key: inside, N: 1200, At: now.Add(-61 * time.Minute)}, {Key: denied, N: 40, At: now.Add(-61 * time.Minute)},
	}))
	must(m.t, store.Append(ctx, hits.Interval{From: now.Add(-57 * time.Minute), To: now}, []hits.Count{
		{Key: page, N: 34, At: last}, {Key: inside, N: 34, At: last}, {Key: denied, N: 4, At: last}, {Key: shadow, N: 7, At: last}, {Key: stranger, N: 9, At: last},
	}))
	must(m.t, store.KeepSamples([]hits.Sample{
		hits.NewSample(denied, last, "GET", 403, "rbac_access_denied_matched_policy[none]", "6fecfc5f-3f81-4c5f-8a1b-2c3d40000001"),
		hits.NewSample(page, last.Add(-time.Second), "GET", 200, "via_upstream", "a1b2c3d4-0001-4c5f-8a1b-2c3d40000002"),
	}))
	must(m.t, store.Close())
	return dir
}

func (m *mesh) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// token is one of somebody of the namespace people.
func (m *mesh) token(who string) string {
	m.t.Helper()
	accounts := m.kube.CoreV1().ServiceAccounts("people")
	_, err := accounts.Create(m.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: who}}, metav1.CreateOptions{})
	must(m.t, err)
	token, err := accounts.CreateToken(m.t.Context(), who, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(m.t, err)
	return token.Status.Token
}

// answers waits until the server says of whom a token is, and has seen what is stated.
func (m *mesh) answers(client *http.Client, token string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 6*time.Minute)
	defer cancel()
	must(m.t, stack.Until(ctx, "the server to answer", func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.address+"/api/v1/mtls/graph", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
