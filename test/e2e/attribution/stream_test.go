// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package attribution has real proxies send their access logs, and joins each entry to
// what was written.
package attribution

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/collect"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// written is what is in the mesh: objects that say of themselves that Trellis made them, and
// one that somebody wrote by hand.
const written = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: bookinfo}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com], tls: {mode: SIMPLE, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: public
  namespace: istio-ingress
  annotations: {trellis.dev/origin: '{"objects":["Application bookinfo/productpage"],"fields":["spec.exposures[0].routes[0]"],"rules":[[0,0,-1,"Application","Route"]]}'}
spec:
  hosts: [shop.example.com]
  gateways: [public]
  http:
  - name: bookinfo/productpage/pages
    match: [{uri: {prefix: /}, port: 443}]
    route: [{destination: {host: productpage.bookinfo.svc.cluster.local, port: {number: 9080}}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata:
  name: public
  namespace: istio-ingress
  annotations: {trellis.dev/origin: '{"objects":["SecureIngress istio-ingress/public"],"fields":["spec.identityProviders[0]"],"rules":[[0,0,-1,"Platform","Keys"]]}'}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: [{issuer: "https://issuer.example", forwardOriginalToken: true, jwksUri: "%s"}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: need-jwt
  namespace: istio-ingress
  annotations: {trellis.dev/origin: '{"objects":["Application bookinfo/productpage"],"fields":["spec.routes[1].authentication"],"rules":[[0,0,-1,"Application","NoToken"]]}'}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules:
  - from: [{source: {notRequestPrincipals: ["https://issuer.example/*"]}}]
    to: [{operation: {hosts: ["shop.example.com", "shop.example.com:*"], paths: ["/api", "/api/*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: callers
  namespace: bookinfo
  labels: {app.kubernetes.io/managed-by: trellis, trellis.dev/owner-kind: Application, trellis.dev/owner-namespace: bookinfo, trellis.dev/owner-name: productpage}
  annotations: {trellis.dev/origin: '{"objects":["Application bookinfo/productpage"],"fields":["spec.exposures[0].routes[0]","spec.access.callers[0]"],"rules":[[0,0,-1,"Application","Route"],[0,1,-1,"Application","Caller"]]}'}
spec:
  selector: {matchLabels: {app: productpage}}
  action: ALLOW
  rules:
  - from: [{source: {principals: ["cluster.local/ns/istio-ingress/sa/ingressgateway"]}}]
  - from: [{source: {principals: ["cluster.local/ns/bookinfo/sa/reviews"]}}]
    to: [{operation: {paths: ["/api/*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: not-at-night, namespace: bookinfo, annotations: {istio.io/dry-run: "true"}}
spec:
  selector: {matchLabels: {app: productpage}}
  action: DENY
  rules:
  - to: [{operation: {paths: ["/api/night"]}}]
`

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// objects are those of a text, typed.
func objects(t *testing.T, text string) []runtime.Object {
	t.Helper()
	var out []runtime.Object
	for one := range strings.SplitSeq(text, "\n---\n") {
		var head struct{ Kind string }
		must(t, yaml.Unmarshal([]byte(one), &head))
		of := map[string]runtime.Object{
			"AuthorizationPolicy": &securityv1.AuthorizationPolicy{}, "RequestAuthentication": &securityv1.RequestAuthentication{},
			"PeerAuthentication": &securityv1.PeerAuthentication{}, "VirtualService": &networkingv1.VirtualService{}, "Gateway": &networkingv1.Gateway{},
		}[head.Kind]
		must(t, yaml.Unmarshal([]byte(one), of))
		out = append(out, of)
	}
	return out
}

// mesh is one whose proxies stream what they log.
type mesh struct {
	*stack.Stack
	gateway              *stack.Gateway
	productpage, reviews *stack.Application
	issuer               *stack.Issuer
	entries              chan *accesslog.Entry
	// seen are entries that were taken and nobody has asked for yet.
	seen []*accesslog.Entry
}

func started(ctx context.Context, t *testing.T) *mesh {
	t.Helper()
	service := map[string]any{"service": "trellis-server.trellis-system.svc.cluster.local", "port": 4318}
	running, err := stack.Start(ctx, stack.Options{OwnAddresses: true, MeshConfig: map[string]any{
		"extensionProviders": []any{map[string]any{"name": "trellis", "envoyHttpAls": service}, map[string]any{"name": "trellis-tcp", "envoyTcpAls": service}},
		"defaultProviders":   map[string]any{"accessLogging": []any{"trellis", "trellis-tcp"}},
	}})
	must(t, err)
	m := &mesh{Stack: running, entries: make(chan *accesslog.Entry, 4096)}
	t.Cleanup(func() {
		if t.Failed() {
			m.KeepFiles()
			t.Log("logs are in", m.Logs())
		}
		m.Stop()
	})
	for _, namespace := range []string{"trellis-system", "istio-ingress", "bookinfo"} {
		must(t, m.Namespace(ctx, namespace, nil))
	}
	listener := m.collect(t)
	_, err = m.Application(ctx, stack.ApplicationOptions{
		Namespace: "trellis-system", Name: "trellis-server", NoSidecar: true,
		Ports: []stack.Port{{Name: "grpc-als", Port: 4318, Protocol: "grpc", Conn: listener.Take}},
	})
	must(t, err)
	m.gateway, err = m.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: "ingressgateway"})
	must(t, err)
	m.productpage, err = m.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "productpage"})
	must(t, err)
	m.reviews, err = m.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "reviews"})
	must(t, err)
	m.issuer, err = m.Issuer("https://issuer.example")
	must(t, err)
	return m
}

// collect takes what proxies stream.
func (m *mesh) collect(t *testing.T) *loopback.Handed {
	t.Helper()
	meters, err := collect.NewMeters(prometheus.NewRegistry())
	must(t, err)
	c := collect.New(collect.Config{
		Who: func() sighting.Who { return nil }, Limits: sighting.DefaultLimits, Meters: meters, Clock: clock.RealClock{},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Each: func(e *accesslog.Entry, _ time.Time) { m.entries <- e },
	})
	listener := loopback.NewHanded()
	otlp, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- c.Serve(ctx, otlp) }()
	go func() { done <- c.ServeEnvoy(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		must(t, <-done)
		must(t, <-done)
	})
	return listener
}

// index knows the mesh as trellis-server would.
func (m *mesh) index(t *testing.T, text string) *attribution.Index {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, corev1.AddToScheme(scheme))
	c, err := client.New(m.Config(), client.Options{Scheme: scheme})
	must(t, err)
	var list corev1.PodList
	must(t, c.List(t.Context(), &list))
	pods := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return attribution.New(attribution.Input{Objects: objects(t, text), Proxies: xds.NodesOf(pods, nil, xds.Common{})})
}

// logged waits for the entries of the proxies about a request, by its path.
func (m *mesh) logged(t *testing.T, path string, is func(*accesslog.Entry) bool) *accesslog.Entry {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		for i, e := range m.seen {
			if e.Path == path && is(e) {
				m.seen = append(m.seen[:i:i], m.seen[i+1:]...)
				return e
			}
		}
		select {
		case e := <-m.entries:
			m.seen = append(m.seen, e)
		case <-limit:
			t.Fatalf("no proxy has logged %s; of %d entries the last is %+v", path, len(m.seen), m.seen[max(0, len(m.seen)-1):])
		}
	}
}

func eventually(t *testing.T, want int, send func(context.Context) (*stack.Response, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Until(ctx, fmt.Sprintf("the answer %d", want), func(ctx context.Context) error {
		answer, err := send(ctx)
		if err == nil && answer.Status != want {
			err = fmt.Errorf("it is answered with %d", answer.Status)
		}
		return err
	}))
}

func TestWhatRealProxiesStreamIsJoinedToWhatWasWritten(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m := started(ctx, t)
	pool, err := m.Certificate(ctx, "istio-ingress", "shop", "shop.example.com")
	must(t, err)
	text := fmt.Sprintf(written, m.issuer.KeysURL)
	must(t, m.Apply(ctx, []byte(text)))
	x := m.index(t, text)
	expired, err := m.issuer.ExpiredToken(stack.Claims{})
	must(t, err)
	outside := func(path, token string) func(context.Context) (*stack.Response, error) {
		r := stack.Request{Host: "shop.example.com", Path: path, Header: http.Header{}}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return func(ctx context.Context) (*stack.Response, error) { return m.gateway.HTTPS(ctx, pool, r) }
	}
	inside := func(path string) func(context.Context) (*stack.Response, error) {
		return func(ctx context.Context) (*stack.Response, error) {
			return m.reviews.Do(ctx, stack.Request{Host: m.productpage.Host(9080), Path: path})
		}
	}
	// Proxies learn of what was written a moment later: what they logged before is of no use.
	eventually(t, 200, outside("/ready", ""))
	eventually(t, 403, outside("/api/ready", ""))
	eventually(t, 401, outside("/ready", expired))
	eventually(t, 200, inside("/api/ready"))
	eventually(t, 403, inside("/ready"))
	eventually(t, 200, inside("/api/night"))

	const callers, reviews, ingress = "AuthorizationPolicy bookinfo/callers", "bookinfo/reviews", "istio-ingress/ingressgateway"
	atGateway := hits.Key{Namespace: "bookinfo", Application: "productpage", Route: "pages", Place: hits.Gateway, Statement: "Application bookinfo/productpage", Peer: hits.Internet}
	atPage := hits.Key{Namespace: "bookinfo", Application: "productpage", Place: hits.Workload, Statement: "Application bookinfo/productpage", Object: callers, Peer: reviews}
	with := func(k hits.Key, change func(*hits.Key)) hits.Key {
		change(&k)
		return k
	}
	for _, c := range []struct {
		name, path string
		send       func(context.Context) (*stack.Response, error)
		status     int
		want       hits.Key
	}{
		{"allowed, at the gateway", "/a", outside("/a", ""), 200, with(atGateway, func(k *hits.Key) {
			k.Object, k.Field, k.Reason, k.Verdict = "VirtualService istio-ingress/public", "spec.exposures[0].routes[0]", "Route", hits.Allowed
		})},
		{"allowed, at the workload", "/b", outside("/b", ""), 200, with(atPage, func(k *hits.Key) {
			k.Field, k.Reason, k.Verdict, k.Peer = "spec.exposures[0].routes[0]", "Route", hits.Allowed, ingress
		})},
		{"refused by a rule", "/api/c", outside("/api/c", ""), 403, with(atGateway, func(k *hits.Key) {
			k.Object, k.Field, k.Reason, k.Verdict = "AuthorizationPolicy istio-ingress/need-jwt", "spec.routes[1].authentication", "NoToken", hits.Denied
		})},
		{"a token that is over", "/d", outside("/d", expired), 401, with(atGateway, func(k *hits.Key) {
			k.Object, k.Field, k.Reason, k.Verdict, k.Statement = "RequestAuthentication istio-ingress/public", "spec.identityProviders[0]", attribution.ReasonToken, hits.Denied, "SecureIngress istio-ingress/public"
		})},
		{"a caller that is let in", "/api/e", inside("/api/e"), 200, with(atPage, func(k *hits.Key) {
			k.Rule, k.Field, k.Reason, k.Verdict = 1, "spec.access.callers[0]", "Caller", hits.Allowed
		})},
		{"refused by default", "/f", inside("/f"), 403, with(atPage, func(k *hits.Key) {
			k.Rule, k.Reason, k.Verdict = -1, attribution.ReasonDefault, hits.Denied
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := c.send(ctx)
			must(t, err)
			if answer.Status != c.status {
				t.Fatalf("it is answered with %d", answer.Status)
			}
			e := m.logged(t, c.path, func(e *accesslog.Entry) bool {
				of := x.Of(e)
				return of.Place == c.want.Place && of.Outcome != attribution.Elsewhere
			})
			if got := x.Of(e); got.Outcome != attribution.Attributed || got.Why != "" || got.Key != c.want {
				t.Errorf("%+v\nwant %+v\nentry %+v", got, c.want, e)
			}
		})
	}
	t.Run("refused by what is only tried", func(t *testing.T) {
		e := m.logged(t, "/api/night", func(e *accesslog.Entry) bool { return len(x.Of(e).Would) > 0 })
		want := hits.Key{Namespace: "bookinfo", Application: "productpage", Place: hits.Workload, Object: "AuthorizationPolicy bookinfo/not-at-night",
			Statement: "AuthorizationPolicy bookinfo/not-at-night", Field: "spec.rules[0]", Reason: attribution.ReasonByHand, Verdict: hits.WouldDeny, Peer: reviews}
		if got := x.Of(e); got.Would[0] != want || got.Verdict != hits.Allowed {
			t.Errorf("%+v\nwant %+v", got, want)
		}
	})
	t.Run("plaintext", func(t *testing.T) {
		if _, err := stack.Send(ctx, m.productpage.PortAddress("http"), nil, stack.Request{Host: m.productpage.Host(9080)}); err == nil {
			t.Fatal("it is answered")
		}
		e := m.logged(t, "", func(e *accesslog.Entry) bool { return x.Of(e).Reason == "PlaintextToStrict" })
		if got := x.Of(e); got.Verdict != hits.Failed || got.Application != "productpage" || got.Object != "PeerAuthentication bookinfo/default" {
			t.Errorf("%+v", got)
		}
	})
	must(t, m.Failed())
}
