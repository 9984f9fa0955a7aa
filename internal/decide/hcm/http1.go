// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// decode is the codec: it checks that the message is HTTP, and makes the header
// map from it.
func (m *Manager) decode(connection *stream.Connection, r *Request) (stream.Headers, *stream.Reply, string) {
	if r.Version == HTTP2 {
		return m.decode2(r)
	}
	if !printable(r) {
		return stream.Headers{}, malformed(400, "http1.invalid_characters"), ""
	}
	if !m.validMethod(r.Method) || !validTarget(r.Target, r.Method == connect) {
		return stream.Headers{}, codecError(), ""
	}
	if unknown := m.size(r); unknown != "" {
		return stream.Headers{}, nil, unknown
	}
	headers, reply := m.fields(r)
	if reply != nil {
		return headers, reply, ""
	}
	reply = m.framing(r, &headers)
	if reply == nil {
		reply = m.connectionTokens(r, &headers)
	}
	if reply == nil {
		reply = m.target(connection, r, &headers)
	}
	if reply == nil {
		reply = m.spokenVersion(r, &headers)
	}
	if reply == nil {
		reply = validAuthority(&headers)
	}
	return headers, reply, ""
}

func codecError() *stream.Reply { return malformed(400, "http1.codec_error") }

// fields checks the header fields and puts them together as Envoy's header map
// does: Host is :authority, and fields that Envoy knows to be single or to be a
// list are joined by comma.
func (m *Manager) fields(r *Request) (stream.Headers, *stream.Reply) {
	var out stream.Headers
	all := r.Headers.All()
	out.Grow(len(all) + usualAdditions)
	out.Add(stream.Method, r.Method)
	bytes := len(r.Target)
	for _, f := range all {
		if !parsableName(f.Name) || f.Name == "content-length" && !validLength(&r.Headers) {
			return out, codecError()
		}
	}
	for i, f := range all {
		value := strings.Trim(f.Value, " \t")
		// A field is complete for Envoy when the next one begins.
		if !validName(f.Name) || i+1 < len(all) && !validName(all[i+1].Name) {
			return out, codecError()
		}
		if strings.Contains(f.Name, "_") && m.underscores != corev3.HttpProtocolOptions_ALLOW {
			if m.underscores == corev3.HttpProtocolOptions_REJECT_REQUEST {
				return out, malformed(400, "http1.unexpected_underscore")
			}
			continue
		}
		if bytes += len(f.Name) + len(value); bytes > m.maxHeaderBytes {
			return out, malformed(431, "http1.headers_too_large")
		}
		addField(&out, f.Name, value)
		if len(out.All())-1 > m.maxHeaders { // the method does not count
			return out, malformed(431, "http1.too_many_headers")
		}
	}
	return out, nil
}

// usualAdditions is how many fields a proxy adds to a usual request.
const usualAdditions = 8

// addField adds one field. A second one of a name that Envoy keeps in a slot of
// its own is appended to the first (HeaderMapImpl::appendToHeader).
func addField(h *stream.Headers, name, value string) {
	if name == "host" {
		name = stream.Authority
	}
	had, has := h.Get(name)
	switch {
	case !has:
		h.Set(name, value)
	case !inline[name]:
		h.Add(name, value)
	case had == "":
		h.Set(name, value)
	case value != "":
		h.Set(name, had+","+value)
	}
}

// printable is whether no byte of the request is a control character. The parser
// looks at all of them before it looks at anything else.
func printable(r *Request) bool {
	if !validValue(r.Method) || !validValue(r.Target) {
		return false
	}
	for _, f := range r.Headers.All() {
		if !validValue(f.Name) || !validValue(f.Value) {
			return false
		}
	}
	return true
}

// size keeps away from the limit: near it, the answer depends on how the bytes
// came in.
func (m *Manager) size(r *Request) string {
	const near = 1024
	bytes := len(r.Target)
	for _, f := range r.Headers.All() {
		bytes += len(f.Name) + len(f.Value) + 4
	}
	if bytes > m.maxHeaderBytes-near && bytes < m.maxHeaderBytes+near {
		return "the request's headers are about as large as the proxy's limit"
	}
	return ""
}

// framing refuses messages whose length two servers could see differently (RFC
// 9112 §6.3).
func (m *Manager) framing(r *Request, h *stream.Headers) *stream.Reply {
	encoding, chunked := h.Get("transfer-encoding")
	length, sized := h.Get("content-length")
	if r.Method == connect && sized {
		if length != "0" {
			return malformed(400, "http1.body_disallowed")
		}
		h.Remove("content-length")
		sized = false
	}
	if !chunked {
		return nil
	}
	if sized {
		if !m.chunkedLength || !strings.EqualFold(encoding, "chunked") {
			return malformed(400, "http1.content_length_and_chunked_not_allowed")
		}
		h.Remove("content-length")
	}
	if !strings.EqualFold(encoding, "chunked") || r.Method == connect {
		return malformed(501, "http1.invalid_transfer_encoding")
	}
	return nil
}

// connectionTokens takes the fields that Connection names away, as a proxy must
// (RFC 9110 §7.6.1), and refuses to take away what others rely on.
func (m *Manager) connectionTokens(r *Request, h *stream.Headers) *stream.Reply {
	if r.Method == connect {
		return nil
	}
	if protocol, _ := h.Get("upgrade"); strings.EqualFold(protocol, "h2c") && isUpgrade(h) {
		withoutH2C(h)
	}
	value, has := h.Get("connection")
	if !has || isUpgrade(h) {
		return nil
	}
	for token := range strings.SplitSeq(value, ",") {
		name := strings.ToLower(strings.Trim(token, " \t"))
		switch {
		case name == "" || name == "close" || name == "keep-alive" || name == "te":
		case strings.HasPrefix(name, ":") || protected[name]:
			return malformed(400, "http1.connection_header_rejected")
		case name == "host":
			h.Remove(stream.Authority)
		default:
			h.Remove(name)
		}
	}
	return nil
}

// withoutH2C takes the wish to go on in HTTP/2 away, which Envoy ignores.
func withoutH2C(h *stream.Headers) {
	value, _ := h.Get("connection")
	var left []string
	for token := range strings.SplitSeq(value, ",") {
		token = strings.Trim(token, " \t")
		if !strings.EqualFold(token, "upgrade") && !strings.EqualFold(token, "http2-settings") {
			left = append(left, token)
		}
	}
	h.Remove("upgrade")
	h.Remove("http2-settings")
	h.Remove("connection")
	if len(left) > 0 {
		h.Set("connection", strings.Join(left, ","))
	}
}

// protected are the fields that Connection must not name
// (Utility::sanitizeConnectionHeader).
var protected = map[string]bool{
	"x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-proto": true,
}

// spokenVersion refuses HTTP/1.0 where it is not accepted.
func (m *Manager) spokenVersion(r *Request, h *stream.Headers) *stream.Reply {
	if r.Version != HTTP10 {
		return nil
	}
	if !m.http10 {
		return malformed(426, "low_version")
	}
	if _, has := h.Get("transfer-encoding"); has {
		return malformed(400, "http1.transfer_encoding_not_allowed")
	}
	return nil
}

// target reads the request target (RFC 9112 §3.2).
func (m *Manager) target(c *stream.Connection, r *Request, h *stream.Headers) *stream.Reply {
	isConnect := r.Method == connect
	switch {
	case !isConnect && (r.Target[0] == '/' || r.Method == "OPTIONS" && r.Target[0] == '*'),
		!isConnect && !m.absoluteURL:
		h.Set(stream.Path, r.Target)
		return nil
	}
	u, ok := parseAbsolute(r.Target, isConnect)
	if !ok {
		return malformed(400, "http1.invalid_url")
	}
	h.Set(stream.Authority, u.host)
	if isConnect {
		return nil
	}
	if u.scheme != "http" && u.scheme != "https" {
		return malformed(400, "http1.invalid_scheme")
	}
	if m.address.edge() && u.scheme == "https" && c.TLS == nil {
		return malformed(403, "http1.https_url_on_plaintext_connection")
	}
	h.Set(stream.Scheme, u.scheme)
	h.Set(stream.Path, u.path)
	return nil
}

// validAuthority refuses hosts with characters that none has.
func validAuthority(h *stream.Headers) *stream.Reply {
	host, _ := h.Get(stream.Authority)
	if !validHost(host) {
		return malformed(400, "http.invalid_authority")
	}
	return nil
}
