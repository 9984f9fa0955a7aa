// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/ads"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
	"github.com/trellis-mesh/trellis/test/stack"
)

// flags are those that the stack's istiod runs with (test/stack/istio.go).
var flags = generator.Flags{"PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false"}

var mesh *stack.Stack

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	var err error
	if err = generator.Configure(flags); err == nil {
		mesh, err = stack.Start(ctx, stack.Options{})
	}
	cancel()
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if mesh != nil {
		mesh.Stop()
	}
	os.Exit(code)
}

// kinds are what Istio reads and the tests write.
var kinds = []schema.GroupVersionKind{
	{Version: "v1", Kind: "Namespace"}, {Version: "v1", Kind: "Service"}, {Version: "v1", Kind: "Pod"},
	{Version: "v1", Kind: "Secret"}, {Version: "v1", Kind: "ConfigMap"},
	{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
	{Group: "networking.istio.io", Version: "v1", Kind: "Gateway"},
	{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"},
	{Group: "networking.istio.io", Version: "v1", Kind: "DestinationRule"},
	{Group: "networking.istio.io", Version: "v1", Kind: "ServiceEntry"},
	{Group: "networking.istio.io", Version: "v1", Kind: "WorkloadEntry"},
	{Group: "networking.istio.io", Version: "v1", Kind: "Sidecar"},
	{Group: "networking.istio.io", Version: "v1alpha3", Kind: "EnvoyFilter"},
	{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"},
	{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"},
	{Group: "security.istio.io", Version: "v1", Kind: "RequestAuthentication"},
	{Group: "telemetry.istio.io", Version: "v1", Kind: "Telemetry"},
}

// objects are all that the cluster has of those kinds.
func objects(ctx context.Context, t *testing.T) []client.Object {
	t.Helper()
	var out []client.Object
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		if err := mesh.Client().List(ctx, list); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
	}
	return out
}

func running(t *testing.T, in generator.Input) *generator.Generator {
	t.Helper()
	g, err := generator.New(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func asking(t *testing.T, nodes ...xds.Node) *ads.Source {
	t.Helper()
	d := mesh.Istiods()[0]
	source, err := ads.New(ads.Options{
		Replica: istiod.Replica{Name: d.Name, Address: fmt.Sprintf("%s:%d", d.Address, d.XDSPort)},
		Nodes:   func(context.Context) ([]xds.Node, error) { return nodes, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// documents are those of a file that exists, typed where Kubernetes' own.
func documents(t *testing.T, file string) []client.Object {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []client.Object
	decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		raw := &unstructured.Unstructured{}
		if err := decoder.Decode(raw); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if typed, err := clientscheme.Scheme.New(raw.GroupVersionKind()); err == nil {
			if o, ok := typed.(client.Object); ok && runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, o) == nil {
				o.GetObjectKind().SetGroupVersionKind(raw.GroupVersionKind())
				out = append(out, o)
				continue
			}
		}
		if raw.GetKind() != "" {
			out = append(out, raw)
		}
	}
}

// taken reports whether an object is of a kind that the comparison is about.
func taken(object client.Object) bool {
	kind := object.GetObjectKind().GroupVersionKind()
	if kind.Kind == "" {
		found, _, err := clientscheme.Scheme.ObjectKinds(object)
		if err != nil {
			return false
		}
		kind = found[0]
	}
	for _, k := range kinds {
		if k.Group == kind.Group && k.Kind == kind.Kind {
			return true
		}
	}
	return false
}

// create writes the objects, and removes them when the test ends. Namespaces stay:
// without a controller manager they would never go.
func create(ctx context.Context, t *testing.T, all []client.Object) {
	t.Helper()
	namespaces := map[string]bool{}
	for _, object := range all {
		if n, ok := object.(*corev1.Namespace); ok {
			namespaces[n.Name] = true
			putNamespace(ctx, t, n)
		}
	}
	for _, object := range all {
		if name := object.GetNamespace(); name != "" && !namespaces[name] {
			namespaces[name] = true
			n := &corev1.Namespace{}
			n.Name = name
			putNamespace(ctx, t, n)
		}
	}
	for _, object := range all {
		if _, ok := object.(*corev1.Namespace); !ok {
			put(ctx, t, object)
		}
	}
}

func putNamespace(ctx context.Context, t *testing.T, namespace *corev1.Namespace) {
	t.Helper()
	err := mesh.Client().Create(ctx, &corev1.Namespace{ObjectMeta: namespace.ObjectMeta})
	if apierrors.IsAlreadyExists(err) {
		was := &corev1.Namespace{}
		if err = mesh.Client().Get(ctx, client.ObjectKeyFromObject(namespace), was); err == nil {
			was.Labels = namespace.Labels
			err = mesh.Client().Update(ctx, was)
		}
	}
	if err != nil {
		t.Fatalf("making namespace %s: %v", namespace.Name, err)
	}
}

func put(ctx context.Context, t *testing.T, object client.Object) {
	t.Helper()
	object, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		t.Fatal("a copy is of another type")
	}
	object.SetResourceVersion("")
	object.SetUID("")
	var status *corev1.PodStatus
	switch o := object.(type) {
	case *corev1.Service:
		o.Spec.ClusterIP, o.Spec.ClusterIPs = without(o.Spec.ClusterIP), nil
	case *corev1.Pod:
		status = o.Status.DeepCopy()
		for i := range o.Spec.Containers {
			if o.Spec.Containers[i].Image == "" {
				o.Spec.Containers[i].Image = "none"
			}
		}
		if len(o.Spec.Containers) == 0 {
			o.Spec.Containers = []corev1.Container{{Name: "main", Image: "none"}}
		}
		o.Spec.ServiceAccountName = serviceAccount(ctx, t, o.Namespace, o.Spec.ServiceAccountName)
	}
	if err := mesh.Client().Create(ctx, object); err != nil {
		t.Fatalf("making %T %s/%s: %v", object, object.GetNamespace(), object.GetName(), err)
	}
	t.Cleanup(func() {
		err := mesh.Client().Delete(context.WithoutCancel(ctx), object, client.GracePeriodSeconds(0))
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("removing %s/%s: %v", object.GetNamespace(), object.GetName(), err)
		}
	})
	if pod, ok := object.(*corev1.Pod); ok {
		pod.Status = *status
		if err := mesh.Client().Status().Update(ctx, pod); err != nil {
			t.Fatalf("setting the status of %s/%s: %v", pod.Namespace, pod.Name, err)
		}
	}
}

// without leaves the address to the API server, which has a range of its own.
func without(address string) string {
	if address == corev1.ClusterIPNone {
		return address
	}
	return ""
}

// serviceAccount makes the account: the API server takes no pod without.
func serviceAccount(ctx context.Context, t *testing.T, namespace, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name = namespace, name
	if err := mesh.Client().Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return name
}
