// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/stack"
)

const cluster = "Kubernetes"

var server *stack.Stack

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var err error
		if server, err = startServer(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Stop()
		return m.Run()
	}())
}

func startServer(ctx context.Context) (*stack.Stack, error) {
	s, err := stack.Start(ctx, stack.Options{WithoutIstio: true})
	if err != nil {
		return nil, err
	}
	if err := s.InstallIstioCRDs(ctx); err != nil {
		return s, err
	}
	if err := s.InstallTrellisCRDs(ctx); err != nil {
		return s, err
	}
	return s, nil
}

// world is a namespace of a real API server and an Applier for it.
type world struct {
	t         *testing.T
	namespace string
	client    client.WithWatch
	applier   *apply.Applier
	// writes counts what reaches the server through the Applier.
	writes atomic.Int64
	// limit lets that many writes through and fails all others; negative: all.
	limit atomic.Int64
	// after is called after each write that the server has accepted.
	after func()
}

var namespaces atomic.Int64

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, networkingv1.AddToScheme, securityv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	config := server.Config()
	config.QPS = -1
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: direct, namespace: fmt.Sprintf("apply-%d", namespaces.Add(1)), after: func() {}}
	w.limit.Store(-1)
	if err := direct.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}); err != nil {
		t.Fatal(err)
	}
	w.restart()
	return w
}

// restart forgets everything that a process keeps in memory.
func (w *world) restart() {
	w.applier = &apply.Applier{
		Client: w.counting(), Ledger: apply.NewLedger(), Cluster: cluster, Parallel: 4, Now: time.Now,
	}
}

var errKilled = fmt.Errorf("killed")

func (w *world) counting() client.Client {
	do := func(write func() error) error {
		n := w.writes.Add(1)
		if limit := w.limit.Load(); limit >= 0 && n > limit {
			return errKilled
		}
		err := write()
		if err == nil {
			w.after()
		}
		return err
	}
	return interceptor.NewClient(w.client, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return do(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return do(func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return do(func() error { return c.Delete(ctx, o, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return do(func() error { return c.Apply(ctx, o, opts...) })
		},
	})
}

// list reads all objects of a generated kind in the namespace.
func (w *world) list(kind apply.Kind) []unstructured.Unstructured {
	w.t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := w.client.List(context.Background(), list, client.InNamespace(w.namespace)); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

// live is the inventory, straight from the server.
func (w *world) live() []apply.Live {
	w.t.Helper()
	var out []apply.Live
	for _, kind := range apply.Kinds() {
		if kind.Role == apply.RoleClaim || kind.Foreign {
			continue
		}
		for _, u := range w.list(kind) {
			l, err := apply.LiveOf(cluster, &u)
			if err != nil {
				w.t.Fatal(err)
			}
			if u.GetName() != "kube-root-ca.crt" {
				out = append(out, l)
			}
		}
	}
	return out
}

func never([]model.Reference) bool { return false }

func none(model.Reference, model.Reference) bool { return false }

// run makes a plan and carries it out, as the operator does.
func (w *world) run(objects []compile.Object, frozen apply.Frozen) (*apply.Plan, apply.Result, error) {
	w.t.Helper()
	return w.runKeeping(objects, frozen, none)
}

func (w *world) runKeeping(objects []compile.Object, frozen apply.Frozen, kept apply.Kept) (*apply.Plan, apply.Result, error) {
	w.t.Helper()
	desired, err := new(apply.Preparer).Prepare(objects)
	if err != nil {
		w.t.Fatal(err)
	}
	plan, err := w.applier.Ledger.Compare(desired, w.live(), frozen, kept)
	if err != nil {
		w.t.Fatal(err)
	}
	result, err := w.applier.Restrict(w.t.Context(), plan)
	for _, step := range []func(context.Context, *apply.Plan) (apply.Result, error){w.applier.Route, w.applier.Release} {
		if err != nil {
			break
		}
		var more apply.Result
		more, err = step(w.t.Context(), plan)
		result.Add(more)
	}
	return plan, result, err
}

// mustRun runs and wants no error.
func (w *world) mustRun(objects []compile.Object) (*apply.Plan, apply.Result) {
	w.t.Helper()
	plan, result, err := w.run(objects, never)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan, result
}

// object puts a value together as the compiler does.
func (w *world) object(group, version, kind, name string, value compile.Resource) compile.Object {
	value.GetObjectKind().SetGroupVersionKind(gvk(group, version, kind))
	value.SetNamespace(w.namespace)
	value.SetName(name)
	value.SetLabels(map[string]string{
		compile.LabelManagedBy: compile.ManagedBy, compile.LabelOwnerKind: "Application",
		compile.LabelOwnerNamespace: w.namespace, compile.LabelOwnerName: "shop",
	})
	value.SetAnnotations(map[string]string{compile.AnnotationOrigin: `{"rules":[]}`})
	return compile.Object{
		Ref:    model.Reference{Cluster: cluster, Group: group, Kind: kind, Namespace: w.namespace, Name: name},
		Owners: []model.Reference{w.owner()}, Value: value,
	}
}

func (w *world) owner() model.Reference {
	return model.Reference{Cluster: cluster, Group: v1alpha1.GroupName, Kind: "Application", Namespace: w.namespace, Name: "shop"}
}

var gatewayPods = map[string]string{"istio": "ingressgateway"}

// deny refuses requests for hosts, one rule for each.
func (w *world) deny(name string, hosts ...string) compile.Object {
	p := &securityv1.AuthorizationPolicy{Spec: securityv1beta1.AuthorizationPolicy{
		Selector: &typev1beta1.WorkloadSelector{MatchLabels: gatewayPods},
		Action:   securityv1beta1.AuthorizationPolicy_DENY,
	}}
	for _, h := range hosts {
		p.Spec.Rules = append(p.Spec.Rules, &securityv1beta1.Rule{
			To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Hosts: []string{h, h + ":*"}}}},
		})
	}
	return w.object("security.istio.io", "v1", "AuthorizationPolicy", name, p)
}

// route sends hosts to a service.
func (w *world) route(name string, hosts ...string) compile.Object {
	return w.object("networking.istio.io", "v1", "VirtualService", name, &networkingv1.VirtualService{Spec: v1alpha3.VirtualService{
		Hosts: hosts, Gateways: []string{"public"},
		Http: []*v1alpha3.HTTPRoute{{Name: "all", Route: []*v1alpha3.HTTPRouteDestination{
			{Destination: &v1alpha3.Destination{Host: "shop." + w.namespace + ".svc.cluster.local", Port: &v1alpha3.PortSelector{Number: 9080}}, Weight: 100},
		}}},
	}})
}

// everyKind is one object of each kind that Trellis generates.
func (w *world) everyKind() []compile.Object {
	selector := &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": "shop"}}
	return []compile.Object{
		w.object("", "v1", "ConfigMap", "trellis-origin", &corev1.ConfigMap{Data: map[string]string{"origin": "{}"}}),
		w.object("networking.istio.io", "v1alpha3", "EnvoyFilter", "guard", &networkingv1alpha3.EnvoyFilter{Spec: v1alpha3.EnvoyFilter{
			WorkloadSelector: &v1alpha3.WorkloadSelector{Labels: gatewayPods},
		}}),
		w.object("security.istio.io", "v1", "RequestAuthentication", "keys", &securityv1.RequestAuthentication{Spec: securityv1beta1.RequestAuthentication{
			Selector: selector,
			JwtRules: []*securityv1beta1.JWTRule{{Issuer: "https://issuer.example", Audiences: []string{"shop"}, JwksUri: "https://issuer.example/keys", ForwardOriginalToken: true}},
		}}),
		w.deny("deny", "shop.example.com"),
		w.object("security.istio.io", "v1", "AuthorizationPolicy", "allow", &securityv1.AuthorizationPolicy{Spec: securityv1beta1.AuthorizationPolicy{
			Selector: selector, Action: securityv1beta1.AuthorizationPolicy_ALLOW,
			Rules: []*securityv1beta1.Rule{{From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{Principals: []string{"cluster.local/ns/a/sa/b"}}}}}},
		}}),
		w.object("security.istio.io", "v1", "PeerAuthentication", "peers", &securityv1.PeerAuthentication{Spec: securityv1beta1.PeerAuthentication{
			Selector: selector, Mtls: &securityv1beta1.PeerAuthentication_MutualTLS{Mode: securityv1beta1.PeerAuthentication_MutualTLS_STRICT},
			PortLevelMtls: map[uint32]*securityv1beta1.PeerAuthentication_MutualTLS{9080: {Mode: securityv1beta1.PeerAuthentication_MutualTLS_STRICT}},
		}}),
		w.object("networking.istio.io", "v1", "DestinationRule", "clients", &networkingv1.DestinationRule{Spec: v1alpha3.DestinationRule{
			Host: "shop", TrafficPolicy: &v1alpha3.TrafficPolicy{Tls: &v1alpha3.ClientTLSSettings{Mode: v1alpha3.ClientTLSSettings_ISTIO_MUTUAL}},
		}}),
		w.object("networking.istio.io", "v1", "ServiceEntry", "host", &networkingv1.ServiceEntry{Spec: v1alpha3.ServiceEntry{
			Hosts: []string{"api.example.com"}, ExportTo: []string{"."}, Resolution: v1alpha3.ServiceEntry_DNS,
			Ports: []*v1alpha3.ServicePort{{Number: 443, Name: "tls-443", Protocol: "TLS"}},
		}}),
		w.object("networking.istio.io", "v1", "Sidecar", "calls", &networkingv1.Sidecar{Spec: v1alpha3.Sidecar{
			WorkloadSelector:      &v1alpha3.WorkloadSelector{Labels: map[string]string{"app": "shop"}},
			Egress:                []*v1alpha3.IstioEgressListener{{Hosts: []string{"./api.example.com"}}},
			OutboundTrafficPolicy: &v1alpha3.OutboundTrafficPolicy{Mode: v1alpha3.OutboundTrafficPolicy_REGISTRY_ONLY},
		}}),
		w.object("networking.istio.io", "v1", "Gateway", "public", &networkingv1.Gateway{Spec: v1alpha3.Gateway{
			Selector: gatewayPods,
			Servers: []*v1alpha3.Server{{
				Port:  &v1alpha3.Port{Number: 443, Name: "https", Protocol: "HTTPS"},
				Hosts: []string{"shop.example.com"},
				Tls: &v1alpha3.ServerTLSSettings{
					Mode: v1alpha3.ServerTLSSettings_SIMPLE, CredentialName: "shop", MinProtocolVersion: v1alpha3.ServerTLSSettings_TLSV1_2,
				},
			}},
		}}),
		w.route("shop", "shop.example.com"),
	}
}
