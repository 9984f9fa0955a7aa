// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	usual      = 20_000 // entries a second that have to be taken
	usualFor   = 30 * time.Second
	tooMuchFor = 10 * time.Second
	streams    = 8 // as so many proxies
	// buffer is how many bytes of entries a proxy sends at once (buffer_size_bytes in
	// api/envoy/extensions/access_loggers/grpc/v3/als.proto).
	buffer    = 16 << 10
	collected = "trellis_collector_entries_total"
)

// loadFigures send entries at the usual rate, and then as many as ten times that.
func (m *hitMesh) loadFigures(ctx context.Context, messages []*accesslogv3.StreamAccessLogsMessage) ([]figure, error) {
	by := byWriter(messages)
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
func (m *hitMesh) enter(ctx context.Context, by []writer, rate int, long time.Duration) (loaded, error) {
	var out loaded
	before, err := m.meters(ctx, collected)
	if err != nil {
		return out, err
	}
	used, err := m.server.processor()
	if err != nil {
		return out, err
	}
	started := time.Now()
	sent, err := m.flood(ctx, by, rate, long)
	out.sent, out.took = float64(sent), time.Since(started)
	if err != nil {
		return out, err
	}
	if out.processor, err = m.server.processor(); err != nil {
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
	_, out.peak, err = m.server.resident()
	return out, err
}

// flood sends entries at a rate for a time, by several streams at once, and returns how many
// it could send: a stream whose other side does not read waits.
func (m *hitMesh) flood(ctx context.Context, by []writer, rate int, long time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, long+time.Minute)
	defer cancel()
	var sent atomic.Int64
	errs := make([]error, streams)
	var work sync.WaitGroup
	for i := range streams {
		work.Go(func() { errs[i] = m.stream(ctx, by[i%len(by)], rate/streams, long, &sent) })
	}
	work.Wait()
	return sent.Load(), errors.Join(errs...)
}

func (m *hitMesh) stream(ctx context.Context, from writer, rate int, long time.Duration, sent *atomic.Int64) error {
	conn, err := grpc.NewClient(m.envoy, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx, grpc.ForceCodec(packed{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&accesslogv3.StreamAccessLogsMessage{Identifier: from.identifier}); err != nil {
		return err
	}
	next := time.NewTicker(10 * time.Millisecond)
	defer next.Stop()
	var message []byte
	made, began, own, n := time.Time{}, time.Now(), 0, 0
	for now := began; now.Sub(began) < long; now = time.Now() {
		if now.Sub(made) > 100*time.Millisecond {
			next := from.message(now)
			if message, err = proto.Marshal(next); err != nil {
				return err
			}
			made, n = now, len(next.GetHttpLogs().GetLogEntry())
		}
		if own+n <= int(float64(rate)*now.Sub(began).Seconds()) {
			if err := stream.SendMsg(message); err != nil {
				return err
			}
			own += n
			sent.Add(int64(n))
			continue // what was missed is sent at once
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next.C:
		}
	}
	_, err = stream.CloseAndRecv()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// packed sends bytes as they are: packing a message anew each time would take more time than
// the server's work.
type packed struct{}

// Marshal implements encoding.Codec.
func (packed) Marshal(message any) ([]byte, error) {
	switch m := message.(type) {
	case []byte:
		return m, nil
	case proto.Message:
		return proto.Marshal(m)
	}
	return nil, fmt.Errorf("sending access logs: %T is none", message)
}

// Unmarshal implements encoding.Codec.
func (packed) Unmarshal(raw []byte, into any) error {
	m, ok := into.(proto.Message)
	if !ok {
		return fmt.Errorf("reading an answer: %T is none", into)
	}
	return proto.Unmarshal(raw, m)
}

// Name implements encoding.Codec.
func (packed) Name() string { return "proto" }

// writer is a proxy that sent entries.
type writer struct {
	identifier *accesslogv3.StreamAccessLogsMessage_Identifier
	entries    []*accesslogdatav3.HTTPAccessLogEntry
	next       int // of entries
}

// message has its entries in turn, as if they were of this moment, and as many as a proxy
// sends at once.
func (w *writer) message(now time.Time) *accesslogv3.StreamAccessLogsMessage {
	var all []*accesslogdatav3.HTTPAccessLogEntry
	for size := 0; size < buffer; w.next++ {
		one := proto.CloneOf(w.entries[w.next%len(w.entries)])
		one.GetCommonProperties().StartTime = timestamppb.New(now)
		size += proto.Size(one)
		all = append(all, one)
	}
	return &accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: all},
	}}
}

// byWriter tells messages apart by who sent them.
func byWriter(messages []*accesslogv3.StreamAccessLogsMessage) []writer {
	at := map[string]int{}
	var out []writer
	for _, one := range messages {
		id := one.GetIdentifier().GetNode().GetId()
		i, known := at[id]
		if !known {
			i = len(out)
			at[id] = i
			out = append(out, writer{identifier: one.GetIdentifier()})
		}
		out[i].entries = append(out[i].entries, one.GetHttpLogs().GetLogEntry()...)
	}
	return slices.DeleteFunc(out, func(w writer) bool { return len(w.entries) == 0 })
}
