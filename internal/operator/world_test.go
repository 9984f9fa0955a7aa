// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/operator"
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
		if err := errors.Join(server.InstallTrellisCRDs(ctx), server.InstallIstioCRDs(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// world is one gateway and one application in a cluster, and an operator.
type world struct {
	t      *testing.T
	server *stack.Stack
	client client.Client
	// shop and gateway are namespaces; domain is what the gateway serves.
	shop, gateway, domain string
	options               operator.Options
	// writes counts what the operator writes, statuses included.
	writes atomic.Int64
	// refuse sees what is created and updated, and may make it fail; may be nil.
	refuse func(client.Object) error
	stop   func()
}

var worlds atomic.Int64

func newWorld(t *testing.T, s *stack.Stack) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, networkingv1.AddToScheme, securityv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	config := s.Config()
	config.QPS = -1
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	n := worlds.Add(1)
	w := &world{
		t: t, server: s, client: direct,
		shop: fmt.Sprintf("shop-%d", n), gateway: fmt.Sprintf("gateway-%d", n), domain: fmt.Sprintf("w%d.example.com", n),
	}
	w.options = operator.Options{
		Namespace: w.gateway, ServiceAccount: "trellis-operator", Mesh: model.DefaultMesh(),
		Istiod: operator.Istiod{Namespace: "istio-system", MeshConfigMap: "istio"},
		Log:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
		Clock:  clock.RealClock{}, Programmed: &programmed{}, Prober: &prober{clock: clock.RealClock{}}, Client: w.counting,
	}
	for _, namespace := range []string{w.shop, w.gateway} {
		if err := s.Namespace(t.Context(), namespace, map[string]string{"exposure": "public"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Certificate(t.Context(), w.gateway, "wildcard", "*."+w.domain); err != nil {
		t.Fatal(err)
	}
	w.workload(w.gateway, "gateway", 8443, 443)
	w.workload(w.shop, "shop", 9080, 9080)
	t.Cleanup(w.leave)
	return w
}

// leave takes away what the next test must not see.
func (w *world) leave() {
	ctx := context.Background()
	for _, list := range []client.ObjectList{&v1alpha1.ApplicationList{}, &v1alpha1.SecureIngressList{}, &v1alpha1.HostClaimList{}} {
		if err := w.client.List(ctx, list); err != nil {
			continue
		}
		_ = eachItem(list, func(o client.Object) { _ = w.client.Delete(ctx, o) })
	}
}

func eachItem(list client.ObjectList, do func(client.Object)) error {
	return meta.EachListItem(list, func(o runtime.Object) error {
		if object, ok := o.(client.Object); ok {
			do(object)
		}
		return nil
	})
}

// workload makes a Service and one ready pod.
func (w *world) workload(namespace, name string, target, port int32) {
	w.t.Helper()
	protocol, number := "http", port
	if port == 443 {
		protocol = "https"
	}
	w.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{
			{Name: protocol, Port: number, TargetPort: intstrOf(target), AppProtocol: &protocol},
		}},
	})
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-0", Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{ServiceAccountName: name, Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
	w.create(pod)
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.1.0.1", PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	if err := w.client.Status().Update(w.t.Context(), pod); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	if err := w.client.Create(w.t.Context(), o, client.FieldOwner("developer")); err != nil {
		w.t.Fatal(err)
	}
}

// counting wraps the operator's client.
func (w *world) counting(c client.WithWatch) client.WithWatch {
	note := func(o client.Object) error {
		w.writes.Add(1)
		if w.refuse != nil && o != nil {
			return w.refuse(o)
		}
		return nil
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := note(o); err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := note(o); err != nil {
				return err
			}
			return c.Update(ctx, o, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if err := note(nil); err != nil {
				return err
			}
			return c.Delete(ctx, o, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if err := note(nil); err != nil {
				return err
			}
			return c.Apply(ctx, o, opts...)
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			if err := note(nil); err != nil {
				return err
			}
			return c.SubResource(sub).Apply(ctx, o, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := note(nil); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
}

// start runs the operator until the test ends or stop is called.
func (w *world) start() {
	w.t.Helper()
	w.startWith(w.server.Config())
}

func (w *world) startWith(config *rest.Config) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- operator.Run(ctx, config, w.options) }()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("the operator ended with %v", err)
			}
		})
	}
	w.t.Cleanup(w.stop)
}

func (w *world) ingress() *v1alpha1.SecureIngress {
	return &v1alpha1.SecureIngress{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.gateway, Name: "public"},
		Spec: v1alpha1.SecureIngressSpec{
			Domains: []v1alpha1.IngressDomain{{Name: "main", Domain: w.domain}},
			Gateway: v1alpha1.IngressGateway{Service: "gateway", Exclusive: true},
			TLS:     v1alpha1.IngressTLS{SecretName: "wildcard"},
			IdentityProviders: []v1alpha1.IdentityProvider{{
				Name: "customers", Issuer: "https://login.example.com", JWKSURI: "https://login.example.com/keys",
				Audiences: []v1alpha1.ClaimValue{"shop"}, Default: true,
			}},
			Applications: []v1alpha1.ApplicationAdmission{{
				Name: "all", NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"exposure": "public"}}, Hostnames: []string{"*"},
			}},
		},
	}
}

func (w *world) application() *v1alpha1.Application {
	api, pages := "/api", "/"
	return &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: "shop"},
		Spec: v1alpha1.ApplicationSpec{
			Service: "shop",
			Ports:   []v1alpha1.ApplicationPort{{Name: "web", Port: 9080, Protocol: v1alpha1.ProtocolHTTP}},
			Routes: []v1alpha1.Route{
				{Name: "pages", Port: "web", Paths: []v1alpha1.PathMatch{{Prefix: &pages}}, Authentication: &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}},
				{Name: "api", Port: "web", Paths: []v1alpha1.PathMatch{{Prefix: &api}}},
			},
			Exposures: []v1alpha1.Exposure{{Name: "public", Routes: []v1alpha1.LabelName{"pages", "api"}}},
		},
	}
}

// published makes an ingress and an application and waits until they are ready.
func (w *world) published() (*v1alpha1.SecureIngress, *v1alpha1.Application) {
	w.t.Helper()
	in, app := w.ingress(), w.application()
	w.create(in)
	w.create(app)
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.awaitCondition(in, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	return in, app
}

func conditionsOf(o client.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.Application:
		return o.Status.Conditions
	case *v1alpha1.SecureIngress:
		return o.Status.Conditions
	case *v1alpha1.PolicyBinding:
		return o.Status.Conditions
	}
	return nil
}

// awaitCondition waits for a condition and reads the object anew.
func (w *world) awaitCondition(o client.Object, kind string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	w.t.Helper()
	var found *metav1.Condition
	w.await(fmt.Sprintf("%T %s to be %s=%s (%s)", o, o.GetName(), kind, status, reason), func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		found = meta.FindStatusCondition(conditionsOf(o), kind)
		if found == nil || found.Status != status || found.Reason != reason || found.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("conditions are %+v", conditionsOf(o))
		}
		return nil
	})
	return found
}

func (w *world) await(what string, check func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := stack.Until(ctx, what, check); err != nil {
		w.t.Fatal(err)
	}
}

// generated lists everything with our label, of all kinds, in both namespaces.
func (w *world) generated() []unstructured.Unstructured {
	w.t.Helper()
	var out []unstructured.Unstructured
	for _, kind := range apply.Kinds() {
		if kind.Role == apply.RoleClaim {
			continue
		}
		for _, namespace := range []string{w.shop, w.gateway} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
			if err := w.client.List(context.Background(), list, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/managed-by": "trellis"}); err != nil {
				if kind.Foreign && meta.IsNoMatchError(err) {
					continue
				}
				w.t.Fatal(err)
			}
			out = append(out, list.Items...)
		}
	}
	return out
}

// one finds a generated object by kind and namespace and a part of its name.
func (w *world) one(kind, namespace string, match func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	w.t.Helper()
	for _, u := range w.generated() {
		if u.GetKind() == kind && u.GetNamespace() == namespace && (match == nil || match(&u)) {
			return &u
		}
	}
	w.t.Fatalf("there is no such %s in %s", kind, namespace)
	return nil
}

func denies(u *unstructured.Unstructured) bool {
	action, _, _ := unstructured.NestedString(u.Object, "spec", "action")
	return action == "DENY"
}

// events are the notes about an object with a reason.
func (w *world) events(o client.Object, reason string) []string {
	list := &eventsv1.EventList{}
	if err := w.client.List(context.Background(), list); err != nil {
		return nil
	}
	var out []string
	for _, e := range list.Items {
		if e.Regarding.Name == o.GetName() && e.Regarding.Namespace == o.GetNamespace() && e.Reason == reason {
			out = append(out, e.Note)
		}
	}
	return out
}

func (w *world) awaitEvent(o client.Object, reason string, parts ...string) {
	w.t.Helper()
	w.await("an event "+reason+" about "+o.GetName(), func(context.Context) error {
		notes := w.events(o, reason)
		for _, note := range notes {
			all := true
			for _, part := range parts {
				all = all && strings.Contains(note, part)
			}
			if all {
				return nil
			}
		}
		return fmt.Errorf("there are %q, want one with %q", notes, parts)
	})
}

// quiet waits until the operator has written nothing for a second.
func (w *world) quiet() {
	w.t.Helper()
	// Longer than a status may be held back.
	const rest = 2500 * time.Millisecond
	last, since := w.writes.Load(), time.Now()
	w.await("the operator to come to rest", func(context.Context) error {
		if now := w.writes.Load(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < rest {
			return errors.New("it still writes")
		}
		return nil
	})
}

// programmed says that every proxy has everything, as soon as it is asked.
type programmed struct {
	mu     sync.Mutex
	report func([]controller.Verdict)
	last   []controller.Verdict
}

func (p *programmed) Follow(_ *model.Snapshot, targets []controller.ProgrammedTarget, _ []compile.Packed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = nil
	for _, t := range targets {
		p.last = append(p.last, controller.Verdict{Owner: t.Owner, Status: metav1.ConditionTrue, Reason: "Acknowledged", Message: "all have it", LastWrite: t.LastWrite()})
	}
	if p.report != nil {
		p.report(p.last)
	}
}

func (p *programmed) Run(ctx context.Context, report func([]controller.Verdict)) error {
	p.mu.Lock()
	p.report = report
	report(p.last)
	p.mu.Unlock()
	<-ctx.Done()
	return nil
}

// prober says that every probe was answered as expected.
type prober struct {
	clock  clock.Clock
	mu     sync.Mutex
	report func([]controller.ProbeResult)
	last   []controller.ProbeResult
}

func (p *prober) Follow(_ *model.Snapshot, targets []controller.ProbeTarget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = nil
	for _, t := range targets {
		for _, probe := range t.Probes {
			p.last = append(p.last, controller.ProbeResult{Owner: t.Owner, Probe: probe, Status: metav1.ConditionTrue, Reason: "AsStated", At: p.clock.Now()})
		}
	}
	if p.report != nil {
		p.report(p.last)
	}
}

func (p *prober) Run(ctx context.Context, report func([]controller.ProbeResult)) error {
	p.mu.Lock()
	p.report = report
	report(p.last)
	p.mu.Unlock()
	<-ctx.Done()
	return nil
}
