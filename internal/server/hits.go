// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/trellis-mesh/trellis/internal/collect"
	"github.com/trellis-mesh/trellis/internal/collect/counting"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
	"github.com/trellis-mesh/trellis/internal/hits/remote"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/tally"
)

// Hits say where counts of what proxies decided are kept: in a directory, at a server, or
// nowhere (the zero value).
type Hits struct {
	// Dir is a directory that no other process uses. What was seen for rollouts is kept in
	// it, too. Keep is for how long counts stay, and Bytes how many they have at most; zero
	// is as in embedded.Options.
	Dir   string
	Keep  time.Duration
	Bytes int64
	// RemoteURL is a server with Prometheus's API, and RemoteWriteURL where it takes remote
	// writes; Collector is what this process is called there. They are as in remote.Options.
	RemoteURL, RemoteWriteURL, Collector string
}

// check refuses what contradicts itself.
func (h Hits) check(collects bool) error {
	kept := h.Dir != "" || h.RemoteURL != ""
	switch {
	case h.Dir != "" && h.RemoteURL != "":
		return errors.New("counts are kept in a directory or at a server, not in both: give --hits-dir or --hits-remote-url")
	case kept && !collects:
		return errors.New("counts are made of access logs, and none come in: with --hits-dir or --hits-remote-url give --envoy-address, or --collector-address, too")
	case h.RemoteWriteURL != "" && h.RemoteURL == "":
		return errors.New("counts that are written are read, too: with --hits-remote-write-url give --hits-remote-url")
	case h.Dir == "" && (h.Keep != 0 || h.Bytes != 0):
		return errors.New("--hits-keep and --hits-bytes are limits of the store in --hits-dir, which is not given; a server has its own")
	case h.Keep < 0 || h.Bytes < 0:
		return errors.New("--hits-keep and --hits-bytes may not be less than nothing")
	case h.RemoteURL != "" && h.Collector == "":
		return errors.New("a server of counts has to know who writes: give --hits-collector a name that no other replica has")
	}
	return nil
}

// open opens the store; nil: there is to be none.
func (h Hits) open() (tally.Store, error) {
	switch {
	case h.Dir != "":
		store, err := embedded.Open(h.Dir, embedded.Options{Keep: h.Keep, Bytes: h.Bytes})
		if err != nil {
			return nil, err
		}
		return store, tally.Watch(metrics.Registry, store)
	case h.RemoteURL != "":
		store, err := remote.New(remote.Options{URL: h.RemoteURL, Write: h.RemoteWriteURL, Collector: h.Collector})
		if err != nil {
			return nil, fmt.Errorf("preparing the store of counts: %w", err)
		}
		return store, nil
	}
	return nil, nil
}

// collects adds a collector of access logs to the manager, and what counts them where counts
// are kept: the Tally is nil where they are not.
func collects(m ctrl.Manager, observer *observe.Observer, o Options) (*collect.Collector, *tally.Tally, error) {
	meters, err := collect.NewMeters(metrics.Registry)
	if err != nil {
		return nil, nil, err
	}
	counts, err := counter(observer, o)
	if err != nil {
		return nil, nil, err
	}
	// The store has the directory to itself by now.
	config := collect.Config{
		Dir: o.Hits.Dir, Address: o.CollectorAddress, EnvoyAddress: o.EnvoyAddress, Who: func() sighting.Who { return observer.Who(o.Clock.Now()) },
		Limits: sighting.DefaultLimits, Meters: meters, Clock: o.Clock, Log: o.Log.With("part", "collector"),
	}
	if counts != nil {
		config.Each = counts.Each
	}
	collector := collect.New(config)
	ready := m.AddReadyzCheck("collector", func(*http.Request) error {
		if !collector.Listening() {
			return errors.New("proxies are not answered yet")
		}
		return nil
	})
	if counts == nil {
		return collector, nil, errors.Join(ready, m.Add(collector))
	}
	return collector, counts, errors.Join(ready, m.Add(everywhere(func(ctx context.Context) error { return counts.Start(ctx, collector.Start) })),
		m.AddReadyzCheck("hits", func(*http.Request) error { return counts.Known() }))
}

// counter is what counts; nil where counts are kept nowhere.
func counter(observer *observe.Observer, o Options) (*tally.Tally, error) {
	store, err := o.Hits.open()
	if err != nil || store == nil {
		return nil, err
	}
	meters, err := counting.NewMeters(metrics.Registry)
	if err != nil {
		return nil, err
	}
	ticking, ok := o.Clock.(clock.WithTicker)
	if !ok {
		ticking = clock.RealClock{}
	}
	log := o.Log.With("part", "hits")
	tell(log, store)
	return tally.New(tally.Config{
		Store: store, Mesh: observer.Joined, Changed: observer.JoinedChanged(), Meters: meters, Clock: ticking, Log: log,
	}), nil
}

// tell says what a store in a directory has lost, which nobody else knows.
func tell(log *slog.Logger, store tally.Store) {
	kept, ok := store.(*embedded.Store)
	if !ok {
		return
	}
	is := kept.State()
	for _, loss := range is.Losses {
		log.Error("counts are lost", "file", loss.File, "bytes", loss.Bytes, "after", loss.After, "reason", loss.Why)
	}
	log.Info("the store of counts is open", "until", kept.Last(), "bytes", is.Bytes, "keys", is.Keys)
}

// everywhere is a part that every replica runs.
type everywhere func(context.Context) error

// Start runs it.
func (e everywhere) Start(ctx context.Context) error { return e(ctx) }

// NeedLeaderElection is false.
func (everywhere) NeedLeaderElection() bool { return false }
