// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package rollout holds the end-to-end tests of MutualTLSRollouts: operator and
// trellis-server with the rights of the chart and no others, on a real mesh whose proxies
// send their access logs, under load that counts what fails.
package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/docs"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

const (
	// system is the namespace of operator and server.
	system = installation.Namespace
)

// mesh is a real mesh with an operator and a server.
type mesh struct {
	*stack.Stack
	t      *testing.T
	client client.Client
	// server is where trellis-server answers, collector where it takes logs, and kept where
	// it keeps what it has seen. Stop ends it.
	server, collector, kept string
	stop                    func()
}

func begin(t *testing.T) *mesh {
	t.Helper()
	log.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m := &mesh{t: t, server: loopback.Unused(t), collector: loopback.Unused(t), kept: t.TempDir()}
	config, err := docs.MeshConfig(docs.Rollouts)
	must(t, err)
	m.Stack, err = stack.Start(ctx, stack.Options{OwnAddresses: true, MeshConfig: config})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			m.KeepFiles()
			t.Log("logs are in", m.Logs())
		}
		m.Stop()
	})
	scheme := runtime.NewScheme()
	must(t, errors.Join(clientgoscheme.AddToScheme(scheme), securityv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	m.client, err = client.New(m.Config(), client.Options{Scheme: scheme})
	must(t, err)
	for _, namespace := range []string{system, "istio-ingress"} {
		must(t, m.Namespace(ctx, namespace, nil))
	}
	must(t, m.InstallTrellisCRDs(ctx))
	must(t, installation.Apply(ctx, m.Stack, m.server, "rbac", "serviceaccount", "server"))
	m.listen(ctx)
	m.serve(ctx)
	m.operate(ctx)
	return m
}

// listen makes a workload by which proxies find the collector.
func (m *mesh) listen(ctx context.Context) {
	_, err := m.Application(ctx, stack.ApplicationOptions{
		Namespace: system, Name: "trellis-server", NoSidecar: true,
		Ports: []stack.Port{{Name: "grpc-otlp", Port: 4317, Protocol: "grpc", Conn: m.handOn}},
	})
	must(m.t, err)
}

// handOn is what the network does with a connection to the collector.
func (m *mesh) handOn(from net.Conn) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", m.collector)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}

func (m *mesh) log(part string) *slog.Logger {
	return slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("program", part)
}

// serve runs trellis-server with the rights of the chart.
func (m *mesh) serve(ctx context.Context) {
	options := installation.ServerOptions(m.server)
	options.CollectorAddress, options.Hits.Dir, options.Log = m.collector, m.kept, m.log("server")
	stop, err := installation.RunServer(ctx, m.Stack, options)
	must(m.t, err)
	m.stop = func() { must(m.t, stop()) }
	m.t.Cleanup(m.stop)
}

// operate runs the operator with the rights of the chart.
func (m *mesh) operate(ctx context.Context) {
	options := installation.OperatorOptions()
	options.Log = m.log("operator")
	var err error
	options.Tests, err = installation.Tests(ctx, m.Stack, m.server)
	must(m.t, err)
	stop, err := installation.RunOperator(ctx, m.Stack, options)
	must(m.t, err)
	m.t.Cleanup(func() { must(m.t, stop()) })
}

// application runs a workload; one of namespace legacy has no proxy.
func (m *mesh) application(namespace, name string) *stack.Application {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	must(m.t, m.Namespace(ctx, namespace, nil))
	a, err := m.Application(ctx, stack.ApplicationOptions{Namespace: namespace, Name: name, NoSidecar: namespace == "legacy"})
	must(m.t, err)
	return a
}

// until waits.
func (m *mesh) until(what string, patience time.Duration, check func(context.Context) error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	must(m.t, stack.Until(ctx, what, check))
}

// rollout begins one over a namespace.
func (m *mesh) rollout(namespace string, window, soak time.Duration) {
	m.t.Helper()
	r := &v1alpha1.MutualTLSRollout{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	r.Spec.Namespaces.Names = []string{namespace}
	r.Spec.Observation = v1alpha1.RolloutObservation{
		Source: v1alpha1.ObservationSource{AccessLogs: &v1alpha1.AccessLogSource{}},
		Window: metav1.Duration{Duration: window}, Soak: metav1.Duration{Duration: soak},
	}
	must(m.t, m.client.Create(m.t.Context(), r))
}

// status is that of a rollout.
func (m *mesh) status(name string) v1alpha1.MutualTLSRolloutStatus {
	m.t.Helper()
	r := &v1alpha1.MutualTLSRollout{}
	must(m.t, m.client.Get(m.t.Context(), client.ObjectKey{Name: name}, r))
	return r.Status
}

// told is a status for people who read a failed test.
func told(s v1alpha1.MutualTLSRolloutStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", s.Phase, s.Done, s.Stage)
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "\n%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, stage := range s.Stages {
		fmt.Fprintf(&b, "\n%s %s %s", stage.Name, stage.Phase, stage.PeerAuthentication)
		for _, block := range stage.Blocks {
			fmt.Fprintf(&b, "\n  %s %s: %s", block.Reason, block.Client, block.Message)
		}
	}
	return b.String()
}

// becomes waits until a rollout is in a phase.
func (m *mesh) becomes(name string, phase v1alpha1.RolloutPhase, patience time.Duration) v1alpha1.MutualTLSRolloutStatus {
	m.t.Helper()
	m.until(fmt.Sprintf("rollout %s to be %s", name, phase), patience, func(context.Context) error {
		if s := m.status(name); s.Phase != phase {
			return errors.New(told(s))
		}
		return nil
	})
	return m.status(name)
}

// stays watches that a rollout remains in a phase.
func (m *mesh) stays(name string, phase v1alpha1.RolloutPhase, long time.Duration) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), long)
	defer cancel()
	for ticker := time.NewTicker(200 * time.Millisecond); ctx.Err() == nil; <-ticker.C {
		if s := m.status(name); s.Phase != phase {
			m.t.Fatalf("it does not stay %s: %s", phase, told(s))
		}
	}
}

// annotate says something to a controller.
func (m *mesh) annotate(name, annotation, text string) error {
	r := &v1alpha1.MutualTLSRollout{ObjectMeta: metav1.ObjectMeta{Name: name}}
	return m.client.Patch(m.t.Context(), r, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata": {"annotations": {%q: %q}}}`, annotation, text)))
}

// mode is what a workload's own PeerAuthentication says, empty where it has none.
func (m *mesh) mode(namespace, name string) string {
	m.t.Helper()
	p := &securityv1.PeerAuthentication{}
	err := m.client.Get(m.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, p)
	if client.IgnoreNotFound(err) != nil {
		must(m.t, err)
	}
	if err != nil {
		return ""
	}
	return p.Spec.GetMtls().GetMode().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
