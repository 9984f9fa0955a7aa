// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
)

func at(address string) netip.AddrPort { return netip.MustParseAddrPort(address) }

// received is an entry of the proxy of cart.
func received(change func(*accesslog.Entry)) *accesslog.Entry {
	e := &accesslog.Entry{
		Method: "GET", Code: 200, Cluster: "inbound|9080||", Local: at("10.0.0.1:9080"), Remote: at("10.0.0.2:40000"), Duration: -1,
		Shows: accesslog.Shows{ServerName: true, TLSVersion: true, Peer: true},
	}
	change(e)
	return e
}

// refused is one of its listener.
func refused(change func(*accesslog.Entry)) *accesslog.Entry {
	e := &accesslog.Entry{
		Flags: []string{"NR"}, Details: "filter_chain_not_found", Local: at("10.0.0.1:9080"), Remote: at("10.0.1.1:40000"), Duration: -1,
	}
	change(e)
	return e
}

// sent is one of the proxy of web, about a request to cart.
func sent(change func(*accesslog.Entry)) *accesslog.Entry {
	e := &accesslog.Entry{
		Method: "GET", Code: 503, Cluster: "outbound|80||cart.shop.svc.cluster.local", Local: at("10.96.0.1:80"), Remote: at("10.0.0.2:50000"),
		Upstream: at("10.0.0.1:9080"), Duration: -1,
	}
	change(e)
	return e
}

const (
	web      = "spiffe://cluster.local/ns/shop/sa/web"
	meshName = "outbound_.80_._.cart.shop.svc.cluster.local"
	// notTLS is what a client's proxy logs when the server speaks none.
	notTLS = "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
	noCert = "TLS_error:|268435648:SSL_routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end"
	// both are the Services of cart.
	both = "shop/cart,shop/cart-v2"
)

func TestWhatAnEntryShows(t *testing.T) {
	bare := func(e *accesslog.Entry) { e.Shows = accesslog.Shows{ServerName: true} }
	for name, c := range map[string]struct {
		entry *accesslog.Entry
		// want is CLIENT > SERVICES:PORT and what holds of it, or the outcome.
		want string
	}{
		"mutual TLS, by the certificate":       {received(func(e *accesslog.Entry) { e.Peer = web }), "shop/web > " + both + ":9080 proxied"},
		"plaintext, where the format has it":   {received(func(e *accesslog.Entry) { e.Remote = at("10.0.1.1:40000") }), "legacy/report > " + both + ":9080 plaintext"},
		"a certificate through a gateway":      {received(func(e *accesslog.Entry) { e.Peer, e.Remote = web, at("10.0.0.4:40000") }), "shop/web > " + both + ":9080 proxied"},
		"a certificate of nobody that is here": {received(func(e *accesslog.Entry) { e.Peer = "spiffe://other/ns/far/sa/away" }), "far/away > " + both + ":9080 proxied"},
		"a certificate with odd names": {received(func(e *accesslog.Entry) {
			e.Peer, e.Remote = "spiffe://x/ns/A b/sa/"+strings.Repeat("x", 999), at("10.9.9.9:1")
		}), "10.9.9.9 > " + both + ":9080 proxied"},
		"a gateway as the client": {received(func(e *accesslog.Entry) {
			e.Peer, e.Remote = "spiffe://cluster.local/ns/istio-ingress/sa/gateway", at("203.0.113.9:0")
		}), "istio-ingress/gateway > " + both + ":9080 proxied"},
		"a proxied client in plaintext":        {received(func(*accesslog.Entry) {}), "shop/web > " + both + ":9080 proxied plaintext"},
		"an address that nobody has":           {received(func(e *accesslog.Entry) { e.Remote = at("10.9.9.9:1") }), "10.9.9.9 > " + both + ":9080 plaintext"},
		"an address of a header":               {received(func(e *accesslog.Entry) { e.Remote = at("10.0.1.1:0") }), "unknown > " + both + ":9080 plaintext"},
		"the connection beside a header":       {received(func(e *accesslog.Entry) { e.Remote, e.Direct = at("203.0.113.9:0"), at("10.0.1.1:40000") }), "legacy/report > " + both + ":9080 plaintext"},
		"an IPv4 address as IPv6":              {received(func(e *accesslog.Entry) { e.Remote = at("[::ffff:10.0.1.1]:40000") }), "legacy/report > " + both + ":9080 plaintext"},
		"no TLS, where only the version shows": {received(func(e *accesslog.Entry) { e.Shows = accesslog.Shows{TLSVersion: true} }), "shop/web > " + both + ":9080 proxied plaintext"},
		"Istio's text, of the mesh":            {received(func(e *accesslog.Entry) { bare(e); e.ServerName = meshName }), "shop/web > " + both + ":9080 proxied"},
		"Istio's text, without a server name":  {received(bare), "shop/web > " + both + ":9080 proxied plaintext"},
		"an application's own TLS":             {received(func(e *accesslog.Entry) { bare(e); e.Method, e.ServerName, e.Remote = "", "cart", at("10.0.1.1:4") }), "legacy/report > " + both + ":9080 plaintext"},
		"its own TLS that says it is the mesh": {received(func(e *accesslog.Entry) { e.Method, e.ServerName, e.Remote = "", meshName, at("10.0.1.1:4") }), "legacy/report > " + both + ":9080 plaintext"},
		"TLS that a proxy ended for a host":    {received(func(e *accesslog.Entry) { bare(e); e.ServerName = "cart" }), "unreadable"},
		"TLS of which no certificate shows":    {received(func(e *accesslog.Entry) { e.Shows, e.TLSVersion = accesslog.Shows{TLSVersion: true}, "TLSv1.3" }), "unreadable"},
		"a format without any of it":           {received(func(e *accesslog.Entry) { e.Shows = accesslog.Shows{} }), "unreadable"},
		"a server that nobody knows":           {received(func(e *accesslog.Entry) { e.Local = at("10.9.9.9:9080") }), "unplaced"},
		"a server known by who wrote it": {received(func(e *accesslog.Entry) {
			e.Local, e.Writer, e.Peer = netip.AddrPort{}, writer("shop/cart-5d8c-x1"), web
		}), "shop/web > " + both + ":9080 proxied"},
		"a workload that no Service selects": {received(func(e *accesslog.Entry) { e.Local, e.Peer = at("10.0.0.3:9080"), web }), "shop/web > shop/worker:9080 proxied"},
		"a probe that the agent answers":     {received(func(e *accesslog.Entry) { e.Local = at("10.0.0.1:15021") }), "aside"},
		"a gateway's own clients":            {received(func(e *accesslog.Entry) { e.Local = at("10.0.0.4:8443") }), "aside"},

		"plaintext that is refused":                 {refused(func(*accesslog.Entry) {}), "legacy/report > " + both + ":9080 PlaintextToStrict"},
		"plaintext of a proxied client refused":     {refused(func(e *accesslog.Entry) { e.Remote = at("10.0.0.2:1") }), "shop/web > " + both + ":9080 proxied PlaintextToStrict"},
		"a handshake of the mesh refused":           {refused(func(e *accesslog.Entry) { e.ServerName = meshName }), "elsewhere"},
		"its own TLS refused":                       {refused(func(e *accesslog.Entry) { e.ServerName = "cart" }), "legacy/report > " + both + ":9080 HandshakeRefused"},
		"TLS without a certificate refused":         {refused(func(e *accesslog.Entry) { e.Flags, e.Details, e.DownstreamFailure = nil, "", noCert }), "legacy/report > " + both + ":9080 NoCertificate"},
		"a host that a gateway does not serve":      {refused(func(e *accesslog.Entry) { e.Local, e.ServerName = at("10.0.0.4:8443"), "x.example.com" }), "aside"},
		"refused by nobody that is known":           {refused(func(e *accesslog.Entry) { e.Local = at("10.9.9.9:80") }), "unplaced"},
		"refused by the listener for what goes out": {refused(func(e *accesslog.Entry) { e.Writer = writer("shop/web-77f4-x2") }), "elsewhere"},
		"no route": {refused(func(e *accesslog.Entry) { e.Method, e.Code, e.Details = "GET", 404, "route_not_found" }), "elsewhere"},

		"what arrived":                     {sent(func(e *accesslog.Entry) { e.Code = 200 }), "elsewhere"},
		"mutual TLS to a bare application": {sent(func(e *accesslog.Entry) { e.Flags, e.TransportFailure = []string{"UF"}, notTLS }), "shop/web > " + both + ":9080 proxied MutualTLSToPlaintext"},
		"to an endpoint that is gone": {sent(func(e *accesslog.Entry) {
			e.Flags, e.TransportFailure, e.Upstream = []string{"UF"}, notTLS, at("10.9.9.9:9080")
		}), "shop/web > shop/cart:80 proxied MutualTLSToPlaintext"},
		"of a gateway": {sent(func(e *accesslog.Entry) {
			e.Flags, e.TransportFailure, e.Local, e.Remote = []string{"UF"}, notTLS, at("10.0.0.4:8443"), at("203.0.113.9:1")
		}), "istio-ingress/gateway > " + both + ":9080 proxied MutualTLSToPlaintext"},
		"by who wrote it": {sent(func(e *accesslog.Entry) {
			e.Flags, e.TransportFailure, e.Remote, e.Writer = []string{"UF"}, notTLS, at("127.0.0.1:1"), writer("shop/worker-9-x3")
		}), "shop/worker > " + both + ":9080 proxied MutualTLSToPlaintext"},
		"to a host outside": {sent(func(e *accesslog.Entry) {
			e.Flags, e.TransportFailure, e.Cluster = []string{"UF"}, notTLS, "outbound|443||example.com"
		}), "elsewhere"},
		"a connection that broke":       {sent(func(e *accesslog.Entry) { e.Flags = []string{"UC"} }), "elsewhere"},
		"an application that is not up": {sent(func(e *accesslog.Entry) { e.Flags = []string{"UH"} }), "elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := told(sighting.Of(c.entry, names(t))); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func told(s sighting.Sighting, o sighting.Outcome) string {
	if o != sighting.Counted {
		return string(o)
	}
	out := s.Client + " > " + strings.Join(s.Services, ",") + ":" + netip.AddrPortFrom(netip.IPv4Unspecified(), s.Port).String()[len("0.0.0.0:"):]
	if s.Proxied {
		out += " proxied"
	}
	if s.Plaintext {
		out += " plaintext"
	}
	if s.Cause != "" {
		out += " " + s.Cause
	}
	return out
}

func TestASightingIsOfTheTimeAtWhichItEnded(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, _ := sighting.Of(received(func(e *accesslog.Entry) { e.Start, e.Duration = start, time.Minute }), names(t))
	if !s.At.Equal(start.Add(time.Minute)) {
		t.Errorf("it is of %s", s.At)
	}
}
