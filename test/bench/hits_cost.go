// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/test/sink"
)

const (
	costRounds = 5   // of which the first warms up
	costRate   = 150 // requests a second, each with a handshake of its own
	costFor    = 8 * time.Second
)

// logged is where access logs go, and what came of requests meanwhile.
type logged struct {
	name    string
	on      bool   // whether proxies are told to send any
	to      string // where they get to; empty: nowhere
	took    []time.Duration
	memory  float64 // of the gateway, MB, at the end of the last round
	dropped float64 // entries that the gateway dropped in all rounds
}

// costFigures send requests at a fixed rate through a gateway and a sidecar that send no
// access logs, and that send them to trellis-server, to somebody who never reads, and to
// nobody, in turn: whatever else the machine does falls on all.
func (m *hitMesh) costFigures(ctx context.Context) ([]figure, error) {
	hung, stop, err := sink.Hang()
	if err != nil {
		return nil, err
	}
	defer stop()
	ways := []*logged{
		{name: "none are sent"}, {name: "trellis-server counts", on: true, to: m.envoy}, {name: "the collector hangs", on: true, to: hung}, {name: "no collector is there", on: true},
	}
	for round := range costRounds {
		for _, way := range ways {
			if err := m.costRound(ctx, way, round > 0); err != nil {
				return nil, fmt.Errorf("round %d (%s), %w", round, way.name, err)
			}
		}
	}
	var out []figure
	for _, q := range []struct {
		name     string
		quantile float64
	}{{"p50", 0.50}, {"p99", 0.99}} {
		for _, way := range ways[1:] {
			out = append(out, figure{
				Name: "latency of a request while " + way.name + ", " + q.name,
				Ours: milliseconds(quantile(way.took, q.quantile)), Peer: milliseconds(quantile(ways[0].took, q.quantile)),
				PeerName: "the same proxies send no access logs", Unit: "ms",
			})
		}
	}
	for _, way := range ways[1:] {
		out = append(out,
			figure{Name: "memory of the gateway while " + way.name, Ours: way.memory, Peer: ways[0].memory, PeerName: "the same proxies send no access logs", Unit: "MB"},
			figure{Name: "  entries that it dropped", Ours: way.dropped, Unit: "entries"})
	}
	return out, nil
}

func (m *hitMesh) costRound(ctx context.Context, way *logged, counts bool) error {
	m.way.Lead(way.to)
	if err := m.logging(ctx, way.on); err != nil {
		return err
	}
	before, err := m.droppedByGateway(ctx)
	if err != nil {
		return err
	}
	took, err := m.openLoop(ctx)
	if err != nil {
		return err
	}
	after, err := m.droppedByGateway(ctx)
	if err != nil {
		return err
	}
	if counts {
		way.took = append(way.took, took...)
		way.dropped += after - before
	}
	text, err := m.gateway.Admin(ctx, "/memory")
	if err != nil {
		return err
	}
	var memory struct {
		Allocated int64 `json:"allocated,string"`
	}
	if err := json.Unmarshal(text, &memory); err != nil {
		return fmt.Errorf("reading the memory of Envoy, %w", err)
	}
	way.memory = float64(memory.Allocated) / 1e6
	return nil
}

// openLoop sends requests at their times, whatever became of those before, and measures each
// from its time on.
func (m *hitMesh) openLoop(ctx context.Context) ([]time.Duration, error) {
	n := int(costRate * costFor.Seconds())
	out, errs := make([]time.Duration, n), make([]error, n)
	var work sync.WaitGroup
	began := time.Now()
	for i := range n {
		due := began.Add(time.Duration(i+1) * time.Second / costRate)
		<-time.After(time.Until(due))
		work.Go(func() {
			_, errs[i] = m.send(ctx, m.token, http.StatusOK)
			out[i] = time.Since(due)
		})
	}
	work.Wait()
	return out, errors.Join(errs...)
}

// droppedByGateway is how many entries the gateway has not sent.
func (m *hitMesh) droppedByGateway(ctx context.Context) (float64, error) {
	text, err := m.gateway.Admin(ctx, "/stats?filter=logs_dropped")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		_, value, ok := strings.Cut(line, ": ")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if !ok || err != nil {
			continue // none yet
		}
		sum += n
	}
	return sum, nil
}
