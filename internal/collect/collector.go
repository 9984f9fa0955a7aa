// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // some exporters use it
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
)

const (
	// maxConnections is how many there may be at once. Each of a proxy's threads has one.
	maxConnections = 16_384
	// maxReceiving is how many exports may come in at once, each of up to accesslog.MaxBatch,
	// and receiving how long one may take.
	maxReceiving = 64
	receiving    = 10 * time.Second
	// maxQueue bounds what waits to be read, in exports and in bytes.
	maxQueue, maxQueued = 4096, 32 << 20
	// ending is how long exports that are under way have when the server ends.
	ending = time.Second
)

// Config is what a Collector works with. All of it is required.
type Config struct {
	// Address is where OTLP is answered by gRPC, HOST:PORT.
	Address string
	// Who knows the mesh at this moment; nil: nothing is known yet, and what comes is lost.
	Who    func() sighting.Who
	Limits sighting.Limits
	Meters *Meters
	Clock  clock.Clock
	Log    *slog.Logger
}

// Collector takes access logs by OTLP. Start it once; all other methods are safe for
// concurrent use.
type Collector struct {
	collectorv1.UnimplementedLogsServiceServer
	config Config
	tally  *sighting.Tally

	queue chan export
	// queued is how many bytes wait, and coming how many exports come in.
	queued, coming atomic.Int64
	listening      atomic.Bool
	// reading is when the export came that is read now, in nanoseconds since 1970.
	reading atomic.Int64
}

// export is one that waits.
type export struct {
	request *collectorv1.ExportLogsServiceRequest
	bytes   int64
	at      time.Time
}

// New makes a Collector that has seen nothing: from now on nothing is missed.
func New(config Config) *Collector {
	return &Collector{config: config, tally: sighting.NewTally(config.Limits, config.Clock.Now()), queue: make(chan export, maxQueue)}
}

// NeedLeaderElection is false: every replica sees a part.
func (*Collector) NeedLeaderElection() bool { return false }

// Start answers until ctx ends.
func (c *Collector) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.config.Address)
	if err != nil {
		return fmt.Errorf("listening for access logs: %w", err)
	}
	return c.Serve(ctx, listener)
}

// Serve answers at a listener until ctx ends, and closes it.
func (c *Collector) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(accesslog.MaxBatch), grpc.MaxConcurrentStreams(8), grpc.MaxHeaderListSize(16<<10),
		grpc.InTapHandle(c.admit), grpc.ConnectionTimeout(receiving),
		grpc.ReadBufferSize(8<<10), grpc.WriteBufferSize(1<<10),
		// A proxy that is gone without a word frees its place.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	)
	collectorv1.RegisterLogsServiceServer(server, c)
	var work sync.WaitGroup
	work.Go(func() { c.work(ctx) })
	work.Go(func() {
		<-ctx.Done()
		stop := time.AfterFunc(ending, server.Stop)
		defer stop.Stop()
		server.GracefulStop()
	})
	c.listening.Store(true)
	err := server.Serve(&bounded{Listener: listener, refused: func() { c.lose(1) }})
	c.listening.Store(false)
	if ctx.Err() != nil {
		work.Wait()
		return nil
	}
	return fmt.Errorf("taking access logs: %w", err)
}

// Listening reports whether proxies are answered.
func (c *Collector) Listening() bool { return c.listening.Load() }

// admit bounds how many exports come in at once. It may not wait. How many entries are in
// one that is refused nobody knows: it counts as one that is lost.
func (c *Collector) admit(ctx context.Context, _ *tap.Info) (context.Context, error) {
	if c.coming.Add(1) > maxReceiving {
		c.coming.Add(-1)
		c.lose(1)
		return nil, status.Error(codes.ResourceExhausted, "too many exports come in already")
	}
	ctx, cancel := context.WithTimeout(ctx, receiving)
	context.AfterFunc(ctx, func() {
		cancel()
		c.coming.Add(-1)
	})
	return ctx, nil
}

// Export implements OTLP's LogsService. It answers at once.
func (c *Collector) Export(_ context.Context, r *collectorv1.ExportLogsServiceRequest) (*collectorv1.ExportLogsServiceResponse, error) {
	e := export{r, int64(proto.Size(r)), c.config.Clock.Now()}
	if c.queued.Add(e.bytes) <= maxQueued {
		select {
		case c.queue <- e:
			return &collectorv1.ExportLogsServiceResponse{}, nil
		default:
		}
	}
	c.queued.Add(-e.bytes)
	n := count(r)
	c.lose(n)
	return &collectorv1.ExportLogsServiceResponse{PartialSuccess: &collectorv1.ExportLogsPartialSuccess{
		RejectedLogRecords: int64(n), ErrorMessage: "more comes than can be read",
	}}, nil
}

// lose counts what there was no room for.
func (c *Collector) lose(n int) {
	c.config.Meters.add(overflow, n)
	c.tally.Lose(n, c.config.Clock.Now())
}

// work reads what waits.
func (c *Collector) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-c.queue:
			c.read(e)
			c.queued.Add(-e.bytes)
		}
	}
}

// read counts the entries of one export. They are of the time at which it came: clocks of
// nodes differ, and what is a little late may hold a rollout up, and hide nothing.
func (c *Collector) read(e export) {
	c.reading.Store(e.at.UnixNano())
	who := c.config.Who()
	results := map[string]int{}
	lost := 0
	each(e.request, func(entry *accesslog.Entry, err error) {
		if err != nil {
			results[malformed]++
			lost++
			return
		}
		s, outcome := sighting.Sighting{}, sighting.Unplaced
		if who != nil {
			s, outcome = sighting.Of(entry, who)
		}
		if outcome == sighting.Counted && !c.tally.Add(&s, e.at) {
			results[overflow]++
			return // the tally has counted it as lost
		}
		results[string(outcome)]++
		if outcome.Lost() {
			lost++
		}
	})
	if lost > 0 {
		c.tally.Lose(lost, e.at)
	}
	for result, n := range results {
		c.config.Meters.add(result, min(n, math.MaxInt32))
	}
}

// bounded closes connections that are too many.
type bounded struct {
	net.Listener
	refused func()
	open    atomic.Int64
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= maxConnections {
			return &counted{Conn: conn, closed: sync.OnceFunc(func() { b.open.Add(-1) })}, nil
		}
		b.open.Add(-1)
		_ = conn.Close()
		b.refused()
	}
}

type counted struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}
