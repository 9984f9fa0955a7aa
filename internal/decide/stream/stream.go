// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"maps"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"
)

// Stream is one request at one point of a proxy's filter chain.
type Stream struct {
	Connection *Connection
	// Headers hold the pseudo-headers of HTTP/2 too (:method, :authority, :path,
	// :scheme), for HTTP/1.1 as well: Envoy keeps them so.
	Headers  Headers
	Metadata Metadata
	// FilterState is Envoy's filter state, as far as it is text, of the connection
	// and the request, by key.
	FilterState map[string]string
	// Tokens gives a meaning to the tokens of this request that are not real ones,
	// by the text that stands for them in a header, query or cookie. A text that
	// is not in it is taken for a real JSON Web Token.
	Tokens map[string]*Token
	// RouteMetadata is the metadata of the route that was chosen, once it was.
	RouteMetadata *Metadata
}

// Clone is a copy whose changes do not show in s.
func (s *Stream) Clone() *Stream {
	out := *s
	connection := *s.Connection
	out.Connection = &connection
	out.Headers = s.Headers.Clone()
	out.Metadata.said = slices.Clip(s.Metadata.said)
	out.FilterState = maps.Clone(s.FilterState)
	return &out
}

// Connection is the downstream connection that a request came on.
type Connection struct {
	// DirectRemote is the address of the other end.
	DirectRemote netip.AddrPort
	// Remote is the client's address as the proxy takes it: from
	// X-Forwarded-For or PROXY protocol where it is told to trust them, else
	// DirectRemote's. The connection manager sets it.
	Remote netip.Addr
	// Local is the address that the client meant: where connections are
	// redirected to the proxy, the one before the redirection.
	Local netip.AddrPort
	// Redirected: the connection was intercepted, and the proxy has restored where
	// it meant to go. Only then can it be sent on there.
	Redirected bool
	// TLS is how the connection is secured; nil is plaintext.
	TLS *TLS
	// Overheard is the server name of a handshake that goes through as bytes, where
	// the proxy has looked at it.
	Overheard string
}

// TLS is what a TLS handshake has settled.
type TLS struct {
	// ServerName is the one that the client asked for (SNI, RFC 6066); empty for
	// none.
	ServerName string
	// Offered are the application protocols that the client offers (ALPN, RFC
	// 7301), in its order.
	Offered []string
	// Trusts is the name of the authorities by which the client verifies the server;
	// empty where it does not, or where that is not known.
	Trusts string
	// Peer is the client's certificate as far as it was verified; nil: it gave
	// none, or nobody asked for one.
	Peer *Certificate
}

// Certificate is what is read of a verified certificate.
type Certificate struct {
	// URIs and DNSNames are its subject alternative names.
	URIs, DNSNames []string
	// Subject in RFC 2253 form.
	Subject string
	// Roots are the secrets of authorities that it is verified by, by the names that
	// proxies have for them. None: it is the mesh's, and others are not known.
	Roots []string
}

// Token is a JSON Web Token that exists in the question only: its claims are
// given and its signature is what the question says it is.
type Token struct {
	// Claims as in RFC 7519, "iss", "aud" and the rest. Times in them hold as they
	// are given (see Expired).
	Claims *structpb.Struct
	// Forged: the signature is none of any key that the proxy knows.
	Forged bool
	// Expired: the token's time is over, whatever its claims say.
	Expired bool
}
