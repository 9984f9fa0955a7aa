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
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
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

	"github.com/trellis-mesh/trellis/internal/collect"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
	"github.com/trellis-mesh/trellis/internal/server/admit"
	"github.com/trellis-mesh/trellis/internal/server/forecast"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/publish"
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
	// HealthAddress and MetricsAddress; empty or "0" for none.
	HealthAddress, MetricsAddress string
	// Log is required.
	Log *slog.Logger
	// Clock decides when things are due; the real one when nil.
	Clock clock.Clock
}

// Run works until the context ends.
func Run(ctx context.Context, config *rest.Config, o Options) error {
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
		networkv1.AddToScheme(scheme), authenticationv1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme))
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
		Mesh: o.Mesh, IstiodNamespace: o.IstiodNamespace, MeshConfigMap: o.MeshConfigMap, Log: o.Log.With("part", "observe"),
	})
	meters, err := newMeters(metrics.Registry)
	if err != nil {
		return err
	}
	board := publish.NewBoard()
	turn := &sync.Mutex{}
	runs := &runs{observer: observer, changed: observer.Changed(), turn: turn, board: board, meters: meters, clock: o.Clock, log: o.Log.With("part", "runs")}
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
	if o.CollectorAddress != "" {
		collector, err := collects(m, observer, o)
		if err != nil {
			return err
		}
		paths.traffic = guard.Before(collector)
		foresight.Seen = func() *traffic.Seen {
			seen := collector.Seen(o.Clock.Now().Add(-day))
			return &seen
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

// collects adds a collector of access logs to the manager.
func collects(m ctrl.Manager, observer *observe.Observer, o Options) (*collect.Collector, error) {
	meters, err := collect.NewMeters(metrics.Registry)
	if err != nil {
		return nil, err
	}
	collector := collect.New(collect.Config{
		Address: o.CollectorAddress, Who: func() sighting.Who { return observer.Who(o.Clock.Now()) },
		Limits: sighting.DefaultLimits, Meters: meters, Clock: o.Clock, Log: o.Log.With("part", "collector"),
	})
	return collector, errors.Join(m.Add(collector), m.AddReadyzCheck("collector", func(*http.Request) error {
		if !collector.Listening() {
			return errors.New("proxies are not answered yet")
		}
		return nil
	}))
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
