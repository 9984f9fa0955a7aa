// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"testing"

	"github.com/trellis-mesh/trellis/internal/mtls"
)

// Istio has one mode for all pods of a headless Service, since a sidecar sends where its
// client meant to go: mutual TLS, unless one of them has no proxy. It is the same for
// gateways, though they are told the endpoints.
func TestPodsOfHeadlessServicesAreSentWhatIsChecked(t *testing.T) {
	count := &mutual{statuses: map[mtls.Status]int{}}
	a := &author{stage: play, n: map[string]int{}}
	a.toSubsets()
	a.toEverything()
	count.configuration(t, 0, append(written(t, strictShop), a.out...))
	rows := map[string]mtls.Row{}
	for _, one := range count.before {
		rows[one.from+" to "+one.row.Address()] = one.row
	}
	for pair, want := range map[string]expected{
		"courier to cart-pods.shop.svc.cluster.local:8080": {mtls.OK, "mTLS", "mTLS", ""},
		"courier to cart-pods.shop.svc.cluster.local:9004": {mtls.OK, "mTLS", "mTLS", ""},
		// One of the pods has no proxy, so that the other one is sent plaintext.
		"courier to mixed-pods.shop.svc.cluster.local:8080": {mtls.Partial, "mTLS/HTTP", "HTTP", ""},
		"door to mixed-pods.shop.svc.cluster.local:8080":    {mtls.Partial, "mTLS/HTTP", "HTTP", ""},
		// That pod's listener for bytes belongs to the other Service.
		"courier to mixed-pods.shop.svc.cluster.local:9004":       {mtls.OK, "mTLS/TCP", "mTLS/TCP", ""},
		"mainframe to mixed-pods.shop.svc.cluster.local:9004":     {mtls.Partial, "mTLS/TCP", "TCP", ""},
		"courier to mainframe-pods.legacy.svc.cluster.local:8080": {mtls.OK, "HTTP", "HTTP", ""},
		// Nothing redirects the visitor's connections, and its proxy has nowhere to send them.
		"visitor to cart-pods.shop.svc.cluster.local:8080": {mtls.Unknown, "-", "-", ""},
		// No pod listens on it, and nothing makes the target port of it but a gateway.
		"courier to cart-pods.shop.svc.cluster.local:8090": {mtls.Unknown, "-", "mTLS", ""},
		"door to cart-pods.shop.svc.cluster.local:8090":    {mtls.OK, "mTLS", "mTLS", ""},
	} {
		row, ok := rows[pair]
		got := expected{row.Status, row.Server(), row.Sent(), row.DestinationRule}
		if !ok || got != want {
			t.Errorf("%s: got %+v (%v), want %+v", pair, got, ok, want)
		}
	}
	if _, err := play.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	count.compareLogs(t)
}
