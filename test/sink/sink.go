// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
)

// Sink takes access logs by Envoy's access log service, and does nothing with them but to
// keep the first ones where it is told to. It is safe for concurrent use.
type Sink struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	server  *grpc.Server
	address string
	done    chan error
	entries atomic.Int64

	mu   sync.Mutex
	most int
	kept []*accesslogv3.StreamAccessLogsMessage
}

// Listen begins to take them, and keeps as many messages at most. The caller closes it.
func Listen(most int) (*Sink, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for access logs: %w", err)
	}
	s := &Sink{server: grpc.NewServer(), address: listener.Addr().String(), done: make(chan error, 1), most: most}
	accesslogv3.RegisterAccessLogServiceServer(s.server, s)
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// Address is HOST:PORT.
func (s *Sink) Address() string { return s.address }

// Entries is how many of HTTP have come. What the operator asks gateways all the time is
// none of them.
func (s *Sink) Entries() int64 { return s.entries.Load() }

// Kept are the first messages, in the order in which they came. Each says who sent it, as
// only the first of a stream does on the wire.
func (s *Sink) Kept() []*accesslogv3.StreamAccessLogsMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*accesslogv3.StreamAccessLogsMessage(nil), s.kept...)
}

// Close ends it.
func (s *Sink) Close() error {
	s.server.Stop()
	return <-s.done
}

// StreamAccessLogs implements Envoy's access log service.
func (s *Sink) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	var from *accesslogv3.StreamAccessLogsMessage_Identifier
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			if e.GetCommonProperties().GetRouteName() != "probe" {
				s.entries.Add(1)
			}
		}
		if m.Identifier != nil {
			from = m.GetIdentifier()
		}
		m.Identifier = from
		s.keep(m)
	}
}

func (s *Sink) keep(m *accesslogv3.StreamAccessLogsMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) < s.most {
		s.kept = append(s.kept, m)
	}
}

// Hang listens at an address where connections are taken and nothing is ever read. Stop
// ends it and them.
func Hang() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listening without reading: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var taken []net.Conn
		for {
			c, err := listener.Accept()
			if err != nil {
				break // it has been closed
			}
			taken = append(taken, c)
		}
		for _, c := range taken {
			_ = c.Close()
		}
	}()
	return listener.Addr().String(), func() {
		_ = listener.Close()
		<-done
	}, nil
}
