// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package questions

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/test/stack"
)

// read reads the JSON that a command wrote.
func read[T any](t *testing.T, r result) *T {
	t.Helper()
	out := new(T)
	if err := json.Unmarshal([]byte(r.out), out); err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	return out
}

// byFiles runs a question on the files that were applied.
func byFiles(t *testing.T, args ...string) result {
	t.Helper()
	return trellis(t, append(args, "-f", world.files)...)
}

// token is one that the issuer of the example signed.
func token(t *testing.T, scope string) string {
	t.Helper()
	text, err := world.issuer.Token(stack.Claims{"aud": "bookinfo", "sub": "me", "scope": scope})
	must(t, err)
	return text
}

// TestALiveVerdictIsThatOfTheRealRequest sends each request, too, and asks the files
// the same.
func TestALiveVerdictIsThatOfTheRealRequest(t *testing.T) {
	good, reader := token(t, ""), token(t, "reviews.read")
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/productpage", "", 200},
		{"GET", "/static/a.css", "", 200},
		{"DELETE", "/productpage", "", 403},
		{"GET", "/nothing", "", 403},
		{"GET", "/api/v1/products", "", 403},
		{"GET", "/api/v1/products", good, 200},
		{"GET", "/api/v1/products", "rubbish", 401},
		{"GET", "/api/v1/products/0/reviews", good, 403},
		{"GET", "/api/v1/products/0/reviews", reader, 200},
	} {
		t.Run(fmt.Sprintf("%s %s %d", c.method, c.path, c.status), func(t *testing.T) {
			r := stack.Request{Method: c.method, Host: host, Path: c.path, Header: http.Header{}}
			args := []string{"can", c.method, "https://" + host + c.path, "-o", "json"}
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
				args = append(args, "--token", c.token)
			}
			real, err := world.gateway.HTTPS(t.Context(), world.pool, r)
			must(t, err)
			if real.Status != c.status {
				t.Fatalf("the gateway answers %d", real.Status)
			}
			got, files := asked(t, args...), byFiles(t, args...)
			a, b := read[answer.Answer](t, got), read[answer.Answer](t, files)
			if allowed := a.Outcome == "Allow"; allowed != (c.status == 200) || !allowed && a.Code != c.status || allowed != (got.code == 0) {
				t.Errorf("asked live: %s", got)
			}
			if a.Outcome != b.Outcome || a.Code != b.Code || a.Why != b.Why || got.code != files.code {
				t.Errorf("live %s %d %s (%d), by the files %s %d %s (%d)", a.Outcome, a.Code, a.Why, got.code, b.Outcome, b.Code, b.Why, files.code)
			}
			if !strings.HasPrefix(a.Source, "istiod at ") || b.Source != "" {
				t.Errorf("sources %q and %q", a.Source, b.Source)
			}
			if a.Decided != nil && strings.Contains(a.Decided.Source, world.files) {
				t.Errorf("a live answer names a file: %+v", a.Decided)
			}
		})
	}
}

func TestWhoIsLetInIsKnownLive(t *testing.T) {
	got := read[ask.Reached](t, asked(t, "who", "bookinfo/reviews", "-o", "json"))
	want := read[ask.Reached](t, byFiles(t, "who", "bookinfo/reviews", "-o", "json"))
	// Nothing redirects connections in the stack, and the pods say so: whether their
	// applications listen at ports that their proxies do not is not known.
	got.Rows = slices.DeleteFunc(got.Rows, func(r ask.Reach) bool {
		return r.Port != 9080 && strings.Contains(r.Why, "interceptionMode NONE")
	})
	if len(got.Rows) != 1 || len(want.Rows) != 1 || !slices.Equal(got.Rows[0].From, want.Rows[0].From) || !slices.Equal(got.Rows[0].Paths, want.Rows[0].Paths) ||
		!slices.Equal(got.Rows[0].Methods, want.Rows[0].Methods) || len(got.Notes) > 0 {
		t.Errorf("live %+v, by the files %+v", got, want)
	}
	for from, status := range map[string]int{"productpage": 200, "details": 403} {
		real, err := world.apps[from].Do(t.Context(), stack.Request{Host: world.apps["reviews"].Host(9080), Path: "/reviews/0"})
		must(t, err)
		if listed := slices.Contains(got.Rows[0].From, "bookinfo/"+from); real.Status != status || listed != (status == 200) {
			t.Errorf("%s gets %d, and is listed: %v", from, real.Status, listed)
		}
	}
}

// shape is what must be the same whoever is asked.
func shape(e ask.Exposure) string {
	return fmt.Sprint(e.Scheme, e.Host, e.Route, e.Methods, e.Paths, e.Needs, e.Token, e.Reaches)
}

func TestWhatIsExposedIsKnownLive(t *testing.T) {
	got := read[ask.Exposed](t, asked(t, "exposed", "-o", "json"))
	want := read[ask.Exposed](t, byFiles(t, "exposed", "-o", "json"))
	if len(got.Exposures) < 3 || len(got.Exposures) != len(want.Exposures) || len(got.Notes) > 0 {
		t.Fatalf("live %+v, by the files %+v", got, want)
	}
	for i, e := range got.Exposures {
		if shape(e) != shape(want.Exposures[i]) {
			t.Errorf("live %s, by the files %s", shape(e), shape(want.Exposures[i]))
		}
		status := 403
		if e.Needs == ask.Nothing {
			status = 200
		}
		witness, err := url.Parse(e.Witness.URL)
		must(t, err)
		real, err := world.gateway.HTTPS(t.Context(), world.pool, stack.Request{Method: e.Witness.Method, Host: e.Host, Path: witness.Path})
		must(t, err)
		if real.Status != status {
			t.Errorf("%s %s needs %s, and without a token it is answered %d", e.Witness.Method, witness, e.Needs, real.Status)
		}
	}
	if verbose := asked(t, "exposed", "-v"); !strings.Contains(verbose.out, "trellis can --kubeconfig ") || !strings.Contains(verbose.out, "source: istiod at ") {
		t.Errorf("%s", verbose)
	}
}

func TestUnusedRulesAreKnownLive(t *testing.T) {
	names := func(r result) []string {
		a := read[ask.Idleness](t, r)
		var out []string
		for _, i := range append(a.Unused, a.Shadowed...) {
			out = append(out, i.Proxy+" "+i.Object)
		}
		if len(a.Notes) > 0 {
			t.Errorf("%q", a.Notes)
		}
		return out
	}
	got, want := names(asked(t, "unused", "-o", "json")), names(byFiles(t, "unused", "-o", "json"))
	if len(got) == 0 || !slices.Equal(got, want) {
		t.Errorf("live %q, by the files %q", got, want)
	}
}

func TestExplainLeadsUpAndDownLive(t *testing.T) {
	for _, thing := range [][]string{
		{"https://" + host + "/api/v1/products"},
		{"bookinfo/productpage/catalogue"},
		{"rbac_access_denied_matched_policy[ns[bookinfo]-policy[trellis-application-reviews-deny]-rule[1]]"},
	} {
		args := append([]string{"explain", "-o", "json"}, thing...)
		got, want := read[answer.Explanation](t, asked(t, args...)), read[answer.Explanation](t, byFiles(t, args...))
		if len(got.Rules) == 0 || len(got.Held) == 0 || len(got.Change) == 0 || got.Means != want.Means || got.Why != want.Why {
			t.Errorf("%q: live %+v, by the files %+v", thing, got, want)
		}
		for i := range got.Rules {
			// The operator's probe has a route of its own: routes count from another one.
			if a, b := got.Rules[i], want.Rules[i]; a.Name != b.Name || a.Rule != b.Rule && a.Kind != "VirtualService" || a.Statement == nil || a.Statement.Field != b.Statement.Field {
				t.Errorf("%q: live %+v, by the files %+v", thing, a, b)
			}
		}
	}
}

// TestWhatWasCountedStandsBesideWhatRuns joins a log to what the operator has made in the
// running cluster, which says how old it is.
func TestWhatWasCountedStandsBesideWhatRuns(t *testing.T) {
	log := filepath.Join(repository, "examples/access-logs/gateway.log")
	aged := 0
	for _, row := range read[answer.Hits](t, asked(t, "hits", log, "-o", "json")).Rows {
		if !strings.HasPrefix(row.Statement, "Application ") || row.Field == "" {
			continue
		}
		aged++
		if row.Since == nil || time.Since(*row.Since) < 0 || time.Since(*row.Since) > time.Hour {
			t.Errorf("%s is in force since %v", row.String(), row.Since)
		}
	}
	if aged < 5 {
		t.Errorf("%d rows", aged)
	}
	explained := read[answer.Explanation](t, asked(t, "explain", "bookinfo/productpage/catalogue", "--log", log, "-o", "json"))
	denied := uint64(0)
	for _, r := range explained.Rules {
		if r.Hits == nil {
			t.Fatalf("%+v has no counts", r)
		}
		denied += r.Hits.Denied
	}
	if denied != 1 || explained.Counted == nil || explained.Counted.Entries != 3 {
		t.Errorf("%d were denied, of %+v", denied, explained.Counted)
	}
	if got := asked(t, "unused", "--log", log); got.code != 0 || !strings.Contains(got.out, "used: Application bookinfo/productpage spec.exposures[0].routes[0]: 2 allowed") {
		t.Error(got)
	}
	if got := trellis(t, "tree", "--kubeconfig", world.Kubeconfig(), "--log", log); got.code != 0 || !strings.Contains(got.out, "3 entries from") {
		t.Error(got)
	}
}

func TestTestsRunLive(t *testing.T) {
	if got := asked(t, "test"); got.code != 0 || !strings.Contains(got.out, "5 passed, 0 failed, 0 not known") {
		t.Errorf("%s", got)
	}
	file := filepath.Join(t.TempDir(), "tests.yaml")
	must(t, os.WriteFile(file, []byte("tests:\n- {name: open, from: {internet: {}}, request: {url: \"https://"+host+"/api/v1/products\"}, expect: {verdict: Allow}}\n"), 0o600))
	if got := asked(t, "test", "--tests", file); got.code != 2 || !strings.Contains(got.out, "failed: open") {
		t.Errorf("%s", got)
	}
}

// open is a draft that lets anybody read the catalogue.
func open(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(world.files, "productpage", "application.yaml"))
	must(t, err)
	text := strings.Replace(string(raw), "methods: [GET]\n    authentication: {mode: Required}", "methods: [GET]\n    authentication: {mode: None}", 1)
	file := filepath.Join(t.TempDir(), "draft.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestADraftIsHeldAgainstTheRunningCluster(t *testing.T) {
	at, draft := []string{"--kubeconfig", world.Kubeconfig()}, open(t)
	if got := trellis(t, append([]string{"diff", "-f", draft}, at...)...); got.code != 2 || !strings.Contains(got.out, "/api/v1/products") || strings.Contains(got.out, "incomplete") {
		t.Errorf("%s", got)
	}
	same := filepath.Join(world.files, "productpage", "application.yaml")
	if got := trellis(t, append([]string{"diff", "-f", same}, at...)...); got.code != 0 {
		t.Errorf("a draft that changes nothing: %s", got)
	}
	if got := trellis(t, append([]string{"can", "-f", draft, "https://" + host + "/api/v1/products"}, at...)...); got.code != 0 || !strings.Contains(got.out, "and the draft") {
		t.Errorf("%s", got)
	}
	if got := trellis(t, append([]string{"test", "-f", draft}, at...)...); got.code != 2 || !strings.Contains(got.out, "failed: nobody reads the catalogue without a login") {
		t.Errorf("%s", got)
	}
	log := filepath.Join(repository, "examples/access-logs/gateway.log")
	if got := trellis(t, append([]string{"replay", "-f", draft, log}, at...)...); got.code != 2 || !strings.Contains(got.out, "changed: Deny -> Allow") {
		t.Errorf("%s", got)
	}
	if got := trellis(t, "can", "-f", draft, "https://"+host+"/", "--istiod", "10.0.0.1:15012"); got.code != 1 || !strings.Contains(got.err, "knows nothing of a draft") {
		t.Errorf("%s", got)
	}
}

func TestTheGeneratorSaysWhoseVersionItIs(t *testing.T) {
	at := []string{"--kubeconfig", world.Kubeconfig(), "--source", "generator"}
	for path, code := range map[string]int{"/productpage": 0, "/api/v1/products": 2} {
		got := trellis(t, append([]string{"can", "https://" + host + path}, at...)...)
		if got.code != code || !strings.Contains(got.out, "not what the installed one sends") || !strings.Contains(got.out, "istio.io/istio") {
			t.Errorf("%s: %s", path, got)
		}
	}
	got := read[ask.Exposed](t, trellis(t, append([]string{"exposed", "-o", "json"}, at...)...))
	want := read[ask.Exposed](t, asked(t, "exposed", "-o", "json"))
	for i := range want.Exposures {
		if i >= len(got.Exposures) || shape(got.Exposures[i]) != shape(want.Exposures[i]) {
			t.Errorf("by the generator %+v, by istiod %+v", got, want)
		}
	}
}

// TestDumpsOfEnvoysAnswer takes what the proxies themselves say.
func TestDumpsOfEnvoysAnswer(t *testing.T) {
	dir := t.TempDir()
	dump := func(name string, proxy *stack.Proxy) string {
		raw, err := proxy.Admin(t.Context(), "/config_dump?include_eds")
		must(t, err)
		file := filepath.Join(dir, name+".json")
		must(t, os.WriteFile(file, raw, 0o600))
		return file
	}
	gateway, page := dump("gateway", world.gateway.Proxy), dump("productpage", world.apps["productpage"].Proxy)
	both := []string{"--config-dump", gateway, "--config-dump", page}
	for path, code := range map[string]int{"/productpage": 0, "/api/v1/products": 2} {
		args := []string{"can", "https://" + host + path}
		if got := trellis(t, append(args, both...)...); got.code != code {
			t.Errorf("%s: %s", path, got)
		}
	}
	// Whoever has not got the server's dump does not know what it would do.
	if got := trellis(t, "can", "https://"+host+"/productpage", "--config-dump", gateway); got.code != 3 || !strings.Contains(got.out, "none of the dumps is of it") {
		t.Errorf("%s", got)
	}
	if got := trellis(t, append([]string{"explain", "https://" + host + "/api/v1/products", "-f", world.files}, both...)...); got.code != 0 || !strings.Contains(got.out, "productpage/application.yaml:25") {
		t.Errorf("%s", got)
	}
	if got := trellis(t, append([]string{"unused"}, both...)...); got.code != 0 || !strings.Contains(got.out, "unused: AuthorizationPolicy") {
		t.Errorf("%s", got)
	}
	if got := trellis(t, "can", "https://"+host+"/", "--config-dump", page, "--config-dump", page); got.code != 1 || !strings.Contains(got.err, "and so is") {
		t.Errorf("%s", got)
	}
	text, err := os.ReadFile(gateway)
	must(t, err)
	must(t, os.WriteFile(gateway, text[:len(text)/2], 0o600))
	if got := trellis(t, "can", "https://"+host+"/", "--config-dump", gateway); got.code != 1 || !strings.Contains(got.err, "it ends in the middle") {
		t.Errorf("%s", got)
	}
}

// TestTheSameQuestionHasTheSameAnswer: nothing depends on who answers first.
func TestTheSameQuestionHasTheSameAnswer(t *testing.T) {
	for _, args := range [][]string{{"exposed", "-o", "json"}, {"unused", "-o", "json"}, {"explain", "Application", "bookinfo/reviews", "-o", "json"}} {
		first := asked(t, args...)
		for range 3 {
			if again := asked(t, args...); !reflect.DeepEqual(first, again) {
				t.Errorf("%q: %s\nand then %s", args, first, again)
			}
		}
	}
}
