// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/test/stack"
)

// policies is a small mesh configuration of the kinds that Trellis writes.
const policies = `
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
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: public, namespace: istio-ingress}
spec:
  hosts: [shop.example.com]
  gateways: [public]
  http:
  - {name: redirect, match: [{port: 80}], redirect: {scheme: https, redirectCode: 308}}
  - name: app
    match: [{uri: {prefix: /}, port: 443}]
    route: [{destination: {host: productpage.bookinfo.svc.cluster.local, port: {number: 9080}}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: public, namespace: istio-ingress}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: [{issuer: "https://issuer.example", forwardOriginalToken: true, jwksUri: "%s"}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: need-jwt, namespace: istio-ingress}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules:
  - from: [{source: {notRequestPrincipals: ["https://issuer.example/*"]}}]
    to: [{operation: {hosts: ["shop.example.com", "shop.example.com:*"], paths: ["/api", "/api/*"]}}]
  - to: [{operation: {hosts: ["shop.example.com", "shop.example.com:*"], paths: ["/api", "/api/*"]}}]
    when: [{key: "request.auth.claims[scope]", notValues: ["reviews.read"]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: bookinfo}
spec:
  selector: {matchLabels: {app: productpage}}
  action: ALLOW
  rules:
  - from: [{source: {principals: ["cluster.local/ns/istio-ingress/sa/ingressgateway"]}}]
  - from: [{source: {principals: ["cluster.local/ns/bookinfo/sa/reviews"]}}]
    to: [{operation: {paths: ["/api/*"]}}]
`

type mesh struct {
	*stack.Stack
	gateway              *stack.Gateway
	productpage, reviews *stack.Application
	outsider             *stack.Application
	issuer               *stack.Issuer
}

func TestTheStackIsARealMesh(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	m := startMesh(ctx, t)
	pool, err := m.Certificate(ctx, "istio-ingress", "shop", "shop.example.com")
	must(t, err)
	must(t, m.Apply(ctx, fmt.Appendf(nil, policies, m.issuer.KeysURL)))

	token := func(scope string) string {
		token, err := m.issuer.Token(stack.Claims{"scope": scope})
		must(t, err)
		return "Bearer " + token
	}
	expired, err := m.issuer.ExpiredToken(stack.Claims{"scope": "reviews.read"})
	must(t, err)

	https := func(path, authorization string) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			r := stack.Request{Host: "shop.example.com", Path: path}
			if authorization != "" {
				r.Header = http.Header{"Authorization": {authorization}}
			}
			return status(m.gateway.HTTPS(ctx, pool, r))
		}
	}
	call := func(from *stack.Application, path string) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			return status(from.Do(ctx, stack.Request{Host: m.productpage.Host(9080), Path: path}))
		}
	}
	for _, test := range []struct {
		name string
		send func(context.Context) (int, error)
		want int
	}{
		{"an open path needs no token", https("/", ""), 200},
		{"a protected path without a token is denied", https("/api/x", ""), 403},
		{"a token with the scope passes", https("/api/x", token("reviews.read")), 200},
		{"a token without the scope is denied", https("/api/x", token("other")), 403},
		{"a malformed token is refused", https("/api/x", "Bearer x.y.z"), 401},
		{"an expired token is refused", https("/api/x", "Bearer "+expired), 401},
		{"the plain port redirects where no rule denies", func(ctx context.Context) (int, error) {
			return status(m.gateway.HTTP(ctx, stack.Request{Host: "shop.example.com", Path: "/"}))
		}, 308},
		{"an allowed caller in the mesh passes with its identity", call(m.reviews, "/api/x"), 200},
		{"an allowed caller is denied on another path", call(m.reviews, "/"), 403},
	} {
		t.Run(test.name, func(t *testing.T) { eventually(t, test.want, test.send) })
	}

	t.Run("raw paths arrive as they were sent", func(t *testing.T) {
		answer, err := m.gateway.HTTPS(ctx, pool, stack.Request{Host: "shop.example.com", Path: "/a%2fb;x=1"})
		must(t, err)
		var echoed stack.Echoed
		must(t, json.Unmarshal(answer.Body, &echoed))
		if echoed.RequestURI != "/a%2fb;x=1" || echoed.Application != "productpage" {
			t.Errorf("the application got %q as %q", echoed.RequestURI, echoed.Application)
		}
	})
	t.Run("an HTTP client reaches gateway and application by name", func(t *testing.T) {
		for url, client := range map[string]*http.Client{
			"https://shop.example.com/":                     m.gateway.Client(pool),
			"http://" + m.productpage.Host(9080) + "/api/x": m.reviews.Client(),
		} {
			answer, err := client.Get(url)
			must(t, err)
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", url, answer.Status)
			}
		}
	})
	t.Run("a plaintext call to a strict application is reset", func(t *testing.T) {
		answer, err := stack.Send(ctx, m.productpage.PortAddress("http"), nil, stack.Request{Host: m.productpage.Host(9080)})
		if err == nil {
			t.Errorf("answered %d %s", answer.Status, answer.Body)
		}
	})
	t.Run("a workload without a sidecar answers plainly", func(t *testing.T) {
		eventually(t, 200, func(ctx context.Context) (int, error) {
			return status(m.reviews.Do(ctx, stack.Request{Host: m.outsider.Host(9080)}))
		})
	})
	t.Run("services of other protocols are called through the sidecar", func(t *testing.T) { checkProtocols(ctx, t, m) })
	t.Run("the access log names the rule and the peer", func(t *testing.T) {
		const rule = "ns[istio-ingress]-policy[need-jwt]-rule[0]"
		logged(t, m.gateway.AccessLog, "rbac_access_denied_matched_policy["+rule+"]", `"enforced_effective_policy_id":"`+rule+`"`)
		logged(t, m.productpage.Proxy.AccessLog, "ns[bookinfo]-policy[callers]-rule[1]", "spiffe://"+m.reviews.Identity())
	})
	t.Run("connections come from the address of the pod", func(t *testing.T) {
		_, err := m.outsider.DoPast(ctx, m.productpage.PortAddress("http"), stack.Request{Host: m.productpage.Host(9080)})
		if err == nil {
			t.Error("a strict application answers to plaintext")
		}
		for _, from := range []*stack.Application{m.reviews, m.outsider} {
			logged(t, m.productpage.Proxy.AccessLog, `"downstream_remote_address":"`+from.Address+":")
		}
	})
	t.Run("istiod refuses invalid objects", func(t *testing.T) {
		err := m.Apply(ctx, []byte(`{apiVersion: networking.istio.io/v1, kind: VirtualService,
			metadata: {name: bad, namespace: bookinfo}, spec: {hosts: [a.example.com], http: [{name: nothing}]}}`))
		if err == nil || !strings.Contains(err.Error(), "denied the request") {
			t.Errorf("got %v", err)
		}
	})
	must(t, m.Failed())
}

func checkProtocols(ctx context.Context, t *testing.T, m *mesh) {
	many, err := m.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "many", Ports: []stack.Port{
		{Port: 80}, {Port: 9000, Protocol: "grpc"}, {Port: 7000, Protocol: "tcp", Conn: func(conn net.Conn) {
			defer func() { _ = conn.Close() }()
			_, _ = io.Copy(conn, io.LimitReader(conn, 5))
		}},
	}})
	must(t, err)
	for port, want := range map[int]string{80: "HTTP/1.1", 9000: "HTTP/2.0"} {
		eventually(t, 200, func(ctx context.Context) (int, error) {
			answer, err := m.reviews.Do(ctx, stack.Request{Host: many.Host(port)})
			if err != nil || answer.Status != 200 {
				return status(answer, err)
			}
			var echoed stack.Echoed
			must(t, json.Unmarshal(answer.Body, &echoed))
			if echoed.Application != "many" || echoed.Proto != want {
				t.Errorf("port %d: %s got %s instead of %s", port, echoed.Application, echoed.Proto, want)
			}
			return answer.Status, nil
		})
	}
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	must(t, stack.Until(wait, "the TCP service to answer", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.reviews.EgressAddress(7000))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write([]byte("hello")); err != nil {
			return err
		}
		if answer, err := io.ReadAll(conn); err != nil || string(answer) != "hello" {
			return fmt.Errorf("got %q: %w", answer, err)
		}
		return nil
	}))
}

func startMesh(ctx context.Context, t *testing.T) *mesh {
	t.Helper()
	started := time.Now()
	s := start(ctx, t, stack.Options{OwnAddresses: true})
	m := &mesh{Stack: s}
	for _, namespace := range []string{"istio-ingress", "bookinfo", "legacy"} {
		must(t, s.Namespace(ctx, namespace, nil))
	}
	var err error
	m.gateway, err = s.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: "ingressgateway"})
	must(t, err)
	m.productpage, err = s.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "productpage"})
	must(t, err)
	m.reviews, err = s.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "reviews"})
	must(t, err)
	m.outsider, err = s.Application(ctx, stack.ApplicationOptions{Namespace: "legacy", Name: "outsider", NoSidecar: true})
	must(t, err)
	m.issuer, err = s.Issuer("https://issuer.example")
	must(t, err)
	t.Logf("the stack with a gateway and three applications took %.1f s", time.Since(started).Seconds())
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func status(r *stack.Response, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return r.Status, nil
}

// eventually waits until send is answered with want: proxies learn of new
// configuration a moment after the API server has it.
func eventually(t *testing.T, want int, send func(context.Context) (int, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, fmt.Sprintf("the answer %d", want), func(ctx context.Context) error {
		got, err := send(ctx)
		if err == nil && got != want {
			err = fmt.Errorf("got %d", got)
		}
		return err
	}))
}

// logged waits until one line of an access log has all the texts.
func logged(t *testing.T, path string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, "a log line with "+strings.Join(texts, " and "), func(context.Context) error {
		log, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(log)) {
			found := 0
			for _, text := range texts {
				if strings.Contains(line, text) {
					found++
				}
			}
			if found == len(texts) {
				return nil
			}
		}
		return fmt.Errorf("not in\n%s", log)
	}))
}
