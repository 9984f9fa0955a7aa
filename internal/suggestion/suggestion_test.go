// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package suggestion_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/suggestion"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// application is one with a Service, a workload and an account of its name.
func application(namespace, name string, access *v1alpha1.Access, routes ...string) *v1alpha1.Application {
	a := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.ApplicationSpec{Service: name, Access: access}}
	for _, r := range routes {
		a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Name: v1alpha1.LabelName(r)})
	}
	return a
}

func snapshot(applications ...*v1alpha1.Application) *model.Snapshot {
	in := model.Input{Mesh: model.DefaultMesh(), Applications: applications}
	for _, a := range applications {
		selector := map[string]string{"app": a.Name}
		in.Services = append(in.Services, model.Service{Ref: model.Reference{Kind: "Service", Namespace: a.Namespace, Name: a.Spec.Service}, Selector: selector})
		in.Workloads = append(in.Workloads, model.Workload{Ref: model.Reference{Kind: "Pod", Namespace: a.Namespace, Name: a.Name}, Labels: selector, ServiceAccount: a.Name})
	}
	return model.NewSnapshot(in)
}

// counted is a total: "VERDICT N APPLICATION ROUTE from PEER", an empty route being "-".
func counted(t testing.TB, text string) hits.Total {
	t.Helper()
	var verdict, app, route, peer string
	var n uint64
	if _, err := fmt.Sscanf(text, "%s %d %s %s from %s", &verdict, &n, &app, &route, &peer); err != nil {
		t.Fatal(err)
	}
	namespace, name, _ := strings.Cut(app, "/")
	return hits.Total{Key: hits.Key{Namespace: namespace, Application: name, Route: strings.TrimPrefix(route, "-"), Rule: -1, Place: hits.Workload, Verdict: hits.Verdict(verdict), Peer: peer},
		N: n, First: noon, Last: noon.Add(time.Hour)}
}

func caller(name string, peer v1alpha1.Peer, routes ...v1alpha1.LabelName) *v1alpha1.Access {
	return &v1alpha1.Access{Callers: []v1alpha1.Caller{{Name: v1alpha1.LabelName(name), Peer: peer, Routes: routes}}}
}

func app(namespace, name string) *v1alpha1.NamespacedName {
	return &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(namespace), Name: name}
}

func TestWhatWasSeenIsProposed(t *testing.T) {
	web := v1alpha1.Peer{Application: app("shop", "web")}
	exposed := func(text string) hits.Total {
		out := counted(t, text)
		out.Field = "spec.exposures[0].routes[0]"
		return out
	}
	inside := func(text string) hits.Total {
		out := counted(t, text)
		out.Object = "Sidecar shop/cart"
		return out
	}
	for _, c := range []struct {
		name   string
		stated *v1alpha1.Access
		totals []hits.Total
		o      suggestion.Options
		// access is what is proposed, as YAML in the flow style of the test; empty: nothing.
		access string
		// says are pieces of text that the suggestion has, in any place.
		says []string
	}{
		{"nobody was seen", nil, nil, suggestion.Options{}, "", nil},
		{"an Application that calls a route", nil, []hits.Total{counted(t, "Allowed 7 shop/cart read from shop/web"), counted(t, "Allowed 2 shop/cart write from shop/web")}, suggestion.Options{},
			"callers: [{name: web, peer: {application: {name: web, namespace: shop}}, routes: [read, write]}]", []string{"allowed: 9", "adds: web"}},
		{"an account without an Application", nil, []hits.Total{counted(t, "Allowed 1 shop/cart read from jobs/nightly")}, suggestion.Options{},
			"callers: [{name: nightly, peer: {serviceAccount: {name: nightly, namespace: jobs}}, routes: [read]}]", nil},
		{"who is named already", caller("w", web), []hits.Total{counted(t, "Allowed 7 shop/cart read from shop/web")}, suggestion.Options{}, "", []string{"declared:\n  - w"}},
		{"who is named for another route", caller("w", web, "write"), []hits.Total{counted(t, "Allowed 7 shop/cart read from shop/web")}, suggestion.Options{},
			"callers: [{name: w, peer: {application: {name: web, namespace: shop}}, routes: [write, read]}]", nil},
		{"whose namespace is named", caller("all", v1alpha1.Peer{Namespace: &v1alpha1.NamespaceReference{Name: "shop"}}), []hits.Total{counted(t, "Allowed 7 shop/cart read from shop/web")}, suggestion.Options{}, "", nil},
		{"a name that is taken", caller("web", v1alpha1.Peer{Namespace: &v1alpha1.NamespaceReference{Name: "jobs"}}), []hits.Total{counted(t, "Allowed 7 shop/cart read from shop/web")}, suggestion.Options{},
			"callers: [{name: web, peer: {namespace: {name: jobs}}}, {name: web-2, peer: {application: {name: web, namespace: shop}}, routes: [read]}]", []string{"spec.access.callers[0] (web)"}},
		{"who was refused", nil, []hits.Total{counted(t, "Denied 7 shop/cart read from shop/web")}, suggestion.Options{}, "", []string{"--denied proposes"}},
		{"who was refused and is to be let in", nil, []hits.Total{counted(t, "Denied 7 shop/cart read from shop/web")}, suggestion.Options{Denied: true},
			"callers: [{name: web, peer: {application: {name: web, namespace: shop}}, routes: [read]}]", nil},
		{"nobody in particular", nil, []hits.Total{
			counted(t, "Allowed 1 shop/cart read from none"), counted(t, "Allowed 2 shop/cart read from unknown"), counted(t, "Allowed 3 shop/cart read from other"),
			counted(t, "Allowed 4 shop/cart read from jobs/default"), counted(t, "Allowed 5 shop/cart read from far.example/a/b"), counted(t, "Allowed 6 shop/cart - from shop/web"),
		}, suggestion.Options{}, "", []string{"shows no certificate", "does not say who", "too many", "account of its own", "not of this mesh", "of no route"}},
		{"a gateway", nil, []hits.Total{exposed("Allowed 7 shop/cart read from istio-ingress/gateway"), counted(t, "Denied 2 shop/cart read from istio-ingress/gateway")}, suggestion.Options{Denied: true}, "", []string{"callers: []"}},
		{"what failed", nil, []hits.Total{counted(t, "Failed 7 shop/cart read from shop/web")}, suggestion.Options{}, "", []string{"callers: []"}},
		{"whom it calls, where it states nothing of that", nil, []hits.Total{counted(t, "Allowed 7 shop/stock read from shop/cart")}, suggestion.Options{}, "", []string{"--calls proposes"}},
		{"whom it calls", nil, []hits.Total{counted(t, "Allowed 7 shop/stock read from shop/cart")}, suggestion.Options{Calls: true},
			"calls: [{name: stock, peer: {application: {name: stock, namespace: shop}}, routes: [read]}]", []string{"once calls are stated"}},
		{"whom it may not call", nil, []hits.Total{counted(t, "Denied 7 shop/stock read from shop/cart")}, suggestion.Options{Calls: true}, "", []string{"has to let this one in"}},
		{"calls that were not let out", &v1alpha1.Access{Calls: []v1alpha1.Call{}}, []hits.Total{inside("Denied 3 shop/cart - from shop/cart")}, suggestion.Options{}, "", []string{"3 calls were not let out", "callers: []"}},
		{"a call of another route", &v1alpha1.Access{Calls: []v1alpha1.Call{{Name: "s", Peer: v1alpha1.Callee{Application: app("shop", "stock")}, Routes: []v1alpha1.LabelName{"write"}}}},
			[]hits.Total{counted(t, "Allowed 7 shop/stock read from shop/cart")}, suggestion.Options{},
			"calls: [{name: s, peer: {application: {name: stock, namespace: shop}}, routes: [write, read]}]", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cart := application("shop", "cart", c.stated, "read", "write")
			before := cart.DeepCopy()
			got := suggestion.Of(snapshot(cart, application("shop", "web", nil), application("shop", "stock", nil, "read", "write")), cart, c.totals, c.o)
			var want *v1alpha1.Access
			if c.access != "" {
				want = &v1alpha1.Access{}
				if err := yaml.UnmarshalStrict([]byte("{"+c.access+"}"), want); err != nil {
					t.Fatal(err)
				}
			}
			if text(t, got.Access) != text(t, want) {
				t.Errorf("%s\nwant %s", text(t, got.Access), text(t, want))
			}
			for _, piece := range c.says {
				if all := text(t, got); !strings.Contains(all, piece) {
					t.Errorf("%q is not in\n%s", piece, all)
				}
			}
			if text(t, cart) != text(t, before) {
				t.Error("the Application was changed")
			}
		})
	}
}

func text(t testing.TB, of any) string {
	t.Helper()
	raw, err := yaml.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What is proposed covers what it was proposed for, and takes nothing away.
func TestWhatIsProposedIsEnough(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	peers := []string{"shop/web", "shop/stock", "jobs/nightly", "jobs/default", "none", "other", "far/a/b", "shop/cart"}
	verdicts := []hits.Verdict{hits.Allowed, hits.Denied, hits.WouldDeny, hits.Failed}
	for range 2000 {
		cart := application("shop", "cart", nil, "read", "write")
		if random.IntN(2) == 0 {
			cart.Spec.Access = caller("stated", v1alpha1.Peer{Application: app("shop", "web")}, "read")
			cart.Spec.Access.Calls = []v1alpha1.Call{{Name: "stock", Peer: v1alpha1.Callee{Application: app("shop", "stock")}, Routes: []v1alpha1.LabelName{"read"}}}
		}
		s := snapshot(cart, application("shop", "web", nil), application("shop", "stock", nil, "read", "write"))
		var totals []hits.Total
		for range random.IntN(12) {
			totals = append(totals, counted(t, fmt.Sprintf("%s %d shop/%s %s from %s", verdicts[random.IntN(4)], 1+random.IntN(9),
				[]string{"cart", "stock"}[random.IntN(2)], []string{"read", "write", "-"}[random.IntN(3)], peers[random.IntN(len(peers))])))
		}
		o := suggestion.Options{Denied: random.IntN(2) == 0, Calls: random.IntN(2) == 0}
		first := suggestion.Of(s, cart, totals, o)
		if first.Access == nil {
			continue
		}
		after := cart.DeepCopy()
		after.Spec.Access = first.Access
		if again := suggestion.Of(snapshot(after, application("shop", "web", nil), application("shop", "stock", nil, "read", "write")), after, totals, o); again.Access != nil {
			t.Fatalf("of %v it proposes %s and then %s", totals, text(t, first), text(t, again))
		}
		for _, stated := range statedBy(cart) {
			if !slices.ContainsFunc(statedBy(after), func(other string) bool { return strings.HasPrefix(other, stated) }) {
				t.Fatalf("%s is gone from %s", stated, text(t, first.Access))
			}
		}
	}
}

// statedBy are the entries, each with its first routes.
func statedBy(a *v1alpha1.Application) []string {
	var out []string
	if a.Spec.Access == nil {
		return nil
	}
	for _, c := range a.Spec.Access.Callers {
		out = append(out, fmt.Sprint(c.Name, c.Peer.Application, c.Peer.ServiceAccount, strings.Trim(fmt.Sprint(c.Routes), "[]")))
	}
	for _, c := range a.Spec.Access.Calls {
		out = append(out, fmt.Sprint(c.Name, c.Peer.Application, strings.Trim(fmt.Sprint(c.Routes), "[]")))
	}
	return out
}
