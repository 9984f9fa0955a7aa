// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	testclock "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

// kept is a directory, and whoever collects there one after the other.
type kept struct {
	*testing.T
	dir   string
	clock *testclock.FakeClock
	log   bytes.Buffer
}

func newKept(t *testing.T) *kept {
	return &kept{T: t, dir: t.TempDir(), clock: testclock.NewFakeClock(now)}
}

// collector is one that goes on in the directory.
func (k *kept) collector() *Collector {
	k.Helper()
	meters, err := NewMeters(prometheus.NewRegistry())
	must(k, err)
	return New(Config{
		Who: func() sighting.Who { return shop }, Limits: sighting.DefaultLimits, Meters: meters, Clock: k.clock, Dir: k.dir,
		Log: slog.New(slog.NewTextHandler(&k.log, nil)),
	})
}

// start has one collect until it is ended, which is in order.
func (k *kept) start() (c *Collector, end func()) {
	k.Helper()
	c = k.collector()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(k, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, listener) }()
	// What keeps waits for its time, too.
	eventually(k, "the collector", func() bool { return c.Listening() && k.clock.HasWaiters() })
	return c, func() {
		cancel()
		must(k, <-done)
	}
}

// calls are calls in plaintext that were read.
func (k *kept) calls(c *Collector, n int) {
	k.Helper()
	for range n {
		_, err := c.Export(k.Context(), export1(plaintext()))
		must(k, err)
	}
	eventually(k, "what came to be read", func() bool { return c.queued.Load() == 0 })
}

// passes lets so much time pass that it is written.
func (k *kept) passes(c *Collector) {
	k.Helper()
	before := k.state()
	k.clock.Step(keeping)
	eventually(k, "what was seen to be written", func() bool { return !bytes.Equal(before, k.state()) && k.clock.HasWaiters() })
}

func (k *kept) state() []byte {
	raw, err := os.ReadFile(filepath.Join(k.dir, stateName))
	if err != nil && !os.IsNotExist(err) {
		k.Fatal(err)
	}
	return raw
}

// saw checks how many calls in plaintext were seen, and when it was watched before.
func (k *kept) saw(c *Collector, plaintext uint64, before ...traffic.Interval) {
	k.Helper()
	got := c.Seen(now.Add(-time.Hour))
	var n uint64
	for _, e := range got.Edges {
		n += e.Plaintext
	}
	if n != plaintext || !reflect.DeepEqual(got.Before, before) {
		k.Errorf("%d calls, watched in %v and since %s; want %d and %v", n, got.Before, got.From, plaintext, before)
	}
}

func TestACollectorThatIsEndedInOrderLosesNothing(t *testing.T) {
	k := newKept(t)
	c, end := k.start()
	k.clock.Step(3 * time.Second)
	k.calls(c, 5)
	end()
	k.clock.Step(20 * time.Second)
	c, end = k.start()
	defer end()
	k.saw(c, 5, traffic.Interval{From: now, To: now.Add(3*time.Second - underway)})
	if got := c.Seen(now); !got.From.Equal(now.Add(23*time.Second)) || !got.Edges[0].LastPlaintext.Equal(now.Add(3*time.Second)) {
		t.Errorf("%+v", got)
	}
}

func TestACollectorThatIsKilledClaimsNothingThatItHasNotWritten(t *testing.T) {
	k := newKept(t)
	killed, end := k.start()
	defer end()
	k.calls(killed, 5)
	k.passes(killed)
	k.clock.Step(keeping - time.Second)
	k.calls(killed, 7) // which nobody has written when it is killed
	state := k.state()
	// The killed one writes no more here.
	k.dir, k.clock = t.TempDir(), testclock.NewFakeClock(k.clock.Now().Add(500*time.Millisecond))
	must(t, os.WriteFile(filepath.Join(k.dir, stateName), state, 0o600))
	c, end2 := k.start()
	k.saw(c, 5, traffic.Interval{From: now, To: now.Add(keeping - underway)})
	if got := c.Seen(now).From; !got.Equal(k.clock.Now()) {
		t.Errorf("nothing is missed since %s", got)
	}
	k.calls(c, 1)
	k.passes(c)
	end2()
	k.saw(k.collector(), 6, traffic.Interval{From: now, To: now.Add(keeping - underway)}, traffic.Interval{From: now.Add(2*keeping - 500*time.Millisecond), To: now.Add(3*keeping - 500*time.Millisecond - underway)})
}

func TestWhatCannotBeReadIsSetAsideAndSaid(t *testing.T) {
	k := newKept(t)
	c, end := k.start()
	k.calls(c, 5)
	end()
	raw := k.state()
	raw[len(raw)/2] ^= 1
	for name, broken := range map[string][]byte{"is damaged": raw, "is another's": []byte("{}"), "is newer": []byte("Trellis sightings, form 999\nwith something")} {
		must(t, os.WriteFile(filepath.Join(k.dir, stateName), broken, 0o600))
		k.log.Reset()
		k.saw(k.collector(), 0)
		aside, err := os.ReadFile(filepath.Join(k.dir, asideName))
		if err != nil || !bytes.Equal(aside, broken) || k.state() != nil {
			t.Errorf("a file that %s is not set aside: %v", name, err)
		}
		if !strings.Contains(k.log.String(), "is lost") || !strings.Contains(k.log.String(), asideName) {
			t.Errorf("of a file that %s it says %q", name, k.log.String())
		}
	}
	c, end = k.start()
	k.calls(c, 1)
	end()
	k.saw(k.collector(), 1)
}

func TestWhatCannotBeWrittenIsSaid(t *testing.T) {
	k := newKept(t)
	c := k.collector()
	must(t, os.Mkdir(filepath.Join(k.dir, stateName), 0o700))
	c.save(now)
	if !strings.Contains(k.log.String(), "is not kept") {
		t.Errorf("it says %q", k.log.String())
	}
	k.saw(c, 0)
}

func TestWithoutADirectoryNothingIsWritten(t *testing.T) {
	k := newKept(t)
	dir := k.dir
	k.dir = ""
	c := k.collector()
	c.save(now)
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) > 0 {
		t.Errorf("there is %v", entries)
	}
}
