// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	httpsetstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	setmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

const stateKey = "test.key"

// before are filters that give matchers something to look at: dynamic metadata
// "test" and filter state.
func before(t testing.TB, value string) []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		envoy.HTTPFilter("envoy.filters.http.set_metadata", &setmetadatav3.Config{
			Metadata: []*setmetadatav3.Metadata{{MetadataNamespace: "test", Value: metadata(t)}},
		}),
		envoy.HTTPFilter("envoy.filters.http.set_filter_state", &httpsetstatev3.Config{
			OnRequestHeaders: []*setstatev3.FilterStateValue{{
				Key:        &setstatev3.FilterStateValue_ObjectKey{ObjectKey: stateKey},
				FactoryKey: "envoy.string",
				Value: &setstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
					Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
						Specifier: &corev3.DataSource_InlineString{InlineString: value},
					}},
				}},
			}},
		}),
	}
}

// metadata is what is in "test", of requests and of routes.
func metadata(t testing.TB) *structpb.Struct {
	t.Helper()
	out, err := structpb.NewStruct(map[string]any{
		"text": "abc", "number": 7.0, "yes": true, "null": nil,
		"list":   []any{"a", 1.5, false, []any{"abc"}},
		"nested": map[string]any{"text": "ABCD", "list": []any{"b c", "abc"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// client is one way to connect: an address, and an identity for TLS.
type client struct {
	from     netip.Addr
	server   string // SNI
	identity *envoy.Identity
	config   *tls.Config // nil: plaintext
}

// clients are the ways to connect to a listener, with TLS or without.
func clients(authority *envoy.Authority, secure bool) []client {
	var out []client
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		out = append(out, client{from: netip.MustParseAddr(from)})
	}
	if !secure {
		return out
	}
	out = out[:0]
	for i, identity := range []*envoy.Identity{
		nil,
		{URIs: uris[:1], Subject: pkix.Name{CommonName: "client", Organization: []string{"Shop"}}},
		{URIs: uris[1:], DNSNames: dns[:1]},
		{DNSNames: dns, Subject: pkix.Name{CommonName: "b"}},
		{Subject: pkix.Name{CommonName: "b"}},
	} {
		server := servers[i%len(servers)]
		out = append(out, client{
			from: netip.MustParseAddr("127.0.0.1"), server: server, identity: identity,
			config: authority.Client(server, identity),
		})
	}
	return out
}

// stream is what Envoy sees, of which its log says what it makes of the address.
func (c client) stream(t testing.TB, q request, e envoy.Entry) *stream.Stream {
	t.Helper()
	s := &stream.Stream{Connection: &stream.Connection{
		DirectRemote: netip.MustParseAddrPort(e.Client), Local: netip.MustParseAddrPort(e.Server),
	}}
	if e.Remote != "" {
		s.Connection.Remote = netip.MustParseAddr(e.Remote)
	}
	scheme := "http"
	if c.config != nil {
		scheme = "https"
		s.Connection.TLS = &stream.TLS{ServerName: c.server}
		if c.identity != nil {
			s.Connection.TLS.Peer = &stream.Certificate{
				URIs: c.identity.URIs, DNSNames: c.identity.DNSNames, Subject: e.Subject,
			}
		}
	}
	s.Headers.Add(stream.Authority, q.host)
	s.Headers.Add(stream.Path, q.path)
	s.Headers.Add(stream.Method, q.method)
	s.Headers.Add(stream.Scheme, scheme)
	for _, f := range q.fields {
		s.Headers.Add(f[0], strings.TrimSpace(f[1]))
	}
	return s
}
