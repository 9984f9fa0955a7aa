// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import "github.com/trellis-mesh/trellis/internal/decide/stream"

// Version is the version of HTTP that a client speaks on its connection.
type Version int8

// The versions. HTTP11 is the zero value. Anything before 1.1, and versions that
// do not exist, count as HTTP10, as they do for Envoy.
const (
	HTTP11 Version = iota
	HTTP10
	HTTP2
)

// Request is what a client sends.
type Request struct {
	Version Version
	Method  string
	// Target is the request target as it is sent (RFC 9112 §3.2): a path with
	// query, an absolute URI, host:port for CONNECT, or "*". For HTTP/2 the
	// :path.
	Target string
	// Authority and Scheme are the pseudo-headers of HTTP/2. For HTTP/1 they have
	// no meaning: the Host field is among the Headers.
	Authority, Scheme string
	// Headers are the other fields in order, as they are sent (see stream.Raw).
	Headers stream.Headers
	// Body: a body follows.
	Body bool
}

// Outcome is what became of a request before the filters. Exactly one of Stream,
// Reply and Unknown is set.
type Outcome struct {
	// Stream is the request as the first filter sees it.
	Stream *stream.Stream
	// Upgrade is the protocol that the request asks to change to ("websocket",
	// "CONNECT"); empty for none. Manager.Upgraded decides on it once the route is
	// known; its own filters, if it has any, then replace the usual ones.
	Upgrade string
	// Reply is the refusal.
	Reply *stream.Reply
	// Unknown says why nobody can tell.
	Unknown string
}

func refused(code int, details string, flags ...string) *stream.Reply {
	return &stream.Reply{Code: code, Details: details, Flags: flags}
}

// malformed is a refusal by the codec: what came is no valid HTTP, and Envoy
// marks it as the downstream's protocol error.
func malformed(code int, details string) *stream.Reply { return refused(code, details, "DPE") }
