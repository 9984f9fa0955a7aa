// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// How many platforms an ordinary test run makes, and how many requests of each.
const (
	platforms = 400
	requests  = 250
)

func TestNoRequestEscapesItsRouteAndNoneIsRefusedWithoutReason(t *testing.T) {
	var reached, refused int
	for seed := range uint64(platforms) {
		a, b := judgePlatform(t, seed, requests)
		reached, refused = reached+a, refused+b
		if t.Failed() {
			return
		}
	}
	t.Logf("%d requests reached an application, %d were refused", reached, refused)
	// A generator that opens nothing, or everything, would prove nothing.
	if total := reached + refused; reached < total/30 || refused < total/30 {
		t.Errorf("%d reached and %d refused: the generator is lopsided", reached, refused)
	}
}

func FuzzNoRequestEscapesItsRoute(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { judgePlatform(t, seed, requests) })
}

// judgePlatform sends requests through the gateways and from inside the mesh,
// and counts those that reached an application and those that did not.
func judgePlatform(t *testing.T, seed uint64, count int) (reached, refused int) {
	t.Helper()
	w := newWorld(seed)
	in := w.platform()
	outcome := compile.Compile(model.NewSnapshot(in))
	checkObjects(t, outcome)
	spec := &specification{in}
	proxies := make(map[string]*proxy)
	for _, service := range in.Services {
		proxies[service.Ref.Namespace+"/"+service.Ref.Name] = newProxy(outcome, service.Ref.Namespace, service.Selector)
	}
	for range count {
		r := w.request()
		if w.chance(70) {
			w.aimedAt(&r, in)
		}
		var got, want bool
		var how string
		if w.chance(60) {
			gateway := pick(w, "g0", "g0", "g1")
			var forwarded bool
			forwarded, got, how = fromOutside(proxies, r, gateway, pick(w, int32(443), 443, 443, 80))
			want = wanted(spec, &r, gateway, how)
			// An issuer that only the application's proxy cannot tell (another of
			// its ingresses states other keys) is 401 there, and a token on what
			// looks like a preflight is refused by whoever knows a provider.
			known := strings.HasPrefix(how, "401") || (r.preflight() && r.token != nil)
			if forwarded && !got && !want && !known {
				t.Fatalf("seed %d: the gateway forwards a request that the application's own proxy has to refuse\n%+v token %+v\n%s\n%s", seed, r, r.token, how, describe(t, in))
			}
		} else {
			app := in.Applications[w.IntN(len(in.Applications))]
			port := pick(w, app.Spec.Ports...)
			r.port = port.Port + 7920
			r.peer = w.peer()
			got, how = proxies[app.Namespace+"/"+app.Spec.Service].admit(&r)
			want = spec.insideMesh(&r, app, port.Name)
			if decides(app, port.Name, r.path) != nil && !want && !proxies[app.Namespace+"/"+app.Spec.Service].denies(&r) {
				t.Fatalf("seed %d: somebody else's ALLOW policy would let a request in\n%+v token %+v\n%s", seed, r, r.token, describe(t, in))
			}
			how = fmt.Sprintf("to %s port %s: %s", app.Name, port.Name, how)
		}
		throughForeignHost(t, w, spec, proxies, in, seed)
		if got {
			reached++
		} else {
			refused++
		}
		if got != want {
			t.Fatalf("seed %d: the request reached an application: %v, and it should: %v\n%+v token %+v\n%s\n%s", seed, got, want, r, r.token, how, describe(t, in))
		}
	}
	return reached, refused
}

// throughForeignHost: somebody else's route on a gateway brings requests of hosts
// that are not ours to an application. Its proxy holds them to the tokens of the
// gateway's ingresses, whatever callers in the mesh are waived.
func throughForeignHost(t *testing.T, w world, spec *specification, proxies map[string]*proxy, in model.Input, seed uint64) {
	t.Helper()
	app := in.Applications[w.IntN(len(in.Applications))]
	port, gateway := pick(w, app.Spec.Ports...), pick(w, "g0", "g1")
	r := w.request()
	w.aimedAt(&r, in)
	r.host, r.peer, r.port = pick(w, r.host, "elsewhere.test"), "cluster.local/ns/edge/sa/"+gateway, port.Port+7920
	route := decides(app, port.Name, r.path)
	if route == nil || modeOf(route) == v1alpha1.AuthenticationNone {
		return
	}
	published, fine := false, false
	for _, in := range spec.through(app) {
		here := slices.ContainsFunc(app.Spec.Exposures, func(e v1alpha1.Exposure) bool {
			return spec.ingress(&e) == in && slices.Contains(e.Routes, route.Name) && slices.ContainsFunc(e.Hostnames, func(h v1alpha1.Hostname) bool {
				return slices.ContainsFunc(spec.onHost(string(h)+"."+in.Spec.Domains[0].Domain), func(p publication) bool {
					return p.app == app && p.route == route && !spec.conflicted(&p, spec.onHost(string(h)+"."+in.Spec.Domains[0].Domain)) && spec.oneKey(&p)
				})
			})
		})
		if here && in.Spec.Gateway.Service == gateway {
			_, open := spec.asked(route, in)
			published = published || open
			fine = fine || spec.authenticated(&r, route, in)
		}
	}
	if ok, how := proxies[app.Namespace+"/"+app.Spec.Service].admit(&r); ok && published && !fine {
		t.Fatalf("seed %d: a request of a foreign host escapes the tokens of its gateway by %s\n%+v token %+v\n%s", seed, how, r, r.token, describe(t, in))
	}
}

// wanted is what the specification promises, but for what a gateway answers by
// itself.
func wanted(spec *specification, r *request, gateway, how string) bool {
	if strings.HasPrefix(how, "plain") {
		return false
	}
	if strings.Contains(r.path, "%40") && strings.HasSuffix(how, "by odd-path") {
		// A host's guard knows the characters of all its Applications.
		return false
	}
	p := spec.throughGateway(r, gateway)
	if p == nil {
		return false
	}
	if p.cors && r.method == "OPTIONS" {
		// Browsers' preflights and what may be taken for them end at the gateway.
		_, origin := r.headers["origin"]
		_, asks := r.headers["access-control-request-method"]
		if origin && asks {
			return false
		}
	}
	return true
}

func (w world) peer() string {
	if w.chance(15) {
		return ""
	}
	if w.chance(20) {
		return "cluster.local/ns/edge/sa/" + pick(w, "g9", "other")
	}
	i := w.IntN(applications)
	return fmt.Sprintf("cluster.local/ns/n%d/sa/app%d", i%namespaces, i)
}

// fromOutside sends a request through a gateway, and to the application's own
// proxy when the gateway forwards it.
func fromOutside(proxies map[string]*proxy, r request, gateway string, port int32) (forwarded, reached bool, how string) {
	gate := proxies["edge/"+gateway]
	r.port = port + 8000
	if port == 80 {
		r.port = 8080
		r.peer = ""
	}
	ok, by := gate.admit(&r)
	if !ok {
		return false, false, by
	}
	a := gate.route(&r, uint32(port))
	if a.service == "" {
		if port == 80 {
			return false, false, "plain: " + a.entry
		}
		return false, false, fmt.Sprintf("answered %d by %s", a.status, a.entry)
	}
	name, rest, _ := strings.Cut(a.service, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	r.port, r.peer = int32(a.port)+7920, "cluster.local/ns/edge/sa/"+gateway
	ok, by = proxies[namespace+"/"+name].admit(&r)
	if !ok {
		return true, false, fmt.Sprintf("%s of %s/%s, past the gateway", by, namespace, name)
	}
	return true, true, a.entry
}

func describe(t *testing.T, in model.Input) string {
	t.Helper()
	var b strings.Builder
	for _, o := range in.SecureIngresses {
		text, _ := yaml.Marshal(o.Spec)
		fmt.Fprintf(&b, "--- SecureIngress %s\n%s", o.Name, text)
	}
	for _, o := range in.Applications {
		text, _ := yaml.Marshal(o.Spec)
		fmt.Fprintf(&b, "--- Application %s/%s\n%s", o.Namespace, o.Name, text)
	}
	for _, o := range in.HostClaims {
		fmt.Fprintf(&b, "--- HostClaim %s %s\n", o.Name, o.Spec.Namespace)
	}
	return b.String()
}

func TestCompilingDoesNotDependOnTheOrderOfTheInput(t *testing.T) {
	for seed := range uint64(40) {
		orderFree(t, seed)
	}
}

func FuzzCompilingDoesNotDependOnTheOrderOfTheInput(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(orderFree)
}

func orderFree(t *testing.T, seed uint64) {
	w := newWorld(seed)
	in := w.platform()
	first := compile.Compile(model.NewSnapshot(in))
	for range 3 {
		shuffle(w, in.Applications)
		shuffle(w, in.SecureIngresses)
		shuffle(w, in.HostClaims)
		shuffle(w, in.Namespaces)
		shuffle(w, in.Services)
		shuffle(w, in.Workloads)
		again := compile.Compile(model.NewSnapshot(in))
		if !bytes.Equal(objectsText(t, first), objectsText(t, again)) || !slices.Equal(first.Findings, again.Findings) {
			t.Fatalf("seed %d: another order, another outcome", seed)
		}
	}
}

func shuffle[T any](w world, list []T) {
	w.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

func TestAnUnrelatedChangeLeavesOtherObjectsAsTheyAre(t *testing.T) {
	for seed := range uint64(40) {
		unrelated(t, seed)
	}
}

func FuzzAnUnrelatedChangeLeavesOtherObjectsAsTheyAre(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(unrelated)
}

// unrelated adds an Application in a namespace and on a host of its own, changes
// it and takes it away. What belongs to nobody but others stays byte for byte.
func unrelated(t *testing.T, seed uint64) {
	w := newWorld(seed)
	in := w.platform()
	before := textsOf(t, compile.Compile(model.NewSnapshot(in)), "")
	stranger := "n9/stranger"
	for range 3 {
		with := in
		with.Namespaces = append(slices.Clone(in.Namespaces), model.Namespace{Name: "n9"})
		with.Services, with.Workloads = slices.Clone(in.Services), slices.Clone(in.Workloads)
		w.workload(&with, "n9", "stranger", model.ServicePort{Name: "http", Number: 80, TargetNumber: 8000})
		app := &v1alpha1.Application{}
		app.Namespace, app.Name = "n9", "stranger"
		app.Spec.Service = "stranger"
		app.Spec.Ports = []v1alpha1.ApplicationPort{{Name: "one", Port: 80, Protocol: v1alpha1.ProtocolHTTP}}
		route := w.route("r0")
		route.Port = "one"
		app.Spec.Routes = []v1alpha1.Route{route}
		app.Spec.Exposures = []v1alpha1.Exposure{{
			Name: "e0", Ingress: &v1alpha1.NamespacedName{Namespace: "edge", Name: pick(w, "in0", "in1")},
			Hostnames: []v1alpha1.Hostname{"stranger"}, Routes: []v1alpha1.LabelName{"r0"},
		}}
		with.Applications = append(slices.Clone(in.Applications), app)
		after := textsOf(t, compile.Compile(model.NewSnapshot(with)), stranger)
		for ref, text := range before {
			if shared(ref, in) {
				continue
			}
			if after[ref] != text {
				t.Fatalf("seed %d: %s changed with an Application that has nothing to do with it:\n%s", seed, ref, firstDifference(text, after[ref]))
			}
		}
	}
}

// shared objects are those of a whole ingress: they list its hosts.
func shared(ref model.Reference, in model.Input) bool {
	return slices.ContainsFunc(in.SecureIngresses, func(o *v1alpha1.SecureIngress) bool {
		name := "trellis-ingress-" + o.Name
		return ref.Name == name || ref.Name == name+"-allow" || ref.Name == name+"-deny"
	})
}

func textsOf(t *testing.T, outcome *compile.Outcome, except string) map[model.Reference]string {
	t.Helper()
	out := make(map[model.Reference]string)
	for _, o := range outcome.Objects {
		text, err := o.JSON()
		if err != nil {
			t.Fatal(err)
		}
		out[o.Ref] = string(text)
	}
	return out
}
