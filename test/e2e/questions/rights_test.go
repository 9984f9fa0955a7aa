// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package questions

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/test/stack/pki"
)

// needed are the rights that the documentation says questions need.
func needed(t *testing.T) (reading []rbacv1.PolicyRule, tokens rbacv1.PolicyRule) {
	t.Helper()
	raw, err := os.ReadFile(repository + "/docs/concepts/access-questions.md")
	must(t, err)
	_, text, ok := strings.Cut(string(raw), "kind: ClusterRole\n")
	if !ok {
		t.Fatal("the page has no ClusterRole")
	}
	text, _, _ = strings.Cut(text, "```")
	role := &rbacv1.ClusterRole{}
	must(t, yaml.UnmarshalStrict([]byte("kind: ClusterRole\n"+text), role))
	for _, rule := range role.Rules {
		if rule.Resources[0] == "serviceaccounts/token" {
			tokens = rule
		} else if rule.Resources[0] != "pods/portforward" {
			reading = append(reading, rule)
		}
	}
	if len(reading) == 0 || len(tokens.Verbs) == 0 {
		t.Fatalf("the ClusterRole of the page: %+v", role)
	}
	return reading, tokens
}

// limited is a rule for some objects by name.
func limited(rule rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	rule.ResourceNames = names
	return rule
}

func TestTheRightsOfTheDocumentationAreEnough(t *testing.T) {
	reading, tokens := needed(t)
	who := person(t, "enough", append(reading, tokens)...)
	for _, args := range [][]string{{"can", "https://" + host + "/productpage"}, {"exposed"}, {"unused"}, {"who", "bookinfo/reviews"}, {"explain", "Application", "bookinfo/reviews"}} {
		if got := trellis(t, append(args, live(who)...)...); got.code != 0 || got.err != "" || strings.Contains(got.out, "incomplete") {
			t.Errorf("%q: %s", args, got)
		}
	}
	const unasked = "what policies assert is not known, and is not tested"
	if got := trellis(t, append([]string{"test"}, live(who)...)...); got.code != 0 || !strings.Contains(got.err, unasked) || !strings.Contains(got.out, "5 passed, 0 failed") {
		t.Errorf("%s", got)
	}
	lists := []rbacv1.PolicyRule{}
	for _, group := range []string{"networking.istio.io", "telemetry.istio.io", "extensions.istio.io", "gateway.networking.k8s.io", "networking.k8s.io", "trellis.dev"} {
		lists = append(lists, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{"*"}, Verbs: []string{"list"}})
	}
	lists = append(lists, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces", "nodes"}, Verbs: []string{"list"}})
	all := person(t, "all", slices.Concat(reading, lists, []rbacv1.PolicyRule{tokens})...)
	if got := trellis(t, append([]string{"test"}, live(all)...)...); got.code != 0 || got.err != "" {
		t.Errorf("%s", got)
	}
}

func TestWhoLacksRightsIsToldWhichAndWhatElseToDo(t *testing.T) {
	question := []string{"can", "https://" + host + "/productpage"}
	nobody := person(t, "nobody")
	got := trellis(t, append(question, live(nobody)...)...)
	if got.code != 1 || got.out != "" || !strings.Contains(got.err, "you may not list pods, services, endpointslices.discovery.k8s.io") {
		t.Errorf("%s", got)
	}
	reading, tokens := needed(t)
	reader := person(t, "reader", reading...)
	got = trellis(t, append(question, live(reader)...)...)
	if got.code != 1 || !strings.Contains(got.err, "you may not create serviceaccounts/token") || !strings.Contains(got.err, "--source generator") || !strings.Contains(got.err, "bookinfo/reviews") {
		t.Errorf("%s", got)
	}
	// The plaintext port asks nobody.
	d := world.Istiods()[0]
	plain := []string{"--kubeconfig", reader, "--istiod", fmt.Sprintf("%s:%d", d.Address, d.XDSPort), "--istiod-plaintext"}
	if got = trellis(t, append(question, plain...)...); got.code != 0 {
		t.Errorf("%s", got)
	}
	t.Run("some proxies only", func(t *testing.T) {
		some := person(t, "some", append(reading, limited(tokens, "istio-ingressgateway", "productpage", "details"))...)
		if got := trellis(t, append(question, live(some)...)...); got.code != 0 || !strings.Contains(got.err, "you may not create serviceaccounts/token of bookinfo/reviews") {
			t.Errorf("%s", got)
		}
		inside := []string{"explain", "Application", "bookinfo/reviews", "-o", "json"}
		if view := read[answer.Explanation](t, trellis(t, append(inside, live(some)...)...)); len(view.Unread) != 1 || !strings.Contains(view.Unread[0], "sidecar bookinfo/reviews") {
			t.Errorf("%+v", view)
		}
		if got := read[ask.Reached](t, trellis(t, append([]string{"who", "bookinfo/productpage", "-o", "json"}, live(some)...)...)); len(got.Rows) == 0 || len(got.Notes) == 0 {
			t.Errorf("%+v", got)
		}
		without := person(t, "without-gateway", append(reading, limited(tokens, "productpage"))...)
		if got := trellis(t, append(question, live(without)...)...); got.code != 3 || !strings.HasPrefix(got.out, "Unknown: ") || !strings.Contains(got.out, "token of ServiceAccount istio-ingress/istio-ingressgateway") {
			t.Errorf("%s", got)
		}
	})
}

// TestATokenThatIstiodRefusesIsOneUnknown: an account without a proxy of that name is
// none of istiod's.
func TestATokenThatIstiodRefusesIsOneUnknown(t *testing.T) {
	ghost := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
		"metadata": map[string]any{"name": "ghost", "namespace": "bookinfo"},
		"spec":     map[string]any{"address": "192.0.2.77", "serviceAccount": "nobody-made-it"},
	}}
	must(t, world.Client().Create(t.Context(), ghost))
	t.Cleanup(func() {
		if err := world.Client().Delete(context.Background(), ghost); err != nil {
			t.Error(err)
		}
	})
	got := read[ask.Idleness](t, asked(t, "unused", "-o", "json"))
	if len(got.Unused)+len(got.Shadowed) == 0 || !slices.ContainsFunc(got.Notes, func(n string) bool { return strings.Contains(n, "sidecar bookinfo/ghost") }) {
		t.Errorf("%+v", got)
	}
	if got := asked(t, "can", "https://"+host+"/productpage"); got.code != 0 {
		t.Errorf("%s", got)
	}
	view := read[answer.Explanation](t, asked(t, "explain", "Application", "bookinfo/reviews", "-o", "json"))
	if len(view.Held) == 0 || len(view.Unread) != 1 || !strings.Contains(view.Unread[0], "sidecar bookinfo/ghost") {
		t.Errorf("%+v", view)
	}
}

func TestExplainSaysWhatYouMayEdit(t *testing.T) {
	reading, tokens := needed(t)
	edit := rbacv1.PolicyRule{APIGroups: []string{"trellis.dev"}, Resources: []string{"applications"}, Verbs: []string{"patch"}, ResourceNames: []string{"productpage"}}
	developer := person(t, "developer", append(reading, tokens, edit)...)
	guest := person(t, "guest", append(reading, tokens)...)
	question := []string{"explain", "https://" + host + "/api/v1/products"}
	for name, c := range map[string]struct {
		as, says string
		may      bool
	}{
		"who may":     {developer, "you may edit it: kubectl edit application productpage -n bookinfo", true},
		"who may not": {guest, "you may not edit it: ask the developers of Application bookinfo/productpage", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := trellis(t, append(question, live(c.as)...)...); got.code != 0 || !strings.Contains(got.out, c.says) {
				t.Errorf("%s", got)
			}
			view := read[answer.Explanation](t, trellis(t, append(append(question, "-o", "json"), live(c.as)...)...))
			if len(view.Change) != 1 || view.Change[0].Editable == nil || *view.Change[0].Editable != c.may || view.Change[0].Whom == "" {
				t.Errorf("%+v", view.Change)
			}
		})
	}
	if got := byFiles(t, question...); !strings.Contains(got.out, "\n    ask the developers of Application bookinfo/productpage\n") {
		t.Errorf("by the files: %s", got)
	}
}

func TestAnIstiodThatCannotBeAskedIsAnError(t *testing.T) {
	question := []string{"can", "https://" + host + "/productpage", "--kubeconfig", world.Kubeconfig()}
	d := world.Istiods()[0]
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nowhere := closed.Addr().String()
	must(t, closed.Close())
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"nothing listens":   {[]string{"--istiod", nowhere}, []string{nowhere + " cannot be reached", "15012 is open from here", "--source generator"}},
		"no TLS there":      {[]string{"--istiod", fmt.Sprintf("%s:%d", d.Address, d.XDSPort)}, []string{"speaks no TLS"}},
		"somebody else":     {[]string{"--istiod", impostor(t)}, []string{"no token is sent to it", "istio-ca-root-cert"}},
		"no kubelet":        {nil, []string{"forwarding a port to port", "istio-system/istiod-0", "--istiod"}},
		"no such revision":  {[]string{"--revision", "canary"}, []string{"of revision canary runs in namespace istio-system"}},
		"another namespace": {[]string{"--istio-namespace", "bookinfo"}, []string{"runs in namespace bookinfo", "--istio-namespace"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := trellis(t, append(question, c.args...)...)
			if got.code != 1 || got.out != "" {
				t.Errorf("%s", got)
			}
			for _, says := range c.says {
				if !strings.Contains(got.err, says) {
					t.Errorf("%q is not in: %s", says, got)
				}
			}
		})
	}
}

// impostor listens with a certificate for istiod's name that another authority
// signed, and fails the test if anything is sent to it after the handshake.
func impostor(t *testing.T) string {
	t.Helper()
	authority, err := pki.NewAuthority("somebody else")
	must(t, err)
	cert, key, err := authority.Issue("istiod.istio-system.svc")
	must(t, err)
	certificate, err := tls.X509KeyPair(cert, key)
	must(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if n, _ := conn.Read(make([]byte, 1)); n > 0 {
				t.Error("something was sent to who is not istiod")
			}
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}
