// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"slices"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// notFromTheInternet are the headers that only a trusted proxy may set, so that
// the first trusted one takes them away.
var notFromTheInternet = set("x-envoy-decorator-operation x-envoy-downstream-service-cluster " +
	"x-envoy-downstream-service-node x-envoy-original-path x-envoy-original-host")

// internalOnly are the headers that only internal clients may set
// (ConnectionManagerUtility::cleanInternalHeaders).
var internalOnly = set("x-envoy-retriable-status-codes x-envoy-retriable-header-names x-envoy-retry-on " +
	"x-envoy-retry-grpc-on x-envoy-max-retries x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-timeout-ms " +
	"x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response " +
	"x-envoy-expected-rq-timeout-ms x-envoy-force-trace x-envoy-ip-tags x-envoy-original-url " +
	"x-envoy-hedge-on-per-try-timeout")

// sanitize takes away what a client that is not internal must not say.
func (m *Manager) sanitize(s *stream.Stream, edge bool) {
	s.Headers.RemoveFunc(func(name string) bool {
		if strings.HasPrefix(name, "x-envoy-") && (internalOnly[name] || edge && notFromTheInternet[name]) {
			return true
		}
		return slices.Contains(m.internalOnly, name)
	})
}

// ofTheConnection is whether a header goes whatever the request is: also the one by
// which the proxy says that a client is internal.
func ofTheConnection(name string) bool {
	switch name {
	case "x-envoy-internal", "keep-alive", "proxy-connection", "transfer-encoding":
		return true
	}
	return false
}

// hopByHop takes away what concerns the connection only (RFC 9110 §7.6.1).
func (m *Manager) hopByHop(s *stream.Stream, r *Request) {
	if isUpgrade(&s.Headers) {
		_, chunked := s.Headers.Get("transfer-encoding")
		if _, sized := s.Headers.Get("content-length"); !chunked && !sized && !r.Body {
			s.Headers.Set("content-length", "0")
		}
	} else {
		s.Headers.Remove("connection")
		s.Headers.Remove("upgrade")
		if te, has := s.Headers.Get("te"); has {
			s.Headers.Remove("te")
			for token := range strings.SplitSeq(te, ",") {
				if strings.EqualFold(strings.Trim(token, " \t"), "trailers") {
					s.Headers.Set("te", "trailers")
				}
			}
		}
	}
	s.Headers.RemoveFunc(ofTheConnection)
	if referer, has := s.Headers.Get("referer"); has && !validReferer(referer) {
		s.Headers.Remove("referer")
	}
}

// validReferer is what Envoy leaves as a Referer: an absolute URL without user and
// fragment, or a relative reference (Utility::isValidRefererValue).
func validReferer(text string) bool {
	if scheme, rest, is := strings.Cut(text, "://"); is && validScheme(scheme) && validTarget(text, false) {
		if _, ok := parseAbsolute(text, false); ok {
			host, _, _ := strings.Cut(rest, "/")
			return !strings.Contains(text, "#") && !strings.Contains(host, "@")
		}
	}
	slashed := false
	for i := range len(text) {
		c := text[i]
		switch {
		case c == '/':
			slashed = true
		case c == ':':
			if !slashed {
				return false
			}
		case !alphanumeric(c) && strings.IndexByte("-._~!$&'()*+,;=@?%", c) < 0:
			return false
		}
	}
	return true
}

const clientCert = "x-forwarded-client-cert"

// hash stands for the digest of the client's certificate, which a question does
// not have.
const hash = "Hash=0000000000000000000000000000000000000000000000000000000000000000"

// clientCertificate makes x-forwarded-client-cert
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert).
func (m *Manager) clientCertificate(s *stream.Stream) {
	if m.certificate == hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY {
		return
	}
	if m.certificate == hcmv3.HttpConnectionManager_SANITIZE || s.Connection.TLS == nil || s.Connection.TLS.Peer == nil {
		s.Headers.Remove(clientCert)
		return
	}
	if m.certificate == hcmv3.HttpConnectionManager_FORWARD_ONLY {
		return
	}
	peer := s.Connection.TLS.Peer
	parts := make([]string, 0, 4+len(peer.URIs)+len(peer.DNSNames))
	if m.by != "" {
		parts = append(parts, m.by)
	}
	parts = append(parts, hash)
	if m.details.GetSubject().GetValue() {
		parts = append(parts, `Subject="`+peer.Subject+`"`)
	}
	if m.details.GetUri() {
		if len(peer.URIs) == 0 {
			parts = append(parts, "URI=")
		}
		for _, u := range peer.URIs {
			parts = append(parts, "URI="+u)
		}
	}
	if m.details.GetDns() {
		for _, d := range peer.DNSNames {
			parts = append(parts, "DNS="+d)
		}
	}
	if m.certificate == hcmv3.HttpConnectionManager_APPEND_FORWARD {
		appendValue(s, clientCert, strings.Join(parts, ";"), ",")
		return
	}
	s.Headers.Set(clientCert, strings.Join(parts, ";"))
}
