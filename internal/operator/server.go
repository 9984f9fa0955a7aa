// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/prometheus"
	"github.com/trellis-mesh/trellis/internal/replica"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/internal/webhook"
)

// serverRegistration is the name of trellis-server's registration.
const serverRegistration = "trellis-server"

// askServer fills in the sources that nobody has given, where there is a trellis-server,
// and adds the keeper of its certificate and registration, which the server may only
// read.
func askServer(m ctrl.Manager, direct client.Client, o *Options) error {
	if o.Prometheus == nil {
		o.Prometheus = stores(o.Clock)
	}
	if o.Tests.Address == "" {
		return nil
	}
	log := o.Log.With("part", "server")
	names := webhook.ServerNames(o.Namespace)
	identity := webhook.NewIdentity(webhook.IdentityConfig{
		Client: direct, Namespace: o.Namespace, Secret: webhook.ServerSecretName, Registration: serverRegistration, Names: names,
		Clock: o.Clock, Random: rand.Reader, Log: log,
	})
	config := verdict.ClientConfig{
		Address: o.Tests.Address, ServerName: names[0], Roots: identity.Roots, Token: o.Tests.Token, Clock: o.Clock, Log: log,
	}
	tests, err := verdict.NewClient(config)
	if err != nil {
		return err
	}
	forecasts, err := verdict.NewForecastClient(config)
	if err != nil {
		return err
	}
	if o.TestSource == nil {
		o.TestSource = tests
	}
	if o.Forecasts == nil {
		o.Forecasts = forecasts
	}
	if o.AccessLogs == nil {
		o.AccessLogs = &verdict.TrafficClient{Config: config, Replicas: replicas(direct, *o)}
	}
	return m.Add(identity)
}

// serverPort is the name of the port of the server's pods where it answers.
const serverPort = "https"

// replicas finds those of trellis-server that run, in order of their names.
func replicas(reader client.Reader, o Options) func(context.Context) ([]verdict.Replica, error) {
	if len(o.Tests.Selector) == 0 {
		host := strings.TrimPrefix(o.Tests.Address, "https://")
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(host, "443")
		}
		return func(context.Context) ([]verdict.Replica, error) {
			return []verdict.Replica{{Name: host, Address: host}}, nil
		}
	}
	return func(ctx context.Context) ([]verdict.Replica, error) {
		pods, err := replica.Running(ctx, reader, o.Namespace, o.Tests.Selector)
		if err != nil {
			return nil, fmt.Errorf("listing its pods in namespace %s: %w", o.Namespace, err)
		}
		var out []verdict.Replica
		for i := range pods {
			pod := &pods[i]
			port, ok := replica.Port(pod, serverPort)
			if !ok {
				return nil, fmt.Errorf("pod %s/%s has no port %s", pod.Namespace, pod.Name, serverPort)
			}
			out = append(out, verdict.Replica{Name: pod.Name, Address: net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port)))})
		}
		return out, nil
	}
}

// store asks a store of metrics about the time until now.
type store struct {
	source *prometheus.Source
	clock  clock.PassiveClock
}

// Seen is what the store knows since a time.
func (s store) Seen(ctx context.Context, from time.Time) (traffic.Seen, error) {
	return s.source.Seen(ctx, from, s.clock.Now())
}

// unusable is a store whose URL is none.
type unusable struct{ err error }

// Seen fails.
func (u unusable) Seen(context.Context, time.Time) (traffic.Seen, error) {
	return traffic.Seen{}, u.err
}

// stores makes what asks a store of metrics, once for each URL, so that connections are
// kept between questions.
func stores(c clock.PassiveClock) func(v1alpha1.PrometheusSource) mutualtlsrollout.Traffic {
	var mu sync.Mutex
	known := map[string]mutualtlsrollout.Traffic{}
	return func(s v1alpha1.PrometheusSource) mutualtlsrollout.Traffic {
		mu.Lock()
		defer mu.Unlock()
		if t, ok := known[s.URL]; ok {
			return t
		}
		source, err := prometheus.New(s.URL, prometheus.Options{})
		if err != nil {
			return unusable{err}
		}
		known[s.URL] = store{source, c}
		return known[s.URL]
	}
}
