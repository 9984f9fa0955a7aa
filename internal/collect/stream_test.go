// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
)

const cartNode = "sidecar~10.0.0.1~cart-1.shop~shop.svc.cluster.local"

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// served is an entry of a request that cart answered to a client with an identity.
func served() *datav3.HTTPAccessLogEntry {
	return &datav3.HTTPAccessLogEntry{
		CommonProperties: &datav3.AccessLogCommon{
			DownstreamLocalAddress: socket("10.0.0.1", 9080), DownstreamDirectRemoteAddress: socket("10.0.1.1", 40000), DownstreamRemoteAddress: socket("10.0.1.1", 40000),
			UpstreamRemoteAddress: socket("10.0.0.1", 9080), UpstreamLocalAddress: socket("127.0.0.6", 1234), UpstreamCluster: "inbound|9080||;", RouteName: "default", Duration: durationpb.New(time.Millisecond),
			AccessLogType: datav3.AccessLogType_DownstreamEnd,
			TlsProperties: &datav3.TLSProperties{
				TlsVersion: datav3.TLSProperties_TLSv1_3, TlsSniHostname: "outbound_.9080_._.cart.shop.svc.cluster.local",
				PeerCertificateProperties: &datav3.TLSProperties_CertificateProperties{SubjectAltName: []*datav3.TLSProperties_CertificateProperties_SubjectAltName{
					{San: &datav3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: "spiffe://cluster.local/ns/shop/sa/web"}},
				}},
			},
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.rbac": {Fields: map[string]*structpb.Value{
				"enforced_engine_result": structpb.NewStringValue("allowed"), "enforced_effective_policy_id": structpb.NewStringValue("ns[shop]-policy[a]-rule[0]"),
			}}}},
		},
		Request:  &datav3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_GET, Path: "/items?secret=1", Authority: "cart", RequestId: "7b5d"},
		Response: &datav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200), ResponseCodeDetails: "via_upstream"},
	}
}

// message is one of a stream; by is empty but for the first.
func message(by string, entries ...*datav3.HTTPAccessLogEntry) *accesslogv3.StreamAccessLogsMessage {
	out := &accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries},
	}}
	if by != "" {
		out.Identifier = &accesslogv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: by}, LogName: "trellis"}
	}
	return out
}

// came is a message as the server gets it, and who sent it.
func came(t testing.TB, m *accesslogv3.StreamAccessLogsMessage) (*frame, *sender) {
	t.Helper()
	raw, err := proto.Marshal(m)
	must(t, err)
	f, err := frameOf(raw)
	must(t, err)
	return &f, &sender{}
}

// streaming serves streams until the test ends, and reads them.
func streaming(t testing.TB, c *Collector) *grpc.ClientConn {
	t.Helper()
	running(t, c)
	return listening(t, c)
}

// listening serves streams until the test ends, and reads none.
func listening(t testing.TB, c *Collector) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.ServeEnvoy(ctx, listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		must(t, <-done)
	})
	return conn
}

func opened(t testing.TB, conn *grpc.ClientConn, options ...grpc.CallOption) accesslogv3.AccessLogService_StreamAccessLogsClient {
	t.Helper()
	stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(t.Context(), options...)
	must(t, err)
	return stream
}

func (c *Collector) counted(result string) int {
	return int(testutil.ToFloat64(c.config.Meters.entries.WithLabelValues(result)))
}

func TestWhatEnvoyStreamsIsReadLikeTheRest(t *testing.T) {
	c, _ := newCollector(t, shop)
	seen := make(chan *accesslog.Entry, 16)
	c.config.Each = func(e *accesslog.Entry, at time.Time) {
		if at.Equal(now) {
			seen <- e
		}
	}
	stream := opened(t, streaming(t, c))
	begun := served()
	begun.CommonProperties.AccessLogType = datav3.AccessLogType_DownstreamStart
	still := served()
	still.CommonProperties.AccessLogType = datav3.AccessLogType_DownstreamPeriodic
	must(t, stream.Send(message(cartNode, served(), begun, still, &datav3.HTTPAccessLogEntry{})))
	must(t, stream.Send(message("", served())))
	connected := served()
	connected.CommonProperties.AccessLogType, connected.Request, connected.Response = datav3.AccessLogType_TcpConnectionEnd, nil, nil
	must(t, stream.Send(message("", connected)))
	// Another provider says the same once more.
	connection := &accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_TcpLogs{TcpLogs: &accesslogv3.StreamAccessLogsMessage_TCPAccessLogEntries{
		LogEntry: []*datav3.TCPAccessLogEntry{{CommonProperties: served().GetCommonProperties(), ConnectionProperties: &datav3.ConnectionProperties{ReceivedBytes: 3}}},
	}}}
	connection.GetTcpLogs().LogEntry[0].CommonProperties.AccessLogType = datav3.AccessLogType_TcpConnectionEnd
	must(t, stream.Send(connection))
	eventually(t, "three entries", func() bool { return c.counted("counted") == 3 && c.counted(malformed) == 1 && c.counted(repeated) == 1 })
	for range 3 {
		e := <-seen
		if e.Writer != (accesslog.Writer{Namespace: "shop", Pod: "cart-1"}) || e.Peer != "spiffe://cluster.local/ns/shop/sa/web" || e.RBAC.Enforced.Policy != "ns[shop]-policy[a]-rule[0]" {
			t.Errorf("%+v", e)
		}
	}
	if got := c.Seen(now); len(got.Edges) != 1 || got.Edges[0].Requests != 3 || got.Edges[0].Plaintext != 0 || got.Lost != 1 {
		t.Errorf("%+v", got)
	}
}

// raw is a codec by which a client sends whatever it likes.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case proto.Message:
		return proto.Marshal(v)
	}
	return nil, errors.New("it is no message")
}
func (raw) Unmarshal([]byte, any) error { return nil }
func (raw) Name() string                { return "proto" }

var _ encoding.Codec = raw{}

func TestStreamsThatNoProxySendsAreRefusedAndCounted(t *testing.T) {
	cut, err := proto.Marshal(message(cartNode, served()))
	must(t, err)
	unnamed := message("", served())
	long := served()
	long.Request.Path = "/" + strings.Repeat("x", maxMessage)
	for name, c := range map[string]struct {
		send []any
		code codes.Code
		// lost are all that are lost, and malformed those that are no entries.
		lost, malformed, counted int
	}{
		"garbage":                 {[]any{[]byte("\xff\xff\xff\xff")}, codes.Internal, 1, 1, 0},
		"cut":                     {[]any{cut[:len(cut)-3]}, codes.Internal, 1, 1, 0},
		"nothing":                 {[]any{[]byte{}}, codes.InvalidArgument, 1, 1, 0},
		"a stream of nobody":      {[]any{unnamed}, codes.InvalidArgument, 1, 1, 0},
		"a stream of two proxies": {[]any{message(cartNode, served()), message("sidecar~10.0.0.2~web-1.shop~x", served())}, codes.InvalidArgument, 1, 1, 1},
		"a message that is long":  {[]any{message(cartNode, served()), message("", long)}, codes.ResourceExhausted, 1, 0, 1},
		"garbage behind":          {[]any{message(cartNode, served()), []byte("\x12\x05")}, codes.Internal, 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			collector, _ := newCollector(t, shop)
			stream := opened(t, streaming(t, collector), grpc.ForceCodec(raw{}), grpc.MaxCallSendMsgSize(1<<30))
			for _, one := range c.send {
				if err := stream.SendMsg(one); err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
			}
			if err := stream.RecvMsg(&accesslogv3.StreamAccessLogsResponse{}); status.Code(err) != c.code {
				t.Errorf("it is answered with %v", err)
			}
			eventually(t, "what came before to be read", func() bool { return collector.counted("counted") == c.counted && collector.queued.Load() == 0 })
			// gRPC answers a message that it cannot read before it says so to the server.
			eventually(t, "what was refused to be counted", func() bool {
				return collector.Seen(now).Lost >= uint64(c.lost) && collector.counted(malformed) >= c.malformed
			})
			if got := collector.Seen(now); got.Lost != uint64(c.lost) || collector.counted(malformed) != c.malformed {
				t.Errorf("%d are lost, %d malformed", got.Lost, collector.counted(malformed))
			}
		})
	}
}

func TestAProxyThatGoesAwayLosesNothing(t *testing.T) {
	c, _ := newCollector(t, shop)
	conn := streaming(t, c)
	stream := opened(t, conn)
	must(t, stream.Send(message(cartNode, served())))
	eventually(t, "its entry", func() bool { return c.counted("counted") == 1 })
	if _, err := stream.CloseAndRecv(); err != nil {
		t.Errorf("it is answered with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	other, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx)
	must(t, err)
	must(t, other.Send(message(cartNode, served())))
	eventually(t, "another entry", func() bool { return c.counted("counted") == 2 })
	cancel()
	if got := c.Seen(now); got.Lost != 0 || c.counted(malformed) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	c, _ := newCollector(t, shop)
	s := &streams{collector: c, open: make(chan struct{}, 2)}
	admitsAtOnce(t, c, s.admit, cap(s.open), func() bool { return len(s.open) == 0 })
}

func TestWhatIsStreamedAndDoesNotFitIsLost(t *testing.T) {
	c, _ := newCollector(t, shop) // nobody reads
	s := &streams{collector: c}
	for range maxQueue {
		s.offer(came(t, message(cartNode, served())))
	}
	waiting := c.queued.Load()
	if n, last := c.Lost(); n != 0 || !last.IsZero() {
		t.Errorf("nothing is lost, and %d are said to be, the last at %s", n, last)
	}
	s.offer(came(t, message(cartNode, served(), served())))
	if n, last := c.Lost(); n != 2 || !last.Equal(now) {
		t.Errorf("%d are said to be lost, the last at %s", n, last)
	}
	if got := c.Seen(now); got.Lost != 2 || c.queued.Load() != waiting || c.counted(overflow) != 2 {
		t.Errorf("%+v", got)
	}
}

// TestMessagesThatWaitHaveNoMoreMemoryThanIsSaid holds the bound against what is really in
// use: read, messages of that many bytes had seven times as many.
func TestMessagesThatWaitHaveNoMoreMemoryThanIsSaid(t *testing.T) {
	c, _ := newCollector(t, shop)
	conn := listening(t, c) // nobody reads
	var entries []*datav3.HTTPAccessLogEntry
	for proto.Size(message("", entries...)) < 16<<10 {
		entries = append(entries, served())
	}
	before := inUse()
	stream := opened(t, conn)
	must(t, stream.Send(message(cartNode, entries...)))
	sent := len(entries)
	for ; sent < 4*len(entries)*maxQueued/(16<<10); sent += len(entries) {
		must(t, stream.Send(message("", entries...)))
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	if waiting, held := c.queued.Load(), inUse()-before; waiting < maxQueued/2 || waiting > maxQueued || held > 2*maxQueued {
		t.Errorf("%d bytes are said to wait, and %d are in use", waiting, held)
	}
	// What is dropped is counted as well as what is read.
	ended := make(chan struct{})
	close(ended)
	c.work(ended)
	if read := c.counted("counted"); read == 0 || read+c.counted(overflow) != sent {
		t.Errorf("of %d entries %d are read and %d lost", sent, read, c.counted(overflow))
	}
}

func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestNothingIsTakenBehindAnEntryThatCannotBeRead(t *testing.T) {
	c, _ := newCollector(t, shop)
	stream := opened(t, streaming(t, c), grpc.ForceCodec(raw{}))
	// An entry with a text that is none, in a message that is well formed.
	garbled := served()
	garbled.Request.Path = "/PATH"
	text, err := proto.Marshal(message(cartNode, garbled, served()))
	must(t, err)
	must(t, stream.SendMsg([]byte(strings.Replace(string(text), "/PATH", "/\xff\xff\xff\xff", 1))))
	eventually(t, "it to be read", func() bool { return c.counted(malformed) == 1 && c.counted("counted") == 1 })
	must(t, stream.SendMsg(message("", served())))
	if err := stream.RecvMsg(&accesslogv3.StreamAccessLogsResponse{}); status.Code(err) != codes.Internal {
		t.Errorf("it is answered with %v", err)
	}
	if got := c.Seen(now); got.Lost != 2 || c.counted("counted") != 1 {
		t.Errorf("%d are lost, %d counted", got.Lost, c.counted("counted"))
	}
}

func FuzzStreamed(f *testing.F) {
	for _, m := range []*accesslogv3.StreamAccessLogsMessage{message(cartNode, served(), nil), message("~~~"), {}} {
		raw, err := proto.Marshal(m)
		must(f, err)
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := frameOf(raw)
		if err != nil {
			return
		}
		c, _ := newCollector(t, shop)
		one := streamed{&m, &sender{}}
		c.read(batch{entries: one, at: now})
		read := 0
		for _, result := range []string{"counted", "elsewhere", "aside", "unreadable", "unplaced", overflow, malformed} {
			read += c.counted(result)
		}
		if read != one.count() {
			t.Errorf("of %d entries %d are accounted for", one.count(), read)
		}
	})
}

// BenchmarkStream sends over gRPC, as a proxy with four threads, messages of the size that
// Envoy sends.
func BenchmarkStream(b *testing.B) {
	c, _ := newCollector(b, shop)
	conn := streaming(b, c)
	var entries []*datav3.HTTPAccessLogEntry
	for proto.Size(message("", entries...)) < 16<<10 {
		entries = append(entries, served())
	}
	b.SetParallelism(2)
	b.RunParallel(func(pb *testing.PB) {
		stream := opened(b, conn)
		next := message(cartNode, entries...)
		for pb.Next() {
			if err := stream.Send(next); err != nil {
				b.Error(err)
				return
			}
			next = message("", entries...)
		}
		_, _ = stream.CloseAndRecv()
	})
	eventually(b, "all to be read", func() bool { return c.queued.Load() == 0 })
	counted, lost := float64(c.counted(string(sighting.Counted))), float64(c.counted(overflow))
	b.ReportMetric(counted/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(100*lost/(counted+lost), "%lost")
	b.ReportMetric(float64(len(entries)), "entries/message")
}
