// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

const invalid2 = "this is no valid HTTP/2 request"

// decode2 is the codec for HTTP/2. What is no valid HTTP/2 resets the stream or
// ends the connection; which of them is not decided here.
func (m *Manager) decode2(r *Request) (stream.Headers, *stream.Reply, string) {
	out, ok := pseudoHeaders(r)
	if !ok {
		return out, nil, invalid2
	}
	if refusal := messaging(r); refusal != nil {
		return out, refusal, ""
	}
	if refusal, why := m.fields2(r, &out); refusal != nil || why != "" {
		return out, refusal, why
	}
	if len(out.All()) > m.maxHeaders {
		return out, malformed(0, "http2.too_many_headers"), ""
	}
	if !validHost(r.Authority) {
		return out, malformed(0, "http.invalid_authority"), ""
	}
	return out, nil, m.size(r)
}

// fields2 adds the header fields to out; else it is how the request is refused, or
// why that is not known.
func (m *Manager) fields2(r *Request, out *stream.Headers) (*stream.Reply, string) {
	var cookies []string
	for _, f := range r.Headers.All() {
		switch {
		case f.Name == "connection":
			// Of a client, or of a proxy that makes an upgrade an extended CONNECT
			// (RFC 8441), which is not allowed here (see undecidable).
			return malformed(0, "http2.invalid.header.field"), ""
		case !validName(f.Name) || !validValue(f.Value) || f.Name == "transfer-encoding":
			return nil, invalid2
		case f.Name == "host" && r.Authority != "":
			// :authority is the one that counts (RFC 9113 §8.3.1).
		case f.Name == "cookie":
			cookies = append(cookies, f.Value)
		case !strings.Contains(f.Name, "_") || m.underscores == corev3.HttpProtocolOptions_ALLOW:
			addField(out, f.Name, f.Value)
		case m.underscores == corev3.HttpProtocolOptions_REJECT_REQUEST:
			return malformed(0, "http2.unexpected_underscore"), ""
		}
	}
	// Crumbs are put together (RFC 9113 §8.2.3); where that gives nothing, Envoy has no
	// cookie at all.
	if crumbs := strings.Join(cookies, "; "); crumbs != "" {
		out.Add("cookie", crumbs)
	}
	return nil, ""
}

// messaging is the codec's own check, before any of the connection manager's.
func messaging(r *Request) *stream.Reply {
	if r.Method != connect && r.Target[0] != '/' && (r.Target != "*" || r.Method != "OPTIONS") {
		return malformed(0, "http2.violation.of.messaging.rule")
	}
	if _, has := r.Headers.Get("host"); r.Method != connect && r.Authority == "" && !has {
		return malformed(0, "http2.violation.of.messaging.rule")
	}
	// User information in a host passes the connection manager's check, not this one.
	if strings.Contains(r.Authority, "@") {
		return malformed(0, "http2.invalid.header.field")
	}
	return nil
}

// pseudoHeaders are the first ones of a request; false where they are not valid
// (RFC 9113 §8.3.1).
func pseudoHeaders(r *Request) (stream.Headers, bool) {
	var out stream.Headers
	if r.Method == "" || r.Target == "" && r.Method != connect || !validValue(r.Target) || !validValue(r.Method) {
		return out, false
	}
	out.Add(stream.Method, r.Method)
	for _, pseudo := range [...]stream.Header{{Name: stream.Path, Value: r.Target}, {Name: stream.Scheme, Value: r.Scheme}, {Name: stream.Authority, Value: r.Authority}} {
		if pseudo.Value != "" {
			out.Add(pseudo.Name, pseudo.Value)
		}
	}
	return out, true
}
