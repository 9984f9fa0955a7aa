// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package certificates holds the end-to-end tests of DNS entries and certificates:
// the operator with the rights of the chart and no others on a real mesh, a real
// certificate authority, and a name server that takes updates.
package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	operatorNamespace = installation.Namespace
	ingressNamespace  = "istio-ingress"
	account           = installation.Operator
)

// patience bounds everything that is awaited.
const patience = 45 * time.Second

// mesh is what all tests share: a mesh, and an operator that they may restart.
type mesh struct {
	*stack.Stack
	client client.Client
	clock  *jumping
	stop   func() error
	// authorities reaches those of all tests, one after the other.
	authorities authorities

	mu sync.Mutex
	// gateways are addresses of port 80 by the domain that they serve.
	gateways map[string]string
}

var world *mesh

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // the API server warns of every EnvoyFilter
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		var err error
		world, err = startMesh(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer world.Stop()
		code := m.Run()
		if err := errors.Join(world.stop(), world.Failed()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if code != 0 {
			world.KeepFiles()
			fmt.Fprintln(os.Stderr, "logs are in", world.Logs())
		}
		return code
	}())
}

func startMesh(ctx context.Context) (*mesh, error) {
	s, err := stack.Start(ctx, stack.Options{
		IstiodEnvironment: installation.IstiodEnvironment(),
		AuditedUser:       installation.User(account),
	})
	if err != nil {
		return nil, err
	}
	m := &mesh{Stack: s, clock: &jumping{}, gateways: map[string]string{}}
	err = errors.Join(s.Namespace(ctx, operatorNamespace, nil), s.Namespace(ctx, ingressNamespace, nil))
	err = errors.Join(err, s.InstallTrellisCRDs(ctx))
	rights, readErr := os.ReadFile("../../../config/rbac/rbac.yaml")
	scheme := runtime.NewScheme()
	err = errors.Join(err, readErr, s.Apply(ctx, rights), clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	if err == nil {
		m.client, err = client.New(s.Config(), client.Options{Scheme: scheme})
	}
	if err == nil {
		err = m.operate(ctx)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return m, nil
}

// operate runs the operator until stop.
func (m *mesh) operate(ctx context.Context) error {
	options := installation.OperatorOptions()
	options.GatewayNamespaces, options.LeaderElect = []string{ingressNamespace}, true
	options.Authorities, options.Check, options.Clock = &m.authorities, managedcertificate.NewCheck(m.dial), m.clock
	var err error
	if options.Istiod, err = installation.Asking(m.Stack); err != nil {
		return err
	}
	m.stop, err = installation.RunOperator(ctx, m.Stack, options)
	return err
}

// authorities is a way to certificate authorities that tests start later.
type authorities struct {
	way atomic.Pointer[http.RoundTripper]
}

func (a *authorities) RoundTrip(r *http.Request) (*http.Response, error) {
	if way := a.way.Load(); way != nil {
		return (*way).RoundTrip(r)
	}
	return nil, errors.New("there is no certificate authority yet")
}

// authority starts one that sees the world as the site is in it.
func (s *site) authority(o acme.Options) *acme.Server {
	s.t.Helper()
	ca := acme.New(s.t, o)
	world.authorities.way.Store(&ca.Transport)
	return ca
}

// dial leads names to the gateways that serve them, as DNS would: port 80 is not
// for tests to listen on.
func (m *mesh) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for domain, gateway := range m.gateways {
		if port == "80" && strings.HasSuffix(host, "."+domain) {
			return (&net.Dialer{}).DialContext(ctx, network, gateway)
		}
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// jumping is the real clock with a lead.
type jumping struct {
	clock.RealClock
	mu   sync.Mutex
	lead time.Duration
}

func (c *jumping) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.lead)
}

func (c *jumping) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// jump lets time pass at once.
func (c *jumping) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lead += d
}

// site is a gateway with one application on one host.
type site struct {
	t       *testing.T
	name    string
	domain  string
	host    string
	gateway *stack.Gateway
	address netip.Addr
	// app was stated when started.
	app     *v1alpha1.Application
	started time.Time
}

// newSite starts both; nothing is served before a SecureIngress and publish.
func newSite(t *testing.T, name string) *site {
	t.Helper()
	s := &site{t: t, name: name, domain: name + ".example.com", host: "shop." + name + ".example.com"}
	var err error
	s.gateway, err = world.Gateway(t.Context(), stack.GatewayOptions{Namespace: ingressNamespace, Name: name})
	must(t, err)
	at := netip.MustParseAddrPort(s.gateway.HTTPAddress)
	s.address = at.Addr()
	must(t, world.Namespace(t.Context(), name, nil))
	_, err = world.Application(t.Context(), stack.ApplicationOptions{Namespace: name, Name: "web"})
	must(t, err)
	world.mu.Lock()
	world.gateways[s.domain] = s.gateway.HTTPAddress
	world.mu.Unlock()
	return s
}

// publish states a SecureIngress, with what is particular in its spec, and the
// Application on it.
func (s *site) publish(particular string) *v1alpha1.SecureIngress {
	s.t.Helper()
	ingress, app := &v1alpha1.SecureIngress{}, &v1alpha1.Application{}
	must(s.t, yaml.UnmarshalStrict(fmt.Appendf(nil, `
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  domains: [{name: main, domain: %[3]s}]
  gateway: {service: %[1]s, exclusive: true}
  applications: [{name: shops, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}, hostnames: ["*"]}]
%[4]s`, s.name, ingressNamespace, s.domain, particular), ingress))
	must(s.t, yaml.UnmarshalStrict(fmt.Appendf(nil, `
metadata: {name: web, namespace: %s}
spec:
  service: web
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes: [{name: pages, port: web, paths: [{prefix: /}], authentication: {mode: None}}]
  exposures: [{name: public, hostnames: [shop], routes: [pages]}]
`, s.name), app))
	must(s.t, world.client.Create(s.t.Context(), ingress))
	must(s.t, world.client.Create(s.t.Context(), app))
	s.started, s.app = time.Now(), app
	s.t.Cleanup(func() { s.leave(app, ingress) })
	return ingress
}

// leave takes the documents away, so that the operator asks no authority that has
// ended with its test.
func (s *site) leave(documents ...client.Object) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, o := range documents {
		must(s.t, client.IgnoreNotFound(world.client.Delete(ctx, o)))
	}
	must(s.t, stack.Until(ctx, "the certificates to be gone", func(ctx context.Context) error {
		left, err := s.certificates(ctx)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%s is there", left[0].Name)
		}
		return err
	}))
}

// certificates are those of the site.
func (s *site) certificates(ctx context.Context) ([]*v1alpha1.ManagedCertificate, error) {
	list := &v1alpha1.ManagedCertificateList{}
	if err := world.client.List(ctx, list, client.InNamespace(ingressNamespace)); err != nil {
		return nil, err
	}
	var ours []*v1alpha1.ManagedCertificate
	for i := range list.Items {
		if slices.ContainsFunc(list.Items[i].Spec.DNSNames, func(n string) bool { return strings.HasSuffix(n, s.domain) }) {
			ours = append(ours, &list.Items[i])
		}
	}
	return ours, nil
}

// port is where the gateway answers plain HTTP.
func (s *site) port() int {
	_, text, err := net.SplitHostPort(s.gateway.HTTPAddress)
	must(s.t, err)
	port, err := strconv.Atoi(text)
	must(s.t, err)
	return port
}

// certificate waits until there is one ManagedCertificate of the site's for which
// something holds.
func (s *site) certificate(what string, holds func(*v1alpha1.ManagedCertificate) error) *v1alpha1.ManagedCertificate {
	s.t.Helper()
	var found *v1alpha1.ManagedCertificate
	s.await("the certificate "+what, func(ctx context.Context) error {
		ours, err := s.certificates(ctx)
		if err != nil {
			return err
		}
		if len(ours) != 1 {
			return fmt.Errorf("there are %d", len(ours))
		}
		found = ours[0]
		return holds(found)
	})
	return found
}

// issued waits for a certificate that the authority has issued.
func (s *site) issued() *v1alpha1.ManagedCertificate {
	s.t.Helper()
	return s.certificate("to be issued", func(c *v1alpha1.ManagedCertificate) error {
		ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionTrue || c.Status.Phase != "Issued" {
			return fmt.Errorf("it is %s: %+v", c.Status.Phase, ready)
		}
		return nil
	})
}

func (s *site) await(what string, check func(context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	must(s.t, stack.Until(ctx, what, check))
}

// get sends a request over HTTPS.
func (s *site) get(ctx context.Context, roots *x509.CertPool) error {
	r, err := s.gateway.HTTPS(ctx, roots, stack.Request{Host: s.host, Path: "/index"})
	if err != nil {
		return err
	}
	if r.Status != http.StatusOK {
		return fmt.Errorf("it is answered %d", r.Status)
	}
	return nil
}

// served waits until HTTPS works for who trusts these roots.
func (s *site) served(roots *x509.CertPool) {
	s.t.Helper()
	s.await("HTTPS with a certificate of the authority", func(ctx context.Context) error { return s.get(ctx, roots) })
}

// leaf is the certificate that the gateway shows.
func (s *site) leaf(ctx context.Context) (*x509.Certificate, error) {
	dialer := tls.Dialer{Config: &tls.Config{ServerName: s.host, InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", s.gateway.HTTPSAddress)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("the connection is not of TLS")
	}
	return secure.ConnectionState().PeerCertificates[0], nil
}

// secret is what is kept for a certificate.
func (s *site) secret(c *v1alpha1.ManagedCertificate) *corev1.Secret {
	s.t.Helper()
	secret := &corev1.Secret{}
	must(s.t, world.client.Get(s.t.Context(), client.ObjectKey{Namespace: c.Namespace, Name: c.Spec.SecretName}, secret))
	return secret
}

func serial(t *testing.T, secret *corev1.Secret) string {
	t.Helper()
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		t.Fatal("the Secret has no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return leaf.SerialNumber.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
