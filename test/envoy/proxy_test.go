// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package envoy_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/trellis-mesh/trellis/test/envoy"
)

func upstreamRoutes() *routev3.RouteConfiguration {
	out := envoy.Everything()
	out.VirtualHosts[0].Routes[0].Action = &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "upstream"},
	}}
	return out
}

func TestARequestArrivesAsItWasWrittenAndIsLogged(t *testing.T) {
	upstream := envoy.RunUpstream(t, "one")
	authority := envoy.NewAuthority(t)
	secure := envoy.TransportSocket(authority.Server(false, "h2", "http/1.1"))
	p := envoy.Run(t, envoy.Bootstrap([]*listenerv3.Listener{
		envoy.HTTPListener("plain", envoy.Manager(upstreamRoutes()), nil),
		envoy.HTTPListener("secure", envoy.Manager(upstreamRoutes()), secure),
	}, envoy.Cluster("upstream", upstream.Address)))

	conn, err := p.Dial(t.Context(), envoy.Call{To: p.Address("plain"), From: netip.MustParseAddr("127.0.0.9")})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, target := range []string{"//a/..%2fb?x=%20", "/second"} {
		response, err := conn.Send("POST " + target + " HTTP/1.1\r\nHost: Shop:81\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nhi")
		if err != nil {
			t.Fatal(err)
		}
		got := response.Got()
		if response.Status != 200 || got == nil || got.Target != target || got.Upstream != "one" || got.Body != "hi" {
			t.Errorf("answer: %d %+v, want the target %s", response.Status, got, target)
		}
		entry, err := response.Logged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if entry.Code != 200 || entry.Path != target || entry.Details != "via_upstream" || entry.Route != "everything" || !strings.HasPrefix(entry.Client, "127.0.0.9:") {
			t.Errorf("access log: %+v", entry)
		}
	}
}

func TestAClientCertificateIsSeenOverHTTP2(t *testing.T) {
	authority := envoy.NewAuthority(t)
	p := envoy.Run(t, envoy.Bootstrap([]*listenerv3.Listener{
		envoy.HTTPListener("secure", envoy.Manager(envoy.Everything()), envoy.TransportSocket(authority.Server(true, "h2"))),
	}))
	const identity = "spiffe://cluster.local/ns/a/sa/b"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://shop/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	call := envoy.Call{To: p.Address("secure"), TLS: authority.Client("shop", &envoy.Identity{URIs: []string{identity}})}
	response, err := p.Send2(t.Context(), call, request)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := response.Logged(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if response.Status != 200 || entry.Peer != identity || entry.SNI != "shop" {
		t.Errorf("answer: %d, access log: %+v", response.Status, entry)
	}
}

func TestHTTP2InPlaintextNeedsNoUpgrade(t *testing.T) {
	p := envoy.Run(t, envoy.Bootstrap([]*listenerv3.Listener{envoy.HTTPListener("plain", envoy.Manager(envoy.Everything()), nil)}))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := p.Send2(t.Context(), envoy.Call{To: p.Address("plain")}, request)
	if err != nil {
		t.Fatal(err)
	}
	if entry, err := response.Logged(t.Context()); err != nil || entry.Authority != "shop" || response.Proto != 2 {
		t.Errorf("access log: %+v, %v; HTTP/%d", entry, err, response.Proto)
	}
}

func TestAConfigurationThatEnvoyRefusesIsAnErrorWithItsReason(t *testing.T) {
	listener := envoy.HTTPListener("plain", envoy.Manager(envoy.Everything()), &corev3.TransportSocket{Name: "nothing"})
	if _, err := envoy.Start(t.Context(), t.TempDir(), envoy.Bootstrap([]*listenerv3.Listener{listener})); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("error: %v, want Envoy's own with the name of the socket", err)
	}
}
