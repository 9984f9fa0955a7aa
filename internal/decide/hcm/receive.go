// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Receive takes a request that came on a connection. The order of the checks is
// Envoy's: it decides which refusal a request with two faults gets. The
// connection is copied, never changed; the Stream's copy has Remote set.
func (m *Manager) Receive(connection *stream.Connection, r *Request) Outcome {
	if m.unknown != "" {
		return Outcome{Unknown: m.unknown}
	}
	headers, reply, unknown := m.decode(connection, r)
	if reply != nil || unknown != "" {
		return Outcome{Reply: reply, Unknown: unknown}
	}
	own := *connection
	s := &stream.Stream{Connection: &own, Headers: headers}
	own.Remote = connection.DirectRemote.Addr().Unmap()

	if reply := m.version(r, s); reply != nil {
		return Outcome{Reply: reply}
	}
	if reply := relative(s); reply != nil {
		return Outcome{Reply: reply}
	}
	if reply := query(s); reply != nil {
		return Outcome{Reply: reply}
	}
	if reply := m.path(s); reply != nil {
		return Outcome{Reply: reply}
	}
	m.host(s)
	if reply, unknown := m.client(s, r); reply != nil || unknown != "" {
		return Outcome{Reply: reply, Unknown: unknown}
	}
	return Outcome{Stream: s, Upgrade: upgrade(s)}
}

// version refuses what comes without a host, or in a version that is not spoken.
func (m *Manager) version(r *Request, s *stream.Stream) *stream.Reply {
	_, hasHost := s.Headers.Get(stream.Authority)
	if r.Version == HTTP10 && !hasHost && m.defaultHost != "" {
		s.Headers.Set(stream.Authority, m.defaultHost)
		hasHost = true
	}
	if !hasHost {
		return refused(400, "missing_host_header")
	}
	return nil
}

// relative refuses a path that is none.
func relative(s *stream.Stream) *stream.Reply {
	switch path := s.Path(); {
	case path == "" && s.Method() == connect:
		return nil
	case path == "":
		return refused(404, "missing_path_rejected")
	case path[0] != '/':
		return refused(404, "absolute_path_rejected")
	}
	return nil
}

// query refuses the method QUERY without a content-type, which it must have
// (draft-ietf-httpbis-safe-method-w-body).
func query(s *stream.Stream) *stream.Reply {
	if s.Method() != "QUERY" {
		return nil
	}
	if kind, _ := s.Headers.Get("content-type"); kind == "" {
		return refused(400, "query_missing_content_type")
	}
	return nil
}

// path normalises the path, and refuses what cannot be.
func (m *Manager) path(s *stream.Stream) *stream.Reply {
	path := s.Path()
	if path == "" {
		return nil
	}
	if before, _, has := strings.Cut(path, "#"); has {
		if m.rejectFragment {
			return refused(400, normalizationFailed)
		}
		if m.stripFragment {
			path = before
		}
	}
	path, action := m.unescape(path)
	if action == hcmv3.HttpConnectionManager_REJECT_REQUEST {
		return refused(400, normalizationFailed)
	}
	if m.normalize {
		ok := false
		if path, ok = NormalizePath(path); !ok {
			return refused(400, normalizationFailed)
		}
	}
	if m.merge {
		path = MergeSlashes(path)
	}
	s.Headers.Set(stream.Path, path)
	if action != hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT {
		return nil
	}
	if isGRPC(s) {
		return refused(400, normalizationFailed)
	}
	reply := refused(307, normalizationFailed)
	reply.Headers.Set("location", path)
	return reply
}

const (
	normalizationFailed = "path_normalization_failed"
	connect             = "CONNECT"
)

// unescape does with escaped slashes what the configuration says, and gives what
// follows from it: rejection, redirection, or nothing.
func (m *Manager) unescape(path string) (string, hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction) {
	if m.escapedSlashes == hcmv3.HttpConnectionManager_KEEP_UNCHANGED {
		return path, m.escapedSlashes
	}
	out, found := UnescapeSlashes(path)
	if !found {
		return path, hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	}
	return out, m.escapedSlashes
}

// isGRPC is Envoy's Grpc::Common::hasGrpcContentType.
func isGRPC(s *stream.Stream) bool {
	v, _ := s.Headers.Get("content-type")
	rest, is := strings.CutPrefix(v, "application/grpc")
	return is && (rest == "" || rest[0] == '+')
}

// host takes a trailing dot and a port away, where the configuration says so.
func (m *Manager) host(s *stream.Stream) {
	host := s.Authority()
	if m.stripDot {
		host = withoutDot(host)
	}
	name, port, has := SplitPort(host)
	if has && (m.stripPort == stripAny || m.stripPort == stripMatching && port == uint64(s.Connection.Local.Port())) {
		host = name
	}
	s.Headers.Set(stream.Authority, host)
}

// withoutDot takes the dot of a fully qualified name away, before a port too.
func withoutDot(host string) string {
	at := strings.LastIndexByte(host, '.')
	switch {
	case at < 0:
		return host
	case at == len(host)-1:
		return host[:at]
	case host[at+1] == ':':
		return host[:at] + host[at+1:]
	}
	return host
}

// SplitPort cuts a numeric port off a host as Envoy does where it strips or
// ignores ports; the brackets of an IPv6 address stay (RFC 3986 §3.2.2).
func SplitPort(host string) (name string, port uint64, has bool) {
	at := PortStart(host)
	if at < 0 {
		return host, 0, false
	}
	port, ok := decimal(host[at+1:])
	return host[:at], port, ok
}

// PortStart is where the colon before a port is; -1 where there is none.
func PortStart(host string) int {
	at := strings.LastIndexByte(host, ':')
	if at < 0 || strings.LastIndexByte(host, ']') > at {
		return -1
	}
	return at
}

// decimal reads a number as absl::SimpleAtoi does: blanks around it and a plus
// sign are fine, and it must fit 32 bits.
func decimal(s string) (uint64, bool) {
	s = strings.Trim(s, " \t\n\v\f\r")
	s = strings.TrimPrefix(s, "+")
	if s == "" {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if n = n*10 + uint64(s[i]-'0'); n > 1<<32-1 {
			return 0, false
		}
	}
	return n, true
}

// upgrade is the protocol that a request asks to change to; empty for none.
func upgrade(s *stream.Stream) string {
	if s.Method() == connect {
		return connect
	}
	if !isUpgrade(&s.Headers) {
		return ""
	}
	kind, _ := s.Headers.Get("upgrade")
	return kind
}

// Upgraded decides on a request with an Upgrade of its own (see Outcome). What its
// route says, by protocol in lower case, goes before what the connection manager
// says (route.Case.Upgrades). Where neither lets it through it is refused; a request
// without an Upgrade never is.
func (m *Manager) Upgraded(kind string, route map[string]bool) *stream.Reply {
	if kind == "" {
		return nil
	}
	kind = strings.ToLower(kind)
	allowed, said := route[kind]
	if !said {
		allowed = m.upgrades[kind]
	}
	if allowed {
		return nil
	}
	return refused(403, "upgrade_failed")
}

// isUpgrade is Envoy's Utility::isUpgrade.
func isUpgrade(h *stream.Headers) bool {
	if protocol, _ := h.Get("upgrade"); protocol == "" {
		return false
	}
	connection, _ := h.Get("connection")
	for token := range strings.SplitSeq(connection, ",") {
		if strings.EqualFold(strings.Trim(token, " \t"), "upgrade") {
			return true
		}
	}
	return false
}
