// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"net/netip"
	"strings"
)

// wholeHost is the host that a rule of a namespace means (ResolveShortnameToFQDN in
// pilot/pkg/model/config.go): a name without a dot is a Service of the rule's own
// namespace.
func wholeHost(host, namespace, domain string) string {
	if host == "" || host == "*" || strings.Contains(host, ".") {
		return host
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	return host + "." + namespace + ".svc." + domain
}

func isWildcard(host string) bool { return strings.HasPrefix(host, "*") }

// covers reports whether a wildcard stands for a host, which may be one itself
// (mostSpecificHostWildcardMatch in pilot/pkg/model/config.go).
func covers(wildcard, host string) bool {
	return strings.HasSuffix(strings.TrimPrefix(host, "*"), wildcard[1:])
}

// moreSpecific orders wildcards: the longer one comes first, of two of one length the
// first in the alphabet (MoreSpecific in pkg/config/host/names.go).
func moreSpecific(a, b string) bool {
	if len(a) == len(b) {
		return a < b
	}
	return len(a) > len(b)
}

// HostMatch is how a rule's host matches that of a service.
type HostMatch string

// The ways to match.
const (
	NoMatch  HostMatch = ""
	Exact    HostMatch = "exact"
	Wildcard HostMatch = "wildcard"
)

// matchHost says how the whole host of a rule matches that of a service.
func matchHost(of, host string) HostMatch {
	switch {
	case of == host:
		return Exact
	case isWildcard(of) && covers(of, host):
		return Wildcard
	}
	return NoMatch
}
