// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/test/stack"
)

// An Envoy serves a connection by the rules that it was opened under, until it
// has drained (45 s by default). What a gateway does not refuse yet, the
// application's own proxy does: the rules are on both. Whoever waits for a change
// to be enforced has to open a new connection.
func TestTheApplicationsOwnProxyEnforcesTheRuleOfTheGateway(t *testing.T) {
	const document = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: orders, namespace: orders}
spec:
  service: orders
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes: [{name: all, port: web, paths: [{prefix: /}], authentication: {mode: %s}}]
  exposures: [{name: public, ingress: {name: public, namespace: istio-ingress}, hostnames: [orders], routes: [all]}]
`
	withDocument(t, fmt.Sprintf(document, "None"))
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: world.pools["example.com"], ServerName: "orders.example.com"}}).
		DialContext(t.Context(), "tcp", world.public.HTTPSAddress)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	reader := bufio.NewReader(conn)
	ask := func(path string) (int, error) {
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: orders.example.com\r\n\r\n", path); err != nil {
			return 0, err
		}
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			return 0, err
		}
		defer func() { _ = answer.Body.Close() }()
		_, err = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode, err
	}
	if status, err := ask("/before"); status != 200 {
		t.Fatalf("before the change: %d %v", status, err)
	}
	if err := world.apply(t.Context(), fmt.Sprintf(document, "Required")); err != nil {
		t.Fatal(err)
	}
	answer, err := world.https(t.Context(), world.public, stack.Request{Host: "orders.example.com", Path: "/new"})
	expect(t, "on a new connection", "orders", 403, answer, err)
	if status, err := ask("/after"); status != 403 {
		t.Fatalf("on the connection from before: %d %v, want 403", status, err)
	}
	if got := logged(t, world.public.Proxy, "/after")["response_code_details"]; got != "via_upstream" {
		t.Errorf("the gateway refused it (%s), so this shows nothing of the application's proxy", got)
	}
}
