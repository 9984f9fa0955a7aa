// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/redirect"
)

const (
	listedHost = "partner.localhost"
	// anywhere is where connections for Services mean to go: their names decide.
	anywhere = "198.51.100.7"
)

// clerk is an application in test that says whom it calls.
const clerk = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: clerk, namespace: test}
spec:
  service: clerk
  ports: [{name: web, port: 8080, protocol: HTTP}]
  access:
    calls:
    - {name: orders, peer: {application: {name: orders, namespace: staging}}, routes: [start]}
`

func calling(t *testing.T, manifest string) {
	t.Helper()
	must(t, world.Apply(t.Context(), []byte(manifest)))
}

// redirected is a request as iptables would bring it to the sidecar of its sender.
func redirected(from *stack.Application, address, host, path string) request {
	return request{fmt.Sprintf("%s/%s calls http://%s%s", from.Namespace, from.Name, host, path), func(ctx context.Context) (*stack.Response, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", from.RedirectAddress())
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close() }()
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		if _, err := fmt.Fprintf(conn, "%sGET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", redirect.Header(from.Address, to), path, host); err != nil {
			return nil, err
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return nil, err
		}
		return &stack.Response{Status: answer.StatusCode}, answer.Body.Close()
	}}
}

// outside is a server outside of the mesh, by its address and by a name.
func outside(t *testing.T, name string) (address, host string, port uint16) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	address = server.Listener.Addr().String()
	port = netip.MustParseAddrPort(address).Port()
	return address, fmt.Sprintf("%s:%d", name, port), port
}

func sidecarNamed(namespace, name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "Sidecar"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	}
}

// unrestricted is an application whose proxy is the one that Istio makes: that of the
// stack, which has listeners of its own, would be a second Sidecar for the pod.
func unrestricted(t *testing.T, namespace, name string) *stack.Application {
	t.Helper()
	a, err := world.Application(t.Context(), stack.ApplicationOptions{Namespace: namespace, Name: name, Ports: []stack.Port{{Port: 8080}}, Redirected: true})
	must(t, err)
	must(t, world.client.Delete(t.Context(), sidecarNamed(namespace, name+"-pod")))
	return a
}

func TestAnApplicationCallsWhomBothSidesStateAndNobodyElse(t *testing.T) {
	from := unrestricted(t, "test", "clerk")
	listedAt, listedName, port := outside(t, listedHost)
	otherAt, otherName, _ := outside(t, "other.localhost")
	orders := redirected(from, anywhere+":9080", world.orders.Host(9080), "/start")
	desk := redirected(from, anywhere+":8080", world.desk.Host(8080), "/")
	listed, other := redirected(from, listedAt, listedName, "/"), redirected(from, otherAt, otherName, "/")

	// Without a statement everything is let out.
	for _, r := range []request{orders, desk, listed, other} {
		r.becomes(t, http.StatusOK)
	}
	external := fmt.Sprintf("    - {name: partner, peer: {external: {hosts: [%s], port: %d, protocol: HTTP}}}\n", listedHost, port)
	calling(t, clerk+external)
	t.Cleanup(func() {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "clerk"}}
		must(t, client.IgnoreNotFound(world.client.Delete(context.Background(), app)))
	})
	desk.becomes(t, cutOff)
	other.becomes(t, cutOff)
	listed.becomes(t, http.StatusOK)
	orders.is(t, http.StatusOK)
	ready(t, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "clerk"}})

	// What somebody takes away comes back.
	made := sidecarNamed("test", "trellis-application-clerk")
	must(t, world.client.Get(t.Context(), client.ObjectKeyFromObject(made), made))
	first := made.UID
	must(t, world.client.Delete(t.Context(), made))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Until(ctx, "the Sidecar to come back", func(ctx context.Context) error {
		if err := world.client.Get(ctx, client.ObjectKeyFromObject(made), made); err != nil {
			return err
		}
		if made.UID == first {
			return fmt.Errorf("it is still the first one")
		}
		return nil
	}))
	desk.becomes(t, cutOff)

	// Who says that it calls nobody is let out to nobody.
	nobody, _, _ := strings.Cut(clerk, "    calls:")
	calling(t, nobody+"    calls: []\n")
	orders.becomes(t, cutOff)
	listed.becomes(t, cutOff)
	calling(t, clerk+external)
	orders.becomes(t, http.StatusOK)
	listed.becomes(t, http.StatusOK)

	// A host that is not stated any more is not let out any more.
	calling(t, clerk)
	listed.becomes(t, cutOff)
	orders.is(t, http.StatusOK)

	// Nor is a callee that takes its consent back.
	calling(t, strings.Replace(application, "peer: {any: {}}", "peer: {namespace: {name: staging}}", 1))
	t.Cleanup(func() {
		must(t, world.Apply(context.Background(), []byte(application)))
		must(t, world.open(context.Background()))
	})
	orders.becomes(t, cutOff)

	// Without a statement everything is let out again.
	must(t, world.client.Delete(t.Context(), &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "clerk"}}))
	desk.becomes(t, http.StatusOK)
	other.becomes(t, http.StatusOK)
}
