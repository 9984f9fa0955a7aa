// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/collect"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/test/docs"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

// observed is a mesh whose proxies send their access logs as the documentation says, to a
// collector that knows the mesh as trellis-server does.
type observed struct {
	story
	collector *collect.Collector
	began     time.Time
	// sent is what was sent, as the collector is to see it.
	sent map[string]*traffic.Edge
}

func observing(t *testing.T) *observed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	config, err := docs.MeshConfig(docs.Rollouts)
	must(t, err)
	running, err := stack.Start(ctx, stack.Options{MeshConfig: config})
	must(t, err)
	o := &observed{story: story{Stack: running, clients: map[string]*stack.Application{}}, sent: map[string]*traffic.Edge{}}
	t.Cleanup(func() {
		if t.Failed() {
			o.KeepFiles()
			t.Log("logs are in", o.Logs())
		}
		o.Stop()
	})
	for _, namespace := range []string{"trellis-system", "bookinfo", "traffic", "legacy"} {
		must(t, o.Namespace(ctx, namespace, nil))
	}
	listener := loopback.NewHanded()
	o.collect(t, listener)
	_, err = o.Application(ctx, stack.ApplicationOptions{
		Namespace: "trellis-system", Name: "trellis-server", NoSidecar: true,
		Ports: []stack.Port{{Name: "grpc-otlp", Port: 4317, Protocol: "grpc", Conn: listener.Take}},
	})
	must(t, err)
	o.server, err = o.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "productpage"})
	must(t, err)
	for _, namespace := range []string{"bookinfo", "traffic", "legacy"} {
		o.clients[namespace], err = o.Application(ctx, stack.ApplicationOptions{
			Namespace: namespace, Name: "generator", Ports: []stack.Port{{Port: 8080}}, NoSidecar: namespace == "legacy",
		})
		must(t, err)
	}
	return o
}

// collect runs what trellis-server does.
func (o *observed) collect(t *testing.T, listener net.Listener) {
	t.Helper()
	must(t, o.InstallTrellisCRDs(t.Context()))
	scheme := runtime.NewScheme()
	must(t, errors.Join(load.AddToScheme(scheme), appsv1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme), networkv1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme)))
	c, err := client.NewWithWatch(o.Config(), client.Options{Scheme: scheme})
	must(t, err)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	observer := observe.New(c, observe.Options{Mesh: model.DefaultMesh(), IstiodNamespace: "istio-system", MeshConfigMap: "istio", Clock: clock.RealClock{}, Log: log})
	meters, err := collect.NewMeters(prometheus.NewRegistry())
	must(t, err)
	o.began = time.Now()
	o.collector = collect.New(collect.Config{
		Who: func() sighting.Who { return observer.Who(time.Now()) }, Limits: sighting.DefaultLimits, Meters: meters, Clock: clock.RealClock{}, Log: log,
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- observer.Start(ctx) }()
	go func() { done <- o.collector.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		must(t, <-done)
		must(t, <-done)
	})
	within, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Until(within, "the cluster to be read", func(context.Context) error { return observer.Synced() }))
}

// edge is what is to be seen of a client.
func (o *observed) edge(from, to string, port int) *traffic.Edge {
	key := from + to
	if o.sent[key] == nil {
		o.sent[key] = &traffic.Edge{Client: from + "/generator", Proxied: from != "legacy", Services: []string{to}, Port: uint16(port)}
	}
	return o.sent[key]
}

// calls sends a request to the start page and notes what is to be seen of it.
func (o *observed) calls(ctx context.Context, from string) (int, error) {
	_, text, err := net.SplitHostPort(o.server.PortAddress("http"))
	if err != nil {
		return 0, err
	}
	port := 0
	if _, err := fmt.Sscan(text, &port); err != nil {
		return 0, err
	}
	e := o.edge(from, "bookinfo/productpage", port)
	status := 0
	if from == "legacy" {
		status, err = o.plainly(ctx)
	} else {
		status, err = o.call(ctx, from)
	}
	switch {
	case err == nil && status == 200:
		e.Requests++
		if from == "legacy" {
			e.Plaintext++
		}
	case from == "legacy":
		e.Requests++
		e.Failed++
		e.Cause = "PlaintextToStrict"
	}
	return status, err
}

// plainly sends a request from the address of the client that has no proxy.
func (o *observed) plainly(ctx context.Context) (int, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(o.clients["legacy"].Address)}}
	conn, err := dialer.DialContext(ctx, "tcp", o.server.PortAddress("http"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	if _, err = fmt.Fprintf(conn, "GET /productpage?secret=1 HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n", o.server.Host(9080)); err != nil {
		return 0, err
	}
	status := 0
	_, err = fmt.Fscanf(conn, "HTTP/1.1 %d", &status)
	return status, err
}

// sees waits until the collector has seen exactly what was sent.
func (o *observed) sees(t *testing.T) {
	t.Helper()
	var want []traffic.Edge
	for _, e := range o.sent {
		want = append(want, *e)
	}
	slices.SortFunc(want, traffic.Order)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, "everything to be seen", func(context.Context) error {
		got := o.collector.Seen(o.began)
		if got.Lost != 0 || !got.From.After(o.began.Add(-time.Second)) {
			t.Errorf("since %s %d were lost", got.From, got.Lost)
		}
		for i := range got.Edges {
			e := &got.Edges[i]
			if (e.Plaintext > 0) != (e.LastPlaintext != nil) || (e.Failed > 0) != (e.LastFailed != nil) || (e.Failed > 0) != (e.Why != "") {
				t.Errorf("%+v", e)
			}
			e.LastPlaintext, e.LastFailed, e.Why = nil, nil, ""
		}
		if !reflect.DeepEqual(got.Edges, want) {
			return fmt.Errorf("it sees\n%s\nand was sent\n%s", lines(got.Edges), lines(want))
		}
		return nil
	}))
}

func lines(edges []traffic.Edge) string {
	var out []string
	for _, e := range edges {
		out = append(out, fmt.Sprintf("%+v", e))
	}
	return strings.Join(out, "\n")
}

// until calls until a client gets a status; 0: none at all.
func (o *observed) until(t *testing.T, from string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, fmt.Sprintf("%s to get %d", from, status), func(ctx context.Context) error {
		got, err := o.calls(ctx, from)
		if got == status {
			return nil
		}
		return fmt.Errorf("it gets %d, %w", got, err)
	}))
}

const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: trellis-rollout-productpage, namespace: bookinfo}
spec: {selector: {matchLabels: {app: productpage}}, mtls: {mode: STRICT}}
`

const impossible = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: generator, namespace: legacy}
spec: {host: generator.legacy.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
`

// TestAccessLogsOfAMeshSayExactlyWhoCalledWhomAndHow is the section on observation of
// docs/concepts/mutual-tls-rollout.md, with its own mesh configuration and real proxies.
func TestAccessLogsOfAMeshSayExactlyWhoCalledWhomAndHow(t *testing.T) {
	o := observing(t)
	for _, from := range []string{"bookinfo", "traffic", "legacy"} {
		o.until(t, from, 200)
	}
	for range 20 {
		for _, from := range []string{"bookinfo", "traffic", "legacy"} {
			status, err := o.calls(t.Context(), from)
			if status != 200 || err != nil {
				t.Fatalf("%s gets %d, %v", from, status, err)
			}
		}
	}
	o.sees(t)

	must(t, o.Apply(t.Context(), []byte(strict)))
	o.until(t, "legacy", 0)
	for range 10 {
		if status, err := o.calls(t.Context(), "legacy"); err == nil {
			t.Fatalf("a client without a proxy gets %d", status)
		}
		o.until(t, "traffic", 200)
	}
	o.sees(t)

	must(t, o.Apply(t.Context(), []byte(impossible)))
	o.fails(t, "traffic", o.clients["legacy"])
	o.sees(t)
}

// fails sends requests in mutual TLS to who speaks none.
func (o *observed) fails(t *testing.T, from string, to *stack.Application) {
	t.Helper()
	_, text, err := net.SplitHostPort(to.PortAddress("http"))
	must(t, err)
	port := 0
	_, err = fmt.Sscan(text, &port)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	failed := 0
	must(t, stack.Until(ctx, "requests to fail", func(ctx context.Context) error {
		answer, err := o.clients[from].Do(ctx, stack.Request{Host: to.Host(8080), Path: "/"})
		switch {
		case err != nil:
			return err
		case answer.Status == 503:
			failed++
			e := o.edge(from, "legacy/generator", port)
			e.Requests, e.Failed, e.Cause = e.Requests+1, e.Failed+1, "MutualTLSToPlaintext"
		}
		if failed < 5 {
			return fmt.Errorf("%d have failed, the last answer was %d", failed, answer.Status)
		}
		return nil
	}))
}
