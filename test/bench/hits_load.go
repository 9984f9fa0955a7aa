// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/trellis-mesh/trellis/test/bench/flood"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	usual      = 20_000 // entries a second that have to be taken
	usualFor   = 30 * time.Second
	tooMuchFor = 10 * time.Second
	collected  = "trellis_collector_entries_total"
)

// loadFigures send entries at the usual rate, and then as many as ten times that.
func (m *hitMesh) loadFigures(ctx context.Context, messages []*accesslogv3.StreamAccessLogsMessage) ([]figure, error) {
	by := flood.Writers(messages)
	if len(by) < 2 {
		return nil, fmt.Errorf("%d proxies have sent access logs", len(by))
	}
	at, err := m.enter(ctx, by, usual, usualFor)
	if err != nil {
		return nil, err
	}
	over, err := m.enter(ctx, by, 10*usual, tooMuchFor)
	if err != nil {
		return nil, err
	}
	out := []figure{
		{Name: "entries of access logs taken a second", Ours: perSecond(at.taken, at.took), Bar: usual, Unit: "entries/s"},
		{Name: "  of those, dropped", Ours: at.dropped, Unit: "entries"},
		{Name: "  processors that trellis-server used for them", Ours: at.processor.Seconds() / at.took.Seconds(), Unit: "cores"},
		{Name: "  memory of trellis-server at its highest", Ours: at.peak, Bar: 300, Unit: "MB"},
		{Name: "ten times that, sent a second by proxies that wait", Ours: perSecond(over.sent, over.took), Bar: 10 * usual, Unit: "entries/s"},
		{Name: "  kept back, as it was not read as fast", Ours: 10*usual*tooMuchFor.Seconds() - over.sent, Unit: "entries"},
		{Name: "  taken a second", Ours: perSecond(over.taken, over.took), Unit: "entries/s"},
		{Name: "  dropped, and counted as dropped", Ours: over.dropped, Unit: "entries"},
		{Name: "  sent and in no number of the server", Ours: over.sent - over.taken - over.dropped, Unit: "entries"},
		{Name: "  memory of trellis-server at its highest", Ours: over.peak, Bar: 300, Unit: "MB"},
	}
	return out, nil
}

func perSecond(n float64, took time.Duration) float64 { return n / took.Seconds() }

// loaded is what came of entries.
type loaded struct {
	sent, taken, dropped float64
	took, processor      time.Duration
	peak                 float64 // MB
}

// enter sends entries at a rate for a time, and waits until the server has said what came
// of all of them.
func (m *hitMesh) enter(ctx context.Context, by []flood.Writer, rate int, long time.Duration) (loaded, error) {
	var out loaded
	before, err := m.meters(ctx, collected)
	if err != nil {
		return out, err
	}
	used, err := m.server.Processor()
	if err != nil {
		return out, err
	}
	started := time.Now()
	sent, err := flood.Send(ctx, m.envoy, by, rate, long)
	out.sent, out.took = float64(sent), time.Since(started)
	if err != nil {
		return out, err
	}
	if out.processor, err = m.server.Processor(); err != nil {
		return out, err
	}
	out.processor -= used
	last := -1.0
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = stack.Until(limited, "the server to be done", func(ctx context.Context) error {
		now, err := m.meters(ctx, collected)
		if err != nil {
			return err
		}
		out.taken, out.dropped = 0, 0
		for labels, n := range now {
			if strings.Contains(labels, `"overflow"`) {
				out.dropped += n - before[labels]
			} else {
				out.taken += n - before[labels]
			}
		}
		if sum := out.taken + out.dropped; sum < out.sent && sum != last {
			last = sum
			return errors.New("it still counts")
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	_, out.peak, err = m.server.Resident()
	return out, err
}
