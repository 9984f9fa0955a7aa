// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package operator puts the operator together: caches, loop, sources of status,
// admission, health and metrics. It is the one constructor that the command, the
// demo and the tests use, and it decides nothing itself.
package operator

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme/caa"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedrecord"
	programmetrics "github.com/trellis-mesh/trellis/internal/controller/metrics"
	"github.com/trellis-mesh/trellis/internal/controller/metrics/objects"
	"github.com/trellis-mesh/trellis/internal/controller/mutualtlsrollout"
	"github.com/trellis-mesh/trellis/internal/controller/openreports"
	"github.com/trellis-mesh/trellis/internal/gather"
	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/probe"
	"github.com/trellis-mesh/trellis/internal/version"
	"github.com/trellis-mesh/trellis/internal/webhook"
)

// Options configure an operator.
type Options struct {
	// Namespace is the operator's own, and ServiceAccount its account.
	Namespace, ServiceAccount string
	// Mesh is what is known of the mesh; Istio's own configuration wins.
	Mesh model.Mesh
	// GatewayNamespaces are where Secrets may be read.
	GatewayNamespaces []string
	// IdentityNamespaces are where DNSProviders may use the cloud identity of the
	// operator's pod; nil for Namespace alone.
	IdentityNamespaces []string
	// Istiod says how the control plane is asked.
	Istiod Istiod
	// Addresses to listen on; empty or "0" for none.
	HealthAddress, MetricsAddress string
	// WebhookAddress is where admission requests are answered; empty for nowhere.
	// WebhookURL is where API servers reach it, when that is not the chart's
	// Service.
	WebhookAddress, WebhookURL string
	// Tests say who runs the tests of Applications; without an address nobody does,
	// and changes come into force at once.
	Tests Tests
	// OpenReports shows how it stands with policies as Reports of openreports.io, where
	// the cluster has them.
	OpenReports bool
	// LeaderElect makes it wait until no other replica works.
	LeaderElect bool
	// Log is required.
	Log *slog.Logger

	// Clock decides when things are due; the real one when nil.
	Clock clock.Clock
	// Authorities reach certificate authorities, and Check looks at a challenge
	// before they do; nil for the real ones.
	Authorities http.RoundTripper
	Check       managedcertificate.Check
	// CAA looks up which authorities may issue for a name; nil for the resolvers of
	// the system, or for nobody where Authorities are not the real ones.
	CAA caa.Resolver
	// Programmed, Prober and TestSource replace the real sources of these conditions.
	Programmed controller.ProgrammedSource
	Prober     controller.Prober
	TestSource controller.TestSource
	// Forecasts, AccessLogs and Prometheus are what MutualTLSRollouts go by: what would
	// become of their stages, and where traffic is seen. Without one of them no stage
	// is made that needs it, and statuses say so.
	Forecasts  mutualtlsrollout.Forecasts
	AccessLogs mutualtlsrollout.Traffic
	Prometheus func(v1alpha1.PrometheusSource) mutualtlsrollout.Traffic
	// Client wraps the client that everything is read and written with.
	Client func(client.WithWatch) client.WithWatch
}

// Tests say how trellis-server is asked what came of tests, what would become of rollouts,
// and what it has seen of traffic.
type Tests struct {
	// Address is https://HOST:PORT of trellis-server; empty: changes do not wait for
	// tests.
	Address string
	// Token proves who asks, for the audience verdict.Audience.
	Token func(context.Context) (string, error)
	// Selector selects the server's pods in the operator's namespace. Where it is empty,
	// the server runs outside of the cluster, and Address is its only replica.
	Selector map[string]string
}

// Istiod says where the control plane is and how to prove who asks.
type Istiod struct {
	Namespace string
	// Selector selects its pods.
	Selector map[string]string
	Port     int32
	// MeshConfigMap is the name of the ConfigMap with the mesh's configuration.
	MeshConfigMap string
	// Token is the operator's for istiod; nil leaves Programmed unknown.
	Token istiod.Token
	// Roots have signed istiod's certificate; nil for those of the ConfigMap
	// istio-ca-root-cert in the operator's namespace.
	Roots istiod.Roots
}

// Run works until the context ends, and then finishes what it has begun.
func Run(ctx context.Context, config *rest.Config, o Options) error {
	config = rest.CopyConfig(config)
	if config.QPS == 0 {
		// The API server's own fairness is the limit, as in all of Kubernetes now.
		config.QPS = -1
	}
	// istiod warns of each EnvoyFilter in the same words.
	config.WarningHandlerWithContext = log.NewKubeAPIWarningLogger(log.KubeAPIWarningLoggerOptions{Deduplicate: true})
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	if o.Client != nil {
		direct = o.Client(direct)
	}
	m, err := newManager(config, scheme, o)
	if err != nil {
		return err
	}
	if err := assemble(m, direct, o, probeKey(ctx, direct, o)); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("running the operator: %w", err)
	}
	return nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering kinds: %w", err)
	}
	return scheme, nil
}

// leaseName is the name of the Lease that the leader holds.
const leaseName = "trellis-operator"

func newManager(config *rest.Config, scheme *runtime.Scheme, o Options) (ctrl.Manager, error) {
	off := func(address string) string {
		if address == "" {
			return "0"
		}
		return address
	}
	graceful := 20 * time.Second
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Logger:                        logr.FromSlogHandler(o.Log.Handler()),
		Metrics:                       metricsserver.Options{BindAddress: off(o.MetricsAddress)},
		HealthProbeBindAddress:        off(o.HealthAddress),
		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &graceful,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the operator: %w", err)
	}
	return m, nil
}

// assemble adds the parts to the manager.
func assemble(m ctrl.Manager, direct client.WithWatch, o Options, key string) error {
	ledger := apply.NewLedger()
	var reports *openreports.Keeper
	if o.OpenReports {
		reports = openreports.NewKeeper(direct, m.GetEventRecorder(leaseName), o.Log.With("part", "reports"))
	}
	watched := gather.New(direct, ledger, gather.Options{
		Mesh: o.Mesh, IstiodNamespace: o.Istiod.Namespace, MeshConfigMap: o.Istiod.MeshConfigMap,
		GatewayNamespaces: o.GatewayNamespaces, ProbeKey: key, Records: o.Tests.Address != "" || o.TestSource != nil, Reports: reports,
		Clock: o.Clock, Log: o.Log.With("part", "gather"),
	})
	if err := askServer(m, direct, &o); err != nil {
		return err
	}
	loop, err := controller.New(controller.Options{
		Cluster: watched, Client: direct, Ledger: ledger, ClusterID: o.Mesh.Cluster,
		Programmed: programmed(direct, o), Prober: prober(o), Tests: o.TestSource, Reports: reports,
		Recorder: m.GetEventRecorder(leaseName), Registry: metrics.Registry,
		Clock: o.Clock, Log: o.Log.With("part", "controller"),
	})
	if err != nil {
		return err
	}
	return errors.Join(
		m.Add(watched),
		loop.SetupWithManager(m),
		programmetrics.Build(metrics.Registry, programmetrics.Operator),
		objects.Register(metrics.Registry, objects.Source{Leading: m.Elected(), Shown: watched.Shown, Cache: m.GetCache()}),
		outside(m, direct, o),
		rollouts(m, direct, o),
		admission(m, direct, watched, o),
		m.AddHealthzCheck("ping", healthz.Ping),
		m.AddReadyzCheck("synced", func(*http.Request) error { return watched.Synced() }),
	)
}

// outside adds the controllers of what is kept outside of the mesh: DNS entries
// and certificates.
func outside(m ctrl.Manager, direct client.Client, o Options) error {
	records, err := managedrecord.New(managedrecord.Options{
		Cache: m.GetCache(), Client: direct, Recorder: m.GetEventRecorder(leaseName), Registry: metrics.Registry,
		Clock: o.Clock, Log: o.Log.With("part", "dns"), IdentityNamespaces: identityNamespaces(o),
	})
	if err != nil {
		return err
	}
	certificates, err := managedcertificate.New(managedcertificate.Options{
		Client: direct, Namespace: o.Namespace, Namespaces: o.GatewayNamespaces, Transport: o.Authorities, Check: o.Check, CAA: resolver(o), UserAgent: leaseName + "/" + version.String(),
		Recorder: m.GetEventRecorder(leaseName), Registry: metrics.Registry, Clock: o.Clock, Log: o.Log.With("part", "certificates"),
	})
	if err != nil {
		return err
	}
	return errors.Join(records.SetupWithManager(m), certificates.SetupWithManager(m))
}

// rollouts adds the controller that moves workloads to mutual TLS only.
func rollouts(m ctrl.Manager, direct client.Client, o Options) error {
	r, err := mutualtlsrollout.New(mutualtlsrollout.Options{
		Client: direct, Forecasts: o.Forecasts, AccessLogs: o.AccessLogs, Prometheus: o.Prometheus,
		Recorder: m.GetEventRecorder(leaseName), Registry: metrics.Registry, Clock: o.Clock, Log: o.Log.With("part", "mutual TLS"),
	})
	if err != nil {
		return err
	}
	return r.SetupWithManager(m)
}

// resolver is nil where nobody can be asked: it only warns.
func resolver(o Options) caa.Resolver {
	if o.CAA != nil || o.Authorities != nil {
		return o.CAA
	}
	system, err := caa.System(caa.SystemConfig)
	if err != nil {
		o.Log.Warn("CAA records are left to certificate authorities", "error", err)
		return nil
	}
	return system
}

// identityNamespaces is the operator's own namespace by default: who may write
// there is the operator already.
func identityNamespaces(o Options) []string {
	if len(o.IdentityNamespaces) == 0 {
		return []string{o.Namespace}
	}
	return o.IdentityNamespaces
}

// registration is the name of the chart's ValidatingWebhookConfiguration.
const registration = "trellis"

// admission adds the webhook, unless it is off.
func admission(m ctrl.Manager, direct client.Client, watched *gather.Gatherer, o Options) error {
	if o.WebhookAddress == "" {
		return nil
	}
	names := webhook.ServiceNames(o.Namespace)
	if o.WebhookURL != "" {
		parsed, err := url.Parse(o.WebhookURL)
		if err != nil || parsed.Hostname() == "" {
			return fmt.Errorf("reading the webhook's URL: %q names no host", o.WebhookURL)
		}
		names = append(names, parsed.Hostname())
	}
	identity := webhook.NewIdentity(webhook.IdentityConfig{
		Client: direct, Namespace: o.Namespace, Registration: registration, Names: names,
		Clock: o.Clock, Random: rand.Reader, Log: o.Log.With("part", "webhook"),
	})
	server, err := webhook.NewServer(o.WebhookAddress, identity, webhook.New(watched.Input))
	if err != nil {
		return err
	}
	return errors.Join(
		m.Add(identity), m.Add(server),
		m.AddReadyzCheck("certificate", identity.Check),
		m.AddReadyzCheck("webhook", server.StartedChecker()),
	)
}

// programmed is nil where there is no token to ask istiod with.
func programmed(direct client.Client, o Options) controller.ProgrammedSource {
	if o.Programmed != nil || o.Istiod.Token == nil {
		return o.Programmed
	}
	fromCluster := istiod.RootsFromConfigMap(direct, o.Namespace)
	roots := func(ctx context.Context) (*x509.CertPool, error) {
		if o.Istiod.Roots == nil {
			return fromCluster(ctx)
		}
		pool, err := o.Istiod.Roots(ctx)
		if errors.Is(err, fs.ErrNotExist) {
			// Nothing is mounted where the operator runs outside of a pod, or
			// began before Istio was there.
			return fromCluster(ctx)
		}
		return pool, err
	}
	return istiod.New(istiod.Config{
		Replicas: istiod.Pods{Reader: direct, Namespace: o.Istiod.Namespace, Selector: o.Istiod.Selector, Port: o.Istiod.Port},
		Roots:    roots, Token: o.Istiod.Token,
		Identity:   istiod.Identity{Namespace: o.Namespace, ServiceAccount: o.ServiceAccount},
		ServerName: "istiod." + o.Istiod.Namespace + ".svc", Cluster: o.Mesh.Cluster,
		Clock: o.Clock,
	})
}

func prober(o Options) controller.Prober {
	if o.Prober != nil {
		return o.Prober
	}
	return probe.New(probe.Config{Clock: o.Clock})
}

// probeKey gets the value of the probe header. Without the right to it there are
// no probes, and statuses say so; everything else works.
func probeKey(ctx context.Context, direct client.Client, o Options) string {
	if o.Namespace == "" {
		return ""
	}
	const patience = 2 * time.Second
	for {
		key, err := probe.EnsureKey(ctx, direct, o.Namespace, rand.Reader)
		if err == nil {
			return key
		}
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			o.Log.Warn("there will be no probes, so Enforced stays Unknown; give the operator the rights of the chart trellis", "error", err)
			return ""
		}
		o.Log.Warn("the API server does not answer yet", "error", err)
		select {
		case <-ctx.Done():
			return ""
		case <-o.Clock.After(patience):
		}
	}
}
