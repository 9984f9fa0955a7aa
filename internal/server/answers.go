// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/server/api"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/questions"
	"github.com/trellis-mesh/trellis/internal/server/tally"
	"github.com/trellis-mesh/trellis/internal/server/viewer"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/internal/version"
	"github.com/trellis-mesh/trellis/internal/webhook"
)

// answers adds what answers people and programs to the manager; counts and lost are nil
// where nobody counts.
func answers(m ctrl.Manager, direct client.Client, observer *observe.Observer, runs *runs, identity webhook.Presenter, counts *tally.Tally, lost func() (int64, time.Time), o Options) error {
	keeper := questions.New(questions.Config{State: observer.State, Changed: observer.Changed(), Client: direct, Clock: o.Clock, Log: o.Log.With("part", "questions")})
	config := api.Config{
		Gate: viewer.NewGate(viewer.Cluster{Client: direct}, o.Clock), Cluster: keeper,
		Verdicts: func() []verdict.Application {
			if settled := runs.last.Load(); settled != nil {
				return settled.Applications
			}
			return nil
		},
		Console: o.Console, Repository: o.Repository, Version: version.String(), Clock: o.Clock, Log: o.Log.With("part", "api"),
	}
	if counts != nil {
		config.Store, config.Index, config.Counted = counts.Store(), counts.Index, counts.Follow
		config.Lost, config.Samples = lost, counts.Samples()
	}
	handler, err := api.New(config)
	if err != nil {
		return err
	}
	l := &listener{address: o.APIAddress, handler: handler, identity: identity, log: o.Log.With("part", "api")}
	return errors.Join(m.Add(keeper), m.Add(l), m.AddReadyzCheck("api", func(*http.Request) error {
		if !l.listening.Load() {
			return errors.New("questions are not answered yet")
		}
		return nil
	}))
}

const (
	// maxConnections bounds who is connected at the same time; others wait.
	maxConnections = 1024
	// headerTime, readTime and writeTime are how long a client may take: to say what it
	// asks, to send all of it, and to take the answer. Streams set deadlines of their own.
	headerTime, readTime, writeTime = 5 * time.Second, 30 * time.Second, time.Minute
	// maxHeader is how many bytes its headers may have: a token is the largest of them.
	maxHeader = 64 << 10
)

// listener answers over HTTPS, with whatever the identity's certificate is at the moment.
type listener struct {
	address   string
	handler   http.Handler
	identity  webhook.Presenter
	log       *slog.Logger
	listening atomic.Bool
}

// NeedLeaderElection is false: every replica answers.
func (*listener) NeedLeaderElection() bool { return false }

// Start answers until ctx ends.
func (l *listener) Start(ctx context.Context) error {
	open, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.address)
	if err != nil {
		return fmt.Errorf("listening for questions: %w", err)
	}
	server := &http.Server{
		Handler: l.handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: l.identity.GetCertificate, NextProtos: []string{"h2", "http/1.1"}},
		ErrorLog:  slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
		// Streams end when the server does.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(netutil.LimitListener(open, maxConnections), "", "") }()
	l.listening.Store(true)
	l.log.Info("answering questions", "address", open.Addr().String())
	select {
	case err := <-done:
		return fmt.Errorf("answering questions: %w", err)
	case <-ctx.Done():
	}
	l.listening.Store(false)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return fmt.Errorf("ending answers: %w", errors.Join(err, server.Close()))
	}
	return nil
}
