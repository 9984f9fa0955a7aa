// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// decode2 is the codec for HTTP/2. What is no valid HTTP/2 resets the stream or
// ends the connection; which of them is not decided here.
func (m *Manager) decode2(r *Request) (stream.Headers, *stream.Reply, string) {
	var out stream.Headers
	if r.Method == "" || r.Target == "" && r.Method != connect || !validValue(r.Target) || !validValue(r.Method) {
		return out, nil, "this is no valid HTTP/2 request"
	}
	out.Add(stream.Method, r.Method)
	if r.Method != connect || r.Target != "" {
		out.Add(stream.Path, r.Target)
	}
	if r.Scheme != "" {
		out.Add(stream.Scheme, r.Scheme)
	}
	if r.Authority != "" {
		out.Add(stream.Authority, r.Authority)
	}
	count := 4
	for _, f := range r.Headers.All() {
		if !validName(f.Name) || !validValue(f.Value) || f.Name == "connection" || f.Name == "transfer-encoding" {
			return out, nil, "this is no valid HTTP/2 request"
		}
		if strings.Contains(f.Name, "_") && m.underscores != corev3.HttpProtocolOptions_ALLOW {
			if m.underscores == corev3.HttpProtocolOptions_REJECT_REQUEST {
				return out, malformed(0, "http2.unexpected_underscore"), ""
			}
			continue
		}
		if f.Name == "host" && r.Authority != "" {
			continue // :authority is the one that counts (RFC 9113 §8.3.1)
		}
		if count++; count > m.maxHeaders {
			return out, malformed(0, "http2.too_many_headers"), ""
		}
		addField(&out, f.Name, f.Value)
	}
	if !validHost(r.Authority) {
		return out, malformed(0, "http.invalid_authority"), ""
	}
	return out, nil, m.size(r)
}
