// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate"
	pebble "github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/stack"
)

var server *stack.Stack

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		var err error
		if server, err = stack.Start(ctx, stack.Options{WithoutIstio: true}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Stop()
		if err := server.InstallTrellisCRDs(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// shifted is a real clock that can be put forward.
type shifted struct {
	clock.RealClock
	ahead atomic.Int64
}

func (s *shifted) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// recorder keeps events.
type recorder struct {
	mu    sync.Mutex
	notes []string
}

func (r *recorder) Eventf(_, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, kind+" "+reason+" "+fmt.Sprintf(note, args...))
}

func (r *recorder) count(reason string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, note := range r.notes {
		if strings.Fields(note)[1] == reason {
			n++
		}
	}
	return n
}

// world is a namespace with one certificate, a CA, a gateway and a keeper of DNS
// entries that do what they should, and an operator's namespace.
type world struct {
	t  *testing.T
	ca *pebble.Server
	// staging is a second CA; may be nil. blind: it does not see what is published.
	staging *pebble.Server
	blind   bool
	client  client.WithWatch
	shop    string
	clock   *shifted
	events  *recorder
	log     bytes.Buffer
	// registry is of the reconciler.
	registry *prometheus.Registry
	options  managedcertificate.Options
	r        *managedcertificate.Reconciler
	name     types.NamespacedName

	// calls counts what the reconciler asks of the API server, writes those that
	// change something. fault sees each call by its number, before it is made and
	// after, and may make it fail; may be nil.
	calls, writes atomic.Int64
	fault         func(n int64, after bool) error

	// web is what the gateway answers. Without the gateway nobody does, and
	// without the keeper entries stay as they are; deaf: the CA does not see any.
	mu                        sync.Mutex
	web                       map[string]string
	noGateway, noKeeper, deaf bool
	// keys are all private keys that were ever stored; keyless: there is none.
	keys    map[string]bool
	keyless bool
}

var worlds atomic.Int64

func newWorld(t *testing.T, ca *pebble.Server, challenge string, names ...string) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	config := server.Config()
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	n := worlds.Add(1)
	w := &world{
		t: t, ca: ca, client: direct, shop: fmt.Sprintf("shop-%d", n),
		clock: &shifted{}, events: &recorder{}, web: map[string]string{}, keys: map[string]bool{},
	}
	gateway := httptest.NewServer(http.HandlerFunc(w.answer))
	t.Cleanup(gateway.Close)
	w.options = managedcertificate.Options{
		Client: w.counting(direct), Namespace: fmt.Sprintf("operator-%d", n), Transport: ca.Transport,
		Recorder: w.events, Clock: w.clock, UserAgent: "trellis/test",
		Check: managedcertificate.NewCheck(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, gateway.Listener.Addr().String())
		}),
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(&w.log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, namespace := range []string{w.shop, w.options.Namespace} {
		if err := server.Namespace(t.Context(), namespace, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.name = types.NamespacedName{Namespace: w.shop, Name: "web"}
	w.restart()
	if len(names) > 0 {
		w.create(w.wanted(challenge, names...))
	}
	t.Cleanup(w.search)
	return w
}

// restart begins a new process: nothing but what is stored is left.
func (w *world) restart() {
	w.t.Helper()
	w.registry = prometheus.NewRegistry()
	w.options.Registry = w.registry
	var err error
	if w.r, err = managedcertificate.New(w.options); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wanted(challenge string, names ...string) *v1alpha1.ManagedCertificate {
	cert := &v1alpha1.ManagedCertificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: w.name.Name},
		Spec: v1alpha1.ManagedCertificateSpec{
			DNSNames: names, SecretName: "web-tls", Challenge: challenge,
			BuiltInCertificates: v1alpha1.BuiltInCertificates{Directory: w.ca.Directory},
		},
	}
	if challenge != "HTTP01" {
		cert.Spec.ProviderRef = &v1alpha1.DNSProviderReference{Name: "zone"}
	}
	return cert
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	w.note(o)
	if err := w.client.Create(w.t.Context(), o, client.FieldOwner("developer")); err != nil {
		w.t.Fatal(err)
	}
}

// change edits the certificate as a user does.
func (w *world) change(edit func(*v1alpha1.ManagedCertificate)) {
	w.t.Helper()
	cert := w.cert()
	edit(cert)
	if err := w.client.Update(w.t.Context(), cert, client.FieldOwner("developer")); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) annotate(key, value string) {
	w.t.Helper()
	w.change(func(c *v1alpha1.ManagedCertificate) { metav1.SetMetaDataAnnotation(&c.ObjectMeta, key, value) })
}

// counting wraps the reconciler's client.
func (w *world) counting(c client.WithWatch) client.WithWatch {
	call := func(write bool, do func() error) error {
		n := w.calls.Add(1)
		if w.fault != nil {
			if err := w.fault(n, false); err != nil {
				return err
			}
		}
		if write {
			w.writes.Add(1)
		}
		err := do()
		if w.fault != nil {
			if failed := w.fault(n, true); failed != nil {
				return failed
			}
		}
		return err
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return call(false, func() error { return c.Get(ctx, key, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ok := list.(*corev1.SecretList); ok {
				return errors.New("Secrets must not be listed")
			}
			return call(false, func() error { return c.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			w.note(o)
			return call(true, func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			w.note(o)
			return call(true, func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return call(true, func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return call(true, func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return call(true, func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	})
}

// look is one look of the controller, with what others do after it.
func (w *world) look() (reconcile.Result, error) {
	w.t.Helper()
	result, err := w.r.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: w.name})
	w.others()
	return result, err
}

// others are the gateway, which serves the status, and the keeper of DNS entries.
func (w *world) others() {
	w.t.Helper()
	ctx := w.t.Context()
	certs, records := &v1alpha1.ManagedCertificateList{}, &v1alpha1.ManagedRecordList{}
	if err := errors.Join(w.client.List(ctx, certs, client.InNamespace(w.shop)), w.client.List(ctx, records, client.InNamespace(w.shop))); err != nil {
		w.t.Error(err)
		return
	}
	web, txt := map[string]string{}, map[string][]string{}
	for _, c := range certs.Items {
		for _, h := range c.Status.Challenges {
			web[h.Host+h.Path] = h.Body
		}
	}
	w.mu.Lock()
	if w.noGateway {
		web = map[string]string{}
	}
	w.web = web
	w.mu.Unlock()
	for i := range records.Items {
		r := &records.Items[i]
		if w.noKeeper {
			continue
		}
		txt[r.Spec.Name] = append(txt[r.Spec.Name], r.Spec.Texts...)
		if r.Status.ObservedGeneration == r.Generation && r.Status.Spread {
			continue
		}
		r.Status.Phase, r.Status.Spread, r.Status.ObservedGeneration = "Done", true, r.Generation
		if err := w.client.Status().Update(ctx, r); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			w.t.Error(err)
		}
	}
	if !w.deaf {
		w.ca.Publish(txt, web)
		if w.staging != nil && !w.blind {
			w.staging.Publish(txt, web)
		}
	}
}

func (w *world) answer(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	body, ok := w.web[r.Host+r.URL.Path]
	w.mu.Unlock()
	if !ok {
		http.NotFound(out, r)
		return
	}
	_, _ = io.WriteString(out, body)
}

// until looks on until a condition holds; time passes as fast as the looks allow.
func (w *world) until(what string, done func(*v1alpha1.ManagedCertificate) bool) *v1alpha1.ManagedCertificate {
	w.t.Helper()
	for range 300 {
		result, err := w.look()
		if err != nil {
			w.t.Fatalf("waiting for %s: %v", what, err)
		}
		cert := w.cert()
		if done(cert) {
			return cert
		}
		w.clock.ahead.Add(int64(result.RequeueAfter))
	}
	w.t.Fatalf("no end while waiting for %s: the status is %+v", what, w.cert().Status)
	return nil
}

func isIssued(c *v1alpha1.ManagedCertificate) bool {
	ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
	return c.Status.Phase == "Issued" && ready != nil && ready.Status == metav1.ConditionTrue && ready.Reason == "Issued" &&
		ready.ObservedGeneration == c.Generation
}

func (w *world) issue() *v1alpha1.ManagedCertificate {
	w.t.Helper()
	return w.until("a certificate", isIssued)
}

func (w *world) cert() *v1alpha1.ManagedCertificate {
	w.t.Helper()
	c := &v1alpha1.ManagedCertificate{}
	if err := w.client.Get(w.t.Context(), w.name, c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) state() acme.State {
	w.t.Helper()
	text := w.cert().Status.State
	if text == "" {
		return acme.State{}
	}
	s, err := acme.DecodeState([]byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// secret is nil where there is none.
func (w *world) secret(namespace, name string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	err := w.client.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) remove(name string) {
	w.t.Helper()
	if s := w.secret(w.shop, name); s != nil {
		if err := w.client.Delete(w.t.Context(), s); err != nil {
			w.t.Fatal(err)
		}
	}
}

// served is what a gateway would serve; it must be a pair at any time.
func (w *world) served() (certificate.Pair, certificate.Info) {
	w.t.Helper()
	s := w.secret(w.shop, "web-tls")
	if s == nil {
		w.t.Fatal("there is no Secret")
	}
	pair := certificate.FromData(s.Data)
	info, err := certificate.Check(pair, nil, w.clock.Now())
	if err != nil {
		w.t.Fatalf("what is served is no pair: %v", err)
	}
	if got := s.Labels[certificate.PlaceholderLabel] == "true"; got != info.Placeholder {
		t := w.t
		t.Errorf("the label says that placeholder is %t, the certificate %t", got, info.Placeholder)
	}
	return pair, info
}

func (w *world) records() []v1alpha1.ManagedRecord {
	w.t.Helper()
	list := &v1alpha1.ManagedRecordList{}
	if err := w.client.List(w.t.Context(), list, client.InNamespace(w.shop)); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

// ready requires the condition and returns its message.
func (w *world) ready(status metav1.ConditionStatus, reason string, parts ...string) string {
	w.t.Helper()
	c := meta.FindStatusCondition(w.cert().Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Status != status || c.Reason != reason {
		w.t.Fatalf("Ready is %+v, want %s (%s)", c, status, reason)
	}
	for _, part := range parts {
		if !strings.Contains(c.Message, part) {
			w.t.Errorf("the message is %q and does not say %q", c.Message, part)
		}
	}
	return c.Message
}

// note remembers the keys in a Secret.
func (w *world) note(o client.Object) {
	s, ok := o.(*corev1.Secret)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, v := range s.Data {
		if k != corev1.TLSCertKey && k != "ca.crt" {
			w.keys[string(v)] = true
		}
	}
}

// search looks for every key that was ever stored in all that people can read.
func (w *world) search() {
	if len(w.keys) == 0 && !w.keyless {
		w.t.Error("no key was ever stored")
	}
	var text bytes.Buffer
	text.Write(w.log.Bytes())
	w.events.mu.Lock()
	text.WriteString(strings.Join(w.events.notes, "\n"))
	w.events.mu.Unlock()
	for _, namespace := range []string{w.shop, w.options.Namespace} {
		for _, list := range []client.ObjectList{&v1alpha1.ManagedCertificateList{}, &v1alpha1.ManagedRecordList{}, &corev1.ConfigMapList{}} {
			if err := w.client.List(context.Background(), list, client.InNamespace(namespace)); err != nil {
				w.t.Error(err)
			}
			fmt.Fprintf(&text, "%+v\n", list)
		}
	}
	for key := range maps.Keys(w.keys) {
		for line := range strings.Lines(key) {
			if line = strings.TrimSpace(line); len(line) > 15 && strings.Contains(text.String(), line) {
				w.t.Errorf("a line of a key is where people can read it: %s…", line[:6])
			}
		}
	}
}
