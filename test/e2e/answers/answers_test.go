// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package answers holds the end-to-end tests of the API: trellis-server with the rights of
// the chart and no others, on a real API server that says whose tokens are and what they
// may read.
package answers

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/server/api"
	"github.com/trellis-mesh/trellis/test/installation"
	"github.com/trellis-mesh/trellis/test/stack"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

const (
	system     = installation.Namespace
	serverUser = "system:serviceaccount:" + system + ":trellis-server"
	serverName = "trellis-server." + system + ".svc"
)

// people are bound to the roles of the chart, as docs/ tell it.
const people = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: developers, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-application-developer}
subjects: [{kind: ServiceAccount, name: developer, namespace: people}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: platform-views}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-viewer}
subjects: [{kind: ServiceAccount, name: platform, namespace: people}, {kind: ServiceAccount, name: onlooker, namespace: people}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: platform}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-platform-operator}
subjects: [{kind: ServiceAccount, name: platform, namespace: people}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-security-officer}
subjects: [{kind: ServiceAccount, name: security, namespace: people}]
`

const application = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: NAME, namespace: NAME}
spec:
  service: NAME
  ports: [{name: web, port: 80, protocol: HTTP}]
  routes: [{name: pages, port: web, paths: [{prefix: /pages}]}]
`

// cluster is an API server and a trellis-server.
type cluster struct {
	*stack.Stack
	t       *testing.T
	client  client.Client
	kube    kubernetes.Interface
	address string
	http    *http.Client
	pool    *x509.CertPool
}

func start(t *testing.T) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{WithoutIstio: true, AuditedUser: serverUser})
	must(t, err)
	t.Cleanup(s.Stop)
	c := &cluster{Stack: s, t: t, address: loopback.Unused(t)}
	scheme := runtime.NewScheme()
	must(t, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	c.client, err = client.New(s.Config(), client.Options{Scheme: scheme})
	must(t, err)
	c.kube, err = kubernetes.NewForConfig(s.Config())
	must(t, err)
	for _, namespace := range []string{system, "istio-ingress", "istio-system", "people", "shop", "bank"} {
		must(t, s.Namespace(ctx, namespace, nil))
	}
	must(t, errors.Join(s.InstallTrellisCRDs(ctx), s.InstallIstioCRDs(ctx)))
	must(t, installation.Apply(ctx, s, c.address, "rbac", "serviceaccount", "server", "user-roles"))
	must(t, s.Apply(ctx, []byte(people)))
	c.pool, err = s.Certificate(ctx, system, "trellis-server", serverName)
	must(t, err)
	for _, name := range []string{"shop", "bank"} {
		c.state(name)
	}
	c.serve()
	return c
}

// state states an Application.
func (c *cluster) state(name string) {
	c.t.Helper()
	a := &v1alpha1.Application{}
	must(c.t, yaml.UnmarshalStrict([]byte(strings.ReplaceAll(application, "NAME", name)), a))
	must(c.t, c.client.Create(c.t.Context(), a))
}

// serve runs the server until the test ends.
func (c *cluster) serve() {
	options := installation.ServerOptions(loopback.Unused(c.t))
	options.APIAddress = c.address
	options.Log = slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	stop, err := installation.RunServer(c.t.Context(), c.Stack, options)
	must(c.t, err)
	c.t.Cleanup(func() { must(c.t, stop()) })
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.pool, ServerName: serverName}, ForceAttemptHTTP2: true}}
	token := c.token("security")
	c.until("the server to answer", func(ctx context.Context) error {
		status, text, err := c.ask(ctx, token, "me")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("it answers %d: %s", status, text)
		}
		return err
	})
}

// token is a token of somebody, for audiences; none: for the API server.
func (c *cluster) token(who string, audiences ...string) string {
	c.t.Helper()
	ctx := c.t.Context()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "people", Name: who}}
	must(c.t, client.IgnoreAlreadyExists(c.client.Create(ctx, account)))
	review, err := c.kube.CoreV1().ServiceAccounts("people").CreateToken(ctx, who, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	must(c.t, err)
	return review.Status.Token
}

func (c *cluster) ask(ctx context.Context, token, path string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.address+api.Prefix+path, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	raw, err := io.ReadAll(response.Body)
	return response.StatusCode, string(raw), errors.Join(err, response.Body.Close())
}

// until waits until something holds.
func (c *cluster) until(what string, holds func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 90*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("waiting for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTokensOfTheClusterAreAnsweredWithWhatTheirRolesMayRead(t *testing.T) {
	c := start(t)
	t.Run("each at their layer", func(t *testing.T) { c.layers(t) })
	t.Run("tokens that are not good", func(t *testing.T) { c.tokens(t) })
	t.Run("a change is told at once", func(t *testing.T) { c.changes(t) })
	t.Run("a client that says nothing is let go", func(t *testing.T) { c.silent(t) })
	t.Run("the server writes nothing", func(t *testing.T) { c.rights(t) })
}

func (c *cluster) layers(t *testing.T) {
	for who, want := range map[string]struct {
		layer      string
		namespaces []string
		goals      bool
	}{
		"developer": {"application", []string{"shop"}, false},
		"platform":  {"platform", []string{"bank", "shop"}, true},
		"security":  {"security", []string{"bank", "shop"}, true},
		"onlooker":  {"viewer", []string{"bank", "shop"}, true},
		"nobody":    {"viewer", []string{}, false},
	} {
		token := c.token(who)
		status, text, err := c.ask(t.Context(), token, "me")
		must(t, err)
		var me api.Me
		must(t, json.Unmarshal([]byte(text), &me))
		if status != http.StatusOK || me.User != "system:serviceaccount:people:"+who || me.Layer != want.layer || !slices.Equal(me.Namespaces, want.namespaces) || me.May.Goals != want.goals {
			t.Errorf("%s is told %d %s", who, status, text)
		}
		for name, seen := range map[string]bool{"shop": slices.Contains(want.namespaces, "shop"), "bank": slices.Contains(want.namespaces, "bank")} {
			status, text, err := c.ask(t.Context(), token, "applications/"+name+"/"+name)
			must(t, err)
			if (status == http.StatusOK) != seen || !seen && status != http.StatusNotFound {
				t.Errorf("%s asks about %s and is told %d %s", who, name, status, text)
			}
		}
	}
}

func (c *cluster) tokens(t *testing.T) {
	gone := c.token("leaver")
	must(t, c.client.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "people", Name: "leaver"}}))
	good := c.token("security")
	for name, token := range map[string]string{
		"none": "", "of another audience": c.token("security", "somebody-else"), "of somebody who has gone": gone,
		"changed": good[:len(good)-4] + "AAAA", "no token at all": "let me in",
	} {
		status, text, err := c.ask(t.Context(), token, "applications")
		must(t, err)
		if status != http.StatusUnauthorized || strings.Contains(text, "shop") {
			t.Errorf("a token %s is answered %d %s", name, status, text)
		}
	}
}

// changes measures how long it takes until whoever follows is told, and that the answer has
// the change then.
func (c *cluster) changes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	token := c.token("security")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.address+api.Prefix+"events", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := c.http.Do(r)
	must(t, err)
	defer func() { must(t, response.Body.Close()) }()
	lines := bufio.NewScanner(response.Body)
	next := func() {
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") {
				return
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	next()
	must(t, c.Namespace(ctx, "fresh", nil))
	began := time.Now()
	c.state("fresh")
	for {
		next()
		_, text, err := c.ask(ctx, token, "applications")
		must(t, err)
		if strings.Contains(text, `"fresh"`) {
			break
		}
	}
	took := time.Since(began)
	t.Logf("a change is shown after %s", took)
	if took > 2*time.Second {
		t.Errorf("a change is shown after %s", took)
	}
}

func (c *cluster) silent(t *testing.T) {
	connection, err := (&tls.Dialer{Config: &tls.Config{RootCAs: c.pool, ServerName: serverName}}).DialContext(t.Context(), "tcp", c.address)
	must(t, err)
	defer func() { _ = connection.Close() }()
	_, err = io.WriteString(connection, "GET /api/v1/me HTTP/1.1\r\nHost: x\r\n")
	must(t, err)
	must(t, connection.SetReadDeadline(time.Now().Add(30*time.Second)))
	if _, err := io.ReadAll(connection); err != nil {
		t.Errorf("after half a request the connection is still open: %v", err)
	}
}

// rights looks at what the server asked the API server for.
func (c *cluster) rights(t *testing.T) {
	_, _, err := c.ask(t.Context(), c.token("security"), "doors")
	must(t, err)
	asked, err := c.Audited()
	must(t, err)
	used := map[string]bool{}
	for _, r := range asked {
		used[r.Verb+" "+r.Resource] = true
		if !r.Allowed && r.Resource != "configmaps" {
			t.Errorf("the server may not %s %s in %q: %s", r.Verb, r.Resource, r.Namespace, r.Reason)
		}
		if !slices.Contains([]string{"get", "list", "watch"}, r.Verb) && (r.Verb != "create" || r.Resource != "tokenreviews" && r.Resource != "subjectaccessreviews") {
			t.Errorf("the server asked to %s %s %s/%s", r.Verb, r.Resource, r.Namespace, r.Name)
		}
	}
	for _, right := range []string{"create tokenreviews", "create subjectaccessreviews", "list managedrecords", "list dnsproviders"} {
		if !used[right] {
			t.Errorf("the right to %s was not used", right)
		}
	}
}
