// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	testclock "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

// mesh knows one server, and clients by their addresses.
type mesh map[netip.Addr]*sighting.Workload

func (m mesh) At(a netip.Addr) *sighting.Workload      { return m[a] }
func (m mesh) Pod(accesslog.Writer) *sighting.Workload { return nil }
func (m mesh) Account(string) *sighting.Workload       { return nil }
func (m mesh) Service(string) string                   { return "" }
func workload(name string, k sighting.Kind) *sighting.Workload {
	return &sighting.Workload{Name: name, Services: []string{name}, Kind: k}
}

var (
	now  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	shop = mesh{netip.MustParseAddr("10.0.0.1"): workload("shop/cart", sighting.Proxied), netip.MustParseAddr("10.0.1.1"): workload("legacy/report", sighting.Bare)}
)

func newCollector(t testing.TB, who sighting.Who) (*Collector, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	meters, err := NewMeters(registry)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Who: func() sighting.Who { return who }, Limits: sighting.DefaultLimits, Meters: meters, Clock: testclock.NewFakeClock(now), Log: slog.New(slog.DiscardHandler),
	}), registry
}

func text(s string) *commonv1.AnyValue {
	return &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: s}}
}

// labelled is a record as the documented format makes it.
func labelled(pairs ...string) *logsv1.LogRecord {
	out := &logsv1.LogRecord{TimeUnixNano: uint64(now.UnixNano()), Body: text(" ")}
	for i := 0; i < len(pairs); i += 2 {
		out.Attributes = append(out.Attributes, &commonv1.KeyValue{Key: pairs[i], Value: text(pairs[i+1])})
	}
	return out
}

// plaintext is one of a request that cart took from a client without a proxy.
func plaintext() *logsv1.LogRecord {
	return labelled("method", "GET", "response_code", "200", "response_flags", "-", "response_code_details", "via_upstream", "duration", "3",
		"upstream_cluster", "inbound|9080||", "upstream_host", "10.0.0.1:9080", "upstream_local_address", "127.0.0.6:1234",
		"downstream_local_address", "10.0.0.1:9080", "downstream_direct_remote_address", "10.0.1.1:40000",
		"downstream_peer_uri_san", "-", "downstream_tls_version", "-", "requested_server_name", "-",
		"connection_termination_details", "-", "upstream_transport_failure_reason", "-", "downstream_transport_failure_reason", "-",
		"k8s.pod.name", "cart-5d8c-x1", "k8s.namespace.name", "shop")
}

func export1(records ...*logsv1.LogRecord) *collectorv1.ExportLogsServiceRequest {
	return &collectorv1.ExportLogsServiceRequest{ResourceLogs: []*logsv1.ResourceLogs{{
		Resource: &resourcev1.Resource{}, ScopeLogs: []*logsv1.ScopeLogs{{LogRecords: records}},
	}}}
}

// running serves at an address until the test ends.
func running(t testing.TB, c *Collector) collectorv1.LogsServiceClient {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		must(t, <-done)
	})
	return collectorv1.NewLogsServiceClient(conn)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatal("waiting for " + what)
		case <-ticker.C:
		}
	}
}

func TestWhatProxiesSendIsCountedAndTheRestIsLost(t *testing.T) {
	c, registry := newCollector(t, shop)
	client := running(t, c)
	odd := labelled("method", "GET", "response_code", "200", "upstream_cluster", "inbound|9080||", "downstream_local_address", "10.9.9.9:1", "downstream_peer_uri_san", "-")
	unclear := labelled("method", "GET", "response_code", "200", "upstream_cluster", "inbound|9080||", "downstream_local_address", "10.0.0.1:1")
	arrived := labelled("method", "GET", "response_code", "200", "upstream_cluster", "outbound|80||cart.shop.svc.cluster.local")
	many := labelled(strings.Split(strings.Repeat("a,b,", maxAttributes+1), ",")[:2*maxAttributes+2]...)
	_, err := client.Export(t.Context(), export1(plaintext(), plaintext(), odd, unclear, arrived, labelled(), many))
	must(t, err)
	eventually(t, "seven entries", func() bool { return testutil.CollectAndCount(c.config.Meters.entries) == 8 && c.queued.Load() == 0 })
	got := c.Seen(now)
	if len(got.Edges) != 1 || got.Lost != 4 {
		t.Fatalf("%+v", got)
	}
	if e := got.Edges[0]; e.Client != "legacy/report" || e.Services[0] != "shop/cart" || e.Port != 9080 || e.Requests != 2 || e.Plaintext != 2 || e.Proxied || !e.LastPlaintext.Equal(now) {
		t.Errorf("%+v", e)
	}
	const want = `
# HELP trellis_collector_entries_total Entries of access logs that proxies sent, by what came of them.
# TYPE trellis_collector_entries_total counter
trellis_collector_entries_total{result="aside"} 0
trellis_collector_entries_total{result="counted"} 2
trellis_collector_entries_total{result="elsewhere"} 1
trellis_collector_entries_total{result="malformed"} 2
trellis_collector_entries_total{result="overflow"} 0
trellis_collector_entries_total{result="repeated"} 0
trellis_collector_entries_total{result="unplaced"} 1
trellis_collector_entries_total{result="unreadable"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestUntilTheMeshIsKnownNobodyHasLooked(t *testing.T) {
	c, _ := newCollector(t, nil)
	c.config.Who = func() sighting.Who { return nil }
	clock, ok := c.config.Clock.(*testclock.FakeClock)
	if !ok {
		t.Fatal("the clock is real")
	}
	read := func() {
		clock.Step(5 * time.Second)
		c.read(batch{entries: export{export1(plaintext())}, at: clock.Now()})
	}
	read()
	if got := c.Seen(now); !got.From.After(now.Add(5*time.Second)) || got.From.After(now.Add(6*time.Second)) || got.Lost != 0 || len(got.Edges) != 0 {
		t.Errorf("%+v", got)
	}
	since := c.Seen(now).From
	c.config.Who = func() sighting.Who { return shop }
	read()
	if got := c.Seen(now); !got.From.Equal(since) || got.Lost != 0 || len(got.Edges) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestAProxyIsAnsweredAtOnceAndWhatDoesNotFitIsLost(t *testing.T) {
	c, _ := newCollector(t, shop) // nobody reads
	for range maxQueue {
		answer, err := c.Export(t.Context(), export1(plaintext()))
		if err != nil || answer.GetPartialSuccess() != nil {
			t.Fatalf("%v, %v", answer, err)
		}
	}
	waiting := c.queued.Load()
	answer, err := c.Export(t.Context(), export1(plaintext(), plaintext()))
	if err != nil || answer.GetPartialSuccess().GetRejectedLogRecords() != 2 || c.queued.Load() != waiting {
		t.Errorf("%v, %v", answer, err)
	}
	if got := c.Seen(now); got.Lost != 2 {
		t.Errorf("%+v", got)
	}
}

func TestBytesThatWaitAreBounded(t *testing.T) {
	c, _ := newCollector(t, shop)
	big := &logsv1.LogRecord{Body: text(strings.Repeat("x", 4<<20/unpacked))}
	for range maxQueued >> 22 {
		_, err := c.Export(t.Context(), export1(big))
		must(t, err)
	}
	if got := c.Seen(now); got.Lost != 1 || len(c.queue) != maxQueued>>22-1 {
		t.Errorf("%d lost, %d wait", got.Lost, len(c.queue))
	}
}

func TestAnExportThatIsLongerThanAllThatMayWaitIsTakenWhereNothingDoes(t *testing.T) {
	c, _ := newCollector(t, shop)
	long := export1(plaintext(), &logsv1.LogRecord{Body: text(strings.Repeat("x", maxQueued/unpacked))})
	for i, lost := range []int64{0, 2} {
		answer, err := c.Export(t.Context(), long)
		if err != nil || answer.GetPartialSuccess().GetRejectedLogRecords() != lost {
			t.Errorf("number %d: %v, %v", i, answer, err)
		}
	}
}

func TestAnExportThatIsTooLongIsRefused(t *testing.T) {
	c, _ := newCollector(t, shop)
	_, err := running(t, c).Export(t.Context(), export1(&logsv1.LogRecord{Body: text(strings.Repeat("x", accesslog.MaxBatch))}))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("it is answered with %v", err)
	}
}

func TestExportsThatComeInAtOnceAreBounded(t *testing.T) {
	c, _ := newCollector(t, shop)
	admitsAtOnce(t, c, c.admit, maxReceiving, func() bool { return c.coming.Load() == 0 })
}

func TestWhatWasSeenIsAnsweredSinceATime(t *testing.T) {
	c, _ := newCollector(t, shop)
	c.read(batch{entries: export{export1(plaintext())}, at: now})
	ask := func(method, from string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest(method, traffic.Path+"?"+traffic.From+"="+url.QueryEscape(from), nil))
		return w
	}
	var got traffic.Seen
	must(t, json.Unmarshal(ask(http.MethodGet, now.Format(time.RFC3339Nano)).Body.Bytes(), &got))
	if len(got.Edges) != 1 || got.Edges[0].Client != "legacy/report" || !got.From.Equal(now) {
		t.Errorf("%+v", got)
	}
	if w := ask(http.MethodGet, "yesterday"); w.Code != http.StatusBadRequest {
		t.Errorf("no time is answered with %d", w.Code)
	}
	if w := ask(http.MethodPost, now.Format(time.RFC3339)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered with %d", w.Code)
	}
}

func TestWhatWaitsToBeReadIsNotSaidToBeKnown(t *testing.T) {
	c, _ := newCollector(t, shop)
	c.readers = make([]atomic.Int64, 2)
	early := now.Add(-time.Minute)
	for _, at := range []time.Time{early, now.Add(-time.Second), now} {
		if !c.offer(batch{entries: export{export1(plaintext())}, bytes: 1, at: at}) {
			t.Fatal("it does not fit")
		}
	}
	known := func(what string, want time.Time) {
		t.Helper()
		if got := c.Seen(now.Add(-time.Hour)); !got.To.Equal(want) {
			t.Errorf("%s: it is said to be known until %s", what, got.To)
		}
	}
	c.next(&c.readers[0], nil)
	known("the first is read", early)
	c.next(&c.readers[1], nil)
	known("another one is read meanwhile", early)
	c.readers[1].Store(0)
	known("and is done before", early)
	c.readers[0].Store(0)
	known("both are done", now.Add(-time.Second))
}

func TestARecordIsReadAsInJSON(t *testing.T) {
	istioText := `[2026-03-01T10:00:00.005Z] "POST / HTTP/1.1" 503 UC upstream_reset_before_response_started{connection_termination} - "-" 3 98 12 - "-" "curl/8.5.0" "7b5d" "shop" "10.0.0.3:9080" outbound|9080||details.bookinfo.svc.cluster.local 10.0.0.8:40000 10.96.0.1:9080 10.0.0.8:51000 - default`
	keyValues := &logsv1.LogRecord{Body: &commonv1.AnyValue{Value: &commonv1.AnyValue_KvlistValue{KvlistValue: &commonv1.KeyValueList{Values: plaintext().GetAttributes()}}}}
	numbers := labelled("method", "GET")
	numbers.Attributes = append(numbers.Attributes, &commonv1.KeyValue{Key: "response_code", Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_IntValue{IntValue: 503}}})
	for name, record := range map[string]*logsv1.LogRecord{
		"labels": plaintext(), "Istio's text": {Body: text(istioText)}, "key values": keyValues, "numbers": numbers, "nothing": {}, "another text": {Body: text("it went wrong")},
	} {
		r := export1(record)
		r.ResourceLogs[0].Resource.Attributes = []*commonv1.KeyValue{{Key: "node_name", Value: text("sidecar~10.0.0.8~web.shop~shop.svc.cluster.local")}}
		raw, err := protojson.Marshal(r)
		must(t, err)
		want, errs := accesslog.ParseAll(string(raw))
		each(r, func(got *accesslog.Entry, err error) {
			if (err != nil) != (len(errs) > 0) || err == nil && fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want[0]) {
				t.Errorf("%s: %+v, %v\nin JSON %+v, %v", name, got, err, want, errs)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, r := range []*collectorv1.ExportLogsServiceRequest{
		export1(plaintext()), export1(), {}, export1(labelled("downstream_peer_uri_san", "spiffe://a/ns/b/sa/c", "upstream_cluster", "inbound|9080||", "downstream_local_address", "10.0.0.1:1")),
		export1(labelled("response_flags", "NR", "response_code_details", "filter_chain_not_found", "downstream_local_address", "10.0.0.1:9080")),
		{ResourceLogs: []*logsv1.ResourceLogs{nil, {ScopeLogs: []*logsv1.ScopeLogs{nil, {LogRecords: []*logsv1.LogRecord{nil, {Attributes: []*commonv1.KeyValue{nil}}}}}}}},
	} {
		raw, err := proto.Marshal(r)
		must(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &collectorv1.ExportLogsServiceRequest{}
		if proto.Unmarshal(raw, r) != nil {
			return
		}
		c, _ := newCollector(t, shop)
		c.read(batch{entries: export{r}, at: now})
		var read float64
		for _, result := range []string{"counted", "elsewhere", "aside", "unreadable", "unplaced", overflow, malformed} {
			read += testutil.ToFloat64(c.config.Meters.entries.WithLabelValues(result))
		}
		if int(read) != count(r) {
			t.Errorf("of %d records %g are accounted for", count(r), read)
		}
		for _, e := range c.Seen(now).Edges {
			if len(e.Client) > 400 || len(e.Why) > 200 || e.Services[0] != "shop/cart" && e.Services[0] != "legacy/report" {
				t.Errorf("it keeps %+v", e)
			}
		}
	})
}

// BenchmarkExport sends over gRPC, as several proxies at once.
func BenchmarkExport(b *testing.B) {
	c, _ := newCollector(b, shop)
	client := running(b, c)
	const records = 100
	all := make([]*logsv1.LogRecord, 0, records)
	for range records {
		all = append(all, plaintext())
	}
	r := export1(all...)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := client.Export(b.Context(), r); err != nil {
				b.Error(err)
			}
		}
	})
	eventually(b, "all to be read", func() bool { return c.queued.Load() == 0 })
	counted := testutil.ToFloat64(c.config.Meters.entries.WithLabelValues(string(sighting.Counted)))
	b.ReportMetric(counted/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(100*testutil.ToFloat64(c.config.Meters.entries.WithLabelValues(overflow))/float64(b.N*records), "%lost")
}

func BenchmarkRead(b *testing.B) {
	c, _ := newCollector(b, shop)
	const records = 100
	all := make([]*logsv1.LogRecord, 0, records)
	for range records {
		all = append(all, plaintext())
	}
	raw, err := proto.Marshal(export1(all...))
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		r := &collectorv1.ExportLogsServiceRequest{}
		must(b, proto.Unmarshal(raw, r))
		c.read(batch{entries: export{r}, at: now})
	}
	b.ReportMetric(float64(b.N*records)/b.Elapsed().Seconds(), "entries/s")
}

// admitsAtOnce checks that so many come in at once, that one more is refused and counted as
// lost, and that there is room again when they are gone.
func admitsAtOnce(t *testing.T, c *Collector, admit tap.ServerInHandle, most int, empty func() bool) {
	t.Helper()
	var cancels []context.CancelFunc
	for range most {
		ctx, cancel := context.WithCancel(t.Context())
		cancels = append(cancels, cancel)
		_, err := admit(ctx, nil)
		must(t, err)
	}
	if _, err := admit(t.Context(), nil); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("it is answered with %v", err)
	}
	if got := c.Seen(now); got.Lost != 1 {
		t.Errorf("%d were lost", got.Lost)
	}
	for _, cancel := range cancels {
		cancel()
	}
	eventually(t, "room for others", empty)
}
