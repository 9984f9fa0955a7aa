// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/schema"
)

// platform is what is in the cluster before the changes of the tests.
const platform = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {exposure: public}}
---
apiVersion: v1
kind: Namespace
metadata: {name: rival, labels: {exposure: public}}
---
apiVersion: v1
kind: Namespace
metadata: {name: private}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: istio-ingress}
spec: {selector: {istio: gateway}, ports: [{name: https, port: 443, targetPort: 8443, appProtocol: https}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway, namespace: istio-ingress}
spec:
  selector: {matchLabels: {istio: gateway}}
  template:
    metadata: {labels: {istio: gateway}}
    spec: {serviceAccountName: gateway, containers: [{name: proxy, image: local}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {serviceAccountName: cart, containers: [{name: cart, image: local}]}
---
apiVersion: trellis.dev/v1alpha1
kind: SecureIngress
metadata: {name: public, namespace: istio-ingress}
spec:
  domains: [{name: main, domain: example.com}]
  gateway: {service: gateway, exclusive: true}
  tls: {secretName: wildcard}
  identityProviders:
  - {name: customers, issuer: "https://login.example.com", jwksURI: "https://login.example.com/keys", audiences: [shop], default: true}
  applications:
  - {name: shops, namespaceSelector: {matchLabels: {exposure: public}}, hostnames: ["*"]}
  - {name: staff, namespaceSelector: {matchLabels: {team: identity}}, hostnames: [login], reserved: true}
---
apiVersion: trellis.dev/v1alpha1
kind: HostClaim
metadata: {name: shop.example.com}
spec: {namespace: shop}
---
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: cart, namespace: shop}
spec:
  service: cart
  ports: [{name: web, port: 80, protocol: HTTP}]
  routes: [{name: cart, port: web, paths: [{prefix: /cart}]}]
  exposures: [{name: public, hostnames: [shop], routes: [cart]}]
`

// application is a document with one field replaced.
func application(namespace, from, to string) string {
	text := fmt.Sprintf(`
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: %s}
spec:
  service: web # is nowhere: it may come later, and hides nothing
  ports: [{name: web, port: 80, protocol: HTTP}]
  routes: [{name: pages, port: web, paths: [{prefix: /pages}], methods: [GET]}]
  exposures: [{name: public, hostnames: [shop], routes: [pages]}]
  access: {callers: [{name: probes, peer: {serviceAccount: {name: prometheus, namespace: monitoring}}}]}
`, namespace)
	if !strings.Contains(text, from) {
		panic("the document has no " + from)
	}
	return strings.Replace(text, from, to, 1)
}

func TestAdmissionRefusesWhatNothingElseCanCure(t *testing.T) {
	checkAll(t, []admissionCase{
		{name: "a document that is right but for what comes later is taken", object: application("shop", "", ""), warned: []string{"ServiceNotFound"}},
		{name: "a path that proxies and applications read differently", object: application("shop", "prefix: /pages", "prefix: /pages/../x"), refused: "PathInvalid"},
		{name: "a path that is the platform's", object: application("shop", "prefix: /pages", "prefix: /.well-known/acme-challenge/x"), refused: "PathReserved"},
		{name: "a route that no port serves", object: application("shop", "port: web, paths", "port: grpc, paths"), refused: "PortNotFound"},
		{name: "an exposure of a route that is not there", object: application("shop", "routes: [pages]", "routes: [page]"), refused: "RouteNotFound"},
		{name: "a caller that is every workload of a namespace in disguise", object: application("shop", "name: prometheus", "name: default"), refused: "IdentityDefault"},
		{name: "a route of another Application on the same host", object: application("shop", "prefix: /pages", "prefix: /cart"), refused: "Conflicted"},
		{name: "a host of another namespace", object: application("rival", "", ""), refused: "HostAlreadyClaimed"},
		{name: "a name that the platform reserves", object: application("shop", "hostnames: [shop]", "hostnames: [login]"), refused: "HostnameNotAdmitted"},
		{name: "an ingress that does not admit the namespace", object: application("private", "hostnames: [shop]", "ingress: {name: public, namespace: istio-ingress}"), refused: "NamespaceNotAdmitted"},
	})
}

func TestAdmissionWarnsOfWhatCanStillCome(t *testing.T) {
	checkAll(t, []admissionCase{
		{name: "an ingress that is not there", object: application("shop", "hostnames: [shop]", "ingress: {name: later, namespace: istio-ingress}"), warned: []string{"IngressNotFound"}},
		{name: "no ingress that admits the namespace", object: application("private", "hostnames: [shop]", "hostnames: [private]"), warned: []string{"NamespaceNotAdmitted"}},
		{name: "a peer that is not there", object: application("shop", "serviceAccount: {name: prometheus, namespace: monitoring}", "application: {name: later, namespace: shop}"), warned: []string{"PeerNotFound"}},
		{name: "a provider that is not there", object: application("shop", "methods: [GET]", "authentication: {provider: later}"), warned: []string{"ProviderNotFound", "ServiceNotFound"}},
		{name: "a certificate that is not there", object: section(t, "kind: SecureIngress", "secretName: wildcard", "secretName: later"), old: section(t, "kind: SecureIngress", "", ""), warned: []string{"SecretNotFound"}},
	})
}

func TestAnUpdateIsHeldAgainstWhatItBrings(t *testing.T) {
	broken := application("shop", "prefix: /pages", "prefix: /pages/../x")
	checkAll(t, []admissionCase{
		{name: "what was wrong before may stay while something else changes", old: broken,
			object: strings.Replace(broken, "methods: [GET]", "methods: [GET, HEAD]", 1), warned: []string{"PathInvalid"}},
		{name: "what was wrong before is no excuse for more", old: broken,
			object: strings.Replace(broken, "routes: [pages]", "routes: [page]", 1), refused: "RouteNotFound"},
		{name: "a label on something wrong is nobody's business", old: broken,
			object: strings.Replace(broken, "name: web,", "name: web, labels: {team: a},", 1)},
		{name: "what is being deleted is let go", old: broken,
			object: strings.Replace(strings.Replace(broken, "name: web,", `name: web, deletionTimestamp: "2026-01-01T00:00:00Z",`, 1), "routes: [pages]", "routes: [page]", 1)},
		{name: "taking away an admission warns of what it closes", old: section(t, "kind: SecureIngress", "", ""),
			object: section(t, "kind: SecureIngress", "exposure: public", "exposure: none"), warned: []string{"Application shop/cart"}},
		{name: "handing over a host warns of what it closes", old: section(t, "kind: HostClaim", "", ""),
			object: section(t, "kind: HostClaim", "namespace: shop", "namespace: rival"), warned: []string{"HostAlreadyClaimed"}},
	})
}

type admissionCase struct {
	name, object, old string
	// refused is the reason; empty: allowed.
	refused string
	// warned are texts of which each is in some warning.
	warned []string
}

func checkAll(t *testing.T, cases []admissionCase) {
	t.Helper()
	checkAgainst(t, input(t, platform), cases)
}

// checkAgainst judges changes of what is in a cluster.
func checkAgainst(t *testing.T, in model.Input, cases []admissionCase) {
	t.Helper()
	handler := New(func() (model.Input, error) { return in, nil })
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := handler.Handle(t.Context(), request(t, test.object, test.old))
			if test.refused == "" {
				if !got.Allowed {
					t.Fatalf("refused: %s", got.Result.Message)
				}
			} else if got.Allowed || !slices.ContainsFunc(got.Result.Details.Causes, func(c metav1.StatusCause) bool { return string(c.Type) == test.refused }) {
				t.Fatalf("not refused with %s: %+v %v", test.refused, got.Result, got.Warnings)
			}
			all := strings.Join(got.Warnings, "\n")
			for _, want := range test.warned {
				if !strings.Contains(all, want) {
					t.Errorf("no warning says %s:\n%s", want, all)
				}
			}
			for _, warning := range got.Warnings {
				if len(warning) > maximumWarning {
					t.Errorf("a warning of %d bytes is cut off by API servers: %s", len(warning), warning)
				}
			}
		})
	}
}

func TestARefusalSaysWhatWhyWhoseAndWhatToDo(t *testing.T) {
	in := input(t, platform)
	got := New(func() (model.Input, error) { return in, nil }).Handle(t.Context(), request(t, application("rival", "", ""), ""))
	for _, want := range []string{
		"Application rival/web cannot be accepted", "spec.exposures[0]", "shop.example.com belongs to namespace shop",
		"rule: HostClaim shop.example.com", "do: use another host name",
	} {
		if !strings.Contains(got.Result.Message, want) {
			t.Errorf("the refusal does not say %q:\n%s", want, got.Result.Message)
		}
	}
	if got.Result.Code != 422 {
		t.Errorf("the code is %d, want 422", got.Result.Code)
	}
}

func TestADeletionIsAlwaysAllowed(t *testing.T) {
	handler := New(func() (model.Input, error) { return model.Input{}, errors.New("nothing is known") })
	r := request(t, application("shop", "", ""), "")
	r.Operation, r.OldObject, r.Object = admissionv1.Delete, r.Object, runtime.RawExtension{}
	if got := handler.Handle(t.Context(), r); !got.Allowed {
		t.Errorf("refused: %+v", got.Result)
	}
}

func TestWhatCannotBeCheckedYetIsToBeTriedAgain(t *testing.T) {
	handler := New(func() (model.Input, error) { return model.Input{}, errors.New("the cluster is still being read") })
	got := handler.Handle(t.Context(), request(t, application("shop", "", ""), ""))
	if got.Allowed || got.Result.Code != 503 || !strings.Contains(got.Result.Message, "try again") {
		t.Errorf("got %+v, want 503 and to try again", got.Result)
	}
}

func TestAnAnswerDoesNotWaitLongerThanItsDeadline(t *testing.T) {
	entered, release := make(chan struct{}, concurrency), make(chan struct{})
	handler := New(func() (model.Input, error) {
		entered <- struct{}{}
		<-release
		return model.Input{}, errors.New("too late")
	})
	for range concurrency {
		go handler.Handle(context.WithoutCancel(t.Context()), request(t, application("shop", "", ""), ""))
	}
	for range concurrency {
		<-entered
	}
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := handler.Handle(ctx, request(t, application("shop", "", ""), "")); got.Allowed || got.Result.Code != 503 {
		t.Errorf("got %+v, want 503", got.Result)
	}
}

// Every reason that the compiler can refuse with has been thought about.
func TestTheTableOfReasonsIsComplete(t *testing.T) {
	said := map[string]bool{}
	pattern := regexp.MustCompile(`refusal\{"([A-Za-z]+)"`)
	warning := regexp.MustCompile(`warn\([^\n]*refusal\{"([A-Za-z]+)"`)
	warnOnly := map[string]bool{}
	for _, folder := range []string{"../intent", "../intent/calls", "../compile"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files in %s, %v", len(files), folder, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range pattern.FindAllStringSubmatch(string(text), -1) {
				said[match[1]] = true
			}
			for _, match := range warning.FindAllStringSubmatch(string(text), -1) {
				warnOnly[match[1]] = true
			}
		}
	}
	for _, reason := range policyReasons(t) {
		said[reason] = true
	}
	listed := map[string]bool{}
	for _, r := range refusals {
		listed[r.reason] = true
	}
	for _, r := range tolerated {
		listed[r] = true
	}
	for reason := range said {
		if !listed[reason] && !warnOnly[reason] {
			t.Errorf("reason %s is in neither list of verdict.go", reason)
		}
	}
	for reason := range listed {
		// Package gather says the one, and this package itself the other.
		if !said[reason] && reason != "SecretUnreadable" && reason != reasonTestFailed {
			t.Errorf("verdict.go lists %s, which nobody says any more", reason)
		}
	}
}

// policyReasons are those with which policies refuse.
func policyReasons(t *testing.T) []string {
	t.Helper()
	var out []string
	for file, pattern := range map[string]string{
		"template.go":   `s\.refuse\([^\n]*?"([A-Z][A-Za-z]+)", `,
		"set.go":        `brokenBinding\((?:b, field|out, "spec.policy"), "([A-Za-z]+)"`,
		"stages.go":     `brokenBinding\(b, [^\n]*?"(Rollout[A-Za-z]+)"`,
		"finding.go":    `brokenBinding\(b, field, "([A-Za-z]+)"`,
		"parameters.go": `brokenBinding\(b, [^\n]*?"([A-Z][A-Za-z]+)",`,
		"exception.go":  `Reason, out\.Why = "([A-Za-z]+)"`,
		"judgement.go":  `return "(PolicyViolated|PolicyBroken)"`,
	} {
		text, err := os.ReadFile("../policy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("no reason is found in %s", file)
		}
		for _, match := range found {
			out = append(out, match[1])
		}
	}
	return out
}

// Leaving out what has nothing to do with a candidate must not change what is
// found about it. The cases are those of the compiler.
func TestNarrowingChangesNothing(t *testing.T) {
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("../compile/testdata/*/in.yaml")
	if err != nil || len(folders) < 40 {
		t.Fatalf("%d folders, %v", len(folders), err)
	}
	left := 0
	for _, file := range folders {
		in := inputOf(t, checker, filepath.Dir(file))
		for _, a := range in.Applications {
			ref := model.Reference{Cluster: in.Mesh.Cluster, Group: "trellis.dev", Kind: "Application", Namespace: a.Namespace, Name: a.Name}
			rest := narrow(without(in, ref), a)
			left += len(in.Applications) - 1 - len(rest.Applications)
			whole, narrowed := about(ref, findings(in)), about(ref, findings(with(rest, a)))
			if !slices.Equal(whole, narrowed) {
				t.Errorf("%s: %s: the whole finds\n%+v\nand the narrowed\n%+v", file, ref, whole, narrowed)
			}
		}
	}
	if left == 0 {
		t.Error("nothing was ever left out: the test shows nothing")
	}
}

func about(ref model.Reference, all []model.Finding) []model.Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f model.Finding) bool { return f.Object != ref })
}

// input reads documents as the cluster's caches would.
func input(t *testing.T, text string) model.Input {
	t.Helper()
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return inputOf(t, checker, dir)
}

func inputOf(t *testing.T, checker *schema.Checker, dir string) model.Input {
	t.Helper()
	mesh := model.DefaultMesh()
	var paths []string
	for _, name := range []string{"platform.yaml", "in.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	set, err := document.Read(paths, nil, document.Options{Cluster: mesh.Cluster, Scope: checker.Scope})
	if err != nil {
		t.Fatal(err)
	}
	objects, _ := checker.Read(t.Context(), set)
	builder := load.NewBuilder(mesh)
	for _, o := range objects {
		builder.Add(o.Value)
	}
	return builder.Input()
}

// section is one document of the platform or of its policies, with one text replaced.
func section(t *testing.T, which, from, to string) string {
	t.Helper()
	for _, text := range strings.Split(platform+policies, "\n---\n") {
		if strings.Contains(text, which) && strings.Contains(text, from) {
			return strings.Replace(text, from, to, 1)
		}
	}
	t.Fatalf("the platform has no %s with %s", which, from)
	return ""
}

func request(t *testing.T, object, old string) admission.Request {
	t.Helper()
	r := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Object: raw(t, object)}}
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(r.Object.Raw, &meta); err != nil {
		t.Fatal(err)
	}
	r.Kind = metav1.GroupVersionKind{Group: "trellis.dev", Version: "v1alpha1", Kind: meta.Kind}
	r.Namespace, r.Name = meta.Namespace, meta.Name
	if old != "" {
		r.Operation, r.OldObject = admissionv1.Update, raw(t, old)
	}
	return r
}

func raw(t *testing.T, text string) runtime.RawExtension {
	t.Helper()
	out, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: out}
}
