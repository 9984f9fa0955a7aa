// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package server puts trellis-server together: caches of a cluster, the runs of
// tests, admission, the collector of access logs, what the operator asks for, health and metrics. It is the one
// constructor that the command and the tests use.
//
// The server holds no right to write anything, and whatever it says is put in force
// by the operator alone. While it is away, enforcement goes on as it was.
package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	programmetrics "github.com/trellis-mesh/trellis/internal/controller/metrics"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/admit"
	"github.com/trellis-mesh/trellis/internal/server/forecast"
	"github.com/trellis-mesh/trellis/internal/server/meters"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/publish"
	"github.com/trellis-mesh/trellis/internal/server/tally"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/internal/webhook"
)

// Options configure a server.
type Options struct {
	// Namespace is the server's own and the operator's, whose account is
	// OperatorAccount.
	Namespace, OperatorAccount string
	// Mesh is what is known of the mesh; Istio's own configuration wins.
	Mesh model.Mesh
	// IstiodNamespace and MeshConfigMap name Istio's mesh configuration.
	IstiodNamespace, MeshConfigMap string
	// Address is where HTTPS is answered, HOST:PORT; required.
	Address string
	// CollectorAddress is where proxies send access logs by OTLP (gRPC), HOST:PORT; empty
	// for nowhere.
	CollectorAddress string
	// EnvoyAddress is where proxies send access logs by Envoy's own access log service (gRPC),
	// HOST:PORT; empty for nowhere.
	EnvoyAddress string
	// Hits say where counts of what proxies decided are kept.
	Hits Hits
	// APIAddress is where questions are answered and the console is served over HTTPS,
	// HOST:PORT; empty for nowhere.
	APIAddress string
	// Console are the files of the console; nil for none.
	Console fs.FS
	// Repository makes the address of a file in Git of its path, in the place of {path}.
	Repository string
	// HealthAddress and MetricsAddress; empty or "0" for none.
	HealthAddress, MetricsAddress string
	// Log is required.
	Log *slog.Logger
	// Clock decides when things are due; the real one when nil.
	Clock clock.Clock
}

// Check refuses options that contradict each other.
func (o Options) Check() error { return o.Hits.check(o.collects()) }

// collects reports whether access logs come in.
func (o Options) collects() bool { return o.CollectorAddress != "" || o.EnvoyAddress != "" }

// Run works until the context ends.
func Run(ctx context.Context, config *rest.Config, o Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	if config.QPS == 0 {
		// The API server's own fairness is the limit, as in all of Kubernetes now.
		config.QPS = -1
	}
	config.WarningHandlerWithContext = log.NewKubeAPIWarningLogger(log.KubeAPIWarningLoggerOptions{Deduplicate: true})
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	// What panics in a goroutine of Istio's caches is logged there and ends that
	// goroutine: objects that are too odd must not end the server.
	utilruntime.ReallyCrash = false
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	off := func(address string) string {
		if address == "" {
			return "0"
		}
		return address
	}
	graceful := 10 * time.Second
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Logger: logr.FromSlogHandler(o.Log.Handler()),
		Metrics:                 metricsserver.Options{BindAddress: off(o.MetricsAddress)},
		HealthProbeBindAddress:  off(o.HealthAddress),
		GracefulShutdownTimeout: &graceful,
	})
	if err != nil {
		return fmt.Errorf("preparing the server: %w", err)
	}
	if err := assemble(m, direct, o); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("running the server: %w", err)
	}
	return nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	err := errors.Join(load.AddToScheme(scheme), appsv1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme),
		networkv1.AddToScheme(scheme), authenticationv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme))
	if err != nil {
		return nil, fmt.Errorf("registering kinds: %w", err)
	}
	return scheme, nil
}

// day is how long back traffic says who depends on whom.
const day = 24 * time.Hour

// assemble adds the parts to the manager.
func assemble(m ctrl.Manager, direct client.WithWatch, o Options) error {
	observer := observe.New(direct, observe.Options{
		Mesh: o.Mesh, IstiodNamespace: o.IstiodNamespace, MeshConfigMap: o.MeshConfigMap, Clock: o.Clock, Log: o.Log.With("part", "observe"),
	})
	testRuns, err := meters.NewRuns(metrics.Registry)
	if err := errors.Join(err, programmetrics.Build(metrics.Registry, programmetrics.Server)); err != nil {
		return err
	}
	board := publish.NewBoard()
	turn := &sync.Mutex{}
	runs := &runs{observer: observer, changed: observer.Changed(), turn: turn, board: board, meters: testRuns, clock: o.Clock, log: o.Log.With("part", "runs")}
	foreseen := publish.NewBoard()
	foresight := forecast.Config{State: observer.State, Changed: observer.Changed(), Board: foreseen, Turn: turn, Clock: o.Clock, Log: o.Log.With("part", "forecast")}
	identity := webhook.NewReader(webhook.ReaderConfig{
		Client: direct, Namespace: o.Namespace, Secret: webhook.ServerSecretName, Clock: o.Clock, Log: o.Log.With("part", "certificate"),
	})
	guard := publish.NewGuard(publish.GuardConfig{
		Client: direct, User: "system:serviceaccount:" + o.Namespace + ":" + o.OperatorAccount, Clock: o.Clock, Log: o.Log.With("part", "guard"),
	})
	verdicts := publish.NewHandler(publish.Config{Board: board, Guard: guard, Clock: o.Clock, Log: o.Log.With("part", "verdicts")})
	forecasts := publish.NewHandler(publish.Config{Board: foreseen, Guard: guard, Clock: o.Clock, Log: o.Log.With("part", "forecasts")})
	paths := paths{
		admission: admit.New(admit.Config{State: observer.State, Settled: runs.last.Load, Clock: o.Clock, Log: o.Log.With("part", "admission")}),
		verdicts:  verdicts,
		forecasts: forecasts,
	}
	var counts *tally.Tally
	var lost func() (int64, time.Time)
	if o.collects() {
		collector, counted, err := collects(m, observer, o)
		if err != nil {
			return err
		}
		counts, lost = counted, collector.Lost
		paths.traffic = guard.Before(collector)
		foresight.Seen = func() *traffic.Seen {
			seen := collector.Seen(o.Clock.Now().Add(-day))
			return &seen
		}
	}
	if o.APIAddress != "" {
		if err := answers(m, direct, observer, runs, identity, counts, lost, o); err != nil {
			return err
		}
	}
	forecaster := forecast.New(foresight)
	endpoint, err := webhook.NewServer(o.Address, identity, paths)
	if err != nil {
		return err
	}
	return errors.Join(
		m.Add(observer), m.Add(runs), m.Add(verdicts), m.Add(forecaster), m.Add(forecasts), m.Add(identity), m.Add(endpoint),
		m.AddHealthzCheck("ping", healthz.Ping),
		m.AddReadyzCheck("synced", func(*http.Request) error { return observer.Synced() }),
		m.AddReadyzCheck("certificate", identity.Check),
		m.AddReadyzCheck("endpoint", endpoint.StartedChecker()),
	)
}

// paths are what is answered over HTTPS. Traffic is nil without a collector.
type paths struct {
	admission                    admission.Handler
	verdicts, forecasts, traffic http.Handler
}

// Register implements webhook.Registrant.
func (p paths) Register(server webhook.Registrar) {
	for _, path := range []string{admit.PathApplication, admit.PathSecureIngress} {
		server.Register(path, &admission.Webhook{Handler: p.admission})
	}
	server.Register(verdict.Path, p.verdicts)
	server.Register(verdict.RolloutPath, p.forecasts)
	if p.traffic != nil {
		server.Register(traffic.Path, p.traffic)
	}
}
