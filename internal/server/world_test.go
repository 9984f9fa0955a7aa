// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/observe"
)

// platform is a gateway and what the platform states.
const platform = `
apiVersion: v1
kind: Namespace
metadata: {name: istio-ingress}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: istio-ingress}
spec: {clusterIP: 10.0.0.1, selector: {app: gateway}, ports: [{name: https, port: 443, targetPort: 8443}, {name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: gateway-1, namespace: istio-ingress, labels: {app: gateway}}
spec: {serviceAccountName: gateway, containers: [{name: istio-proxy}]}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
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
  applications: [{name: all, namespaceSelector: {}, hostnames: ["*"]}]
`

// workload is a Service with one pod that has a proxy.
const workload = `
apiVersion: v1
kind: Namespace
metadata: {name: NAME}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAME}
spec: {clusterIP: 10.0.1.NUMBER, selector: {app: NAME}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: NAME-1, namespace: NAME, labels: {app: NAME, security.istio.io/tlsMode: istio, pod-template-hash: abc}}
spec: {serviceAccountName: NAME, containers: [{name: main}, {name: istio-proxy}]}
status: {phase: Running, podIP: 10.1.1.NUMBER, podIPs: [{ip: 10.1.1.NUMBER}]}
`

// application publishes one route with a login, and tests that it needs one.
const application = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: NAME, namespace: NAME, uid: uid-NAME, generation: 1}
spec:
  service: NAME
  ports: [{name: web, port: 80, protocol: HTTP}]
  routes:
  - {name: pages, port: web, paths: [{prefix: /pages}], authentication: {mode: None}}
  - {name: api, port: web, paths: [{prefix: /api}], authentication: {mode: Required}}
  exposures: [{name: public, routes: [pages, api]}]
  tests:
  - {name: nobody, from: {internet: {}}, request: {path: /api}, expect: {verdict: Deny}}
  - {name: everybody, from: {internet: {}}, request: {path: /pages}, expect: {verdict: Allow}}
`

// named is a document about one workload.
func named(text, name string, replace ...string) string {
	number := 1 + strings.Index("cart stock till", name)
	replace = append(replace, "NAME", name, "NUMBER", fmt.Sprint(number))
	return strings.NewReplacer(replace...).Replace(text)
}

// decode reads documents as their Go types.
func decode(t *testing.T, documents ...string) []client.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, load.AddToScheme(scheme))
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []client.Object
	for _, text := range documents {
		for one := range strings.SplitSeq(text, "\n---\n") {
			object, _, err := decoder.Decode([]byte(one), nil, nil)
			must(t, err)
			typed, ok := object.(client.Object)
			if !ok {
				t.Fatalf("%T is no object", object)
			}
			out = append(out, typed)
		}
	}
	return out
}

// observed is what the server knows of a cluster with these objects.
func observed(t *testing.T, objects ...client.Object) *observe.State {
	t.Helper()
	state, err := observe.NewState(observe.Options{Mesh: model.DefaultMesh(), Log: slog.New(slog.DiscardHandler)}, objects, time.Now())
	must(t, err)
	return state
}

func applicationOf(t *testing.T, text string) *v1alpha1.Application {
	t.Helper()
	a, ok := decode(t, text)[0].(*v1alpha1.Application)
	if !ok {
		t.Fatal("it is no Application")
	}
	return a
}

// later is the same Application with its next statement, and the record of what it
// stated before.
func later(t *testing.T, before, after string) (record, application client.Object) {
	t.Helper()
	old, a := applicationOf(t, before), applicationOf(t, after)
	a.Generation = old.Generation + 1
	revision, err := inforce.Revision(old)
	must(t, err)
	revision.UID = types.UID("record-" + old.Name)
	return revision, a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
