// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

const (
	// maxMessage is the longest message of a stream. Envoy sends one as soon as it has 16 KiB
	// (buffer_size_bytes), and an entry is no longer than the headers that Envoy takes.
	maxMessage = 256 << 10
	// maxStreams is how many there may be at once: two threads of 2,000 proxies. Together with
	// maxMessage it bounds what strangers can make the server hold.
	maxStreams = 4096
	// introducing is how long a stream may take to say whose it is. Envoy opens one with its
	// first message.
	introducing = 10 * time.Second
	// entryBytes is what it takes to know where an entry is, in the memory of a message that
	// waits: there may be many of nothing.
	entryBytes = 48
)

// streams takes Envoy's access log service (envoy.service.accesslog.v3), by which proxies
// send entries over streams that stay open. They wait and are read with those of OTLP.
type streams struct {
	collector *Collector
	open      chan struct{}
}

// ServeEnvoy answers Envoy's access log service at a listener until ctx ends, and closes
// it. What comes is read by Start or Serve, one of which is to run too.
func (c *Collector) ServeEnvoy(ctx context.Context, listener net.Listener) error {
	s := &streams{collector: c, open: make(chan struct{}, maxStreams)}
	// The windows do not grow with what a stranger sends.
	server := newServer(s.admit, maxMessage, grpc.ForceServerCodec(frames{}), grpc.WaitForHandlers(true), grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(perConnection*64<<10))
	server.RegisterService(&service, s)
	var work sync.WaitGroup
	work.Go(func() {
		<-ctx.Done()
		// Streams never end by themselves.
		server.Stop()
	})
	err := server.Serve(&bounded{Listener: listener, refused: func() { c.lose(1) }})
	if ctx.Err() != nil {
		work.Wait()
		return nil
	}
	return fmt.Errorf("taking access logs of Envoy: %w", err)
}

// admit bounds how many streams there are. It may not wait. A stream that is refused counts
// as one entry that is lost, since nobody knows what it would have said.
func (s *streams) admit(ctx context.Context, _ *tap.Info) (context.Context, error) {
	select {
	case s.open <- struct{}{}:
	default:
		s.collector.lose(1)
		return nil, status.Error(codes.ResourceExhausted, "there are too many streams already")
	}
	context.AfterFunc(ctx, func() { <-s.open })
	return ctx, nil
}

var errStranger = status.Error(codes.InvalidArgument, "a stream is of one proxy: it says in its first message, and nowhere else, which one")

// take takes a stream. It ends at the first message that cannot be read: what comes behind it
// may be anything.
func (s *streams) take(stream grpc.ServerStream) error {
	messages := receiver{stream: stream, first: make(chan struct{})}
	first, err := messages.introduced(stream.Context())
	if err != nil {
		return s.ended(stream, err)
	}
	node, err := first.by()
	if err != nil {
		return s.ended(stream, status.Error(codes.Internal, err.Error()))
	}
	if node == "" {
		return s.ended(stream, errStranger)
	}
	from := &sender{by: accesslog.WriterOf(node)}
	for message := first; ; {
		s.offer(message, from)
		message = &frame{}
		if err = stream.RecvMsg(message); err != nil {
			return s.ended(stream, err)
		}
		if from.garbled.Load() {
			return s.ended(stream, errGarbled)
		}
		if message.identifier == nil {
			continue
		}
		if again, err := message.by(); err != nil || again != node {
			return s.ended(stream, errStranger)
		}
	}
}

// errGarbled is for what comes behind entries that could not be read.
var errGarbled = status.Error(codes.Internal, "entries that came before cannot be read")

// sender is who a stream is of.
type sender struct {
	by accesslog.Writer
	// garbled: something that it sent could not be read.
	garbled atomic.Bool
}

// receiver waits for the first message.
type receiver struct {
	stream  grpc.ServerStream
	first   chan struct{}
	message frame
	err     error
}

// introduced is the first message. A stream that says nothing would keep its place from
// others for as long as its connection stands.
func (r *receiver) introduced(ctx context.Context) (*frame, error) {
	go func() {
		defer close(r.first)
		// It ends with the stream, which does when StreamAccessLogs returns.
		r.err = r.stream.RecvMsg(&r.message)
	}()
	limit := time.NewTimer(introducing)
	defer limit.Stop()
	select {
	case <-r.first:
		return &r.message, r.err
	case <-ctx.Done():
		// A message that cannot be read ends the stream, before RecvMsg says so.
		<-r.first
		return &r.message, r.err
	case <-limit.C:
		return nil, status.Error(codes.DeadlineExceeded, "the stream does not say whose it is")
	}
}

// ended counts what a stream ended with that was not read.
func (s *streams) ended(stream grpc.ServerStream, err error) error {
	switch code := status.Code(err); {
	case errors.Is(err, io.EOF):
		return stream.SendMsg(&accesslogv3.StreamAccessLogsResponse{})
	case errors.Is(err, context.Canceled), code == codes.Canceled, code == codes.Unavailable:
		return nil // the proxy went away
	case code == codes.DeadlineExceeded:
	case code == codes.ResourceExhausted:
		s.collector.lose(1)
	default:
		s.collector.config.Meters.add(malformed, 1)
		s.collector.tally.Lose(1, s.collector.config.Clock.Now())
	}
	return err
}

// offer lets a message wait to be read. A proxy gets no answer either way.
//
// Istio has a proxy log everything by each provider of a Telemetry: by that for HTTP
// (envoyHttpAls) connections without HTTP, too, and by that for TCP (envoyTcpAls) requests. So
// the first tells all, and what the second says is left out.
func (s *streams) offer(message *frame, from *sender) {
	s.collector.config.Meters.add(repeated, message.tcp)
	if len(message.http) > 0 {
		bytes := int64(len(message.raw) + entryBytes*len(message.http))
		s.collector.offer(batch{streamed{message, from}, bytes, s.collector.config.Clock.Now()})
	}
}

// streamed is one message of a proxy, of which the entries count that are about requests and
// connections alike.
type streamed struct {
	message *frame
	from    *sender
}

func (m streamed) each(yield func(*accesslog.Entry, error)) {
	for _, raw := range m.message.http {
		if !over(typeOf(raw)) {
			continue
		}
		e := &datav3.HTTPAccessLogEntry{}
		if err := proto.Unmarshal(raw, e); err != nil {
			m.from.garbled.Store(true)
			yield(nil, fmt.Errorf("reading an entry of Envoy's access log: %w", err))
			continue
		}
		yield(accesslog.OfHTTP(e, m.from.by))
	}
}

func (m streamed) count() int {
	n := 0
	for _, raw := range m.message.http {
		if over(typeOf(raw)) {
			n++
		}
	}
	return n
}

// over reports whether an entry is about what has ended. Proxies may write others while a
// request goes on, and there would be two of it.
func over(sort datav3.AccessLogType) bool {
	switch sort {
	case datav3.AccessLogType_TcpConnectionEnd, datav3.AccessLogType_DownstreamEnd, datav3.AccessLogType_NotSet:
		return true
	}
	return false
}
