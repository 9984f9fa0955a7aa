// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"bufio"
	"crypto/x509/pkix"
	"io"
	"net"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/mtls/signature"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// level is how much has to be known before the cause is certain.
type level int

const (
	// byClient: the line of the client's proxy, in Istio's default format.
	byClient level = iota
	// byBoth: the line of the server's proxy, in the same format, besides.
	byBoth
	// byFields: a line of the server's proxy that has the failure of TLS with the
	// client, which Istio's default format has not.
	byFields
	// never: it stays one of several.
	never
)

// one is one way to fail.
type one struct {
	name string
	// cause is what was made, and at which level that is certain.
	cause   signature.Cause
	certain level
	// holder is whose certificate it is about.
	holder signature.Side
	// again: the request before went well, on the same connection.
	again bool
	// bytes: through a listener that knows no HTTP as well.
	bytes bool
	// logs are those in which the server's proxy has a line that belongs to it.
	logs []string
	// server is what the server's proxy does with connections; nil: there is none,
	// and the client's proxy sends to the application.
	server *serving
	// application is what stands behind; nil: one that answers 200.
	application func(net.Conn, *bufio.Reader)
	// client is the TLS of the client's proxy; nil: plaintext.
	client *tlsv3.UpstreamTlsContext
	// to changes the cluster and the route of the client's proxy, by the address it
	// is for.
	to    func(*clusterv3.Cluster)
	route func(*routev3.RouteAction)
	// none: nobody listens where the client's proxy sends to.
	none bool
	// filter stands before the router of the client's proxy; nil: there is none.
	filter *hcmv3.HttpFilter
	// raw is sent in place of a request; path and header in it.
	raw, path, header string
}

// serving is the listener of a server's proxy.
type serving struct {
	// tls is what the chain speaks; nil: plaintext.
	tls *tlsv3.DownstreamTlsContext
	// strict: the chain is for TLS, and there is none for plaintext.
	strict bool
	alpn   []string
	// filter stands before the router; nil: there is none.
	filter *hcmv3.HttpFilter
}

var (
	inText   = []string{textLog}
	inFields = []string{fieldLog}
	inBoth   = []string{textLog, fieldLog}
)

const (
	trustDomain = "spiffe://cluster.local/ns/shop/sa/"
	sender      = trustDomain + "web"
	receiver    = trustDomain + "cart"
)

// parties are the identities that the cases are made of.
type parties struct{ mesh, other *envoy.Authority }

func (p parties) server(a *envoy.Authority, i envoy.Identity) *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(true),
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificates:       []*tlsv3.TlsCertificate{a.Certificate(i)},
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: p.mesh.Trust()},
		},
	}
}

func (p parties) client(a *envoy.Authority, i *envoy.Identity) *tlsv3.UpstreamTlsContext {
	trust := p.mesh.Trust()
	trust.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{
		SanType: tlsv3.SubjectAltNameMatcher_URI,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: receiver}},
	}}
	out := &tlsv3.UpstreamTlsContext{Sni: "outbound_.80_._.cart.shop.svc.cluster.local", CommonTlsContext: &tlsv3.CommonTlsContext{
		// As Istio has it (pilot/pkg/networking/core/cluster_tls.go); by itself an Envoy
		// that is a client stays at 1.2.
		TlsParams:             &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: trust},
	}}
	if i != nil {
		out.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{a.Certificate(*i)}
	}
	return out
}

func upTo12(c *tlsv3.UpstreamTlsContext) *tlsv3.UpstreamTlsContext {
	c.CommonTlsContext.TlsParams.TlsMaximumProtocolVersion = tlsv3.TlsParameters_TLSv1_2
	return c
}

// missing is the reference to a secret that never comes.
func missing() []*tlsv3.SdsSecretConfig {
	return []*tlsv3.SdsSecretConfig{{Name: "default", SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(100 * time.Millisecond),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "nobody"}}}},
		}},
	}}}
}

func cases(t *testing.T) []one {
	p := parties{envoy.NewAuthority(t), envoy.NewAuthority(t)}
	web := envoy.Identity{Subject: pkix.Name{}, URIs: []string{sender}}
	cart := envoy.Identity{URIs: []string{receiver}}
	ended := func(i envoy.Identity) envoy.Identity { i.Ended = true; return i }
	good := func() *tlsv3.UpstreamTlsContext { return p.client(p.mesh, &web) }
	strict := func() *serving { return &serving{tls: p.server(p.mesh, cart), strict: true} }
	lost := p.client(p.mesh, nil)
	lost.CommonTlsContext.TlsCertificateSdsSecretConfigs = missing()
	lostServer := p.server(p.mesh, cart)
	lostServer.CommonTlsContext.TlsCertificates, lostServer.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil, missing()
	endedWeb := ended(web)
	newest := strict()
	newest.tls.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
	silent := func(c *clusterv3.Cluster) { c.ConnectTimeout = durationpb.New(50 * time.Millisecond) }
	tries := func(on string) func(*routev3.RouteAction) {
		return func(a *routev3.RouteAction) {
			a.RetryPolicy = &routev3.RetryPolicy{RetryOn: on, NumRetries: wrapperspb.UInt32(2)}
		}
	}
	return []one{
		{name: "good", cause: signature.NotAFailure, logs: inText, server: strict(), client: good()},
		{name: "plain-to-strict", cause: signature.PlaintextToStrict, certain: byBoth, bytes: true, logs: inBoth, server: strict()},
		{name: "plain-to-strict-tries", cause: signature.PlaintextToStrict, certain: byBoth, logs: inText, server: strict(), route: tries("connect-failure,reset,unavailable")},
		{name: "plain-to-tls-chain", cause: signature.PlaintextToStrict, certain: byFields, bytes: true, logs: inFields, server: &serving{tls: p.server(p.mesh, cart)}},
		{name: "mtls-to-plain", cause: signature.MutualTLSToPlaintext, bytes: true, logs: inText, server: &serving{}, client: good()},
		{name: "mtls-to-application", cause: signature.MutualTLSToPlaintext, bytes: true, client: good(), application: refusesGarbage},
		{name: "mtls-to-silent", cause: signature.MutualTLSToPlaintext, certain: never, client: good(), to: silent, application: func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }},
		{name: "mtls-to-closing", cause: signature.MutualTLSToPlaintext, certain: never, client: good(), application: func(c net.Conn, r *bufio.Reader) { _, _ = r.ReadByte() }},
		{name: "server-expired", cause: signature.CertificateExpired, holder: signature.Server, bytes: true, logs: inFields, server: &serving{tls: p.server(p.mesh, ended(cart)), strict: true}, client: good()},
		{name: "client-expired-12", cause: signature.CertificateExpired, holder: signature.Client, logs: inFields, server: strict(), client: upTo12(p.client(p.mesh, &endedWeb))},
		{name: "client-expired-13", cause: signature.CertificateExpired, certain: byFields, holder: signature.Client, logs: inFields, server: strict(), client: p.client(p.mesh, &endedWeb)},
		{name: "server-untrusted", cause: signature.CertificateUntrusted, holder: signature.Server, bytes: true, logs: inFields, server: &serving{tls: p.server(p.other, cart), strict: true}, client: good()},
		{name: "client-untrusted-12", cause: signature.CertificateUntrusted, holder: signature.Client, logs: inFields, server: strict(), client: upTo12(p.client(p.other, &web))},
		{name: "client-untrusted-13", cause: signature.CertificateUntrusted, certain: byFields, holder: signature.Client, logs: inFields, server: strict(), client: p.client(p.other, &web)},
		{name: "server-name", cause: signature.NameMismatch, holder: signature.Server, bytes: true, logs: inFields, server: &serving{tls: p.server(p.mesh, web), strict: true}, client: good()},
		{name: "client-none-12", cause: signature.NoCertificate, certain: byFields, holder: signature.Client, logs: inFields, server: strict(), client: upTo12(p.client(p.mesh, nil))},
		{name: "client-none-13", cause: signature.NoCertificate, certain: byFields, holder: signature.Client, logs: inFields, server: strict(), client: p.client(p.mesh, nil)},
		{name: "client-secret", cause: signature.NoCertificate, holder: signature.Client, server: strict(), client: lost},
		{name: "server-secret", cause: signature.NoCertificate, certain: byFields, holder: signature.Server, logs: inFields, server: &serving{tls: lostServer, strict: true}, client: good()},
		{name: "version", cause: signature.HandshakeRefused, logs: inFields, server: newest, client: upTo12(good())},
		{name: "alpn", cause: signature.HandshakeRefused, certain: never, logs: inText, server: &serving{tls: p.server(p.mesh, cart), strict: true, alpn: []string{"istio"}}, client: good()},
		// As gRPC is sent.
		{name: "http2-good", cause: signature.NotAFailure, logs: inText, server: strict(), client: good(), to: overHTTP2},
		{name: "http2-plain-to-strict", cause: signature.PlaintextToStrict, certain: byBoth, logs: inBoth, server: strict(), to: overHTTP2},
		{name: "http2-plain-to-tls-chain", cause: signature.PlaintextToStrict, certain: byFields, logs: inFields, server: &serving{tls: p.server(p.mesh, cart)}, to: overHTTP2},
		{name: "http2-mtls-to-plain", cause: signature.MutualTLSToPlaintext, logs: inText, server: &serving{}, client: good(), to: overHTTP2},
		{name: "http2-client-untrusted", cause: signature.CertificateUntrusted, certain: byFields, logs: inFields, holder: signature.Client, server: strict(), client: p.client(p.other, &web), to: overHTTP2},
		{name: "http2-client-none", cause: signature.NoCertificate, certain: byFields, logs: inFields, holder: signature.Client, server: strict(), client: p.client(p.mesh, nil), to: overHTTP2},
		{name: "http2-to-http1", cause: signature.AnswerMalformed, application: refusesGarbage2, to: overHTTP2},
		{name: "refused", cause: signature.ConnectionRefused, bytes: true, none: true},
		{name: "refused-tls", cause: signature.ConnectionRefused, none: true, client: good()},
		{name: "refused-tries", cause: signature.ConnectionRefused, none: true, route: tries("connect-failure")},
		{name: "refused-behind", cause: signature.ConnectionRefused, certain: byBoth, logs: inText, server: strict(), client: good(), none: true},
		{name: "closes", cause: signature.ApplicationReset, certain: never, application: func(net.Conn, *bufio.Reader) {}},
		{name: "closes-behind", cause: signature.ApplicationReset, certain: never, logs: inText, server: strict(), client: good(), application: func(_ net.Conn, r *bufio.Reader) { head(r) }},
		{name: "resets", cause: signature.ApplicationReset, certain: never, application: resets},
		{name: "half-an-answer", cause: signature.ApplicationReset, certain: never, application: func(c net.Conn, r *bufio.Reader) {
			head(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		}},
		{name: "idle", cause: signature.IdleReset, certain: never, again: true, application: once},
		{name: "garbage", cause: signature.AnswerMalformed, application: func(c net.Conn, r *bufio.Reader) { head(r); _, _ = io.WriteString(c, "hello\r\n\r\n") }},
		{name: "no-endpoint", cause: signature.NoHealthyUpstream, bytes: true, to: func(c *clusterv3.Cluster) { c.LoadAssignment.Endpoints = nil }},
		{name: "timeout", cause: signature.Timeout, application: func(_ net.Conn, r *bufio.Reader) { head(r); head(r) }, route: func(a *routev3.RouteAction) { a.Timeout = durationpb.New(50 * time.Millisecond) }},
		{name: "timeout-behind", cause: signature.Timeout, logs: inText, server: strict(), client: good(), application: func(_ net.Conn, r *bufio.Reader) { head(r); head(r) }, route: func(a *routev3.RouteAction) { a.Timeout = durationpb.New(50 * time.Millisecond) }},
		{name: "overflow", cause: signature.Overflow, to: func(c *clusterv3.Cluster) {
			c.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxPendingRequests: wrapperspb.UInt32(0), MaxConnections: wrapperspb.UInt32(0)}}}
		}},
		{name: "error", cause: signature.ApplicationError, certain: byBoth, logs: inText, server: strict(), client: good(), application: answers("500 Internal Server Error")},
		{name: "error-tries", cause: signature.ApplicationError, certain: never, application: answers("503 Service Unavailable"), route: tries("5xx")},
		{name: "denied", cause: signature.AuthorizationDenied, certain: byBoth, logs: inText, server: &serving{filter: denies()}},
		{name: "denied-token", cause: signature.TokenRefused, certain: byBoth, logs: inText, server: &serving{filter: wantsTokens()}, header: "Authorization: Bearer none"},
		{name: "denied-outside", cause: signature.ExternalAuthorization, certain: byBoth, logs: inText, server: &serving{filter: asks("authorizer")}},
		{name: "denied-outside-silent", cause: signature.ExternalAuthorization, certain: byBoth, logs: inText, server: &serving{filter: asks("nobody")}},
		{name: "rate", cause: signature.RateLimited, certain: byBoth, logs: inText, again: true, server: &serving{filter: allowsOne()}},
		{name: "fault", cause: signature.FaultInjected, filter: fails()},
		{name: "no-cluster", cause: signature.NoCluster, route: func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "host"}
		}},
		{name: "no-route", cause: signature.NoRoute, path: "/elsewhere"},
		{name: "not-http", cause: signature.ProtocolError, certain: never, raw: "hello\r\n\r\n"},
		{name: "own-tls", cause: signature.ClientTLSToPlaintext, certain: never, raw: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
	}
}

// refusesGarbage answers as servers of HTTP do to what is none.
func refusesGarbage(c net.Conn, r *bufio.Reader) {
	if first, err := r.ReadByte(); err == nil && (first < 'A' || first > 'Z') {
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	}
}

// refusesGarbage2 is for the preface of HTTP/2, which looks like a request.
func refusesGarbage2(c net.Conn, r *bufio.Reader) {
	head(r)
	_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

func resets(c net.Conn, r *bufio.Reader) {
	head(r)
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// once answers the first request of a connection and closes at the second, as a
// server does whose time for idle connections is just over.
func once(c net.Conn, r *bufio.Reader) {
	if head(r) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
	head(r)
}

// listener is that of the server's proxy.
func (s *serving) listener(t *testing.T, name string) *listenerv3.Listener {
	l := listening(t, name, envoy.Manager(routed("inbound|"+name+"||", nil), filters(s.filter)...), "")
	chain := l.GetFilterChains()[0]
	if s.tls != nil {
		chain.TransportSocket = envoy.TransportSocket(s.tls)
	}
	if s.strict {
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "tls", ApplicationProtocols: s.alpn}
		l.ListenerFilters = []*listenerv3.ListenerFilter{envoy.TLSInspector()}
	}
	return l
}
