// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
)

// network is what leads to whoever takes access logs at the moment.
type network struct {
	mu    sync.Mutex
	to    string
	conns map[net.Conn]bool
}

// lead leads to another address, and ends all connections that there are.
func (n *network) lead(to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to = to
	for c := range n.conns {
		_ = c.Close()
	}
}

// handOn is what the network does with a connection.
func (n *network) handOn(from net.Conn) {
	n.mu.Lock()
	to, err := net.Dial("tcp", n.to)
	if err != nil {
		n.mu.Unlock()
		_ = from.Close()
		return
	}
	for _, c := range []net.Conn{from, to} {
		n.conns[c] = true
	}
	n.mu.Unlock()
	var work sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = to.Close(), from.Close()
	}
	work.Go(func() { pass(to, from) })
	work.Go(func() { pass(from, to) })
	work.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, from)
	delete(n.conns, to)
}

// sink takes access logs while trellis-server is away: it reads entries, and nobody
// ever hears of them.
type sink struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	address string
	entries atomic.Int64
}

func newSink(t *testing.T) *sink {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	s := &sink{address: listener.Addr().String()}
	server := grpc.NewServer()
	accesslogv3.RegisterAccessLogServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		must(t, <-done)
	})
	return s
}

// StreamAccessLogs implements Envoy's access log service.
func (s *sink) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			// The operator asks the gateway all the time whether it has its rules.
			if e.GetCommonProperties().GetRouteName() != "probe" {
				s.entries.Add(1)
			}
		}
	}
}

// quiet waits until nothing has come for several times as long as a proxy keeps entries.
func (s *sink) quiet(t *testing.T) {
	t.Helper()
	const long = 6 * time.Second
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(3 * time.Minute)
	for last, since := s.entries.Load(), time.Now(); time.Since(since) < long; {
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatal("proxies never have nothing to say")
		}
		if now := s.entries.Load(); now != last {
			last, since = now, time.Now()
		}
	}
}
