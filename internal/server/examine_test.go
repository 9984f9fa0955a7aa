// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"
	"testing"
	"time"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// open has the API without a login.
var open = []string{"authentication: {mode: Required}", "authentication: {mode: None}"}

// states are what came of the tests, by the names of Applications.
func states(t *testing.T, state *observe.State) map[string]verdict.Application {
	t.Helper()
	settled, err := examine.Settle(t.Context(), state, time.Now())
	must(t, err)
	out := map[string]verdict.Application{}
	for _, a := range settled.Applications {
		out[a.Name] = a
	}
	return out
}

func TestTestsAreRunOnWhatIstioWouldSend(t *testing.T) {
	got := states(t, observed(t, decode(t, platform, named(workload, "cart"), named(application, "cart"))...))
	if a := got["cart"]; a.State != verdict.Passed || a.Tests != 2 || len(a.Failures) != 0 {
		t.Errorf("got %+v", a)
	}
	got = states(t, observed(t, decode(t, platform, named(workload, "cart"), named(application, "cart", open...))...))
	a := got["cart"]
	if a.State != verdict.Failed || len(a.Failures) != 1 {
		t.Fatalf("got %+v", a)
	}
	if f := a.Failures[0]; f.Field != "spec.tests[0]" || f.Test != "nobody" || f.Says != "it is Allow, and Deny was expected" ||
		!strings.HasPrefix(f.By, "Application cart/cart spec.") || f.Ask != "trellis can -v -f FILES https://cart.example.com/api" {
		t.Errorf("got %+v", f)
	}
}

func TestAPolicyByHandIsSeen(t *testing.T) {
	objects := decode(t, platform, named(workload, "cart"), named(application, "cart"))
	objects = append(objects, &securityv1.AuthorizationPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-ingress", Name: "by-hand"},
		Spec: securityapi.AuthorizationPolicy{
			Action: securityapi.AuthorizationPolicy_DENY,
			Rules:  []*securityapi.Rule{{To: []*securityapi.Rule_To{{Operation: &securityapi.Operation{Paths: []string{"/pages"}}}}}},
		},
	})
	a := states(t, observed(t, objects...))["cart"]
	if a.State != verdict.Failed || len(a.Failures) != 1 || !strings.Contains(a.Failures[0].Sentence(), "by-hand") {
		t.Errorf("got %+v", a)
	}
}

// One Application's test is about what another one serves: both changes are good
// together, and one that fails by itself holds up nobody else.
func TestChangesThatBelongTogetherPassTogetherAndAMistakeHoldsUpNobodyElse(t *testing.T) {
	// The test of a caller in another namespace, who has to be there.
	called := []string{
		"exposures: [{name: public, routes: [pages, api]}]",
		"access: {callers: [{name: cart, peer: {application: {name: cart, namespace: cart}}, authentication: Waived}]}\n  exposures: [{name: public, routes: [pages, api]}]",
		"- {name: nobody, from: {internet: {}}, request: {path: /api}, expect: {verdict: Deny}}",
		"- {name: the cart may, from: {application: {name: cart, namespace: cart}}, request: {path: /api}, expect: {verdict: Allow}}",
	}
	base := decode(t, platform, named(workload, "cart"), named(workload, "stock"), named(workload, "till"))
	base = base[:len(base):len(base)]

	t.Run("together", func(t *testing.T) {
		objects := append(base, decode(t, named(application, "cart"), named(application, "stock", called...))...)
		for name, a := range states(t, observed(t, objects...)) {
			if a.State != verdict.Passed {
				t.Errorf("%s: %+v", name, a)
			}
		}
	})
	t.Run("a mistake", func(t *testing.T) {
		record, changed := later(t, named(application, "cart"), named(application, "cart", open...))
		objects := append(base, record, changed)
		objects = append(objects, decode(t, named(application, "stock", called...), named(application, "till"))...)
		got := states(t, observed(t, objects...))
		if got["cart"].State != verdict.Failed || got["stock"].State != verdict.Passed || got["till"].State != verdict.Passed {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("two mistakes, of which one is only the other's", func(t *testing.T) {
		// The stock is not reachable for a cart that nobody may know any more.
		record, changed := later(t, named(application, "cart"), named(application, "cart", open[0], open[1], "service: NAME", "service: nowhere"))
		objects := append(base, record, changed)
		objects = append(objects, decode(t, named(application, "stock", called...))...)
		got := states(t, observed(t, objects...))
		if got["cart"].State == verdict.Passed || got["stock"].State != verdict.Passed {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWhatComesAndGoesEverySecondChangesNoDigest(t *testing.T) {
	objects := func() []client.Object {
		return decode(t, platform, named(workload, "cart"), named(application, "cart"))
	}
	before := observed(t, objects()...)
	for name, c := range map[string]struct {
		change func([]client.Object) []client.Object
		same   bool
	}{
		"another order": {func(all []client.Object) []client.Object { return append(all[3:len(all):len(all)], all[:3]...) }, true},
		"another pod of the next version that is alike": {func(all []client.Object) []client.Object {
			pod := podOf(t, all).DeepCopy()
			pod.Name, pod.Status.PodIP, pod.Labels["pod-template-hash"] = "cart-2", "10.1.1.99", "def"
			return append(all, pod)
		}, true},
		"a pod that takes another's place": {func(all []client.Object) []client.Object {
			pod := podOf(t, all)
			pod.Name, pod.Status.PodIP = "cart-9", "10.1.1.99"
			return all
		}, true},
		"a status": {func(all []client.Object) []client.Object {
			for _, o := range all {
				if a, ok := o.(*v1alpha1.Application); ok {
					a.Status.ObservedGeneration, a.ResourceVersion = 7, "7"
				}
			}
			return all
		}, true},
		"a pod with other labels": {func(all []client.Object) []client.Object {
			pod := podOf(t, all).DeepCopy()
			pod.Name, pod.Labels["version"] = "cart-2", "v2"
			return append(all, pod)
		}, false},
		"no pod any more": {func(all []client.Object) []client.Object {
			podOf(t, all).DeletionTimestamp = &metav1.Time{Time: time.Now()}
			return all
		}, false},
		"another statement": {func(all []client.Object) []client.Object {
			for _, o := range all {
				if a, ok := o.(*v1alpha1.Application); ok {
					a.Spec.Tests = a.Spec.Tests[:1]
				}
			}
			return all
		}, false},
		"a policy by hand": {func(all []client.Object) []client.Object {
			return append(all, &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "cart", Name: "by-hand"}})
		}, false},
	} {
		if got := observed(t, c.change(objects())...); (got.Digest == before.Digest) != c.same {
			t.Errorf("%s: the digest is the same: %t, want %t", name, !c.same, c.same)
		}
	}
}

func podOf(t *testing.T, objects []client.Object) *corev1.Pod {
	t.Helper()
	for _, o := range objects {
		if pod, ok := o.(*corev1.Pod); ok && pod.Namespace == "cart" {
			return pod
		}
	}
	t.Fatal("there is no pod")
	return nil
}
