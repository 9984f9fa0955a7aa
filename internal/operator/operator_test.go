// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

func intstrOf(port int32) intstr.IntOrString { return intstr.FromInt32(port) }

func TestTwoDocumentsBecomeObjectsAndAreReady(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	in, app := w.published()
	for _, kind := range []string{"AuthorizationPolicy", "RequestAuthentication", "Gateway", "VirtualService"} {
		w.one(kind, w.gateway, nil)
	}
	if len(app.Status.Addresses) != 1 || app.Status.Addresses[0].URL != "https://shop."+w.domain+"/" {
		t.Errorf("addresses are %+v", app.Status.Addresses)
	}
	if len(app.Status.Generated) == 0 || len(in.Status.Hosts) != 1 || in.Status.HostCount != 1 {
		t.Errorf("generated %v, hosts %v", app.Status.Generated, in.Status.Hosts)
	}
	for _, g := range app.Status.Generated {
		if g.APIVersion == "" || g.Kind == "" || g.Name == "" {
			t.Errorf("a generated object is named in part: %+v", g)
		}
	}
	for _, o := range []client.Object{in, app} {
		for _, c := range conditionsOf(o) {
			if c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled {
				t.Errorf("%T is ready and also %s", o, c.Type)
			}
		}
		w.awaitEvent(o, "Accepted")
	}
	claim := &v1alpha1.HostClaim{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: "shop." + w.domain}, claim); err != nil {
		t.Fatal(err)
	}
	if string(claim.Spec.Namespace) != w.shop || claim.Status.UnusedSince != nil {
		t.Errorf("the claim is %+v", claim)
	}
}

func TestAtRestNothingIsWrittenAndNeitherAfterARestart(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	_, app := w.published()
	w.quiet()
	before := w.writes.Load()
	// A change of nothing that matters wakes the loop.
	if err := w.client.Patch(t.Context(), app, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"some":"label"}}}`))); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	if after := w.writes.Load(); after != before {
		t.Errorf("%d writes where nothing was to be done", after-before)
	}
	w.stop()
	versions := versionsOf(w.generated())
	w.start()
	w.quiet()
	if after := versionsOf(w.generated()); !slices.Equal(after, versions) {
		t.Errorf("a restart wrote objects:\n%v\n%v", versions, after)
	}
}

func versionsOf(objects []unstructured.Unstructured) []string {
	var out []string
	for _, u := range objects {
		out = append(out, u.GetKind()+" "+u.GetName()+" "+u.GetResourceVersion())
	}
	slices.Sort(out)
	return out
}

func TestAHandEditIsPutBackWithinTwoSecondsAndSaysWhereToChangeIt(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	_, app := w.published()
	policy := w.one("AuthorizationPolicy", w.gateway, denies)
	edited := time.Now()
	if err := w.client.Patch(t.Context(), policy, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"rules":[]}}`)), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	w.await("the rules to be back", func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if rules, _, _ := unstructured.NestedSlice(policy.Object, "spec", "rules"); len(rules) == 0 {
			return errors.New("there are none")
		}
		return nil
	})
	if took := time.Since(edited); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	w.awaitEvent(policy, "HandEditReverted", "kubectl-edit", "spec.rules", "Application "+w.shop+"/shop", v1alpha1.PausedAnnotation)
	owner := &v1alpha1.SecureIngress{ObjectMeta: metav1.ObjectMeta{Namespace: policy.GetLabels()["trellis.dev/owner-namespace"], Name: policy.GetLabels()["trellis.dev/owner-name"]}}
	w.awaitEvent(owner, "HandEditReverted", "kubectl-edit")
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

func TestADeletedObjectComesBack(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	w.published()
	policy := w.one("AuthorizationPolicy", w.gateway, denies)
	if err := w.client.Delete(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	uid := policy.GetUID()
	w.await("the policy to be back", func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if policy.GetUID() == uid {
			return errors.New("it has not gone yet")
		}
		return nil
	})
	w.awaitEvent(policy, "HandEditReverted", "was deleted")
}

func TestLosingTheServiceTakesTheRoutesAwayAndLeavesTheWorkloadProtected(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	_, app := w.published()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: app.Spec.Service}}
	if err := w.client.Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	w.await("the route to be gone", func(context.Context) error {
		for _, u := range w.generated() {
			if u.GetKind() == "VirtualService" {
				return fmt.Errorf("%s is there", u.GetName())
			}
		}
		return nil
	})
	protected := 0
	for _, u := range w.generated() {
		if u.GetKind() == "AuthorizationPolicy" && u.GetNamespace() == w.shop {
			protected++
		}
	}
	if protected != 2 {
		t.Errorf("%d policies protect the workload, want those that deny and those that allow", protected)
	}
}

// What is asked for outside of the mesh takes long to get again: losing a Service
// for a moment, as when a chart is installed anew, must not give it back.
func TestLosingAServiceGivesNeitherNamesNorCertificatesBack(t *testing.T) {
	for name, lost := range map[string]func(*world, *v1alpha1.Application) *corev1.Service{
		"of the application": func(w *world, app *v1alpha1.Application) *corev1.Service {
			return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: app.Spec.Service}}
		},
		"of the gateway": func(w *world, _ *v1alpha1.Application) *corev1.Service {
			return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.gateway, Name: w.ingress().Spec.Gateway.Service}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, server)
			w.start()
			in, app := w.ingress(), w.application()
			in.Spec.TLS = v1alpha1.IngressTLS{BuiltIn: &v1alpha1.IngressCertificates{
				BuiltInCertificates: v1alpha1.BuiltInCertificates{Directory: "https://127.0.0.1:1/directory"},
			}}
			in.Spec.DNS = &v1alpha1.IngressDNS{ProviderRef: v1alpha1.DNSProviderReference{Name: "nobody"}}
			w.create(in)
			w.create(app)
			count := func(kind string) int {
				n := 0
				for _, u := range w.generated() {
					if u.GetKind() == kind {
						n++
					}
				}
				return n
			}
			w.await("a certificate, an entry and a route to be asked for", func(context.Context) error {
				if count("ManagedCertificate") == 0 || count("ManagedRecord") == 0 || count("VirtualService") == 0 {
					return errors.New("they are not there")
				}
				return nil
			})
			certificates, records := count("ManagedCertificate"), count("ManagedRecord")
			if err := w.client.Delete(t.Context(), lost(w, app)); err != nil {
				t.Fatal(err)
			}
			w.await("the route to be gone", func(context.Context) error {
				if n := count("VirtualService"); n > 0 {
					return fmt.Errorf("%d are there", n)
				}
				return nil
			})
			w.quiet()
			if c, r := count("ManagedCertificate"), count("ManagedRecord"); c != certificates || r != records {
				t.Errorf("%d certificates and %d entries are left of %d and %d", c, r, certificates, records)
			}
			if err := w.client.Delete(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			w.await("all to be given back with their ingress", func(context.Context) error {
				if c, r := count("ManagedCertificate"), count("ManagedRecord"); c > 0 || r > 0 {
					return fmt.Errorf("%d certificates and %d entries are left", c, r)
				}
				return nil
			})
		})
	}
}

func TestDeletingRemovesExactlyWhatWasGenerated(t *testing.T) {
	w := newWorld(t, server)
	foreign := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"action": "AUDIT"}}}
	foreign.SetAPIVersion("security.istio.io/v1")
	foreign.SetKind("AuthorizationPolicy")
	foreign.SetNamespace(w.shop)
	foreign.SetName("theirs")
	w.create(foreign)
	w.start()
	in, app := w.published()
	for _, o := range []client.Object{app, in} {
		if err := w.client.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1alpha1.")
		w.await("everything of "+kind+" to be gone", func(context.Context) error {
			for _, u := range w.generated() {
				if u.GetLabels()["trellis.dev/owner-kind"] == kind {
					return fmt.Errorf("%s %s is there", u.GetKind(), u.GetName())
				}
			}
			return nil
		})
	}
	w.await("everything to be gone", func(context.Context) error {
		if left := w.generated(); len(left) > 0 {
			return fmt.Errorf("%d objects are left", len(left))
		}
		return nil
	})
	version := foreign.GetResourceVersion()
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil || foreign.GetResourceVersion() != version {
		t.Errorf("the foreign object: %v, version %s, was %s", err, foreign.GetResourceVersion(), version)
	}
	claim := &v1alpha1.HostClaim{}
	w.await("the claim to be unused", func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKey{Name: "shop." + w.domain}, claim); err != nil {
			return err
		}
		if claim.Status.UnusedSince == nil {
			return errors.New("it is in use")
		}
		return nil
	})
}

func TestAForeignObjectOfTheSameNameIsAConflictAndTheRouteStaysClosed(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	_, app := w.published()
	name := w.one("AuthorizationPolicy", w.shop, nil).GetName()
	w.stop()
	policy := w.one("AuthorizationPolicy", w.shop, func(u *unstructured.Unstructured) bool { return u.GetName() == name })
	if err := w.client.Delete(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	foreign := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"action": "AUDIT"}}}
	foreign.SetGroupVersionKind(policy.GroupVersionKind())
	foreign.SetNamespace(w.shop)
	foreign.SetName(name)
	w.create(foreign)
	version := foreign.GetResourceVersion()

	w.start()
	c := w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionFalse, "Conflict")
	if !strings.Contains(c.Message, "developer") || !strings.Contains(c.Message, name) {
		t.Errorf("the message names neither who nor what: %s", c.Message)
	}
	w.awaitCondition(app, v1alpha1.ConditionStalled, metav1.ConditionTrue, "Conflict")
	w.awaitEvent(app, "Conflict", name)
	for _, u := range w.generated() {
		if raw, _ := u.MarshalJSON(); u.GetKind() == "VirtualService" && strings.Contains(string(raw), "shop."+w.shop+".svc") {
			t.Errorf("VirtualService %s routes to an application that is not protected", u.GetName())
		}
	}
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil || foreign.GetResourceVersion() != version {
		t.Errorf("the foreign object was written: %v", err)
	}
	if err := w.client.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.one("VirtualService", w.gateway, nil)
}

func TestWhatCannotBeProtectedIsNotServedAndNobodyElseIsConcerned(t *testing.T) {
	w := newWorld(t, server)
	other := w.shop + "-other"
	if err := server.Namespace(t.Context(), other, map[string]string{"exposure": "public"}); err != nil {
		t.Fatal(err)
	}
	w.workload(other, "shop", 9080, 9080)
	var broken atomic.Bool
	broken.Store(true)
	w.refuse = func(o client.Object) error {
		if broken.Load() && o.GetNamespace() == w.shop && o.GetObjectKind().GroupVersionKind().Kind == "AuthorizationPolicy" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "authorizationpolicies"}, o.GetName(), errors.New("the platform says no"))
		}
		return nil
	}
	w.start()
	in, app, neighbour := w.ingress(), w.application(), w.application()
	neighbour.Namespace = other
	neighbour.Spec.Exposures[0].Hostnames = []v1alpha1.Hostname{"neighbour"}
	for _, o := range []client.Object{in, app, neighbour} {
		w.create(o)
	}
	c := w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionFalse, "WriteRefused")
	if !strings.Contains(c.Message, "the platform says no") {
		t.Errorf("the message does not say who refused what: %s", c.Message)
	}
	w.awaitCondition(neighbour, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	routed := func(host string) bool {
		return slices.ContainsFunc(w.generated(), func(u unstructured.Unstructured) bool {
			raw, _ := u.MarshalJSON()
			return u.GetKind() == "VirtualService" && strings.Contains(string(raw), host)
		})
	}
	if routed("shop." + w.shop + ".svc") {
		t.Error("an application that is not protected is served")
	}
	if !routed("shop." + other + ".svc") {
		t.Error("its neighbour is not served")
	}
	broken.Store(false)
	if err := w.client.Patch(t.Context(), app, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"try":"again"}}}`))); err != nil {
		t.Fatal(err)
	}
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if !routed("shop." + w.shop + ".svc") {
		t.Error("the application is ready and not served")
	}
}

func TestTheSecondReplicaTakesOver(t *testing.T) {
	w := newWorld(t, server)
	w.options.LeaderElect = true
	w.start()
	stopFirst := w.stop
	in, app := w.published()
	second := &world{t: t, server: w.server, client: w.client, shop: w.shop, gateway: w.gateway, options: w.options}
	second.options.Client = second.counting
	second.options.Programmed, second.options.Prober = &programmed{}, &prober{clock: clock.RealClock{}}
	second.start()
	w.quiet()
	if n := second.writes.Load(); n > 1 { // the first is the probe key, which is there
		t.Errorf("the second replica wrote %d times while the first one led", n)
	}
	stopFirst()
	if err := w.client.Delete(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	w.create(w.application())
	w.awaitCondition(w.application(), v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.awaitCondition(in, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

func TestHealthAndMetricsAnswer(t *testing.T) {
	w := newWorld(t, server)
	w.options.HealthAddress, w.options.MetricsAddress = loopback.Unused(t), loopback.Unused(t)
	w.start()
	w.published()
	for address, want := range map[string]string{
		w.options.HealthAddress + "/healthz":  "ok",
		w.options.HealthAddress + "/readyz":   "ok",
		w.options.MetricsAddress + "/metrics": `trellis_generated_objects{kind="VirtualService"} 1`,
	} {
		w.await(address+" to answer", func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, http.NoBody)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			if err == nil && (response.StatusCode != http.StatusOK || !strings.Contains(string(body), want)) {
				err = fmt.Errorf("%s without %s", response.Status, want)
			}
			return err
		})
	}
}

func TestWhilePausedNothingIsPutBackOrPruned(t *testing.T) {
	w := newWorld(t, server)
	w.start()
	in, app := w.published()
	for _, o := range []client.Object{in, app} {
		if err := w.client.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"trellis.dev/paused":"true"}}}`))); err != nil {
			t.Fatal(err)
		}
		w.awaitCondition(o, v1alpha1.ConditionReady, metav1.ConditionFalse, "Paused")
	}
	policy := w.one("AuthorizationPolicy", w.gateway, denies)
	if err := w.client.Patch(t.Context(), policy, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"rules":[]}}`)), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Patch(t.Context(), app, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"exposures":null}}`))); err != nil {
		t.Fatal(err)
	}
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionFalse, "Paused")
	w.quiet()
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
		t.Fatal("the policy was pruned: ", err)
	}
	if rules, _, _ := unstructured.NestedSlice(policy.Object, "spec", "rules"); len(rules) != 0 {
		t.Error("the edit was put back")
	}
	w.one("VirtualService", w.gateway, nil)
	for _, o := range []client.Object{in, app} {
		if err := w.client.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"trellis.dev/paused":null}}}`))); err != nil {
			t.Fatal(err)
		}
	}
	w.await("the routes of the exposure that is gone to be pruned", func(context.Context) error {
		for _, u := range w.generated() {
			if u.GetKind() == "VirtualService" {
				return errors.New(u.GetName() + " is there")
			}
		}
		return nil
	})
}

func TestIstioMayComeLater(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fresh, err := stack.Start(ctx, stack.Options{WithoutIstio: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fresh.Stop)
	if err := fresh.InstallTrellisCRDs(ctx); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, fresh)
	w.start()
	in, app := w.ingress(), w.application()
	w.create(in)
	w.create(app)
	c := w.awaitCondition(app, v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "IstioMissing")
	if !strings.Contains(c.Message, "virtualservices.networking.istio.io") {
		t.Errorf("the message does not say what is missing: %s", c.Message)
	}
	w.awaitCondition(in, v1alpha1.ConditionStalled, metav1.ConditionTrue, "IstioMissing")
	if err := fresh.InstallIstioCRDs(ctx); err != nil {
		t.Fatal(err)
	}
	w.awaitCondition(app, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w.awaitCondition(in, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

func TestAHostIsReleasedSevenDaysAfterItsLastUser(t *testing.T) {
	w := newWorld(t, server)
	turned := testingclock.NewFakeClock(time.Now())
	w.options.Clock, w.options.Prober = turned, &prober{clock: turned}
	// Time stands still but for what the loop waits for.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if turned.HasWaiters() {
				turned.Step(50 * time.Millisecond)
			}
		}
	}()
	w.start()
	_, app := w.published()
	key := client.ObjectKey{Name: "shop." + w.domain}
	claim := &v1alpha1.HostClaim{}
	unused := func(want bool) {
		t.Helper()
		w.await(fmt.Sprintf("the claim to be unused: %v", want), func(ctx context.Context) error {
			if err := w.client.Get(ctx, key, claim); err != nil {
				return err
			}
			if (claim.Status.UnusedSince != nil) != want {
				return fmt.Errorf("it is unused since %v", claim.Status.UnusedSince)
			}
			return nil
		})
	}
	unused(false)
	if err := w.client.Delete(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	unused(true)
	w.create(w.application())
	unused(false)
	if err := w.client.Delete(t.Context(), w.application()); err != nil {
		t.Fatal(err)
	}
	unused(true)
	wake := func(after time.Duration) {
		turned.Step(after)
		if err := w.client.Patch(t.Context(), w.ingress(), client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"at":"%d"}}}`, turned.Now().Unix()))); err != nil {
			t.Fatal(err)
		}
		w.quiet()
	}
	wake(6 * 24 * time.Hour)
	if err := w.client.Get(t.Context(), key, claim); err != nil {
		t.Fatal("six days later the claim is gone: ", err)
	}
	wake(24*time.Hour + time.Minute)
	w.await("the claim to be released", func(ctx context.Context) error {
		if err := w.client.Get(ctx, key, claim); !apierrors.IsNotFound(err) {
			return fmt.Errorf("want not found, have %w", err)
		}
		return nil
	})
}

func TestAnUnreadableSecretClosesItsIngressAndSaysWhichValueOfTheChart(t *testing.T) {
	w := newWorld(t, server)
	// Everything but Secrets.
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: w.gateway}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"trellis.dev", "networking.istio.io", "security.istio.io", "apiextensions.k8s.io", "events.k8s.io"}, Resources: []string{"*"}, Verbs: []string{"*"}},
		{APIGroups: []string{""}, Resources: []string{"namespaces", "services", "pods", "configmaps", "events"}, Verbs: []string{"*"}},
	}}
	w.create(role)
	config, err := server.ServiceAccountConfig(t.Context(), w.gateway, "limited")
	if err != nil {
		t.Fatal(err)
	}
	w.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.gateway},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: w.gateway},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.gateway, Name: "limited"}},
	})
	w.startWith(config)
	in := w.ingress()
	w.create(in)
	c := w.awaitCondition(in, v1alpha1.ConditionAccepted, metav1.ConditionFalse, "SecretUnreadable")
	if !strings.Contains(c.Message, "gatewayNamespaces") || !strings.Contains(c.Message, w.gateway) {
		t.Errorf("the message does not say which value of the chart: %s", c.Message)
	}
	w.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.gateway, Name: "secrets"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "watch"}},
	}})
	w.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.gateway, Name: "secrets"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "secrets"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.gateway, Name: "limited"}},
	})
	w.awaitCondition(in, v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted")
}
