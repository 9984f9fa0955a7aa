// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// callers are two applications in test: walker says nothing of its calls, and porter says
// that it calls two hosts outside of the mesh.
const callers = `
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: walker, namespace: test}
spec:
  service: walker
  ports: [{name: web, port: 8080, protocol: HTTP}]
---
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: porter, namespace: test}
spec:
  service: porter
  ports: [{name: web, port: 8080, protocol: HTTP}]
  access:
    calls:
    - {name: partner, peer: {external: {hosts: [%s], port: %d, protocol: HTTP}}}
    - {name: stranger, peer: {external: {hosts: [%s], port: %d, protocol: HTTP}}}
`

// listedHosts is what a list of hosts changes: one host is on it, another is not, and of a
// third nobody has said anything.
func listedHosts(t *testing.T) contribution {
	t.Helper()
	const stranger = "stranger.localhost"
	walker, porter := unrestricted(t, "test", "walker"), unrestricted(t, "test", "porter")
	listedAt, listedName, listedPort := outside(t, listedHost)
	strangeAt, strangeName, strangePort := outside(t, stranger)
	unknownAt, unknownName, _ := outside(t, "unknown.localhost")
	calling(t, fmt.Sprintf(callers, listedHost, listedPort, stranger, strangePort))
	t.Cleanup(func() {
		for _, name := range []string{"walker", "porter"} {
			app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name}}
			must(t, client.IgnoreNotFound(world.client.Delete(context.Background(), app)))
		}
	})
	return contribution{
		binding: fmt.Sprintf("\n  namespaces: {matchLabels: {env: test}}\n  parameters: [{name: hosts, value: [%s]}, {name: plaintext, value: true}]\n", listedHost),
		stays: []request{
			redirected(walker, anywhere+":9080", world.orders.Host(9080), "/start"),
			redirected(walker, listedAt, listedName, "/"),
			redirected(porter, listedAt, listedName, "/"),
		},
		changes: []changed{
			{redirected(walker, strangeAt, strangeName, "/"), cutOff},
			{redirected(walker, unknownAt, unknownName, "/"), cutOff},
			{redirected(porter, strangeAt, strangeName, "/"), cutOff},
		},
	}
}
