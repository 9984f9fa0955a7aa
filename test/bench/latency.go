// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/stack"
)

//go:embed testdata/stated.yaml
var statedYAML string

//go:embed testdata/handwritten.yaml
var handwrittenYAML string

const (
	latencyRounds   = 5
	latencyRequests = 3000
	latencyClients  = 2
)

// latencyFigures sends the same requests through the same gateway and sidecar,
// configured in turn by hand and by Trellis: the rounds alternate, so that
// whatever else the machine does falls on both.
func latencyFigures(ctx context.Context) ([]figure, error) {
	mesh, err := newLatencyMesh(ctx)
	if err != nil {
		return nil, err
	}
	defer mesh.stack.Stop()
	samples := map[string][]time.Duration{}
	for round := range latencyRounds {
		for _, kind := range []string{"handwritten", "generated"} {
			if err := mesh.configure(ctx, kind); err != nil {
				return nil, fmt.Errorf("configuring round %d, %w", round, err)
			}
			got, err := mesh.load(ctx)
			if err != nil {
				return nil, fmt.Errorf("sending round %d (%s), %w", round, kind, err)
			}
			if round > 0 { // the first one warms up
				samples[kind] = append(samples[kind], got...)
			}
		}
	}
	var out []figure
	for _, q := range []struct {
		name     string
		quantile float64
	}{{"p50", 0.50}, {"p99", 0.99}} {
		out = append(out, figure{
			Name: "latency of a request with a token, " + q.name,
			Ours: milliseconds(quantile(samples["generated"], q.quantile)), Peer: milliseconds(quantile(samples["handwritten"], q.quantile)),
			PeerName: "hand-written Istio objects for the same job, same Envoys", Unit: "ms",
		})
	}
	return out, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(len(samples)-1, int(float64(len(samples))*q))]
}

type latencyMesh struct {
	stack   *stack.Stack
	gateway *stack.Gateway
	shop    *stack.Application
	issuer  *stack.Issuer
	fill    *strings.Replacer // of what is in the place of keys and ports
	client  *http.Client
	token   string
	sets    map[string][]string
}

func newLatencyMesh(ctx context.Context) (*latencyMesh, error) {
	s, err := stack.Start(ctx, stack.Options{Out: os.Stderr})
	if err != nil {
		return nil, err
	}
	m := &latencyMesh{stack: s, sets: make(map[string][]string)}
	if err := m.prepare(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return m, nil
}

func (m *latencyMesh) prepare(ctx context.Context) error {
	for name, labels := range map[string]map[string]string{"istio-ingress": nil, "shop": {"exposure": "public"}} {
		if err := m.stack.Namespace(ctx, name, labels); err != nil {
			return err
		}
	}
	pool, err := m.stack.Certificate(ctx, "istio-ingress", "shop-cert", "shop.example.com")
	if err != nil {
		return err
	}
	if m.gateway, err = m.stack.Gateway(ctx, stack.GatewayOptions{Namespace: "istio-ingress", Name: "gateway"}); err != nil {
		return err
	}
	if m.shop, err = m.stack.Application(ctx, stack.ApplicationOptions{Namespace: "shop", Name: "shop"}); err != nil {
		return err
	}
	if m.issuer, err = stack.NewIssuer("https://login.example.com"); err != nil {
		return err
	}
	if m.token, err = m.issuer.Token(stack.Claims{"aud": "shop", "scope": "read"}); err != nil {
		return err
	}
	m.client = m.gateway.Client(pool)
	m.fill = strings.NewReplacer("JWKS", m.issuer.JWKS(), "HTTPSPORT", fmt.Sprint(m.gateway.HTTPSPort))
	m.sets["handwritten"] = strings.Split(m.fill.Replace(handwrittenYAML), "\n---\n")
	generated, err := m.generate(ctx, m.fill.Replace(statedYAML))
	m.sets["generated"] = generated
	return err
}

// generate compiles what was stated, with what the cluster knows.
func (m *latencyMesh) generate(ctx context.Context, stated string) ([]string, error) {
	snapshot, err := snapshotOf(ctx, m.stack, stated)
	if err != nil {
		return nil, err
	}
	outcome := compile.Compile(snapshot)
	for _, f := range outcome.Findings {
		if f.Severity == model.SeverityError {
			return nil, fmt.Errorf("compiling, %s %s: %s", f.Object, f.Field, f.Message)
		}
	}
	var out []string
	for _, o := range outcome.Objects {
		if o.Ref.Kind == "HostClaim" {
			continue
		}
		data, err := o.YAML()
		if err != nil {
			return nil, err
		}
		out = append(out, string(data))
	}
	return out, nil
}

// configure puts one set of objects in the place of the other and waits until
// the gateway answers with it.
func (m *latencyMesh) configure(ctx context.Context, kind string) error {
	for other, objects := range m.sets {
		if other != kind {
			if err := remove(ctx, m.stack, strings.Join(objects, "\n---\n")); err != nil {
				return err
			}
		}
	}
	if err := m.stack.Apply(ctx, []byte(strings.Join(m.sets[kind], "\n---\n"))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	good := 0
	return stack.Until(ctx, kind+" configuration", func(ctx context.Context) error {
		for _, want := range []struct {
			token  string
			status int
		}{{m.token, 200}, {"", 403}} {
			if _, err := m.send(ctx, want.token, want.status); err != nil {
				good = 0
				return err
			}
		}
		if good++; good < 10 {
			return errors.New("not yet steady")
		}
		return nil
	})
}

func (m *latencyMesh) send(ctx context.Context, token string, want int) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://shop.example.com/api/items", nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	started := time.Now()
	response, err := m.client.Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	took := time.Since(started)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return 0, err
	}
	if response.StatusCode != want {
		return 0, fmt.Errorf("answered %d, want %d", response.StatusCode, want)
	}
	return took, nil
}

func (m *latencyMesh) load(ctx context.Context) ([]time.Duration, error) {
	var (
		wait sync.WaitGroup
		all  = make([][]time.Duration, latencyClients)
		errs = make([]error, latencyClients)
	)
	for i := range latencyClients {
		wait.Go(func() {
			for range latencyRequests / latencyClients {
				took, err := m.send(ctx, m.token, 200)
				if err != nil {
					errs[i] = err
					return
				}
				all[i] = append(all[i], took)
			}
		})
	}
	wait.Wait()
	return slices.Concat(all...), errors.Join(errs...)
}
