// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const bookinfo = "examples/bookinfo"

// inRepository lets a test name examples as people do.
func inRepository(t *testing.T) {
	t.Helper()
	t.Chdir("../..")
}

func TestAnswersAreShortFirstAndTheSameInEveryFormat(t *testing.T) {
	inRepository(t)
	for name, args := range map[string][]string{
		"allowed":      {"can", "https://bookinfo.example.com/productpage"},
		"no-token":     {"can", "https://bookinfo.example.com/api/v1/products"},
		"method":       {"can", "DELETE", "https://bookinfo.example.com/productpage"},
		"no-rule":      {"can", "https://bookinfo.example.com/nope"},
		"no-host":      {"can", "https://nope.example.com/"},
		"redirect":     {"can", "http://bookinfo.example.com/"},
		"caller":       {"can", "--from", "bookinfo/details", "http://reviews:9080/reviews/0", "-v"},
		"bad-token":    {"can", "https://bookinfo.example.com/api/v1/products", "--token", "abc"},
		"plaintext":    {"can", "--from", "istio-ingress/istio-ingressgateway", "http://reviews.bookinfo:9080/reviews/0"},
		"json":         {"can", "--from", "bookinfo/details", "http://reviews:9080/reviews/0", "-o", "json"},
		"graph":        {"can", "http://bookinfo.example.com/", "--graph"},
		"details":      {"explain", "rbac_access_denied_matched_policy[ns[bookinfo]-policy[trellis-application-reviews-deny]-rule[1]]"},
		"none":         {"explain", "rbac_access_denied_matched_policy[none]"},
		"route":        {"explain", "bookinfo/productpage/catalogue"},
		"object":       {"explain", "authorizationpolicy.security.istio.io/trellis-application-details-deny", "-n", "bookinfo"},
		"miss":         {"explain", "--from", "bookinfo/details", "http://reviews:9080/reviews/0"},
		"explain-json": {"explain", "Application", "bookinfo/details", "-o", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			got := trellis(t, "", append(args, "-f", bookinfo)...)
			golden(t, "internal/cli/testdata/questions/"+name+".txt", fmt.Sprintf("%s%s=> %d\n", got.out, got.err, got.code))
		})
	}
}

func TestExitCodesSayWhatBecameOfARequest(t *testing.T) {
	inRepository(t)
	custom := "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ask, namespace: bookinfo}\n" +
		"spec: {selector: {matchLabels: {app: details}}, action: CUSTOM, provider: {name: somebody}, rules: [{}]}\n"
	for _, c := range []struct {
		stdin string
		args  []string
		code  int
		says  string
	}{
		{"", []string{"can", "-f", bookinfo, "http://bookinfo.example.com/"}, 0, "Answered 308"},
		{"", []string{"can", "-f", bookinfo, "https://bookinfo.example.com/nope"}, 2, "Deny 403"},
		{"", []string{"can", "-f", bookinfo, "ftp://bookinfo.example.com/nope"}, 1, `scheme "ftp"`},
		{"", []string{"can", "-f", bookinfo, "--from", "bookinfo/nobody", "http://details:9080/"}, 1, "there is no workload bookinfo/nobody"},
		{"", []string{"can", "-f", bookinfo, "http://a/", "-o", "xml"}, 1, `"xml" is none of text, json, yaml`},
		{custom, []string{"can", "-f", bookinfo, "-f", "-", "--from", "bookinfo/productpage", "http://details:9080/details"}, 2, "Deny"},
		{"", []string{"explain", "-f", bookinfo, "foo"}, 1, "is none of: a URL"},
		{"", []string{"explain", "-f", bookinfo, "bookinfo/productpage/cart"}, 1, "it has pages, catalogue, reviews"},
		{"", []string{"test", "-f", "examples/grpc-service", "-f", bookinfo + "/platform"}, 1, "there are no tests"},
	} {
		got := trellis(t, c.stdin, c.args...)
		if got.code != c.code || !strings.Contains(got.out+got.err, c.says) {
			t.Errorf("%q: exit code %d, want %d\n%s%s", c.args, got.code, c.code, got.out, got.err)
		}
	}
}

// TestAnErrorInTheFilesIsShownBesideTheAnswer breaks one file.
func TestAnErrorInTheFilesIsShownBesideTheAnswer(t *testing.T) {
	inRepository(t)
	broken := "apiVersion: trellis.dev/v1alpha1\nkind: Application\nmetadata: {name: broken, namespace: bookinfo}\nspec: {service: gone, ports: [{name: web, port: 80, protocol: HTTP}]}\n"
	got := trellis(t, broken, "can", "-f", bookinfo, "-f", "-", "https://bookinfo.example.com/productpage")
	if got.code != 0 || !strings.HasPrefix(got.out, "Allow") || !strings.Contains(got.err, "ServiceNotFound") {
		t.Errorf("%+v", got)
	}
	if got = trellis(t, broken, "test", "-f", bookinfo, "-f", "-"); got.code != 2 || !strings.Contains(got.err, "ServiceNotFound") {
		t.Errorf("tests beside errors: %+v", got)
	}
}

func TestATestPassesOnlyWhereTheRequestEndsAsExpected(t *testing.T) {
	inRepository(t)
	tests := `tests:
- {name: wrong, from: {internet: {}}, request: {url: "https://bookinfo.example.com/productpage"}, expect: {verdict: Deny}}
- {name: wrong code, from: {internet: {}}, request: {url: "https://bookinfo.example.com/api/v1/products"}, expect: {verdict: Deny, code: 401}}
- {name: nobody, from: {serviceAccount: {name: nobody, namespace: bookinfo}}, request: {url: "http://details.bookinfo:9080/"}, expect: {verdict: Deny}}
- {name: right, from: {internet: {}}, request: {url: "https://bookinfo.example.com/api/v1/products"}, expect: {verdict: Deny}}
`
	got := trellis(t, tests, "test", "-f", bookinfo, "--tests", "-")
	golden(t, "internal/cli/testdata/questions/tests.txt", fmt.Sprintf("%s=> %d\n", got.out, got.code))
	var view struct {
		Tests   []struct{ Name, Status string }
		Summary struct{ Passed, Failed, Unknown int }
	}
	if err := json.Unmarshal([]byte(trellis(t, tests, "test", "-f", bookinfo, "--tests", "-", "-o", "json").out), &view); err != nil {
		t.Fatal(err)
	}
	if s := view.Summary; s.Failed != 2 || s.Unknown != 1 || s.Passed != len(view.Tests)-3 || s.Passed < 8 {
		t.Errorf("%+v", view)
	}
	var junit struct {
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Failure *struct{} `xml:"failure"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal([]byte(trellis(t, tests, "test", "-f", bookinfo, "--tests", "-", "-o", "junit").out), &junit); err != nil || junit.Failures != 3 || len(junit.Cases) != len(view.Tests) {
		t.Errorf("%+v, %v", junit, err)
	}
	only := strings.Join(strings.Split(tests, "\n")[0:1], "") + "\n" + strings.Split(tests, "\n")[3] + "\n"
	if got := trellis(t, only, "test", "-f", bookinfo, "--tests", "-"); got.code != 3 {
		t.Errorf("what cannot be told ends with %d", got.code)
	}
	for bad, says := range map[string]string{
		"tests: [{name: a, form: {}}]": "unknown field", "tests: [{name: a, request: {url: /x}, expect: {verdict: Deny}}]": "no http or https URL",
		"tests: [{name: a, request: {url: 'https://a/'}, expect: {verdict: Unknown}}]": "is none of Allow",
	} {
		if got := trellis(t, bad, "test", "-f", bookinfo, "--tests", "-"); got.code != 1 || !strings.Contains(got.err, says) {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

// TestReplayFindsWhatADraftBreaks closes a page, opens the catalogue, and asks for
// a login where none was needed.
func TestReplayFindsWhatADraftBreaks(t *testing.T) {
	inRepository(t)
	draft := t.TempDir()
	if err := os.CopyFS(draft, os.DirFS(bookinfo)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(draft, "productpage", "application.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(raw), "\n  tests:")
	for _, change := range [][2]string{
		{"{prefix: /static}", "{prefix: /assets}"},
		{"authentication: {mode: None} # has to be said: the default is Required", "authentication: {mode: Required}"},
		{"methods: [GET]\n    authentication: {mode: Required}", "methods: [GET]\n    authentication: {mode: None}"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the example has no %s", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := "examples/access-logs/gateway.log"
	relative := func(got result) string {
		return strings.ReplaceAll(fmt.Sprintf("%s=> %d\n", got.out, got.code), draft, "DRAFT")
	}
	golden(t, "internal/cli/testdata/questions/replay.txt", relative(trellis(t, "", "replay", "-f", draft, log)))
	golden(t, "internal/cli/testdata/questions/replay-before.txt", relative(trellis(t, "", "replay", "-f", draft, "--before", bookinfo, log)))
	claims := `{"iss": "https://login.example.com", "aud": "bookinfo", "sub": "x"}`
	golden(t, "internal/cli/testdata/questions/replay-claims.txt", relative(trellis(t, "", "replay", "-f", draft, "--claims", claims, log)))
	lines := "garbage\n" + `{"from":"bookinfo/details","url":"http://reviews.bookinfo:9080/reviews/0","was":"Allow"}` + "\n" +
		`{"method":"GET","path":"/reviews/0","authority":"reviews:9080","response_code":200,"response_code_details":"via_upstream","upstream_cluster":"inbound|9080||","downstream_remote_address":"10.9.9.9:4000"}` + "\n" +
		strings.Repeat("x", 200<<10) + "\n"
	golden(t, "internal/cli/testdata/questions/replay-lines.txt", relative(trellis(t, lines, "replay", "-f", bookinfo)))
}

func TestALineOfALogIsExplained(t *testing.T) {
	inRepository(t)
	raw, err := os.ReadFile("examples/access-logs/gateway.log")
	if err != nil {
		t.Fatal(err)
	}
	denied := strings.Split(string(raw), "\n")[1]
	got := trellis(t, denied, "explain", "-f", bookinfo, "-")
	golden(t, "internal/cli/testdata/questions/line.txt", fmt.Sprintf("%s=> %d\n", got.out, got.code))
	if got := trellis(t, denied[:200], "explain", "-f", bookinfo, "-"); got.code != 1 || !strings.Contains(got.err, "was cut") {
		t.Errorf("a line that was cut: %+v", got)
	}
}
