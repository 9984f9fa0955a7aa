// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"crypto/tls"
	"io/fs"
	"path"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/catalog"
	"github.com/trellis-mesh/trellis/test/stack"
)

// contribution is what a policy of the catalog adds, as clients see it. Everything is
// answered with 200 before it is bound.
type contribution struct {
	binding string
	// stays is answered with 200 all the same.
	stays   []request
	changes []changed
}

// changed is a request that is answered otherwise once a policy is bound.
type changed struct {
	request
	answer int
}

func contributions(t *testing.T) map[string]contribution {
	user, writer := token(t, ""), token(t, "write")
	return map[string]contribution{
		isolation: {
			binding: "\n  namespaces: {matchLabels: {env: staging}}\n  parameters: [{name: environments, value: [test]}]\n",
			stays:   []request{called(world.desk, "/start"), published("GET", "/start", "")},
			changes: []changed{{called(world.runner, "/start"), 403}, {plainly(world.desk, "/start"), 403}},
		},
		"callers-from-listed-namespaces": {
			binding: "\n  namespaces: {matchLabels: {env: staging}}\n  parameters: [{name: namespaces, value: [staging]}]\n",
			stays:   []request{called(world.desk, "/start"), published("GET", "/start", "")},
			changes: []changed{{called(world.runner, "/start"), 403}, {plainly(world.desk, "/start"), 403}},
		},
		"callers-from-listed-applications": listedApplications(t),
		"mutual-tls-everywhere": {
			binding: "\n  namespaces: {matchLabels: {env: staging}}\n",
			stays:   []request{called(world.desk, "/start"), called(world.runner, "/start"), published("GET", "/start", "")},
			changes: []changed{{plainly(world.runner, "/start"), cutOff}},
		},
		"login-for-published-routes": {
			binding: "\n  namespaces: {matchLabels: {env: staging}}\n",
			stays:   []request{published("GET", "/start", user), published("GET", "/items", user)},
			changes: []changed{{published("GET", "/start", ""), 403}},
		},
		"scopes-for-writes": {
			binding: "\n  namespaces: {matchLabels: {env: staging}}\n  parameters: [{name: scopes, value: [write]}]\n",
			stays:   []request{published("GET", "/items", user), published("POST", "/buy", writer), published("GET", "/start", "")},
			changes: []changed{{published("POST", "/buy", user), 403}},
		},
		"bounded-timeouts": {
			binding: "\n  namespaces: {matchLabels: {env: staging}}\n  parameters: [{name: fallback, value: 1s}, {name: maximum, value: 2s}]\n",
			stays:   []request{published("GET", "/items", user), published("POST", "/buy", user)},
			changes: []changed{{published("GET", "/slow", user), 504}, {published("GET", "/long", user), 504}},
		},
		"bounded-retries": {
			binding: "\n  namespaces: {matchLabels: {env: staging}}\n  parameters: [{name: maximum, value: 0}]\n",
			stays:   []request{published("GET", "/items", user), published("POST", "/buy", user)},
			changes: []changed{{published("GET", "/items/second", user), 503}},
		},
		"egress-to-listed-hosts": listedHosts(t),
		"tls-minimum-version": {
			stays:   []request{published("GET", "/start", "")},
			changes: []changed{{throughTLS(tls.VersionTLS12, "GET", "/start", ""), cutOff}},
		},
	}
}

// listedApplications lets one of two workloads of a namespace in, by its own identity.
func listedApplications(t *testing.T) contribution {
	t.Helper()
	neighbour, err := world.Application(t.Context(), stack.ApplicationOptions{Namespace: "staging", Name: "neighbour", Ports: []stack.Port{{Port: 8080}}})
	must(t, err)
	calling(t, `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: desk, namespace: staging}
spec: {service: desk, ports: [{name: web, port: 8080, protocol: HTTP}]}
`)
	t.Cleanup(func() {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "staging", Name: "desk"}}
		must(t, client.IgnoreNotFound(world.client.Delete(context.Background(), app)))
	})
	return contribution{
		binding: "\n  namespaces: {matchLabels: {env: staging}}\n  parameters: [{name: applications, value: [staging/desk]}]\n",
		stays:   []request{called(world.desk, "/start"), published("GET", "/start", "")},
		changes: []changed{{called(neighbour, "/start"), 403}, {called(world.runner, "/start"), 403}, {plainly(world.desk, "/start"), 403}},
	}
}

// TestWhatPoliciesOfTheCatalogAddHoldsOnRealProxies has a case for each policy of the
// catalog that adds something.
func TestWhatPoliciesOfTheCatalogAddHoldsOnRealProxies(t *testing.T) {
	cases := contributions(t)
	files, err := fs.Glob(catalog.Files, "*/policy.yaml")
	must(t, err)
	for _, file := range files {
		name := path.Dir(file)
		of, _ := template(t, name)
		c, known := cases[name]
		if known != (len(of.Spec.Contributions) > 0) {
			t.Errorf("%s has %d contributions, and a case: %v", name, len(of.Spec.Contributions), known)
		}
		if !known {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, r := range c.changes {
				r.becomes(t, 200)
			}
			for _, r := range c.stays {
				r.becomes(t, 200)
			}
			bind(t, name, v1alpha1.ModeEnforce, c.binding)
			for _, r := range c.changes {
				t.Logf("%s: %d after %s", r.what, r.answer, r.becomes(t, r.answer).Round(time.Millisecond))
			}
			for _, r := range c.stays {
				r.becomes(t, 200)
			}
		})
	}
}
