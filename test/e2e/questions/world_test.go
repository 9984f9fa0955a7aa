// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package questions holds the end-to-end tests of questions about a running mesh:
// the command line asks a real istiod, by a real API server and with rights that it
// decides about, and real requests through real proxies are the judges.
package questions

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	repository        = "../../.."
	operatorNamespace = installation.Namespace
	account           = installation.Operator
	host              = "bookinfo.example.com"
)

// mesh is examples/bookinfo, running.
type mesh struct {
	*stack.Stack
	gateway *stack.Gateway
	apps    map[string]*stack.Application
	issuer  *stack.Issuer
	pool    *x509.CertPool
	// files is the folder with the documents that were applied.
	files string
	stop  func() error
}

var world *mesh

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // the API server warns of every EnvoyFilter
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		files, err := os.MkdirTemp("", "questions")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(files) }()
		world = &mesh{apps: map[string]*stack.Application{}, files: files}
		if world.Stack, err = stack.Start(ctx, stack.Options{
			IstiodEnvironment: installation.IstiodEnvironment(),
		}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer world.Stop()
		code := 1
		if err = world.start(ctx); err == nil {
			code = m.Run()
		}
		if world.stop != nil {
			err = errors.Join(err, world.stop(), world.Failed())
		}
		if err != nil {
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

func (m *mesh) start(ctx context.Context) error {
	err := m.InstallTrellisCRDs(ctx)
	err = errors.Join(err, m.Namespace(ctx, operatorNamespace, nil), m.Namespace(ctx, "istio-ingress", nil),
		m.Namespace(ctx, "bookinfo", map[string]string{"exposure": "public"}))
	rights, readErr := os.ReadFile(filepath.Join(repository, "config/rbac/rbac.yaml"))
	if err = errors.Join(err, readErr, m.Apply(ctx, rights)); err != nil {
		return err
	}
	if m.gateway, err = m.Gateway(ctx, stack.GatewayOptions{
		Namespace: "istio-ingress", Name: "istio-ingressgateway", Labels: map[string]string{"istio": "ingressgateway"},
	}); err != nil {
		return err
	}
	// Nothing makes EndpointSlices here, by which proxies would know the gateway.
	entry := fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: gateway, namespace: istio-ingress}\n"+
		"spec: {address: %s, serviceAccount: istio-ingressgateway, labels: {istio: ingressgateway, security.istio.io/tlsMode: istio}, ports: {https: %d, http: %d}}\n", m.gateway.Address, m.gateway.HTTPSPort, m.gateway.HTTPPort)
	if err := m.Apply(ctx, []byte(entry)); err != nil {
		return err
	}
	for _, name := range []string{"productpage", "reviews", "details"} {
		if m.apps[name], err = m.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: name}); err != nil {
			return err
		}
	}
	if m.pool, err = m.Certificate(ctx, "istio-ingress", "wildcard-example-com", "*.example.com"); err != nil {
		return err
	}
	if err := errors.Join(m.operate(ctx), m.state(ctx)); err != nil {
		return err
	}
	return m.serves(ctx)
}

// state applies the statements of the example, with an issuer that signs tokens.
func (m *mesh) state(ctx context.Context) error {
	var err error
	if m.issuer, err = stack.NewIssuer("https://login.example.com"); err != nil {
		return err
	}
	if err := os.CopyFS(m.files, os.DirFS(filepath.Join(repository, "examples/bookinfo"))); err != nil {
		return err
	}
	platform := filepath.Join(m.files, "platform", "secure-ingress.yaml")
	raw, err := os.ReadFile(platform)
	if err != nil {
		return err
	}
	text := strings.Replace(string(raw), "jwksURI: https://login.example.com/keys", "jwks: '"+m.issuer.JWKS()+"'", 1)
	if err := errors.Join(os.WriteFile(platform, []byte(text), 0o600), m.Apply(ctx, []byte(text))); err != nil {
		return err
	}
	for _, name := range []string{"productpage", "reviews", "details"} {
		file := filepath.Join(m.files, name, "application.yaml")
		raw, err := os.ReadFile(file)
		if name != "productpage" {
			// Workloads of this stack intercept nothing, so that calls between them are
			// not asked about as Applications' tests do.
			text, _, _ := strings.Cut(string(raw), "\n  tests:")
			raw = []byte(text + "\n")
		}
		if err := errors.Join(err, os.WriteFile(file, raw, 0o600), m.Apply(ctx, raw)); err != nil {
			return err
		}
	}
	return nil
}

// operate runs the operator until stop.
func (m *mesh) operate(ctx context.Context) error {
	options := installation.OperatorOptions()
	options.GatewayNamespaces = []string{"istio-ingress"}
	var err error
	if options.Istiod, err = installation.Asking(m.Stack); err != nil {
		return err
	}
	m.stop, err = installation.RunOperator(ctx, m.Stack, options)
	return err
}

// serves waits until the statements are enforced.
func (m *mesh) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for path, want := range map[string]int{"/productpage": 200, "/api/v1/products": 403} {
		err := stack.Until(ctx, path+" to be answered", func(ctx context.Context) error {
			answer, err := m.gateway.HTTPS(ctx, m.pool, stack.Request{Host: host, Path: path})
			if err == nil && answer.Status != want {
				err = fmt.Errorf("%d %s", answer.Status, answer.Body)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return stack.Until(ctx, "reviews to be closed to details", func(ctx context.Context) error {
		answer, err := m.apps["details"].Do(ctx, stack.Request{Host: m.apps["reviews"].Host(9080), Path: "/reviews/0"})
		if err == nil && answer.Status != 403 {
			err = fmt.Errorf("%d %s", answer.Status, answer.Body)
		}
		return err
	})
}

// istiodAddress is the authenticated port.
func (m *mesh) istiodAddress() string {
	d := m.Istiods()[0]
	return fmt.Sprintf("%s:%d", d.Address, d.SecurePort)
}

// result is what a command wrote and ended with.
type result struct {
	out, err string
	code     int
}

func (r result) String() string { return fmt.Sprintf("%s%s=> %d", r.out, r.err, r.code) }

// trellis runs the command line.
func trellis(t *testing.T, args ...string) result {
	t.Helper()
	s, out, err := streams.Buffers("")
	code := cli.Main(t.Context(), append([]string{"trellis"}, args...), s)
	return result{out.String(), err.String(), code}
}

// live are the flags that ask the running istiod.
func live(kubeconfig string) []string {
	return []string{"--kubeconfig", kubeconfig, "--istiod", world.istiodAddress()}
}

// asked runs a question live, as an administrator.
func asked(t *testing.T, args ...string) result {
	t.Helper()
	return trellis(t, append(args, live(world.Kubeconfig())...)...)
}

// person makes a user of the API server who has these rights and no others, and
// gives a kubeconfig of that user.
func person(t *testing.T, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	config, err := world.ServiceAccountConfig(t.Context(), operatorNamespace, name)
	must(t, err)
	meta := metav1.ObjectMeta{Name: "questions-" + name}
	for _, object := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNamespace, Name: name}},
		},
	} {
		must(t, world.Client().Create(t.Context(), object))
	}
	return kubeconfig(t, config)
}

func kubeconfig(t *testing.T, config *rest.Config) string {
	t.Helper()
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	file.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "c"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, clientcmd.WriteToFile(*file, path))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
