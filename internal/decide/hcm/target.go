// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// methods are those that the codec takes (the IANA registry, less what is newer).
var methods = set("ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE " +
	"MSEARCH NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE " +
	"UNBIND UNLINK UNLOCK UNSUBSCRIBE")

func set(words string) map[string]bool {
	out := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		out[w] = true
	}
	return out
}

// inline are the request headers that Envoy keeps in a slot of their own, and so
// never twice. Filters add to them: the last lines are from those of Envoy's
// official build.
var inline = set(":authority :path :method :scheme connection content-length content-type expect grpc-accept-encoding " +
	"grpc-timeout keep-alive proxy-connection referer te transfer-encoding upgrade user-agent via x-client-trace-id " +
	"x-envoy-attempt-count x-envoy-decorator-operation x-envoy-downstream-service-cluster " +
	"x-envoy-downstream-service-node x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace " +
	"x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags x-envoy-is-timeout-retry x-envoy-max-retries " +
	"x-envoy-original-path x-envoy-original-host x-envoy-original-url x-envoy-retriable-header-names " +
	"x-envoy-retriable-status-codes x-envoy-retry-grpc-on x-envoy-retry-on x-envoy-upstream-alt-stat-name " +
	"x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms " +
	"x-envoy-upstream-stream-duration-ms x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port " +
	"x-forwarded-proto x-request-id " +
	"accept accept-encoding access-control-request-headers access-control-request-method " +
	"access-control-request-private-network authorization cache-control content-encoding if-match if-modified-since " +
	"if-none-match if-range if-unmodified-since origin pragma proxy-status")

func (m *Manager) validMethod(method string) bool {
	if m.anyMethod {
		return validName(strings.ToLower(method))
	}
	return methods[method]
}

// validName is a token (RFC 9110 §5.6.2).
func validName(name string) bool {
	for i := range len(name) {
		if !nameBytes[name[i]] {
			return false
		}
	}
	return name != ""
}

// nameBytes and hostBytes are the bytes that names of fields and hosts may have.
var (
	nameBytes = table("!#$%&'*+-.^_`|~")
	hostBytes = table("!$%&'()*+,-.:;=@[]_~")
)

// table are letters, digits, and others.
func table(others string) (out [256]bool) {
	for i := range out {
		out[i] = alphanumeric(byte(i)) || strings.IndexByte(others, byte(i)) >= 0
	}
	return out
}

func alphanumeric(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 26 }

// parsableName is what the parser takes as a name before anybody looks at it: bytes
// outside of ASCII are found later.
func parsableName(name string) bool {
	for i := range len(name) {
		if name[i] < 0x80 && !nameBytes[name[i]] {
			return false
		}
	}
	return name != ""
}

// validValue is what a header's value may have: no control characters but tab.
func validValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// validLength is whether there is one content-length at most, and it is a number.
func validLength(h *stream.Headers) bool {
	values := h.Values("content-length")
	if len(values) != 1 {
		return false
	}
	value := strings.Trim(values[0], " \t")
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return false
		}
	}
	return value != "" && len(value) < 19
}

// validTarget is what the parser takes as a request target, before anybody looks
// what it means.
func validTarget(target string, isConnect bool) bool {
	if target == "" {
		return false
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	if target[0] == '/' || target[0] == '*' {
		return true
	}
	rest := target
	if !isConnect {
		scheme, after, is := strings.Cut(target, "://")
		if !is || !validScheme(scheme) {
			return false
		}
		rest = after
	}
	host := rest
	if at := strings.IndexAny(rest, "/?"); at >= 0 {
		host = rest[:at]
	}
	for i := range len(host) {
		if !hostBytes[host[i]] {
			return false
		}
	}
	return !strings.Contains(host, "@@")
}

func validScheme(s string) bool {
	for i := range len(s) {
		letter := (s[i]|0x20)-'a' < 26
		if !letter && (i == 0 || s[i]-'0' >= 10 && strings.IndexByte("+-.", s[i]) < 0) {
			return false
		}
	}
	return s != ""
}

// validHost is Envoy's HeaderUtility::authorityIsValid, which takes more than a
// URI's authority (RFC 3986 §3.2).
func validHost(host string) bool {
	for i := range len(host) {
		if !hostBytes[host[i]] {
			return false
		}
	}
	return true
}

// absolute is a request target in absolute form (RFC 9112 §3.2.2), or host and
// port for CONNECT.
type absolute struct{ scheme, host, path string }

func parseAbsolute(target string, isConnect bool) (absolute, bool) {
	if isConnect {
		name, port, has := SplitPort(target)
		return absolute{host: target}, has && port < 1<<16 && validTargetHost(name)
	}
	scheme, rest, _ := strings.Cut(target, "://")
	out := absolute{scheme: strings.ToLower(scheme), path: "/"}
	out.host = rest
	if at := strings.IndexAny(rest, "/?"); at >= 0 {
		out.host, out.path = rest[:at], rest[at:]
	}
	if user, host, is := strings.Cut(out.host, "@"); is {
		if strings.Contains(host, "@") || user == "" {
			return out, false
		}
		out.host = host
	}
	name := out.host
	if at := PortStart(out.host); at >= 0 {
		port, ok := decimal(out.host[at+1:])
		if !ok || port >= 1<<16 {
			return out, false
		}
		name = out.host[:at]
	}
	return out, validTargetHost(name)
}

// validTargetHost is a host name or an address in brackets.
func validTargetHost(name string) bool {
	if inner, is := strings.CutPrefix(name, "["); is {
		inner, is = strings.CutSuffix(inner, "]")
		for i := range len(inner) {
			if c := inner[i]; !isHex(c) && c != ':' && c != '.' {
				return false
			}
		}
		return is && inner != ""
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '-' && c != '.' {
			return false
		}
	}
	return name != ""
}
