// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet makes platforms of any size for benchmarks and property tests:
// so many Applications with so many routes on so many SecureIngresses, with the
// Services, workloads and certificates that they need. The same Options always
// make the same objects, but for the keys of certificates. It knows nothing of
// how they are used.
package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
)

// perNamespace is how many Applications share a namespace.
const perNamespace = 10

// Options are the size of a platform.
type Options struct {
	Applications int
	// Routes of each Application, at least one.
	Routes int
	// Ingresses take turns; at least one. Each has its own gateway and domain.
	Ingresses int
	// Hosts of each Application; zero is one.
	Hosts int
	// Unready leaves addresses out of the gateways' pods, so that nobody tries
	// to reach them.
	Unready bool
	// Policies are how many bindings of policies are about each Application.
	Policies int
}

// WriteFile writes objects as documents, of JSON, which YAML is too. The folder is made
// where it is not there.
func WriteFile(path string, objects []client.Object) error {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	for _, object := range objects {
		out.WriteString("---\n")
		if err := e.Encode(object); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

// Objects are all objects of a platform, in an order in which they can be
// created.
func Objects(o Options) ([]client.Object, error) {
	var out []client.Object
	for i := range o.Ingresses {
		ingress, err := gateway(i, o)
		if err != nil {
			return nil, err
		}
		out = append(out, ingress...)
	}
	for i := range o.Applications {
		if i%perNamespace == 0 {
			out = append(out, &corev1.Namespace{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
				ObjectMeta: metav1.ObjectMeta{Name: namespace(i), Labels: map[string]string{"exposure": "public"}},
			})
		}
		out = append(out, service(i), workload(i), Application(o, i))
	}
	bound, err := policies(o.Policies)
	return append(out, bound...), err
}

// Snapshot is the same as Objects, ready to be compiled.
func Snapshot(o Options) (*model.Snapshot, error) {
	objects, err := Objects(o)
	if err != nil {
		return nil, err
	}
	return model.NewSnapshot(Input(objects)), nil
}

// Input is what objects state.
func Input(objects []client.Object) model.Input {
	b := load.NewBuilder(model.DefaultMesh())
	for _, object := range objects {
		b.Add(object)
	}
	in := b.Input()
	in.ProbeKey, in.At = "fleet", time.Unix(0, 0)
	return in
}

func namespace(i int) string { return fmt.Sprintf("team-%04d", i/perNamespace) }

func name(i int) string { return fmt.Sprintf("app-%05d", i) }

func domain(i int) string { return fmt.Sprintf("i%02d.example.com", i) }

func gateway(i int, o Options) ([]client.Object, error) {
	ns := fmt.Sprintf("ingress-%02d", i)
	secret, err := certificate(ns, "wildcard", "*."+domain(i))
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "gateway-0", Labels: map[string]string{"istio": ns}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "gateway", NodeName: "node",
			Containers: []corev1.Container{{Name: "istio-proxy", Image: "auto"}},
		},
	}
	if !o.Unready {
		pod.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: fmt.Sprintf("127.90.%d.1", i),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		}
	}
	return []client.Object{
		&corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: ns}},
		&corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "gateway"},
			Spec: corev1.ServiceSpec{Selector: map[string]string{"istio": ns}, Ports: []corev1.ServicePort{
				port("https", 443, 8443), port("http", 80, 8080),
			}},
		},
		pod, secret, ingress(ns, i),
	}, nil
}

func port(protocol string, number int32, target int) corev1.ServicePort {
	return corev1.ServicePort{Name: protocol, Port: number, TargetPort: intstr.FromInt(target), AppProtocol: &protocol}
}

func ingress(ns string, i int) *v1alpha1.SecureIngress {
	return &v1alpha1.SecureIngress{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "SecureIngress"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "public"},
		Spec: v1alpha1.SecureIngressSpec{
			Domains: []v1alpha1.IngressDomain{{Name: "main", Domain: domain(i)}},
			Gateway: v1alpha1.IngressGateway{Service: "gateway", Exclusive: true},
			TLS:     v1alpha1.IngressTLS{SecretName: "wildcard"},
			IdentityProviders: []v1alpha1.IdentityProvider{{
				Name: "customers", Issuer: "https://login.example.com", JWKSURI: "https://login.example.com/keys",
				Audiences: []v1alpha1.ClaimValue{"shop"}, Default: true,
			}},
			Applications: []v1alpha1.ApplicationAdmission{{
				Name: "teams", NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"exposure": "public"}}, Hostnames: []string{"*"},
			}},
		},
	}
}

func service(i int) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace(i), Name: name(i)},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name(i)},
			Ports:    []corev1.ServicePort{port("http", 8080, 8080)},
		},
	}
}

func workload(i int) *networkingv1.WorkloadEntry {
	out := &networkingv1.WorkloadEntry{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "WorkloadEntry"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace(i), Name: name(i)},
	}
	out.Spec = networkingapi.WorkloadEntry{
		Address: fmt.Sprintf("127.91.%d.%d", i/250, i%250+1), ServiceAccount: name(i),
		Labels: map[string]string{"app": name(i)}, Ports: map[string]uint32{"http": 8080},
	}
	return out
}

// Application is number i of a platform: its routes are one without a login,
// and others below it that need one, each with what real ones have.
func Application(o Options, i int) *v1alpha1.Application {
	app := &v1alpha1.Application{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Application"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace(i), Name: name(i)},
		Spec: v1alpha1.ApplicationSpec{
			Service: name(i),
			Ports:   []v1alpha1.ApplicationPort{{Name: "web", Port: 8080, Protocol: v1alpha1.ProtocolHTTP}},
			Access: &v1alpha1.Access{MutualTLS: v1alpha1.MutualTLSStrict, Callers: []v1alpha1.Caller{{
				Name: "metrics", Peer: v1alpha1.Peer{ServiceAccount: &v1alpha1.NamespacedName{Namespace: "monitoring", Name: "prometheus"}},
				Routes: []v1alpha1.LabelName{"r0"},
			}}},
		},
	}
	exposure := v1alpha1.Exposure{
		Name: "public", Ingress: &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(fmt.Sprintf("ingress-%02d", i%o.Ingresses)), Name: "public"},
	}
	for h := range max(o.Hosts, 1) {
		exposure.Hostnames = append(exposure.Hostnames, v1alpha1.Hostname(fmt.Sprintf("%s-%d", name(i), h)))
	}
	for r := range o.Routes {
		app.Spec.Routes = append(app.Spec.Routes, route(r))
		exposure.Routes = append(exposure.Routes, v1alpha1.LabelName(fmt.Sprintf("r%d", r)))
	}
	app.Spec.Exposures = []v1alpha1.Exposure{exposure}
	return app
}

func route(r int) v1alpha1.Route {
	if r == 0 {
		root := "/"
		return v1alpha1.Route{
			Name: "r0", Port: "web", Paths: []v1alpha1.PathMatch{{Prefix: &root}}, Methods: []v1alpha1.Method{"GET"},
			Authentication: &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone},
		}
	}
	path := fmt.Sprintf("/api/v%d", r)
	out := v1alpha1.Route{
		Name: v1alpha1.LabelName(fmt.Sprintf("r%d", r)), Port: "web",
		Paths: []v1alpha1.PathMatch{{Prefix: &path}}, Methods: []v1alpha1.Method{"GET", "POST"},
	}
	if r%2 == 0 {
		out.Authentication = &v1alpha1.Authentication{Scopes: []v1alpha1.ClaimValue{"items.read"}}
	}
	return out
}
