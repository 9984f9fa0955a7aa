// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package tally_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/collect/counting"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
	"github.com/trellis-mesh/trellis/internal/server/tally"
	"github.com/trellis-mesh/trellis/internal/xds"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
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

// cluster is what may be known.
type cluster struct {
	pods    atomic.Int64 // none: nothing has been read
	changed chan struct{}
}

func (c *cluster) mesh() (attribution.Input, error) {
	n := c.pods.Load()
	if n == 0 {
		return attribution.Input{}, errors.New("not everything has been read")
	}
	in := attribution.Input{}
	for i := range n {
		in.Proxies = append(in.Proxies, xds.Node{
			Type: xds.Sidecar, Namespace: "shop", Name: "web-" + string(rune('0'+i)), ServiceAccount: "web", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})},
		})
	}
	return in, nil
}

// called is an entry of the proxy of a pod.
func called(t *testing.T, pod string) *accesslog.Entry {
	t.Helper()
	e, err := accesslog.Parse(`{"authority":"web.shop","downstream_peer_uri_san":"spiffe://cluster.local/ns/jobs/sa/nightly","method":"GET","path":"/x","request_id":"7b5d3f81-6fec-4c5f-8a1b-2c3d40000001","response_code":200,` +
		`"response_code_details":"via_upstream","response_flags":"-","route_name":"default","upstream_cluster":"inbound|8080||;"}`)
	must(t, err)
	e.Writer = accesslog.Writer{Namespace: "shop", Pod: pod}
	return e
}

func TestWhatWasBroughtIsInTheStoreWhenItEnds(t *testing.T) {
	dir := t.TempDir()
	store, err := embedded.Open(dir, embedded.Options{})
	must(t, err)
	registry := prometheus.NewRegistry()
	meters, err := counting.NewMeters(registry)
	must(t, err)
	must(t, tally.Watch(registry, store))
	of := &cluster{changed: make(chan struct{}, 1)}
	counts := tally.New(tally.Config{
		Store: store, Mesh: of.mesh, Changed: of.changed, Meters: meters, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	})
	appended, end := counts.Follow()
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		done <- counts.Start(ctx, func(ctx context.Context) error {
			<-ctx.Done()
			// What is under way when it is to end comes a moment later.
			counts.Each(called(t, "web-1"), time.Now())
			return nil
		})
	}()
	if counts.Known() == nil || counts.Index() != nil {
		t.Error("the mesh is known before it was read")
	}
	of.pods.Store(1)
	eventually(t, "the mesh to be known", func() bool { return counts.Known() == nil })
	counts.Each(called(t, "web-0"), time.Now())
	known := func(pod string) bool {
		of := counts.Index().Of(called(t, pod))
		return of.Outcome == attribution.Attributed
	}
	if known("web-1") {
		t.Error("a pod is known that is not there")
	}
	of.pods.Store(2)
	of.changed <- struct{}{}
	eventually(t, "another pod to be known", func() bool { return known("web-1") })
	cancel()
	must(t, <-done)
	select {
	case <-appended:
	default:
		t.Error("nobody was told of what was appended")
	}
	store, err = embedded.Open(dir, embedded.Options{})
	must(t, err)
	samples, err := store.Samples()
	must(t, err)
	if len(samples) != 1 || samples[0].Peer != "jobs/nightly" || samples[0].Method != "GET" || samples[0].Code != 200 || samples[0].ID != "7b5d3f81-6fec-4c5f-8a1b-2c3d40000001" {
		t.Errorf("the examples are %+v", samples)
	}
	totals, err := store.Sum(t.Context(), hits.Filter{}, began, time.Now())
	must(t, err)
	if len(totals) != 1 || totals[0].N != 2 || totals[0].Peer != "jobs/nightly" {
		t.Errorf("the store has %+v", totals)
	}
	must(t, tally.Watch(registry, store))
	const want = `
# HELP trellis_hits_store_keys What the store of counts keeps apart.
# TYPE trellis_hits_store_keys gauge
trellis_hits_store_keys 1
# HELP trellis_hits_store_losses Losses of the store of counts since it was opened, of files that were damaged or that there was no room for; the last hundred.
# TYPE trellis_hits_store_losses gauge
trellis_hits_store_losses 0
# HELP trellis_hits_store_segments Files of the store of counts.
# TYPE trellis_hits_store_segments gauge
trellis_hits_store_segments 1
# HELP trellis_hits_store_untidy 1: the store of counts could not tidy up, and takes counts all the same.
# TYPE trellis_hits_store_untidy gauge
trellis_hits_store_untidy 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "trellis_hits_store_keys", "trellis_hits_store_losses", "trellis_hits_store_segments", "trellis_hits_store_untidy"); err != nil {
		t.Error(err)
	}
	must(t, store.Close())
}

func TestExamplesOfTheProcessBeforeAreThere(t *testing.T) {
	for name, test := range map[string]struct {
		damage string
		want   int
	}{"as they were kept": {"", 1}, "a damaged file": {"[{", 0}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store, err := embedded.Open(dir, embedded.Options{})
			must(t, err)
			at := time.Now().Add(-time.Minute)
			must(t, store.KeepSamples([]hits.Sample{hits.NewSample(hits.Key{Namespace: "shop", Place: hits.Gateway, Verdict: hits.Denied}, at, "GET", 403, "", "7b5d3f81-6fec-4c5f-8a1b-2c3d40000001")}))
			if test.damage != "" {
				must(t, os.WriteFile(filepath.Join(dir, "samples.json"), []byte(test.damage), 0o600))
			}
			meters, err := counting.NewMeters(prometheus.NewRegistry())
			must(t, err)
			of := &cluster{changed: make(chan struct{}, 1)}
			counts := tally.New(tally.Config{
				Store: store, Mesh: of.mesh, Changed: of.changed, Meters: meters, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
			})
			must(t, counts.Start(t.Context(), func(context.Context) error {
				if got := counts.Samples().All(hits.Filter{}, at.Add(-time.Second), time.Now()); len(got) != test.want {
					t.Errorf("there are %+v", got)
				}
				return nil
			}))
		})
	}
}
