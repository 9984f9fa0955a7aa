// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package counting_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	testclock "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/collect/counting"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
	"github.com/trellis-mesh/trellis/internal/xds"
)

var noon = time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)

// every is how often a Counter appends.
const every = 10 * time.Second

// called is an entry of the proxy of shop/web, which an account called.
func called(t *testing.T, account string) *accesslog.Entry {
	t.Helper()
	e, err := accesslog.Parse(fmt.Sprintf(`{"authority":"web.shop.svc.cluster.local","downstream_local_address":"10.0.0.1:8080",`+
		`"downstream_peer_uri_san":"spiffe://cluster.local/ns/jobs/sa/%s","downstream_remote_address":"10.0.1.1:35530","method":"GET","path":"/api/x",`+
		`"response_code":200,"response_code_details":"via_upstream","response_flags":"-","route_name":"default","upstream_cluster":"inbound|8080||;"}`, account))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// mesh knows one workload, which nobody states anything of.
func mesh() *attribution.Index {
	return attribution.New(attribution.Input{Proxies: []xds.Node{{
		Type: xds.Sidecar, Namespace: "shop", Name: "web-1", ServiceAccount: "web", Labels: map[string]string{"app": "web"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	}}})
}

// faulty is a store that may not answer, or answer too late.
type faulty struct {
	hits.Store
	mu sync.Mutex
	// fails is what is answered next, whether the counts were added or not.
	fails error
	added bool
	done  chan struct{}
}

func (f *faulty) Append(ctx context.Context, ran hits.Interval, counts []hits.Count) error {
	f.mu.Lock()
	defer func() { f.mu.Unlock(); f.done <- struct{}{} }()
	if f.fails != nil && !f.added {
		return f.fails
	}
	if err := f.Store.Append(ctx, ran, counts); err != nil {
		return err
	}
	return f.fails
}

func (f *faulty) answer(err error, added bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails, f.added = err, added
}

type world struct {
	*testing.T
	clock    *testclock.FakeClock
	store    *faulty
	counter  *counting.Counter
	registry *prometheus.Registry
	appended atomic.Int64
	stop     func()
}

// start makes a counter over a store in a directory and runs it.
func start(t *testing.T, dir string, at time.Time) *world {
	t.Helper()
	store, err := embedded.Open(dir, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, clock: testclock.NewFakeClock(at), store: &faulty{Store: store, done: make(chan struct{}, 16)}, registry: prometheus.NewRegistry()}
	meters, err := counting.NewMeters(w.registry)
	if err != nil {
		t.Fatal(err)
	}
	w.counter = counting.New(counting.Config{Store: w.store, Appended: func() { w.appended.Add(1) }, Meters: meters, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		if err := w.counter.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	w.stop = sync.OnceFunc(func() {
		cancel()
		work.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// tick lets the counter append, and waits until the store has answered.
func (w *world) tick() {
	w.Helper()
	for !w.clock.HasWaiters() {
	}
	w.clock.Step(every)
	<-w.store.done
}

// count counts requests of an account.
func (w *world) count(account string, n int) {
	w.Helper()
	for range n {
		w.counter.Each(called(w.T, account), w.clock.Now())
	}
}

// has checks what the store has, by peer.
func (w *world) has(want map[string]uint64) {
	w.Helper()
	totals, err := w.store.Sum(w.Context(), hits.Filter{}, noon.Add(-time.Hour), noon.Add(24*time.Hour))
	if err != nil {
		w.Fatal(err)
	}
	got := map[string]uint64{}
	for _, total := range totals {
		if total.Namespace != "shop" || total.Place != hits.Workload || total.Verdict != hits.Allowed {
			w.Errorf("counted: %+v", total)
		}
		got[total.Peer] += total.N
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("the store has %v, want %v", got, want)
	}
}

func TestEveryEntryIsCountedOnceAlsoWhereTheStoreFailsForAWhile(t *testing.T) {
	w := start(t, t.TempDir(), noon)
	w.count("early", 3)
	w.clock.Step(time.Second)
	w.counter.Use(mesh())
	w.count("nightly", 5)
	w.tick()
	w.has(map[string]uint64{"jobs/nightly": 5})
	// What came before anything was known is a gap.
	if ran, err := w.store.Ran(t.Context(), noon, noon.Add(time.Hour)); err != nil || len(ran) != 1 || !ran[0].From.Equal(noon.Add(time.Second)) {
		t.Errorf("it ran %v, %v", ran, err)
	}

	w.store.answer(errors.New("away"), false)
	w.count("nightly", 7)
	w.tick()
	w.count("daily", 2)
	w.tick()
	w.has(map[string]uint64{"jobs/nightly": 5})
	w.store.answer(nil, false)
	w.tick()
	<-w.store.done
	w.has(map[string]uint64{"jobs/nightly": 12, "jobs/daily": 2})
	// The store has answered a moment before the counter says so.
	for w.appended.Load() < 3 {
	}
	if got := metric(t, w.registry, "trellis_hits_kept_total"); got != 14 || w.appended.Load() != 3 {
		t.Errorf("%v are said to be kept, in %d appends", got, w.appended.Load())
	}
}

func TestWhatIsNotKnownIsCountedAsSuch(t *testing.T) {
	w := start(t, t.TempDir(), noon)
	w.count("early", 3)
	w.counter.Use(attribution.New(attribution.Input{}))
	w.count("nightly", 2)
	w.counter.Use(mesh())
	w.count("nightly", 1)
	w.tick()
	w.has(map[string]uint64{"jobs/nightly": 1})
	for result, want := range map[string]float64{"MeshUnknown": 3, string(attribution.WriterUnknown): 2, string(attribution.Attributed): 1} {
		if got := metric(t, w.registry, "trellis_hits_entries_total", result); got != want {
			t.Errorf("%s: %v entries, want %v", result, got, want)
		}
	}
}

// metric is the value of a counter, of which a label has the value.
func metric(t *testing.T, registry *prometheus.Registry, name string, label ...string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestACollectorThatWasAwayLeavesAGap(t *testing.T) {
	dir := t.TempDir()
	w := start(t, dir, noon)
	w.counter.Use(mesh())
	w.count("nightly", 4)
	w.tick()
	w.clock.Step(time.Second)
	w.count("nightly", 2)
	w.stop()

	w = start(t, dir, noon.Add(time.Minute))
	w.counter.Use(mesh())
	w.count("nightly", 1)
	w.tick()
	w.has(map[string]uint64{"jobs/nightly": 7})
	ran, err := w.store.Ran(t.Context(), noon, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := []hits.Interval{{From: noon, To: noon.Add(11 * time.Second)}, {From: noon.Add(time.Minute), To: noon.Add(70 * time.Second)}}
	if len(ran) != 2 || !ran[0].To.Equal(want[0].To) || !ran[1].From.Equal(want[1].From) || !ran[1].To.Equal(want[1].To) {
		t.Errorf("it ran %v, want %v", ran, want)
	}
}

func TestEntriesOfProxiesWithOddClocksAreOfTheTimeAtWhichTheyCame(t *testing.T) {
	w := start(t, t.TempDir(), noon)
	w.counter.Use(mesh())
	for _, began := range []time.Time{{}, noon.AddDate(-40, 0, 0), noon.AddDate(900, 0, 0)} {
		e := called(t, "nightly")
		e.Start = began
		w.counter.Each(e, noon.Add(time.Second))
	}
	w.tick()
	totals, err := w.store.Sum(t.Context(), hits.Filter{}, noon, noon.Add(every))
	if err != nil || len(totals) != 1 || totals[0].N != 3 || !totals[0].Last.Equal(noon.Add(time.Second)) || !totals[0].First.Equal(totals[0].Last) {
		t.Errorf("the store has %+v, %v", totals, err)
	}
}

func TestPathsHostsAndHeadersMakeNoKeys(t *testing.T) {
	w := start(t, t.TempDir(), noon)
	w.counter.Use(mesh())
	e := called(t, "nightly")
	const paths = 1_000_000
	for i := range paths {
		e.Path, e.Authority, e.RequestID = "/"+strconv.Itoa(i), strconv.Itoa(i)+".example.com", strconv.Itoa(i)
		w.counter.Each(e, noon)
	}
	e.Path, e.ForwardedFor = "/"+strings.Repeat("x", 1<<20), strings.Repeat("y", 1<<20)
	w.counter.Each(e, noon)
	w.tick()
	w.has(map[string]uint64{"jobs/nightly": paths + 1})
}

func TestPeersThatAreMadeUpTakeNoMemory(t *testing.T) {
	w := start(t, t.TempDir(), noon)
	w.counter.Use(mesh())
	const peers = hits.DefaultKeys + 1000
	for i := range peers {
		w.counter.Each(called(t, fmt.Sprintf("made-up-%d", i)), noon)
	}
	w.tick()
	totals, err := w.store.Sum(t.Context(), hits.Filter{}, noon.Add(-time.Hour), noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var sum, others uint64
	for _, total := range totals {
		sum += total.N
		if total.Peer == hits.Other {
			others += total.N
		}
	}
	if sum != peers || others != 1000 {
		t.Errorf("%d requests, %d of them of others, in %d keys", sum, others, len(totals))
	}
}

func TestCountsThatTheStoreRefusesAreLostAndSaidToBe(t *testing.T) {
	w := start(t, t.TempDir(), noon)
	w.counter.Use(mesh())
	w.store.answer(hits.ErrRefused, false)
	w.count("nightly", 3)
	w.tick()
	w.store.answer(nil, false)
	w.count("nightly", 1)
	w.tick()
	w.has(map[string]uint64{"jobs/nightly": 1})
	if got := metric(t, w.registry, "trellis_hits_lost_total"); got != 3 {
		t.Errorf("%v requests are said to be lost, want 3", got)
	}
}
