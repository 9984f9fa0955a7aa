// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/server/api"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/server/questions"
	"github.com/trellis-mesh/trellis/internal/server/viewer"
)

// people are the API server's word in these tests, which real ones are asked for end to
// end: a token is a name, and rights are "VERB RESOURCE NAMESPACE".
type people map[string][]string

func (p people) Whose(_ context.Context, token string) (*viewer.Viewer, error) {
	if _, ok := p[token]; !ok {
		return nil, nil
	}
	return &viewer.Viewer{Name: token}, nil
}

func (p people) May(_ context.Context, v *viewer.Viewer, a viewer.Action) (bool, error) {
	for _, right := range p[v.Name] {
		verb, rest, _ := strings.Cut(right, " ")
		resource, namespace, only := strings.Cut(rest, " ")
		if (verb == a.Verb || verb == "*") && (resource == a.Resource || resource == "*") && (!only || namespace == a.Namespace) {
			return true, nil
		}
	}
	return false, nil
}

var everybody = people{
	"dev":      {"* applications cart"},
	"platform": {"get applications", "* secureingresses"},
	"security": {"get applications", "get secureingresses", "* goals", "* clusterpolicybindings", "* policytemplates"},
	"viewer":   {"get *"},
	"nobody":   {},
}

// secrets are what the limited viewer may not read, each in a text that stands nowhere
// else.
const secrets = `
apiVersion: trellis.dev/v1alpha1
kind: Goal
metadata: {name: guarded}
spec: {title: Only known callers, owner: "the owner owner-secret"}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: callers-1.0.0}
spec:
  policy: callers
  version: 1.0.0
  title: Callers are known
  severity: High
  remediation: {text: name the callers}
  constraints:
  - {name: narrow, subject: Route, expression: "route.name != 'api' || route.name == 'parameter-secret'", message: the route is not to be there, field: name}
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: guarded, annotations: {trellis.dev/source: "security-secret.yaml:7"}}
spec: {tier: Mandatory, policy: {name: callers, version: 1.0.0}, mode: Audit, goals: [guarded]}
`

// hidden is an Application of others, whose every word is a secret.
const hiddenApplication = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: till, namespace: till, uid: uid-till, generation: 1, annotations: {trellis.dev/source: "till-secret.yaml:1"}}
spec:
  service: till
  ports: [{name: web, port: 80, protocol: HTTP}]
  routes:
  - {name: route-secret, port: web, paths: [{prefix: /path-secret}], authentication: {mode: Required, scopes: [scope-secret]}}
  exposures: [{name: public, hostnames: [host-secret], routes: [route-secret]}]
`

// atOnce is an Application that is in force at once: nothing waits for tests.
func atOnce(name string) string {
	text, _, _ := strings.Cut(named(application, name), "  tests:\n")
	return text
}

// asker asks a server of the objects.
type asker struct {
	t      *testing.T
	server *httptest.Server
	keeper *questions.Keeper
}

func ask(t *testing.T, objects []client.Object, change func(*api.Config)) *asker {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	state := observed(t, objects...)
	changed := make(chan struct{}, 1)
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme))
	must(t, v1alpha1.AddToScheme(scheme))
	keeper := questions.New(questions.Config{
		State: func() (*observe.State, error) { return state, nil }, Changed: changed,
		Client: fake.NewClientBuilder().WithScheme(scheme).Build(), Clock: clock.RealClock{}, Log: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- keeper.Start(ctx) }()
	config := api.Config{Gate: viewer.NewGate(everybody, clock.RealClock{}), Cluster: keeper, Version: "test", Clock: clock.RealClock{}, Log: log}
	if change != nil {
		change(&config)
	}
	handler, err := api.New(config)
	must(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		cancel()
		must(t, <-done)
	})
	return &asker{t: t, server: server, keeper: keeper}
}

// do asks as somebody, whose name is the token.
func (a *asker) do(who, method, path, contentType, body string) (int, http.Header, string) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.server.URL+path, strings.NewReader(body))
	must(a.t, err)
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(r)
	must(a.t, err)
	raw, err := io.ReadAll(response.Body)
	must(a.t, err)
	must(a.t, response.Body.Close())
	return response.StatusCode, response.Header, string(raw)
}

func (a *asker) get(who, path string) string {
	a.t.Helper()
	status, _, text := a.do(who, "GET", path, "", "")
	if status != http.StatusOK {
		a.t.Fatalf("GET %s as %s: %d %s", path, who, status, text)
	}
	return text
}

func (a *asker) post(who, path, body string) string {
	a.t.Helper()
	kind := "application/json"
	if strings.HasSuffix(path, "diff") {
		kind = "application/yaml"
	}
	status, _, text := a.do(who, "POST", path, kind, body)
	if status != http.StatusOK {
		a.t.Fatalf("POST %s %s as %s: %d %s", path, body, who, status, text)
	}
	return text
}

func read[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

// town is a mesh with an Application of the developer's and one of others.
func town(t *testing.T) []client.Object {
	return decode(t, platform, named(workload, "cart"), named(workload, "till"), atOnce("cart"), hiddenApplication, secrets)
}

func TestEverybodyIsAnsweredAtTheirOwnLayer(t *testing.T) {
	a := ask(t, town(t), nil)
	for who, want := range map[string]api.Me{
		"dev":      {User: "dev", Layer: "application", Namespaces: []string{"cart"}},
		"platform": {User: "platform", Layer: "platform", Everywhere: true, Namespaces: []string{"cart", "till"}, May: api.May{Ingresses: true}},
		"security": {User: "security", Layer: "security", Everywhere: true, Namespaces: []string{"cart", "till"}, May: api.May{Goals: true, Bindings: true, Ingresses: true}},
		"viewer":   {User: "viewer", Layer: "viewer", Everywhere: true, Namespaces: []string{"cart", "till"}, May: api.May{Goals: true, Bindings: true, Ingresses: true}},
		"nobody":   {User: "nobody", Layer: "viewer", Namespaces: []string{}},
	} {
		want.Version = "test"
		got := read[api.Me](t, a.get(who, "/api/v1/me"))
		gotText, err := json.Marshal(got)
		must(t, err)
		wantText, err := json.Marshal(want)
		must(t, err)
		if string(gotText) != string(wantText) {
			t.Errorf("%s is told %s, not %s", who, gotText, wantText)
		}
		listed := 0
		for _, app := range read[api.Applications](t, a.get(who, "/api/v1/applications")).Items {
			listed++
			if app.Hits != nil {
				t.Errorf("nobody counts, and %s is told %+v", who, app.Hits)
			}
		}
		if listed != len(want.Namespaces) {
			t.Errorf("%s is told of %d Applications", who, listed)
		}
	}
}

// asks are all questions that are asked by GET.
var asks = []string{
	"me", "applications", "applications/cart/cart", "envelope/cart/cart", "tree", "tree?goal=guarded", "report", "report?goal=guarded", "hits", "hits?by=route", "totals",
	"doors", "mtls", "mtls?namespace=cart", "mtls/graph", "mtls/graph?namespace=cart", "openapi.json",
}

// posts are questions with a body, which a limited viewer may ask too.
var posts = [][2]string{
	{"can", `{"url": "https://cart.cart.example.com/api"}`},
	{"can", `{"url": "https://host-secret.example.com/path-secret/x"}`},
	{"can", `{"from": "cart/cart", "url": "http://till.till/path-secret"}`},
	{"can", `{"from": "cart/cart", "url": "http://till.till/"}`},
	{"explain", `{"thing": "cart/cart/api"}`},
	{"explain", `{"thing": "https://cart.example.com/api"}`},
	{"explain", `{"thing": "http://till.till/path-secret", "from": "cart/cart"}`},
	{"explain", `{"thing": "rbac_access_denied_matched_policy[ns[till]-policy[trellis-application-till-deny]-rule[0]]"}`},
	{"diff", strings.ReplaceAll(atOnce("cart"), "uid: uid-cart, generation: 1", "") + "  access: {callers: [{name: till, peer: {serviceAccount: {namespace: till, name: till}}}]}\n"},
}

// TestNothingIsToldThatOnlyUnreadableObjectsState is the promise to those who keep them:
// no text of theirs is in any answer to somebody who may not read them. The viewer is told
// all of them, so that the texts are there to be left out.
func TestNothingIsToldThatOnlyUnreadableObjectsState(t *testing.T) {
	a := ask(t, town(t), nil)
	told := ""
	each := func(who string, do func(question, text string)) {
		for _, path := range asks {
			do(path, a.get(who, "/api/v1/"+path))
		}
		for _, p := range posts {
			do(p[0]+" "+p[1], a.post(who, "/api/v1/"+p[0], p[1]))
		}
	}
	each("viewer", func(_, text string) { told += text })
	told += a.get("viewer", "/api/v1/applications/till/till")
	for _, secret := range []string{"route-secret", "path-secret", "scope-secret", "till-secret.yaml"} {
		if !strings.Contains(told, secret) {
			t.Errorf("the one who may read everything is not told %s: the test shows nothing", secret)
		}
	}
	each("dev", func(question, text string) {
		for _, secret := range []string{"route-secret", "scope-secret", "till-secret", "owner-secret", "parameter-secret", "security-secret", "host-secret", "path-secret"} {
			if strings.Contains(text, secret) && !strings.Contains(question, secret) {
				t.Errorf("%s tells %s: %s", question, secret, text)
			}
		}
	})
}

func TestWhatIsAnsweredIsWhatIsDescribed(t *testing.T) {
	a := ask(t, town(t), nil)
	spec := read[map[string]any](t, a.get("nobody", "/api/v1/openapi.json"))
	described, ok := spec["paths"].(map[string]any)
	if !ok || spec["openapi"] != "3.1.0" {
		t.Fatalf("the description is %v", spec)
	}
	for path, gives := range map[string]any{
		"me": &api.Me{}, "applications": &api.Applications{}, "applications/cart/cart": &api.Application{}, "envelope/cart/cart": &answer.Envelope{},
		"tree": &[]*answer.Node{}, "doors": &answer.Doors{}, "mtls/graph": &answer.Graph{}, "hits": &answer.Hits{}, "totals": &answer.Totals{},
	} {
		decoder := json.NewDecoder(strings.NewReader(a.get("viewer", "/api/v1/"+path)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(gives); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		template := strings.Replace(path, "cart/cart", "{namespace}/{name}", 1)
		if described["/api/v1/"+template] == nil {
			t.Errorf("%s is not described", path)
		}
	}
}

func TestQuestionsThatMeanNothingAreRefusedAndSayWhatToDo(t *testing.T) {
	a := ask(t, town(t), nil)
	for name, c := range map[string]struct {
		who, method, path, kind, body string
		status                        int
		says                          string
	}{
		"no token":             {"", "GET", "/api/v1/me", "", "", 401, "token"},
		"a foreign token":      {"stranger", "GET", "/api/v1/me", "", "", 401, "does not know"},
		"no token, no path":    {"", "GET", "/api/v1/nothing", "", "", 401, "token"},
		"a long token":         {strings.Repeat("x", 20<<10), "GET", "/api/v1/me", "", "", 401, "does not know"},
		"an unknown path":      {"dev", "GET", "/api/v1/nothing", "", "", 404, "there is no"},
		"an unknown method":    {"dev", "DELETE", "/api/v1/me", "", "", 405, "DELETE"},
		"the other method":     {"dev", "GET", "/api/v1/can", "", "", 405, "GET"},
		"an unknown parameter": {"dev", "GET", "/api/v1/hits?bye=rule", "", "", 400, "bye"},
		"an unknown value":     {"dev", "GET", "/api/v1/hits?by=moon", "", "", 400, "moon"},
		"twice":                {"dev", "GET", "/api/v1/hits?by=rule&by=goal", "", "", 400, "once"},
		"another's":            {"dev", "GET", "/api/v1/applications/till/till", "", "", 404, "that you may see"},
		"nobody's":             {"dev", "GET", "/api/v1/applications/till/nothing", "", "", 404, "that you may see"},
		"another's namespace":  {"dev", "GET", "/api/v1/mtls?namespace=till", "", "", 404, "that you may see"},
		"another's object":     {"dev", "POST", "/api/v1/explain", "application/json", `{"thing": "Application till/till"}`, 404, "that you may see"},
		"as another":           {"dev", "POST", "/api/v1/can", "application/json", `{"from": "till/till", "url": "http://cart.cart/"}`, 403, "till"},
		"no JSON":              {"dev", "POST", "/api/v1/can", "application/json", `url`, 400, "body"},
		"an unknown field":     {"dev", "POST", "/api/v1/can", "application/json", `{"url": "http://cart.cart/", "root": true}`, 400, "root"},
		"two bodies":           {"dev", "POST", "/api/v1/can", "application/json", `{"url": "http://cart.cart/"}{}`, 400, "after it"},
		"no URL":               {"dev", "POST", "/api/v1/can", "application/json", `{"url": "::"}`, 400, "URL"},
		"nothing to explain":   {"dev", "POST", "/api/v1/explain", "application/json", `{"thing": " "}`, 400, "explain"},
		"a long body":          {"dev", "POST", "/api/v1/can", "application/json", `{"url": "` + strings.Repeat("x", 65<<10) + `"}`, 413, "bytes"},
		"a long draft":         {"dev", "POST", "/api/v1/diff", "application/yaml", strings.Repeat("# x\n", 300<<10), 413, "bytes"},
		"no YAML":              {"dev", "POST", "/api/v1/diff", "text/html", "x", 415, "YAML"},
		"an empty draft":       {"dev", "POST", "/api/v1/diff", "application/yaml", "", 400, "no object"},
		"a broken draft":       {"dev", "POST", "/api/v1/diff", "application/yaml", "a: [", 400, "no object"},
		"a bomb":               {"dev", "POST", "/api/v1/diff", "application/yaml", bomb(), 400, "no object"},
		"another's draft":      {"dev", "POST", "/api/v1/diff", "application/yaml", hiddenApplication, 403, "Application till/till"},
	} {
		status, header, text := a.do(c.who, c.method, c.path, c.kind, c.body)
		if status != c.status || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s: %s", name, status, header.Get("Content-Type"), text)
			continue
		}
		p := read[api.Problem](t, text)
		if p.Status != c.status || p.Do == "" || p.Title == "" || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s: %+v", name, p)
		}
		if (status == 401) != (header.Get("WWW-Authenticate") != "") || (status == 405) != (header.Get("Allow") != "") {
			t.Errorf("%s: the headers are %v", name, header)
		}
	}
}

// bomb is a document whose aliases would be 10^9 elements.
func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: trellis.dev/v1alpha1\nkind: Application\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		from := string(rune('0' + i))
		b.WriteString("a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.TrimSuffix(strings.Repeat("*a"+from+", ", 10), ", ") + "]\n")
	}
	return b.String()
}

func TestADraftShowsWhomItLetsInBeforeItIsApplied(t *testing.T) {
	a := ask(t, town(t), nil)
	draft := strings.ReplaceAll(atOnce("cart"), "uid: uid-cart, generation: 1", "")
	open := strings.Replace(draft, "{mode: Required}", "{mode: None}", 1)
	changes := read[answer.Changes](t, a.post("dev", "/api/v1/diff", open))
	if len(changes.Changes.Changes.Changes) == 0 || changes.Changes.Changes.Changes[0].Effect != "NewlyAllowed" || changes.Changes.Changes.Changes[0].To != "cart/cart-1" {
		t.Errorf("the draft opens /api, and the answer is %+v", changes)
	}
	if same := read[answer.Changes](t, a.post("dev", "/api/v1/diff", draft)); len(same.Changes.Changes.Changes)+len(same.Calls) != 0 {
		t.Errorf("the draft changes nothing, and the answer is %+v", same)
	}
	if silent := read[answer.Changes](t, a.post("dev", "/api/v1/diff", draft+"  access: {calls: []}\n")); len(silent.Calls) == 0 || silent.Calls[0].Effect != "NewlyDenied" || silent.Calls[0].From[0] != "cart/cart" {
		t.Errorf("the draft calls nobody, and the answer is %+v", silent)
	}
}

func TestThoseWhoFollowAreBoundedAndAreToldTheRevision(t *testing.T) {
	a := ask(t, town(t), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	follow := func() *http.Response {
		r, err := http.NewRequestWithContext(ctx, "GET", a.server.URL+"/api/v1/events", nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer dev")
		response, err := http.DefaultClient.Do(r)
		must(t, err)
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	for i := range 16 {
		response := follow() //nolint:bodyclose // closed when the test ends
		first := make([]byte, len("event: changed\n"))
		_, err := io.ReadFull(response.Body, first)
		if err != nil || string(first) != "event: changed\n" || response.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("follower %d is told %q, %v", i, first, err)
		}
	}
	refused := follow() //nolint:bodyclose // closed when the test ends
	if refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" {
		t.Errorf("one more is answered %d", refused.StatusCode)
	}
}
