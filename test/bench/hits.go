// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/trellis-mesh/trellis/test/bench/program"
	"github.com/trellis-mesh/trellis/test/docs"
	"github.com/trellis-mesh/trellis/test/sink"
	"github.com/trellis-mesh/trellis/test/stack"
)

// recorded is how many requests of each kind are logged for the load to be made of.
const recorded = 20

// hitMesh is the mesh of the latency, with an operator, and with proxies that send their
// access logs as docs/concepts/hits.md says.
type hitMesh struct {
	latencyMesh
	operator  *program.Process
	way       sink.Way
	telemetry []byte
	server    *program.Process
	// Where the server is.
	admission, envoy, health, metrics string
}

// hitFigures measure what trellis-server takes of access logs, and what sending them costs
// a proxy.
func hitFigures(ctx context.Context) ([]figure, error) {
	m, err := newHitMesh(ctx)
	if err != nil {
		return nil, err
	}
	defer m.stop()
	messages, err := m.record(ctx)
	if err != nil {
		return nil, fmt.Errorf("recording access logs, %w", err)
	}
	if err := m.startServer(ctx); err != nil {
		return nil, fmt.Errorf("starting trellis-server, %w", err)
	}
	load, err := m.loadFigures(ctx, messages)
	if err != nil {
		return nil, fmt.Errorf("sending entries, %w", err)
	}
	cost, err := m.costFigures(ctx)
	if err != nil {
		return nil, fmt.Errorf("sending requests, %w", err)
	}
	return append(load, cost...), nil
}

func newHitMesh(ctx context.Context) (*hitMesh, error) {
	config, err := docs.MeshConfig(docs.Hits)
	if err != nil {
		return nil, err
	}
	s, err := stack.Start(ctx, stack.Options{
		Out: os.Stderr, MeshConfig: config, OwnAddresses: true,
		IstiodEnvironment: []string{"DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES=" + program.Namespace},
	})
	if err != nil {
		return nil, err
	}
	m := &hitMesh{latencyMesh: latencyMesh{stack: s, sets: map[string][]string{}}}
	if err := m.begin(ctx); err != nil {
		m.stop()
		return nil, err
	}
	return m, nil
}

func (m *hitMesh) begin(ctx context.Context) error {
	for _, at := range []*string{&m.admission, &m.envoy, &m.health, &m.metrics} {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*at = listener.Addr().String()
		defer func() { _ = listener.Close() }()
	}
	token := filepath.Join(filepath.Dir(m.stack.Logs()), "server-token")
	if err := os.WriteFile(token, []byte("no test is asked for"), 0o600); err != nil {
		return err
	}
	operator, err := program.Operator(ctx, m.stack, []string{"istio-ingress"}, "--server-address=https://"+m.admission, "--server-token="+token)
	if err != nil {
		return err
	}
	m.operator = operator
	if err := m.prepare(ctx); err != nil {
		return err
	}
	if _, err := m.stack.Application(ctx, stack.ApplicationOptions{
		Namespace: program.Namespace, Name: "trellis-server", NoSidecar: true,
		Ports: []stack.Port{{Name: "grpc-als", Port: 4318, Protocol: "grpc", Conn: m.way.HandOn}},
	}); err != nil {
		return err
	}
	if err := m.stack.Apply(ctx, []byte(m.fill.Replace(statedYAML))); err != nil {
		return err
	}
	if m.telemetry, err = docs.Telemetry(docs.Hits); err != nil {
		return err
	}
	return m.steady(ctx)
}

func (m *hitMesh) stop() {
	m.server.Stop()
	m.operator.Stop()
	m.stack.Stop()
}

// steady waits until the gateway does as it is stated.
func (m *hitMesh) steady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Until(ctx, "requests to be answered as stated", func(ctx context.Context) error {
		_, err := m.send(ctx, m.token, http.StatusOK)
		if err == nil {
			_, err = m.send(ctx, "", http.StatusForbidden)
		}
		return err
	})
}

// logging has proxies send access logs, or not, and waits until they do.
func (m *hitMesh) logging(ctx context.Context, on bool) error {
	change := remove
	if on {
		change = func(ctx context.Context, s *stack.Stack, text string) error { return s.Apply(ctx, []byte(text)) }
	}
	if err := change(ctx, m.stack, string(m.telemetry)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Until(ctx, "proxies to send access logs as they are told", func(ctx context.Context) error {
		for _, proxy := range []*stack.Proxy{m.gateway.Proxy, m.shop.Proxy} {
			text, err := proxy.Admin(ctx, "/config_dump?resource=dynamic_listeners")
			if err != nil {
				return err
			}
			if has := strings.Contains(string(text), "HttpGrpcAccessLogConfig"); has != on {
				return fmt.Errorf("not all of them: %t", has)
			}
		}
		return nil
	})
}

// record has requests of each kind logged by the real proxies, and returns what they sent.
func (m *hitMesh) record(ctx context.Context) ([]*accesslogv3.StreamAccessLogsMessage, error) {
	s, err := sink.Listen(recorded * 100)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	m.way.Lead(s.Address())
	if err := m.logging(ctx, true); err != nil {
		return nil, err
	}
	for range recorded {
		for _, r := range []struct {
			token string
			want  int
		}{{m.token, 200}, {"", 403}, {"bad", 401}} {
			if _, err := m.send(ctx, r.token, r.want); err != nil {
				return nil, err
			}
		}
		// Plaintext is refused: an error is what has to come of it.
		if answer, err := stack.Send(ctx, m.shop.PortAddress("http"), nil, stack.Request{Host: m.shop.Host(9080)}); err == nil {
			return nil, fmt.Errorf("plaintext is answered with %d", answer.Status)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const least = recorded * 4 // the gateway's three, and the workload's one
	err = stack.Until(ctx, "access logs", func(context.Context) error {
		if n := s.Entries(); n < least {
			return fmt.Errorf("%d of %d", n, least)
		}
		return nil
	})
	return s.Kept(), err
}

// startServer runs trellis-server until it knows the mesh.
func (m *hitMesh) startServer(ctx context.Context) error {
	var err error
	m.server, err = program.Start(ctx, m.stack, "trellis-server", "--namespace", program.Namespace,
		"--address", m.admission, "--api-address=", "--envoy-address", m.envoy, "--health-address", m.health, "--metrics-address", m.metrics,
		"--hits-dir", filepath.Join(filepath.Dir(m.stack.Logs()), "hits"), "--log-level=warn")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return stack.Until(ctx, "trellis-server to be ready", func(ctx context.Context) error {
		_, err := get(ctx, "http://"+m.health+"/readyz")
		return err
	})
}

// meters are the values of a metric of the server, by its labels as they are written.
func (m *hitMesh) meters(ctx context.Context, name string) (map[string]float64, error) {
	text, err := get(ctx, "http://"+m.metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		rest, is := strings.CutPrefix(lines.Text(), name)
		labels, value, ok := strings.Cut(rest, " ")
		if !is || !ok || labels != "" && labels[0] != '{' {
			continue
		}
		if out[labels], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("reading metric %s, %w", name, err)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the server has no metric " + name)
	}
	return out, nil
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
	var text strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&text); err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", answer.Status, text.String())
	}
	return text.String(), nil
}
