// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// peer is who called a workload, by the certificate that its proxy verified.
func (x *Index) peer(e *accesslog.Entry) string {
	if e.Peer == "" {
		if e.Shows.Peer {
			return NoIdentity
		}
		return UnknownPeer
	}
	domain, name, ok := identity(e.Peer)
	switch {
	case !ok:
		return UnknownPeer
	case slices.Contains(x.trustDomains, domain):
		return name
	}
	return domain + "/" + name
}

// identity reads spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT. Of a certificate with several
// names the first is taken, as Envoy does for source.principal.
func identity(uri string) (domain, name string, ok bool) {
	rest, is := strings.CutPrefix(uri, "spiffe://")
	if !is || len(rest) > longest {
		return "", "", false
	}
	rest, _, _ = strings.Cut(rest, ",")
	domain, rest, _ = strings.Cut(rest, "/ns/")
	namespace, account, _ := strings.Cut(rest, "/sa/")
	if !label(domain, 253) || !label(namespace, 63) || !label(account, 253) {
		return "", "", false
	}
	return domain, namespace + "/" + account, true
}

// label reports whether a text is a name as Kubernetes and SPIFFE have them.
func label(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}
