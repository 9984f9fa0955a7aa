// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedrecord"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/nameserver"
	"github.com/trellis-mesh/trellis/test/stack"
)

const zone = "example.test"

var server *stack.Stack

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		// Nothing of the machine's own configuration may be used.
		for name, value := range map[string]string{
			"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
			"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_CA_BUNDLE": "",
			"GOOGLE_APPLICATION_CREDENTIALS": "/dev/null", "AZURE_TENANT_ID": "", "AZURE_CLIENT_ID": "", "AZURE_FEDERATED_TOKEN_FILE": "", "AZURE_AUTHORITY_HOST": "",
		} {
			_ = os.Setenv(name, value)
		}
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

// world is a namespace, a DNSProvider "dns" in it, and the controller.
type world struct {
	*testing.T
	namespace string
	// client is the user's.
	client   client.WithWatch
	zone     *nameserver.Server
	clock    *clocktesting.FakeClock
	registry *prometheus.Registry
	recorder *events.FakeRecorder
	r        *managedrecord.Reconciler
	// cache is what the controller reads; the client where it is nil.
	cache   client.Reader
	vendors managedrecord.Vendors
	// identity is where the pod's identity is lent.
	identity []string
	// cluster is the UID of kube-system, where it is another cluster than the API
	// server's.
	cluster types.UID

	// calls counts what the controller asks of the API server, and writes what it
	// writes; from the call with the number kill on, none is answered.
	calls, writes, kill atomic.Int64
}

var worlds atomic.Int64

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	config := server.Config()
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, namespace: fmt.Sprintf("dns-%d", worlds.Add(1)), client: c, clock: clocktesting.NewFakeClock(time.Now()),
		registry: prometheus.NewRegistry(), recorder: events.NewFakeRecorder(10_000),
	}
	if err := server.Namespace(t.Context(), w.namespace, nil); err != nil {
		t.Fatal(err)
	}
	w.restart()
	return w
}

// withZone starts a name server, its DNSProvider and its Secret.
func withZone(t *testing.T, kind nameserver.Kind) *world {
	t.Helper()
	w := newWorld(t)
	s, err := nameserver.Start(t.Context(), kind, zone)
	var missing *nameserver.UnavailableError
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	w.zone = s
	w.secret("tsig", map[string]string{"name": string(s.KeyName), "algorithm": s.Algorithm, "secret": s.Secret})
	w.create(&v1alpha1.DNSProvider{
		ObjectMeta: w.meta("dns"),
		Spec: v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136Provider{
			Server: s.Address, Zones: []string{zone}, TSIGSecretRef: &v1alpha1.SecretReference{Name: "tsig"},
		}},
	})
	return w
}

// everywhere runs a test at each kind of name server.
func everywhere(t *testing.T, test func(w *world)) {
	for _, kind := range []nameserver.Kind{nameserver.Process, nameserver.BIND} {
		t.Run(string(kind), func(t *testing.T) { test(withZone(t, kind)) })
	}
}

var errKilled = errors.New("the operator was killed")

// restart replaces the controller by another process, as it were.
func (w *world) restart() {
	w.Helper()
	call := func(write bool) error {
		n := w.calls.Add(1)
		if kill := w.kill.Load(); kill > 0 && n >= kill {
			return errKilled
		}
		if write {
			w.writes.Add(1)
		}
		return nil
	}
	watched := interceptor.NewClient(w.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if err := call(false); err != nil {
				return err
			}
			err := c.Get(ctx, key, o, opts...)
			if w.cluster != "" && key.Name == metav1.NamespaceSystem {
				o.SetUID(w.cluster)
			}
			return err
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if err := call(false); err != nil {
				return err
			}
			return c.List(ctx, list, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := call(true); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := call(true); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
	var cache client.Reader = watched
	if w.cache != nil {
		cache = w.cache
	}
	var err error
	w.r, err = managedrecord.New(managedrecord.Options{
		Cache: cache, Client: watched, Recorder: w.recorder, Registry: w.registry, Clock: w.clock,
		Log: slog.New(slog.NewTextHandler(w.Output(), nil)), Vendors: w.vendors, IdentityNamespaces: w.identity,
	})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.namespace, Name: name}
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.client.Create(w.Context(), o, client.FieldOwner("user")); err != nil {
		w.Fatal(err)
	}
}

// secret makes a Secret, or replaces its data.
func (w *world) secret(name string, data map[string]string) {
	w.Helper()
	s := &corev1.Secret{ObjectMeta: w.meta(name), StringData: data}
	err := w.client.Create(w.Context(), s)
	if err != nil {
		err = w.client.Update(w.Context(), s)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// want makes a ManagedRecord at the provider "dns".
func (w *world) want(name, at string, change func(*v1alpha1.ManagedRecordSpec)) *v1alpha1.ManagedRecord {
	w.Helper()
	r := &v1alpha1.ManagedRecord{ObjectMeta: w.meta(name), Spec: v1alpha1.ManagedRecordSpec{
		ProviderRef: v1alpha1.DNSProviderReference{Name: "dns"}, Name: at,
	}}
	change(&r.Spec)
	w.create(r)
	return r
}

func addresses(list ...string) func(*v1alpha1.ManagedRecordSpec) {
	return func(s *v1alpha1.ManagedRecordSpec) { s.Addresses = list }
}

func values(list ...string) func(*v1alpha1.ManagedRecordSpec) {
	return func(s *v1alpha1.ManagedRecordSpec) { s.Texts = list }
}

// change edits a ManagedRecord as a user does.
func (w *world) change(name string, change func(*v1alpha1.ManagedRecordSpec)) {
	w.Helper()
	if err := w.tryChange(name, change); err != nil {
		w.Fatal(err)
	}
}

func (w *world) tryChange(name string, change func(*v1alpha1.ManagedRecordSpec)) error {
	r := w.record(name)
	before := r.DeepCopy()
	change(&r.Spec)
	return w.client.Patch(w.Context(), r, client.MergeFrom(before))
}

// provider edits the DNSProvider as a user does.
func (w *world) provider(change func(*v1alpha1.DNSProviderSpec)) {
	w.Helper()
	p := w.dns()
	before := p.DeepCopy()
	change(&p.Spec)
	if err := w.client.Patch(w.Context(), p, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(o client.Object) {
	w.Helper()
	if err := w.client.Delete(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) record(name string) *v1alpha1.ManagedRecord {
	w.Helper()
	r := &v1alpha1.ManagedRecord{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, r); err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) dns() *v1alpha1.DNSProvider {
	w.Helper()
	p := &v1alpha1.DNSProvider{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: "dns"}, p); err != nil {
		w.Fatal(err)
	}
	return p
}

// there reports whether an object is in the cluster.
func (w *world) there(o client.Object) bool {
	return w.client.Get(w.Context(), client.ObjectKeyFromObject(o), o) == nil
}

func (w *world) once() (reconcile.Result, error) {
	return w.r.Reconcile(w.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: w.namespace, Name: "dns"}})
}

// reconcile works once, which must not fail, and says when it wants to again.
func (w *world) reconcile() time.Duration {
	w.Helper()
	result, err := w.once()
	if err != nil {
		w.Fatal(err)
	}
	return result.RequeueAfter
}

// is checks a ManagedRecord's phase, and what its condition says.
func (w *world) is(name string, phase dns.Phase, reason string, parts ...string) *v1alpha1.ManagedRecord {
	w.Helper()
	r := w.record(name)
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || r.Status.Phase != string(phase) || c.Reason != reason || (c.Status == metav1.ConditionTrue) != (phase == dns.PhaseDone && r.DeletionTimestamp == nil) ||
		r.Status.ObservedGeneration != r.Generation {
		w.Fatalf("%s of generation %d is %+v, want %s (%s)", name, r.Generation, r.Status, phase, reason)
	}
	for _, part := range parts {
		if !strings.Contains(c.Message, part) {
			w.Errorf("%s says %q, want %q in it", name, c.Message, part)
		}
	}
	return r
}

// providerIs checks the DNSProvider's condition.
func (w *world) providerIs(reason string, parts ...string) *v1alpha1.DNSProvider {
	w.Helper()
	p := w.dns()
	c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Reason != reason || (c.Status == metav1.ConditionTrue) != (reason == "Ready") || p.Status.ObservedGeneration != p.Generation {
		w.Fatalf("the provider is %+v, want %s", p.Status, reason)
	}
	for _, part := range parts {
		if !strings.Contains(c.Message, part) {
			w.Errorf("the provider says %q, want %q in it", c.Message, part)
		}
	}
	return p
}

// entries are the lines of the zone, marks included.
func (w *world) entries() []string {
	w.Helper()
	sets, err := w.zone.Dump()
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, s := range sets {
		out = append(out, s.Text())
	}
	slices.Sort(out)
	return out
}

// data are the entries without marks.
func (w *world) data() []string {
	w.Helper()
	return slices.DeleteFunc(w.entries(), func(s string) bool { return strings.HasPrefix(s, "_trellis.") })
}

func (w *world) has(want ...string) {
	w.Helper()
	slices.Sort(want)
	if got := w.data(); !slices.Equal(got, want) {
		w.Fatalf("the zone has %q, want %q", got, want)
	}
}

// put writes into the zone as somebody else.
func (w *world) put(name string, t dns.Type, values ...string) {
	w.Helper()
	set := dns.RecordSet{Key: dns.Key{Name: dns.Name(name), Type: t}, TTL: 60, Values: values}
	if err := w.zone.Put(w.Context(), set); err != nil {
		w.Fatal(err)
	}
}

// news are the events since the last time.
func (w *world) news() []string {
	var out []string
	for {
		select {
		case e := <-w.recorder.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// tells checks that there is one event, with these parts.
func (w *world) tells(parts ...string) {
	w.Helper()
	news := w.news()
	if len(news) != 1 {
		w.Fatalf("the events are %q, want one with %q", news, parts)
	}
	for _, part := range parts {
		if !strings.Contains(news[0], part) {
			w.Errorf("the event is %q, want %q in it", news[0], part)
		}
	}
}

// quiet checks that nothing is written, to the API server or to the zone.
func (w *world) quiet() {
	w.Helper()
	writes, before := w.writes.Load(), w.entries()
	w.reconcile()
	w.reconcile()
	if n := w.writes.Load() - writes; n != 0 {
		w.Errorf("nothing changed, and %d writes were made to the API server", n)
	}
	if after := w.entries(); !slices.Equal(after, before) {
		w.Errorf("nothing changed, and the zone did: %q after %q", after, before)
	}
	if news := w.news(); len(news) != 0 {
		w.Errorf("nothing changed, and there are events: %q", news)
	}
}
