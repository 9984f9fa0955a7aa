// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/model"
)

// cached is an Observer that has read these objects, and changes them as a watch does.
type cached struct{ *Observer }

func newCached(t testing.TB) cached {
	t.Helper()
	o := cached{New(nil, Options{Mesh: model.DefaultMesh(), Log: slog.New(slog.DiscardHandler)})}
	for _, name := range append([]string{definitions}, append(required, namers...)...) {
		o.watches[name] = &watch{store: cache.NewStore(cache.MetaNamespaceKeyFunc), synced: func() bool { return true }}
	}
	for _, name := range required {
		crd := &metav1.PartialObjectMetadata{}
		crd.SetName(name)
		o.set(t, definitions, crd)
	}
	return o
}

func (o cached) set(t testing.TB, name string, object client.Object) {
	t.Helper()
	if err := o.watches[name].store.Add(object); err != nil {
		t.Fatal(err)
	}
	o.onEvent(name)()
}

func (o cached) remove(t *testing.T, name string, object client.Object) {
	t.Helper()
	if err := o.watches[name].store.Delete(object); err != nil {
		t.Fatal(err)
	}
	o.onEvent(name)()
}

func podAt(namespace, name, address string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address},
	}
}

func serviceOf(namespace, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}}}
}

func TestNamesFollowPodsAndStayAWhileAfterThem(t *testing.T) {
	o, start := newCached(t), time.Unix(0, 0)
	at := func(d time.Duration, address string) string {
		if w := o.Who(start.Add(d)).At(netip.MustParseAddr(address)); w != nil {
			return w.Name
		}
		return ""
	}
	expect := func(d time.Duration, address, want string) {
		t.Helper()
		if got := at(d, address); got != want {
			t.Errorf("after %s %s is %q, want %q", d, address, got, want)
		}
	}
	cart := podAt("shop", "cart", "10.0.0.1")
	o.set(t, "services", serviceOf("shop", "cart"))
	expect(0, "10.0.0.1", "")
	o.set(t, "pods", cart)
	expect(rename/2, "10.0.0.1", "") // not made anew yet
	expect(rename, "10.0.0.1", "shop/cart")

	o.remove(t, "pods", cart)
	expect(3*rename, "10.0.0.1", "shop/cart")
	if w := o.Who(start.Add(3 * rename)).Pod(accesslog.Writer{Namespace: "shop", Pod: "cart"}); w == nil || w.Name != "shop/cart" {
		t.Errorf("by its name it is %+v", w)
	}
	o.set(t, "pods", podAt("shop", "web", "10.0.0.1"))
	expect(5*rename, "10.0.0.1", "shop/web")
	o.remove(t, "pods", podAt("shop", "web", "10.0.0.1"))
	expect(7*rename, "10.0.0.1", "shop/web")
	// Without a change, too, it is forgotten in the end.
	expect(2*linger+8*rename, "10.0.0.1", "")
}

func TestAPodOnTheNodesNetworkHasNoAddressOfItsOwn(t *testing.T) {
	o := newCached(t)
	agent := podAt("legacy", "agent", "10.0.9.9")
	agent.Spec.HostNetwork = true
	o.set(t, "pods", agent)
	if w := o.Who(time.Unix(0, 0)).At(netip.MustParseAddr("10.0.9.9")); w != nil {
		t.Errorf("the node is %s", w.Name)
	}
}

func TestNobodyIsNamedBeforeEverythingIsRead(t *testing.T) {
	o := newCached(t)
	o.watches["pods"].synced = func() bool { return false }
	if who := o.Who(time.Unix(0, 0)); who != nil {
		t.Error("names are known")
	}
	o.watches["pods"].synced = func() bool { return true }
	if who := o.Who(time.Unix(0, 0)); who == nil {
		t.Error("names are not known")
	}
}

func BenchmarkNamesOf10000Pods(b *testing.B) {
	o := newCached(b)
	for i := range 10_000 {
		pod := podAt(fmt.Sprint("ns", i%100), fmt.Sprint("pod", i/10), netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
		o.set(b, "pods", pod)
		o.set(b, "services", serviceOf(pod.Namespace, pod.Name))
	}
	now := time.Unix(0, 0)
	for b.Loop() {
		now = now.Add(2 * rename)
		o.names.changed.Store(true)
		o.Who(now)
	}
}
