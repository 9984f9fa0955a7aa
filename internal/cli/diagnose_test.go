// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// brokenLine is of a client's proxy, with a secret in the query.
const brokenLine = `[2026-03-01T10:00:01.000Z] "GET /stock?token=hunter2 HTTP/1.1" 503 UC upstream_reset_before_response_started{connection_termination} - "-" 0 95 1 - "-" "curl/8.5.0" "1" "late" "10.0.0.9:8080" outbound|80||late.shop.svc.cluster.local 10.0.0.7:42000 10.96.0.30:80 10.0.0.7:51002 - default`

func TestWhatIsNoLogIsNamedAndIsNoVerdict(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	binary := write("binary.log", "\x7fELF\x02\x01\n\x00\xff\xfe\n")
	well := strings.Replace(brokenLine, "503 UC upstream_reset_before_response_started{connection_termination}", "200 - via_upstream", 1)
	whole := fmt.Sprintf("{\n  \"resourceLogs\": [{\"scopeLogs\": [{\"logRecords\": [\n    {\"body\": {\"stringValue\": %q}}\n  ]}]}]\n}\n", brokenLine)
	for _, c := range []struct {
		name, stdin string
		args        []string
		code        int
		says        string
	}{
		{"nothing at all", "", nil, 3, "there is no line of an access log"},
		{"blank lines", "\n\n \n", []string{"-"}, 3, "there is no line of an access log"},
		{"binary", "", []string{binary}, 3, "binary.log:1 cannot be read"},
		{"a line that was cut", brokenLine[:150], nil, 3, "was cut"},
		{"a line without an end", strings.Repeat("x", accesslog.MaxBatch+10), nil, 3, "stdin:1 cannot be read: it is longer"},
		{"a long line and a good one", strings.Repeat("x", accesslog.MaxBatch+10) + "\n" + brokenLine, nil, 2, "requests and connections: 1"},
		{"many that cannot be read", strings.Repeat("x\n", 30), nil, 3, "and 25 more lines that cannot be read"},
		{"a request that went well", well, nil, 0, "1 went well, 0 failed"},
		{"one that failed", brokenLine, nil, 2, "1× 503 UC"},
		{"a document of OpenTelemetry on several lines", whole, nil, 2, "1× 503 UC"},
		{"JSON on several lines that is none", "{\n" + brokenLine, nil, 2, "1× 503 UC"},
		{"a line that says nothing", `{"method":"GET","path":"/","response_code":503,"upstream_cluster":"outbound|1||a.b"}`, nil, 3, "the lines do not say what went wrong"},
		{"a file that is not there", "", []string{filepath.Join(folder, "gone")}, 1, "reading the log"},
		{"a folder", "", []string{folder}, 1, "reading the log"},
		{"lines and documents from one place", "", []string{"-", "-f", "-"}, 1, "it is either lines or documents"},
		{"a client that is none", "", []string{"--from", "shop"}, 1, "is not NAMESPACE/NAME"},
		{"a pod that is none", "", []string{"--pod", "shop/a/b"}, 1, "is not NAMESPACE/NAME"},
		{"no lines of a pod", "", []string{"--tail", "0"}, 1, "reading --tail"},
		{"an address that is none", "", []string{"--admin", "15000"}, 1, "is not HOST:PORT"},
		{"an Envoy that is not there", "", []string{"--admin", "127.0.0.1:1"}, 1, "asking the Envoy at 127.0.0.1:1"},
		{"a format that is none", "", []string{"-o", "xml"}, 1, "is none of text"},
		{"two sources of configuration", "", []string{"--config-dump", "a", "--context", "b"}, 1, "give one of them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := trellis(t, c.stdin, append([]string{"diagnose"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.out+got.err, c.says) {
				t.Errorf("exit code %d, want %d with %q\n%.800s%.800s", got.code, c.code, c.says, got.out, got.err)
			}
			for _, format := range []string{"json", "yaml"} {
				if again := trellis(t, c.stdin, append([]string{"diagnose", "-v", "-o", format}, c.args...)...); c.code != 1 && again.code != c.code || strings.Contains(got.out+again.out, "hunter2") {
					t.Errorf("as %s: exit code %d\n%.800s", format, again.code, again.out)
				}
			}
		})
	}
}

// conflict is a mesh in which shop/cart and shop/late do not go together.
const conflict = `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec: {template: {metadata: {labels: {app: cart}}, spec: {containers: [{name: app}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: late, namespace: shop}
spec: {selector: {app: late}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: late, namespace: shop}
spec: {template: {metadata: {labels: {app: late}}, spec: {containers: [{name: app}]}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: late, namespace: shop}
spec: {host: late, trafficPolicy: {tls: {mode: DISABLE}}}
`

// admin answers as an Envoy's admin interface does.
func admin(t *testing.T, answers map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.RequestURI()]
		if !ok || r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestTheCountersOfAnEnvoyAreReadWhereThereIsNoLog(t *testing.T) {
	dump, err := os.ReadFile("../xds/configdump/testdata/sidecar.json")
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{
		"/config_dump?include_eds": string(dump),
		"/stats":                   "cluster.outbound|80||late.shop.svc.cluster.local;.ssl.fail_verify_san: 3\nlistener.0.0.0.0_15006.no_filter_chain_match: 7\n",
		"/clusters?format=json":    `{"cluster_statuses": []}`,
	}
	got := trellis(t, "", "diagnose", "--admin", admin(t, answers))
	golden(t, "testdata/questions/diagnose-admin.txt", fmt.Sprintf("%s%s=> %d\n", got.out, got.err, got.code))

	// An error of a request is nobody's in particular, until client and service are compared.
	answers["/stats"] = ""
	answers["/clusters?format=json"] = `{"cluster_statuses": [{"name": "outbound|80||late.shop.svc.cluster.local", "host_statuses": [{"stats": [{"name": "rq_error", "value": "5"}]}]}]}`
	got = trellis(t, conflict, "diagnose", "--admin", admin(t, answers), "-f", "-")
	golden(t, "testdata/questions/diagnose-admin-mesh.txt", fmt.Sprintf("%s%s=> %d\n", got.out, got.err, got.code))
	answers["/clusters?format=json"] = `{"cluster_statuses": []}`

	answers["/stats"] = "server.live: 1\n"
	if got = trellis(t, "", "diagnose", "--admin", admin(t, answers)); got.code != 0 || !strings.Contains(got.out, "it counts little") || !strings.Contains(got.out, "nothing that it counts has failed") {
		t.Errorf("nothing failed: %+v", got)
	}
	delete(answers, "/stats")
	if got = trellis(t, "", "diagnose", "--admin", admin(t, answers)); got.code != 1 || !strings.Contains(got.err, "it is no admin interface of an Envoy") {
		t.Errorf("something else than an Envoy: %+v", got)
	}
}

// apiServerOf answers with a pod's log, or a code, and is found by a kubeconfig.
func apiServerOf(t *testing.T, code int, log string) (kubeconfig string, asked *string) {
	t.Helper()
	asked = new(string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.Method + " " + r.URL.RequestURI()
		w.WriteHeader(code)
		_, _ = w.Write([]byte(log))
	}))
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: %q}}]\nusers: [{name: a, user: {token: hunter2}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n", server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	return kubeconfig, asked
}

func TestTheLastLinesOfAPodsProxyAreRead(t *testing.T) {
	_, asked := apiServerOf(t, http.StatusOK, "2026-03-01T10:00:00.000000Z\tinfo\tads\tconnected\n"+brokenLine+"\n")
	got := trellis(t, "", "diagnose", "--pod", "shop/cart-6d8c4f7b9d-b5t2m", "--tail", "50", "-o", "json")
	var view struct {
		Failures []struct {
			Client   string
			Examples []struct{ File string }
		}
	}
	if err := json.Unmarshal([]byte(got.out), &view); err != nil || got.code != 2 || len(view.Failures) != 1 || view.Failures[0].Client != "shop/cart" || view.Failures[0].Examples[0].File != "pod shop/cart-6d8c4f7b9d-b5t2m" {
		t.Errorf("%v: %+v", err, got)
	}
	if want := "GET /api/v1/namespaces/shop/pods/cart-6d8c4f7b9d-b5t2m/log?container=istio-proxy&limitBytes=33554432&tailLines=50"; *asked != want {
		t.Errorf("asked %s, want %s", *asked, want)
	}
	for code, says := range map[int]string{
		http.StatusForbidden: "you may not get pods/log in namespace shop", http.StatusNotFound: "there is no such pod",
		http.StatusBadRequest: "no container istio-proxy", http.StatusUnauthorized: "log in again", http.StatusBadGateway: "answers 502",
	} {
		apiServerOf(t, code, "hunter2")
		if got := trellis(t, "", "diagnose", "--pod", "shop/cart"); got.code != 1 || !strings.Contains(got.err, says) || strings.Contains(got.err, "hunter2") {
			t.Errorf("%d: %+v", code, got)
		}
	}
}

// TestAClusterThatCannotBeAskedTakesNothingAway has one that knows a pod's log alone.
func TestAClusterThatCannotBeAskedTakesNothingAway(t *testing.T) {
	apiServerOf(t, http.StatusForbidden, "{}")
	got := trellis(t, "", "diagnose", "--context", "a", "--line", brokenLine)
	if got.code != 2 || !strings.Contains(got.out, "1× 503 UC") || !strings.Contains(got.out, "incomplete: client and service could not be compared") {
		t.Errorf("%+v", got)
	}
}
