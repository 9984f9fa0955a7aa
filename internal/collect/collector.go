// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime"
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
	// maxQueue bounds what waits to be read, in exports and messages, and in bytes of memory.
	maxQueue, maxQueued = 2048, 16 << 20
	// unpacked is how many bytes of memory an export has that is one of the wire.
	unpacked = 8
	// maxReaders is how many batches are read at once: of each there is one in memory. There are
	// fewer than processors, where there is more than one: while all of them read, nobody takes
	// what comes (Go asks the network every 10 ms then), and it is proxies that wait.
	maxReaders = 4
	// ending is how long exports that are under way have when the server ends.
	ending = time.Second
)

// Config is what a Collector works with. All of it is required but the addresses, Each and
// Dir.
type Config struct {
	// Address is where OTLP is answered by gRPC, HOST:PORT, and EnvoyAddress where Envoy's
	// access log service is; empty: nowhere.
	Address, EnvoyAddress string
	// Who knows the mesh at this moment; nil: nothing is known yet. What comes until then is
	// not counted, and nobody has looked until then.
	Who    func() sighting.Who
	Limits sighting.Limits
	// Each is called with each entry that was read and when it came, by one goroutine at a
	// time. It may not keep the reader waiting. With an EnvoyAddress those of OTLP are left
	// out: a mesh that sends its entries to both is to be counted once.
	Each func(entry *accesslog.Entry, at time.Time)
	// Dir is where what was seen is kept, which no other process uses; empty: in memory alone,
	// so that it goes with the process.
	Dir    string
	Meters *Meters
	Clock  clock.Clock
	Log    *slog.Logger
}

// Collector takes access logs by OTLP, and by Envoy's own service. Start it once; all other methods are safe for
// concurrent use.
type Collector struct {
	collectorv1.UnimplementedLogsServiceServer
	config Config
	tally  *sighting.Tally

	queue chan batch
	// queued is how many bytes of memory wait, and coming how many exports come in.
	queued, coming atomic.Int64
	listening      atomic.Bool
	// readers are when the batch came that each reads now, and reading when the last one came
	// that a reader took, in nanoseconds since 1970. Zero: it reads none.
	readers []atomic.Int64
	reading atomic.Int64
	// taking is for who takes the next batch, and telling for who calls Each.
	taking, telling sync.Mutex
	// lost is how many entries there was no room for, and lostAt when the last came, in
	// nanoseconds since 1970.
	lost, lostAt atomic.Int64
}

// New makes a Collector that has seen what is kept in the directory: that was watched before,
// and from now on nothing is missed. What cannot be read there is set aside, and logged.
func New(config Config) *Collector {
	return &Collector{
		config: config, tally: remembered(config), queue: make(chan batch, maxQueue),
		readers: make([]atomic.Int64, max(1, min(runtime.GOMAXPROCS(0)-1, maxReaders))),
	}
}

// NeedLeaderElection is false: every replica sees a part.
func (*Collector) NeedLeaderElection() bool { return false }

// Start answers until ctx ends, at the addresses that are configured. What came until then
// is read, and kept in the directory, before it returns.
func (c *Collector) Start(ctx context.Context) error {
	var listeners [2]net.Listener
	for i, address := range []string{c.config.Address, c.config.EnvoyAddress} {
		if address == "" {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			for _, open := range listeners[:i] {
				if open != nil {
					_ = open.Close()
				}
			}
			return fmt.Errorf("listening for access logs: %w", err)
		}
		listeners[i] = listener
	}
	return c.both(ctx, listeners[0], listeners[1])
}

// both serves at two listeners, of which one may be nil.
func (c *Collector) both(ctx context.Context, otlp, envoy net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 2)
	var serving sync.WaitGroup
	serve := func(listener net.Listener, by func(context.Context, net.Listener) error) {
		if listener == nil {
			return
		}
		serving.Go(func() {
			served <- by(ctx, listener)
			stop()
		})
	}
	var work sync.WaitGroup
	ended := make(chan struct{})
	c.tally.Begin(c.config.Clock.Now())
	work.Go(func() { c.work(ended) })
	if c.config.Dir != "" {
		work.Go(func() { c.keep(ended) })
	}
	serve(otlp, c.serve)
	serve(envoy, c.ServeEnvoy)
	c.listening.Store(true)
	<-ctx.Done()
	// From here on proxies are turned away.
	until := c.config.Clock.Now()
	serving.Wait()
	c.listening.Store(false)
	close(ended)
	work.Wait()
	c.save(until)
	close(served)
	var errs []error
	for err := range served {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Serve answers OTLP at a listener until ctx ends, and closes it.
func (c *Collector) Serve(ctx context.Context, listener net.Listener) error {
	return c.both(ctx, listener, nil)
}

// serve is Serve, and another one reads.
func (c *Collector) serve(ctx context.Context, listener net.Listener) error {
	server := newServer(c.admit, accesslog.MaxBatch)
	collectorv1.RegisterLogsServiceServer(server, c)
	var work sync.WaitGroup
	work.Go(func() {
		<-ctx.Done()
		stop := time.AfterFunc(ending, server.Stop)
		defer stop.Stop()
		server.GracefulStop()
	})
	err := server.Serve(&bounded{Listener: listener, refused: func() { c.lose(1) }})
	if ctx.Err() != nil {
		work.Wait()
		return nil
	}
	return fmt.Errorf("taking access logs: %w", err)
}

// perConnection is how many streams a connection has at once. Of Envoy's access log service
// there are those for HTTP and for TCP, of a thread.
const perConnection = 8

// newServer is one for proxies, of which nobody proves to be one: who is let in, and how
// long a message is in bytes, is the caller's to say.
func newServer(admit tap.ServerInHandle, longest int, more ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(longest), grpc.MaxConcurrentStreams(perConnection), grpc.MaxHeaderListSize(16 << 10),
		grpc.InTapHandle(admit), grpc.ConnectionTimeout(receiving),
		grpc.ReadBufferSize(8 << 10), grpc.WriteBufferSize(1 << 10),
		// A proxy that is gone without a word frees its place.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}, more...)...)
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
	if c.offer(batch{export{r}, unpacked * int64(proto.Size(r)), c.config.Clock.Now()}) {
		return &collectorv1.ExportLogsServiceResponse{}, nil
	}
	return &collectorv1.ExportLogsServiceResponse{PartialSuccess: &collectorv1.ExportLogsPartialSuccess{
		RejectedLogRecords: int64(count(r)), ErrorMessage: "more comes than can be read",
	}}, nil
}

// lose counts what there was no room for.
func (c *Collector) lose(n int) {
	now := c.config.Clock.Now()
	c.config.Meters.add(overflow, n)
	c.tally.Lose(n, now)
	c.lost.Add(int64(n))
	c.lostAt.Store(now.UnixNano())
}

// Lost is how many entries there was no room for since the Collector was made, and when the
// last ones came. A message that could not be read, or a connection too many, is one.
func (c *Collector) Lost() (n int64, last time.Time) {
	if n = c.lost.Load(); n == 0 {
		return 0, time.Time{}
	}
	return n, time.Unix(0, c.lostAt.Load()).UTC()
}

// work reads what waits, until nothing comes any more and all of it is read.
func (c *Collector) work(ended <-chan struct{}) {
	var readers sync.WaitGroup
	for i := range c.readers {
		readers.Go(func() {
			for {
				b, ok := c.next(&c.readers[i], ended)
				if !ok {
					return
				}
				c.read(b)
				c.readers[i].Store(0)
				c.queued.Add(-b.bytes)
			}
		})
	}
	readers.Wait()
}

// next is the next batch that waits, for a reader; false: there is none and will be none.
func (c *Collector) next(reader *atomic.Int64, ended <-chan struct{}) (b batch, ok bool) {
	// One after the other, so that no reader has one that came before those of all others.
	c.taking.Lock()
	defer c.taking.Unlock()
	select {
	case b = <-c.queue:
	case <-ended:
		select {
		case b = <-c.queue:
		default:
			return b, false
		}
	}
	reader.Store(b.at.UnixNano())
	c.reading.Store(b.at.UnixNano())
	return b, true
}

// unread is a time up to which all that came has been read, while something waits.
func (c *Collector) unread() time.Time {
	oldest := c.reading.Load()
	for i := range c.readers {
		if at := c.readers[i].Load(); at != 0 {
			oldest = min(oldest, at)
		}
	}
	return time.Unix(0, oldest)
}

// read counts the entries of one batch. They are of the time at which it came: clocks of
// nodes differ, and what is a little late may hold a rollout up, and hide nothing.
func (c *Collector) read(b batch) {
	who := c.config.Who()
	if who == nil {
		// Whoever called, it is as if this had begun later: lost would hold rollouts up for
		// a whole window after each restart.
		c.tally.Begin(b.at.Add(time.Nanosecond))
	}
	results := map[string]int{}
	lost := 0
	_, streams := b.entries.(streamed)
	told := c.config.Each != nil && (streams || c.config.EnvoyAddress == "")
	var all []*accesslog.Entry
	b.entries.each(func(entry *accesslog.Entry, err error) {
		if err != nil {
			results[malformed]++
			lost++
			return
		}
		if told {
			all = append(all, entry)
		}
		s, outcome := sighting.Sighting{}, sighting.Unplaced
		if who != nil {
			s, outcome = sighting.Of(entry, who)
		}
		if outcome == sighting.Counted && !c.tally.Add(&s, b.at) {
			results[overflow]++
			return // the tally has counted it as lost
		}
		results[string(outcome)]++
		if who != nil && outcome.Lost() {
			lost++
		}
	})
	c.tell(all, b.at)
	if lost > 0 {
		c.tally.Lose(lost, b.at)
	}
	for result, n := range results {
		c.config.Meters.add(result, min(n, math.MaxInt32))
	}
}

// tell tells of entries that were read.
func (c *Collector) tell(all []*accesslog.Entry, at time.Time) {
	c.telling.Lock()
	defer c.telling.Unlock()
	for _, entry := range all {
		c.config.Each(entry, at)
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
