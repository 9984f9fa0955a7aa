// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package flood sends access logs as many proxies would, as fast as it is told.
package flood

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	streams = 8 // as so many proxies
	// buffer is how many bytes of entries a proxy sends at once (buffer_size_bytes in
	// api/envoy/extensions/access_loggers/grpc/v3/als.proto).
	buffer = 16 << 10
)

// Send sends entries to HOST:PORT at a rate a second for a time, by several streams at once,
// and returns how many it could send: a stream whose other side does not read waits.
func Send(ctx context.Context, to string, by []Writer, rate int, long time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, long+time.Minute)
	defer cancel()
	var sent atomic.Int64
	errs := make([]error, streams)
	var work sync.WaitGroup
	for i := range streams {
		work.Go(func() { errs[i] = stream(ctx, to, by[i%len(by)], rate/streams, long, &sent) })
	}
	work.Wait()
	return sent.Load(), errors.Join(errs...)
}

func stream(ctx context.Context, to string, from Writer, rate int, long time.Duration, sent *atomic.Int64) error {
	conn, err := grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials()))
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

// Writer is a proxy that sent entries.
type Writer struct {
	identifier *accesslogv3.StreamAccessLogsMessage_Identifier
	entries    []*accesslogdatav3.HTTPAccessLogEntry
	next       int // of entries
}

// message has its entries in turn, as if they were of this moment, and as many as a proxy
// sends at once.
func (w *Writer) message(now time.Time) *accesslogv3.StreamAccessLogsMessage {
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

// Writers tells messages apart by who sent them.
func Writers(messages []*accesslogv3.StreamAccessLogsMessage) []Writer {
	at := map[string]int{}
	var out []Writer
	for _, one := range messages {
		id := one.GetIdentifier().GetNode().GetId()
		i, known := at[id]
		if !known {
			i = len(out)
			at[id] = i
			out = append(out, Writer{identifier: one.GetIdentifier()})
		}
		out[i].entries = append(out[i].entries, one.GetHttpLogs().GetLogEntry()...)
	}
	return slices.DeleteFunc(out, func(w Writer) bool { return len(w.entries) == 0 })
}
