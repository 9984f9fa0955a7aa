// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// digest is the hash of a certificate, which a decision does not know.
var digest = regexp.MustCompile(`Hash=[0-9a-f]{64}`)

func TestHTTP2AndClientCertificatesAreSeenAsEnvoySeesThem(t *testing.T) {
	d := roll(t)
	authority := envoy.NewAuthority(t)
	identity := envoy.Identity{URIs: []string{"spiffe://cluster.local/ns/a/sa/b"}, DNSNames: []string{"b.a"}}
	const managers = 10
	var listeners []*listenerv3.Listener
	var configs []*hcmv3.HttpConnectionManager
	for i := range managers {
		m := d.manager()
		m.CommonHttpProtocolOptions.HeadersWithUnderscoresAction &= 2 // a rejection resets the stream
		m.CommonHttpProtocolOptions.MaxHeadersCount = wrapperspb.UInt32(50)
		m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Uri: d.maybe(50), Dns: d.maybe(50)}
		configs = append(configs, m)
		listeners = append(listeners, envoy.HTTPListener(fmt.Sprint("m", i), m, envoy.TransportSocket(authority.Server(false, "h2", "http/1.1"))))
	}
	p := envoy.Run(t, envoy.Bootstrap(listeners))
	type asked struct {
		what     string
		response *envoy.Response
		outcome  hcm.Outcome
	}
	var all []asked
	for i, config := range configs {
		m := hcm.Compile(config, hcm.Surroundings{InternalOnlyHeaders: []string{"X-Secret"}})
		to := p.Address(fmt.Sprint("m", i))
		for range rounds(150) {
			connection := &stream.Connection{DirectRemote: netip.MustParseAddrPort("127.0.0.1:1"), Local: to, TLS: &stream.TLS{ServerName: "shop"}}
			call := envoy.Call{To: to, TLS: authority.Client("shop", nil)}
			if d.maybe(60) {
				call.TLS = authority.Client("shop", &identity)
				connection.TLS.Peer = &stream.Certificate{URIs: identity.URIs, DNSNames: identity.DNSNames}
			}
			r, sent := d.request2()
			response, err := p.Send2(t.Context(), call, r)
			if err != nil {
				t.Errorf("%+v: %v", sent, err)
				continue
			}
			all = append(all, asked{fmt.Sprintf("%+v\nmanager: %s", sent, "m"+fmt.Sprint(i)), response, m.Receive(connection, sent)})
		}
	}
	judge(t, len(all), func(i int) (string, string) {
		a := all[i]
		e, err := a.response.Logged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const name = "got-x-forwarded-client-cert"
		if told := a.response.Header.Get(name); told != "" {
			a.response.Header.Set(name, digest.ReplaceAllString(told, "Hash="+strings.Repeat("0", 64)))
		}
		return compareHead(a.outcome, a.response, e), a.what
	})
}

// request2 is a random request for HTTP/2, for Go's client and for a decision.
func (d dice) request2() (*http.Request, *hcm.Request) {
	path := "/" + strings.TrimLeft(d.path(), "/") // Go's client takes two slashes for a host
	host := d.one("shop", "Shop.example.com:8080", "a.", "a.:443", "10.1.2.3:80")
	r := &http.Request{Method: d.one("GET", "OPTIONS", "DELETE"), Host: host, Header: http.Header{}, URL: &url.URL{Scheme: "https", Host: host, Opaque: path}}
	sent := &hcm.Request{Version: hcm.HTTP2, Method: r.Method, Target: path, Authority: host, Scheme: "https"}
	var fields []stream.Header
	add := func(name, value string) {
		r.Header.Add(name, value)
		fields = append(fields, stream.Header{Name: name, Value: value})
	}
	add("user-agent", "test")
	for range d.IntN(4) {
		name, value, _ := strings.Cut(d.one("x-forwarded-for: 1.2.3.4", "x-forwarded-for: 10.0.0.1", "x-forwarded-proto: http", "x_under: 1", "x-secret: 1",
			"x-envoy-retry-on: 5xx", "x-forwarded-client-cert: By=x", "x-two: 1", "x-two: 2", "te: trailers", "origin: http://a", "authorization: Bearer a",
			"x-envoy-internal: true", "referer: foo:80"), ": ")
		add(name, value)
	}
	sent.Headers = stream.Raw(fields...)
	return r, sent
}
