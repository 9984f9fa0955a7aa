// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mtls holds the end-to-end tests of mutual TLS: the command line looks at a
// real istiod, and real requests through real proxies are the judges.
package mtls

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/test/stack"
)

const repository = "../../.."

// story is examples/mutual-tls, running.
type story struct {
	*stack.Stack
	server *stack.Application
	// clients are generators by namespace; that of legacy has no proxy.
	clients map[string]*stack.Application
}

func begin(t *testing.T) *story {
	t.Helper()
	log.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	running, err := stack.Start(ctx, stack.Options{})
	must(t, err)
	s := &story{Stack: running, clients: map[string]*stack.Application{}}
	t.Cleanup(func() {
		if t.Failed() {
			s.KeepFiles()
			t.Log("logs are in", s.Logs())
		}
		s.Stop()
	})
	for _, namespace := range []string{"bookinfo", "traffic", "legacy"} {
		must(t, s.Namespace(ctx, namespace, nil))
	}
	s.server, err = s.Application(ctx, stack.ApplicationOptions{Namespace: "bookinfo", Name: "productpage"})
	must(t, err)
	for _, namespace := range []string{"bookinfo", "traffic", "legacy"} {
		s.clients[namespace], err = s.Application(ctx, stack.ApplicationOptions{
			Namespace: namespace, Name: "generator", Ports: []stack.Port{{Port: 8080}}, NoSidecar: namespace == "legacy",
		})
		must(t, err)
	}
	return s
}

// call sends a request as a client does.
func (s *story) call(ctx context.Context, from string) (int, error) {
	r := stack.Request{Host: s.server.Host(9080), Path: "/productpage"}
	if from == "legacy" {
		answer, err := stack.Send(ctx, s.server.PortAddress("http"), nil, r)
		if err != nil {
			return 0, err
		}
		return answer.Status, nil
	}
	answer, err := s.clients[from].Do(ctx, r)
	if err != nil {
		return 0, err
	}
	return answer.Status, nil
}

// becomes waits until a client gets a status.
func (s *story) becomes(t *testing.T, from string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, fmt.Sprintf("%s to get %d", from, status), func(ctx context.Context) error {
		got, err := s.call(ctx, from)
		if err == nil && got != status {
			err = fmt.Errorf("it gets %d", got)
		}
		return err
	}))
}

// trellis runs the command line on the running cluster.
func (s *story) trellis(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	i, output, errors := streams.Buffers("")
	code = cli.Main(t.Context(), append(append([]string{"trellis"}, args...), "--kubeconfig", s.Kubeconfig()), i)
	if code == 1 {
		t.Fatalf("trellis %s: %s", strings.Join(args, " "), errors)
	}
	return output.String(), code
}

// checked are the rows of all clients of the start page, by client.
func (s *story) checked(t *testing.T) map[string]mtls.Row {
	t.Helper()
	d := s.Istiods()[0]
	out, _ := s.trellis(t, "mtls", "check", "-", "bookinfo/productpage", "-o", "json", "--istiod", fmt.Sprintf("%s:%d", d.Address, d.SecurePort))
	view := &answer.MutualTLS{}
	if err := json.Unmarshal([]byte(out), view); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows := map[string]mtls.Row{}
	for _, r := range view.Rows {
		rows[r.Client] = r
	}
	return rows
}

func (s *story) row(t *testing.T, client string) string {
	t.Helper()
	r, ok := s.checked(t)[client]
	if !ok {
		t.Fatalf("there is no row of %s", client)
	}
	return fmt.Sprint(r.Status, " ", r.Server(), " ", r.Sent(), " ", strings.Join(r.PeerAuthentications, ","), " ", r.DestinationRule)
}

// TestARuleThatSwitchesMutualTLSOffIsSeenExplainedAndFixed is the story of
// docs/concepts/mutual-tls.md, with real proxies.
func TestARuleThatSwitchesMutualTLSOffIsSeenExplainedAndFixed(t *testing.T) {
	s := begin(t)
	for _, from := range []string{"bookinfo", "traffic", "legacy"} {
		s.becomes(t, from, 200)
	}
	if got := s.row(t, "traffic/generator"); got != "OK mTLS/HTTP mTLS  " {
		t.Errorf("before there are policies: %s", got)
	}

	policies, err := os.ReadFile(filepath.Join(repository, "examples/mutual-tls/policies.yaml"))
	must(t, err)
	must(t, s.Apply(t.Context(), policies))
	s.becomes(t, "bookinfo", 503)
	s.becomes(t, "traffic", 503)
	if status, err := s.call(t.Context(), "legacy"); err == nil {
		t.Errorf("a client without a proxy gets %d", status)
	}
	for client, want := range map[string]string{
		"bookinfo/generator": "CONFLICT mTLS HTTP default/bookinfo destrule-productpage/bookinfo",
		"traffic/generator":  "CONFLICT mTLS HTTP default/bookinfo destrule-productpage/bookinfo",
		"legacy/generator":   "CONFLICT mTLS HTTP default/bookinfo ",
	} {
		if got := s.row(t, client); got != want {
			t.Errorf("%s: %q, want %q", client, got, want)
		}
	}
	if r := s.checked(t)["traffic/generator"]; r.Code != 503 || !slices.Equal(r.Flags, []string{"UC"}) {
		t.Errorf("it should get 503 UC: %+v", r)
	}
	s.logged(t, "traffic", `"response_flags":"UC"`)

	diagnosed, code := s.trellis(t, "diagnose", s.clients["traffic"].Proxy.AccessLog, "--source", "generator", "--from", "traffic/generator")
	for _, says := range []string{
		"503 UC: traffic/generator to productpage.bookinfo.svc.cluster.local:9080", "mTLS, certain: the client sent plaintext", "PeerAuthentication bookinfo/default", "DestinationRule bookinfo/destrule-productpage", "trellis mtls fix",
	} {
		if code != 2 || !strings.Contains(diagnosed, says) {
			t.Errorf("the diagnosis (%d) does not say %q:\n%s", code, says, diagnosed)
		}
	}

	// Of a proxy as Istio sets it up, only what became of its own calls is counted.
	counted, code := s.trellis(t, "diagnose", "--admin", s.clients["traffic"].Proxy.AdminAddress, "--source", "generator")
	for _, says := range []string{"traffic/generator to productpage.bookinfo.svc.cluster.local:9080", "the client sent plaintext", "DestinationRule bookinfo/destrule-productpage"} {
		if code != 2 || !strings.Contains(counted, says) {
			t.Errorf("the diagnosis of counters (%d) does not say %q:\n%s", code, says, counted)
		}
	}

	explained, _ := s.trellis(t, "mtls", "explain", "traffic/generator", "bookinfo/productpage", "--source", "generator")
	for _, says := range []string{
		"DestinationRule bookinfo/destrule-productpage is in force (service namespace)", "it is DISABLE", "PeerAuthentication bookinfo/default says STRICT (namespace level)", "resolves it",
	} {
		if !strings.Contains(explained, says) {
			t.Errorf("the explanation does not say %q:\n%s", says, explained)
		}
	}

	fix, code := s.trellis(t, "mtls", "fix", "traffic/generator", "bookinfo/productpage")
	if code != 0 || !strings.Contains(fix, "simple: LEAST_CONN") {
		t.Fatalf("the fix (%d):\n%s", code, fix)
	}
	must(t, s.Apply(t.Context(), []byte(fix)))
	s.becomes(t, "bookinfo", 200)
	s.becomes(t, "traffic", 200)
	for client, want := range map[string]string{
		"bookinfo/generator": "OK mTLS mTLS default/bookinfo destrule-productpage/bookinfo",
		"traffic/generator":  "OK mTLS mTLS default/bookinfo destrule-productpage/bookinfo",
		"legacy/generator":   "CONFLICT mTLS HTTP default/bookinfo ",
	} {
		if got := s.row(t, client); got != want {
			t.Errorf("%s: %q, want %q", client, got, want)
		}
	}
	s.balances(t)
}

// balances holds the settings of the old rule to what they were, in the cluster and in
// the client's proxy.
func (s *story) balances(t *testing.T) {
	t.Helper()
	rule := &networkingv1.DestinationRule{}
	must(t, s.Client().Get(t.Context(), client.ObjectKey{Namespace: "bookinfo", Name: "destrule-productpage"}, rule))
	if got := rule.Spec.GetTrafficPolicy().GetLoadBalancer().GetSimple().String(); got != "LEAST_CONN" {
		t.Errorf("the rule balances by %s", got)
	}
	dump, err := s.clients["traffic"].Proxy.Admin(t.Context(), "/config_dump?resource=dynamic_active_clusters&name_regex=outbound.9080..productpage.*")
	must(t, err)
	if !strings.Contains(string(dump), `"lb_policy": "LEAST_REQUEST"`) {
		t.Errorf("the proxy balances otherwise:\n%s", dump)
	}
}

// logged waits until a client's proxy has logged something.
func (s *story) logged(t *testing.T, from, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, stack.Until(ctx, "a line with "+what, func(context.Context) error {
		raw, err := os.ReadFile(s.clients[from].Proxy.AccessLog)
		if err == nil && !strings.Contains(string(raw), what) {
			err = fmt.Errorf("the log is %s", raw)
		}
		return err
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
