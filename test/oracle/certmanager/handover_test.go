// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certmanager_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/operator"
	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/oracle/certmanager"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	operatorNamespace = "trellis-system"
	ingressNamespace  = "istio-ingress"
	host              = "shop.example.com"
	secretName        = "trellis-certificate-public." + host
	patience          = time.Minute
)

// world is a mesh with the operator under the rights of the chart, and cert-manager
// once it is started.
type world struct {
	*testing.T
	*stack.Stack
	client  client.WithWatch
	gateway *stack.Gateway
	builtIn *acme.Server
	// authority signs for cert-manager.
	authority *x509.CertPool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	log.SetLogger(logr.Discard())
	s, err := stack.Start(t.Context(), stack.Options{})
	must(t, err)
	t.Cleanup(s.Stop)
	w := &world{T: t, Stack: s, builtIn: acme.New(t, acme.Options{AlwaysValid: true})}
	for _, namespace := range []string{operatorNamespace, ingressNamespace, "shop", "cert-manager"} {
		must(t, s.Namespace(t.Context(), namespace, nil))
	}
	must(t, s.InstallTrellisCRDs(t.Context()))
	rights, err := os.ReadFile("../../../config/rbac/rbac.yaml")
	must(t, err)
	must(t, s.Apply(t.Context(), rights))
	scheme := runtime.NewScheme()
	must(t, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), cmapi.AddToScheme(scheme)))
	w.client, err = client.NewWithWatch(s.Config(), client.Options{Scheme: scheme})
	must(t, err)
	w.gateway, err = s.Gateway(t.Context(), stack.GatewayOptions{Namespace: ingressNamespace, Name: "gateway"})
	must(t, err)
	_, err = s.Application(t.Context(), stack.ApplicationOptions{Namespace: "shop", Name: "web"})
	must(t, err)
	w.operate()
	return w
}

func (w *world) operate() {
	config, err := w.ServiceAccountConfig(w.Context(), operatorNamespace, "trellis-operator")
	must(w.T, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- operator.Run(ctx, config, operator.Options{
			Namespace: operatorNamespace, ServiceAccount: "trellis-operator", Mesh: model.DefaultMesh(),
			GatewayNamespaces: []string{ingressNamespace}, Istiod: operator.Istiod{Namespace: "istio-system", MeshConfigMap: "istio"},
			Authorities: w.builtIn.Transport, Check: managedcertificate.NewCheck(w.dial),
			Log: slog.New(slog.NewTextHandler(w.Output(), nil)),
		})
	}()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
}

// dial leads to the gateway, as DNS would.
func (w *world) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, w.gateway.HTTPAddress)
}

// install brings cert-manager, with an issuer that signs by a key of the cluster.
func (w *world) install() {
	w.Helper()
	module, err := exec.CommandContext(w.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	must(w.T, err)
	definitions, err := certmanager.Definitions(strings.TrimSpace(string(module)))
	must(w.T, err)
	for _, d := range definitions {
		must(w.T, w.InstallCRDs(w.Context(), d))
	}
	certificate, key, pool := newAuthority(w.T)
	w.authority = pool
	must(w.T, w.client.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ingressNamespace, Name: "authority"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}))
	must(w.T, w.client.Create(w.Context(), &cmapi.Issuer{
		ObjectMeta: metav1.ObjectMeta{Namespace: ingressNamespace, Name: "authority"},
		Spec:       cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "authority"}}},
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- certmanager.Run(ctx, w.Kubeconfig()) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
}

func newAuthority(t *testing.T) (certificate, key []byte, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cert-manager's authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), pool
}

const (
	byTrellis     = "{builtIn: {directory: %q}}"
	byCertManager = "{certManager: {issuerRef: {name: authority, kind: Issuer}}}"
)

func (w *world) publish(tlsSpec string) {
	w.Helper()
	ingress, app := &v1alpha1.SecureIngress{}, &v1alpha1.Application{}
	must(w.T, yaml.UnmarshalStrict([]byte(`
metadata: {name: public, namespace: istio-ingress}
spec:
  domains: [{name: main, domain: example.com}]
  gateway: {service: gateway, exclusive: true}
  applications: [{name: shops, namespaceSelector: {}, hostnames: ["*"]}]
  tls: `+tlsSpec), ingress))
	must(w.T, yaml.UnmarshalStrict([]byte(`
metadata: {name: web, namespace: shop}
spec:
  service: web
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes: [{name: pages, port: web, paths: [{prefix: /}], authentication: {mode: None}}]
  exposures: [{name: public, hostnames: [shop], routes: [pages]}]
`), app))
	must(w.T, w.client.Create(w.Context(), ingress))
	must(w.T, w.client.Create(w.Context(), app))
}

// choose changes the engine.
func (w *world) choose(tlsSpec string) {
	w.Helper()
	var choice v1alpha1.IngressTLS
	must(w.T, yaml.UnmarshalStrict([]byte(tlsSpec), &choice))
	ingress := w.ingress()
	ingress.Spec.TLS = choice
	must(w.T, w.client.Update(w.Context(), ingress))
}

func (w *world) ingress() *v1alpha1.SecureIngress {
	w.Helper()
	out := &v1alpha1.SecureIngress{}
	must(w.T, w.client.Get(w.Context(), client.ObjectKey{Namespace: ingressNamespace, Name: "public"}, out))
	return out
}

func (w *world) await(what string, check func(context.Context) error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	must(w.T, stack.Until(ctx, what, check))
}

// served waits until HTTPS works for who trusts these roots.
func (w *world) served(roots *x509.CertPool) {
	w.Helper()
	w.await("HTTPS", func(ctx context.Context) error {
		r, err := w.gateway.HTTPS(ctx, roots, stack.Request{Host: host, Path: "/"})
		if err == nil && r.Status != http.StatusOK {
			err = fmt.Errorf("it is answered %d", r.Status)
		}
		return err
	})
}

func (w *world) condition(kind string, status metav1.ConditionStatus, words ...string) {
	w.Helper()
	w.await(kind+" "+string(status), func(context.Context) error {
		ingress := w.ingress()
		c := meta.FindStatusCondition(ingress.Status.Conditions, kind)
		if c == nil || c.Status != status || c.ObservedGeneration != ingress.Generation {
			return fmt.Errorf("it is %+v", c)
		}
		for _, word := range words {
			if !strings.Contains(c.Reason+" "+c.Message, word) {
				return fmt.Errorf("it says %s %q, want %q", c.Reason, c.Message, word)
			}
		}
		return nil
	})
}

// alone waits until one engine is active and the other is not.
func (w *world) alone(certManager bool) {
	w.Helper()
	w.await("one engine", func(ctx context.Context) error {
		theirs, ours := &cmapi.CertificateList{}, &v1alpha1.ManagedCertificateList{}
		must(w.T, errors.Join(w.client.List(ctx, theirs, client.InNamespace(ingressNamespace)), w.client.List(ctx, ours, client.InNamespace(ingressNamespace))))
		if (len(theirs.Items) == 1) != certManager || (len(ours.Items) == 1) == certManager {
			return fmt.Errorf("%d Certificates and %d ManagedCertificates", len(theirs.Items), len(ours.Items))
		}
		return nil
	})
	if !certManager {
		w.collect()
	}
}

// collect deletes what belonged to the Certificate, as the garbage collector of a
// whole cluster does: here there is none. The Secret belongs to nobody.
func (w *world) collect() {
	w.Helper()
	must(w.T, w.client.DeleteAllOf(w.Context(), &cmapi.CertificateRequest{}, client.InNamespace(ingressNamespace)))
	secrets := &corev1.SecretList{}
	must(w.T, w.client.List(w.Context(), secrets, client.InNamespace(ingressNamespace)))
	for i := range secrets.Items {
		s := &secrets.Items[i]
		for _, owner := range s.OwnerReferences {
			if owner.Kind == "Certificate" {
				must(w.T, w.client.Delete(w.Context(), s))
			}
		}
	}
}

// guarded fails the test where the Secret is ever gone or no pair, and where the
// gateway ever fails to shake hands, until the function that it returns is called.
func (w *world) guarded() (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	events, err := w.client.Watch(ctx, &corev1.SecretList{}, client.InNamespace(ingressNamespace), client.MatchingFields{"metadata.name": secretName})
	must(w.T, err)
	var seen, hands atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events.ResultChan() {
			s, ok := e.Object.(*corev1.Secret)
			if !ok {
				// The watch ends with the test.
				if ctx.Err() == nil {
					w.Errorf("the watch says %s, %+v", e.Type, e.Object)
				}
				continue
			}
			if e.Type == apiwatch.Deleted {
				w.Error("the Secret was deleted")
			} else if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
				w.Errorf("the Secret holds no pair: %v", err)
			}
			seen.Add(1)
		}
	}()
	shaken := make(chan struct{})
	go func() {
		defer close(shaken)
		dialer := tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}
		for ctx.Err() == nil {
			conn, err := dialer.DialContext(ctx, "tcp", w.gateway.HTTPSAddress)
			if err != nil {
				if ctx.Err() == nil {
					w.Errorf("the gateway does not shake hands: %v", err)
				}
				continue
			}
			_ = conn.Close()
			hands.Add(1)
		}
	}()
	return func() {
		w.Helper()
		cancel()
		events.Stop()
		<-done
		<-shaken
		if seen.Load() == 0 || hands.Load() == 0 {
			w.Errorf("%d events and %d handshakes: nothing was watched", seen.Load(), hands.Load())
		}
	}
}

func TestEnginesOfCertificatesChangeWithoutAMomentWithoutOne(t *testing.T) {
	w := newWorld(t)
	builtIn := fmt.Sprintf(byTrellis, w.builtIn.Directory)
	// A cluster without cert-manager: this ingress is closed and says why.
	w.publish(byCertManager)
	w.condition("CertificatesReady", metav1.ConditionFalse, "CertManagerMissing", "install cert-manager")
	w.condition("Accepted", metav1.ConditionFalse, "CertManagerMissing")

	// It comes, and nothing is restarted.
	w.install()
	w.served(w.authority)
	w.condition("CertificatesReady", metav1.ConditionTrue, "expires at")
	c := &cmapi.Certificate{}
	must(t, w.client.Get(t.Context(), client.ObjectKey{Namespace: ingressNamespace, Name: secretName}, c))
	if c.Spec.SecretName != secretName || c.Status.NotAfter == nil || len(c.Status.Conditions) == 0 || c.Status.Conditions[0].Status != cmmeta.ConditionTrue {
		t.Errorf("cert-manager says %+v", c.Status)
	}

	stop := w.guarded()
	w.choose(builtIn)
	w.served(w.builtIn.Roots(0))
	w.alone(false)
	w.condition("CertificatesReady", metav1.ConditionTrue)

	w.choose(byCertManager)
	w.served(w.authority)
	w.alone(true)
	w.condition("CertificatesReady", metav1.ConditionTrue, "by cert-manager")

	w.choose(builtIn)
	w.served(w.builtIn.Roots(0))
	w.alone(false)
	stop()
	if n := w.builtIn.Orders(); n != 2 {
		t.Errorf("%d orders for two changes", n)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
