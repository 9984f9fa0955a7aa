// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// large makes Applications with the same number of routes and paths, all
// published on one host.
func large(applications, routes, paths int, change func(*v1alpha1.Application)) model.Input {
	w := newWorld(1)
	in := model.Input{Mesh: model.DefaultMesh()}
	in.Namespaces = []model.Namespace{{Name: "n0"}}
	w.workload(&in, "edge", "g0", model.ServicePort{Name: "http", Number: 80, TargetNumber: 8080}, model.ServicePort{Name: "https", Number: 443, TargetNumber: 8443})
	ingress := w.ingress(0, true)
	ingress.Spec.IdentityProviders = []v1alpha1.IdentityProvider{{Name: "p0", Issuer: "https://p0", JWKSURI: "https://p0/keys", Audiences: []v1alpha1.ClaimValue{"a0"}, Default: true}}
	in.SecureIngresses = []*v1alpha1.SecureIngress{ingress}
	in.Certificates = []model.Certificate{{Ref: ref("Secret", "edge", "wildcard"), Names: []string{"*.d0.test"}}}
	for a := range applications {
		name := fmt.Sprintf("app%d", a)
		w.workload(&in, "n0", name, model.ServicePort{Name: "http", Number: 80, TargetNumber: 8000})
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "n0", Name: name}}
		app.Spec.Service = name
		app.Spec.Ports = []v1alpha1.ApplicationPort{{Name: "one", Port: 80, Protocol: v1alpha1.ProtocolHTTP}}
		e := v1alpha1.Exposure{Name: "public", Hostnames: []v1alpha1.Hostname{"h0"}}
		for r := range routes {
			route := v1alpha1.Route{Name: v1alpha1.LabelName(fmt.Sprintf("r%d", r)), Port: "one"}
			for p := range paths {
				path := fmt.Sprintf("/a%d/r%d/p%d", a, r, p)
				route.Paths = append(route.Paths, v1alpha1.PathMatch{Prefix: &path})
			}
			app.Spec.Routes = append(app.Spec.Routes, route)
			e.Routes = append(e.Routes, route.Name)
		}
		app.Spec.Exposures = []v1alpha1.Exposure{e}
		if change != nil {
			change(app)
		}
		in.Applications = append(in.Applications, app)
	}
	return in
}

func compiled(t *testing.T, in model.Input) *compile.Outcome {
	t.Helper()
	outcome := compile.Compile(model.NewSnapshot(in))
	checkObjects(t, outcome)
	return outcome
}

// reasons counts the findings by reason.
func reasons(outcome *compile.Outcome) map[string]int {
	out := map[string]int{}
	for _, f := range outcome.Findings {
		out[f.Reason]++
	}
	return out
}

func TestAHostTakesTwoThousandEntriesAndNotOneMore(t *testing.T) {
	full := compiled(t, large(5, 50, 8, nil))
	if len(full.Findings) > 0 {
		t.Fatalf("2,000 paths on a host: %+v", full.Findings[0])
	}
	over := compiled(t, large(6, 50, 8, func(a *v1alpha1.Application) {
		if a.Name == "app5" {
			a.Spec.Routes, a.Spec.Exposures[0].Routes = a.Spec.Routes[:1], a.Spec.Exposures[0].Routes[:1]
			a.Spec.Routes[0].Paths = a.Spec.Routes[0].Paths[:1]
		}
	}))
	if got := reasons(over)["TooManyRoutes"]; got != 251 {
		t.Errorf("%d findings about too many routes, want one for each publication", got)
	}
	for _, f := range over.Findings {
		if !strings.Contains(f.Message, "2001 entries") || !strings.Contains(f.Message, "at most 2000") {
			t.Fatalf("the limit is not named: %s", f.Message)
		}
	}
	for _, o := range over.Objects {
		if v, ok := o.Value.(*networkingv1.VirtualService); ok {
			for _, h := range v.Spec.Http {
				if len(h.Route) > 0 {
					t.Fatalf("entry %s of a closed host is open", h.Name)
				}
			}
		}
	}
}

func TestCORSCountsTwice(t *testing.T) {
	cors := func(a *v1alpha1.Application) {
		a.Spec.Exposures[0].CORS = &v1alpha1.CORS{Origins: []string{"https://www.test"}}
	}
	if got := reasons(compiled(t, large(3, 50, 8, cors)))["TooManyRoutes"]; got != 150 {
		t.Errorf("2,400 entries: %d findings", got)
	}
}

func TestMoreThan64RoutesCloseTheApplication(t *testing.T) {
	outcome := compiled(t, large(1, 10000, 1, nil))
	if len(outcome.Findings) != 1 || outcome.Findings[0].Reason != "TooManyRoutes" || !strings.Contains(outcome.Findings[0].Message, "at most 64") {
		t.Fatalf("findings: %+v", outcome.Findings)
	}
	for _, o := range outcome.Objects {
		if o.Ref.Kind == "VirtualService" {
			t.Errorf("%s serves routes of a refused Application", o.Ref)
		}
	}
}

func TestProvenanceThatIsTooLargeForAnAnnotationMovesToAConfigMap(t *testing.T) {
	many := func(a *v1alpha1.Application) {
		a.Spec.Exposures[0].CORS = &v1alpha1.CORS{Origins: []string{"https://www.test"}}
		for i := range a.Spec.Routes {
			auth := &v1alpha1.Authentication{}
			for k := range 16 {
				text := v1alpha1.ClaimValue(fmt.Sprintf("s%d", k))
				auth.Scopes = append(auth.Scopes, text)
				auth.Claims = append(auth.Claims, v1alpha1.ClaimRequirement{Name: v1alpha1.LabelName(text), Path: []string{string(text)}, AnyOf: []v1alpha1.ClaimValue{"x"}})
			}
			a.Spec.Routes[i].Authentication = auth
		}
	}
	outcome := compiled(t, large(1, 64, 1, many))
	maps := 0
	for _, o := range outcome.Objects {
		m, ok := o.Value.(*corev1.ConfigMap)
		if !ok {
			continue
		}
		maps++
		if len(m.Data["origin"]) <= 128<<10 {
			t.Errorf("%s holds %d bytes, which an annotation would take", o.Ref, len(m.Data["origin"]))
		}
	}
	if maps != 1 {
		t.Errorf("%d ConfigMaps, want the one of the host's policy", maps)
	}
}

// TestWhatNoAPIServerWouldTakeIsClosedAllTheSame: files and old objects may not
// have met the schema.
func TestWhatNoAPIServerWouldTakeIsClosedAllTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.Application)
		reason string
	}{
		"a route without paths":      {func(a *v1alpha1.Application) { a.Spec.Routes[0].Paths = nil }, "PathInvalid"},
		"a path of no kind":          {func(a *v1alpha1.Application) { a.Spec.Routes[0].Paths[0] = v1alpha1.PathMatch{} }, "PathInvalid"},
		"a route of an unknown port": {func(a *v1alpha1.Application) { a.Spec.Routes[0].Port = "gone" }, "PortNotFound"},
		"an unknown route":           {func(a *v1alpha1.Application) { a.Spec.Exposures[0].Routes[0] = "gone" }, "RouteNotFound"},
		"a wildcard as a host name":  {func(a *v1alpha1.Application) { a.Spec.Exposures[0].Hostnames[0] = "*" }, "HostInvalid"},
		"a host name in capitals":    {func(a *v1alpha1.Application) { a.Spec.Exposures[0].Hostnames[0] = "H0" }, "HostInvalid"},
		"a unicode host name":        {func(a *v1alpha1.Application) { a.Spec.Exposures[0].Hostnames[0] = "größe" }, "HostInvalid"},
		"a host name that is too long": {func(a *v1alpha1.Application) {
			a.Spec.Exposures[0].Hostnames[0] = v1alpha1.Hostname(strings.Repeat("a.", 130) + "a")
		}, "HostInvalid"},
		"a peer of no kind":        {caller(v1alpha1.Peer{}), "PeerInvalid"},
		"a namespace without name": {caller(v1alpha1.Peer{Namespace: &v1alpha1.NamespaceReference{}}), "PeerInvalid"},
		"a wildcard as an account": {caller(v1alpha1.Peer{ServiceAccount: &v1alpha1.NamespacedName{Namespace: "n0", Name: "*"}}), "PeerInvalid"},
		"a name with dots":         {func(a *v1alpha1.Application) { a.Name = "a.b" }, "NameInvalid"},
		"a name of 253 characters": {func(a *v1alpha1.Application) { a.Name = strings.Repeat("a", 253) }, "NameInvalid"},
		"a provider with no keys":  {func(a *v1alpha1.Application) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := large(1, 1, 1, c.change)
			if c.reason == "" {
				in.SecureIngresses[0].Spec.IdentityProviders[0].JWKSURI = ""
				c.reason = "KeysInvalid"
			}
			outcome := compiled(t, in)
			if reasons(outcome)[c.reason] == 0 {
				t.Errorf("no finding %s: %v", c.reason, reasons(outcome))
			}
			r := request{host: "h0.d0.test", method: "GET", path: "/a0/r0/p0", headers: map[string]string{}}
			proxies := map[string]*proxy{"edge/g0": newProxy(outcome, "edge", map[string]string{"app": "g0"}), "n0/app0": newProxy(outcome, "n0", map[string]string{"app": "app0"})}
			if ok, _, how := fromOutside(proxies, r, "g0", 443); ok {
				t.Errorf("open by %s", how)
			}
			r.peer, r.port = "cluster.local/ns/n0/sa/stranger", 8000
			if ok, how := proxies["n0/app0"].admit(&r); ok && c.reason != "NameInvalid" {
				t.Errorf("a stranger in the mesh is let in by %s", how)
			}
		})
	}
}

func caller(peer v1alpha1.Peer) func(*v1alpha1.Application) {
	return func(a *v1alpha1.Application) {
		a.Spec.Access = &v1alpha1.Access{Callers: []v1alpha1.Caller{{Name: "c", Peer: peer}}}
	}
}
