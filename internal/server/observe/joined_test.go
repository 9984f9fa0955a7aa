// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"
	"testing"
	"time"

	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
)

// generated is an object as the API server has it that Trellis made.
func generated(apiVersion, kind, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": "shop", "labels": map[string]any{"app.kubernetes.io/managed-by": "trellis"},
			"annotations": map[string]any{"trellis.dev/origin": `{"objects":["Application shop/cart"],"fields":["spec.access"],"rules":[[0,0,-1,"Application","Caller"]]}`}},
		"spec": map[string]any{},
	}}
}

// kept is an object as a watch keeps it.
func kept(t *testing.T, u *unstructured.Unstructured) client.Object {
	t.Helper()
	out, err := strip(u)
	if err != nil {
		t.Fatal(err)
	}
	object, ok := out.(client.Object)
	if !ok {
		t.Fatalf("%T is kept", out)
	}
	return object
}

func (o cached) watching(names ...string) {
	for _, name := range names {
		if o.watches[name] == nil {
			o.watches[name] = &watch{store: cache.NewStore(cache.MetaNamespaceKeyFunc), synced: func() bool { return true }}
		}
	}
}

func TestEntriesAreJoinedToWhatIsReallyThere(t *testing.T) {
	o := newCached(t)
	o.options.IstiodNamespace, o.options.MeshConfigMap = "istio-system", "istio-canary"
	o.watching(append(slices.Clone(joiners), o.options.meshConfig())...)
	o.set(t, "applications.trellis.dev", &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}})
	o.set(t, "authorizationpolicies.security.istio.io", kept(t, generated("security.istio.io/v1", "AuthorizationPolicy", "cart-allow")))
	o.set(t, "envoyfilters.networking.istio.io", kept(t, generated("networking.istio.io/v1alpha3", "EnvoyFilter", "cart-paths")))
	for _, one := range []string{"cart-1", "cart-2"} {
		pod := podAt("shop", one, "10.0.0."+one[len(one)-1:])
		pod.Labels = map[string]string{"app": "cart", "security.istio.io/tlsMode": "istio"}
		o.set(t, "pods", pod)
	}
	o.set(t, o.options.meshConfig(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istio-canary"}, Data: map[string]string{"mesh": "trustDomain: shop.example\nrootNamespace: istio-root\n"},
	})
	in, err := o.Joined()
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Applications) != 1 || len(in.Proxies) != 2 || !slices.Equal(in.TrustDomains, []string{"shop.example"}) {
		t.Errorf("%d Applications, %d proxies, trust domains %v", len(in.Applications), len(in.Proxies), in.TrustDomains)
	}
	policies, filters := 0, 0
	for _, object := range in.Objects {
		switch object := object.(type) {
		case *securityv1.AuthorizationPolicy:
			if object.Kind == "AuthorizationPolicy" {
				policies++
			}
		case *networkingv1alpha3.EnvoyFilter:
			if object.Kind == "EnvoyFilter" {
				filters++
			}
		}
	}
	if policies != 1 || filters != 1 {
		t.Errorf("%d policies and %d filters of %d objects", policies, filters, len(in.Objects))
	}
	lines := attribution.New(in).Lines()
	if len(lines) != 1 || lines[0].Statement != "Application shop/cart" || lines[0].Field != "spec.access" {
		t.Errorf("what can be hit is %v", lines)
	}
}

func TestWhoJoinsEntriesIsToldOfWhatTheyAreJoinedToAlone(t *testing.T) {
	o := newCached(t)
	o.watching(joiners...)
	changed, all := o.JoinedChanged(), o.Changed()
	told := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	o.set(t, "services", serviceOf("shop", "cart"))
	if told(changed) || !told(all) {
		t.Error("a Service is news to the wrong ones")
	}
	o.set(t, "pods", podAt("shop", "cart", "10.0.0.1"))
	if !told(changed) || !told(all) {
		t.Error("a pod is no news")
	}
}

func TestGeneratedObjectsAreKeptAndChangeNothingForTests(t *testing.T) {
	state := func(objects ...client.Object) *State {
		s, err := NewState(Options{}, objects, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	policy := kept(t, generated("security.istio.io/v1", "AuthorizationPolicy", "cart-allow"))
	with, without := state(policy), state()
	if len(with.Generated) != 1 || len(with.Objects) != 0 || len(with.Created) != 1 {
		t.Errorf("%d generated, %d others, %d times", len(with.Generated), len(with.Objects), len(with.Created))
	}
	if with.Digest != without.Digest {
		t.Error("tests are run again for it")
	}
}
