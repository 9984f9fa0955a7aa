// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// The transports that a chain may ask for.
const (
	TLS       = "tls"
	RawBuffer = "raw_buffer"
)

// inspectors are the listener filters: they look at the first bytes of a
// connection. Without one, nothing is found out.
type inspectors struct {
	tls, http *inspector
	// unknown names a filter that may change the connection in a way that is not
	// known here.
	unknown string
}

// inspector is one of them with where it is switched off.
type inspector struct {
	off *listenerv3.ListenerFilterChainMatchPredicate
}

// finding is what they found out.
type finding struct {
	transport, serverName string
	protocols             []string
}

// The listener filters of Istio's proxies that leave a connection as it is, for
// what is decided here: the original destination is the Local address already.
var harmless = map[string]bool{
	"envoy.filters.listener.original_dst": true,
	"envoy.filters.listener.original_src": true,
}

func compileInspectors(l *listenerv3.Listener) inspectors {
	var out inspectors
	for _, f := range l.GetListenerFilters() {
		kind := f.GetTypedConfig().GetTypeUrl()
		kind = kind[strings.LastIndexByte(kind, '/')+1:]
		i := &inspector{off: f.GetFilterDisabled()}
		switch {
		case strings.HasSuffix(kind, ".tls_inspector.v3.TlsInspector"), kind == "" && f.GetName() == "envoy.filters.listener.tls_inspector":
			out.tls = i
		case strings.HasSuffix(kind, ".http_inspector.v3.HttpInspector"), kind == "" && f.GetName() == "envoy.filters.listener.http_inspector":
			out.http = i
		case harmless[f.GetName()]:
		case strings.HasSuffix(kind, ".original_dst.v3.OriginalDst"), strings.HasSuffix(kind, ".original_src.v3.OriginalSrc"):
		default:
			out.unknown = "listener filter " + f.GetName() + " is not one that is known here"
		}
	}
	return out
}

// inspect does what the filters do. A listener whose only inspector is off for
// this port finds nothing, and the connection counts as plaintext.
func (s inspectors) inspect(connection *stream.Connection, version string) (finding, string) {
	if s.unknown != "" {
		return finding{}, s.unknown
	}
	port := uint32(connection.Local.Port())
	out := finding{transport: RawBuffer}
	if t := connection.TLS; t != nil {
		if s.tls.looks(port) {
			out.transport = TLS
			out.serverName = strings.ToLower(t.ServerName)
			out.protocols = t.Offered
		}
		return out, ""
	}
	if s.http.looks(port) && version != "" {
		out.protocols = []string{version}
	}
	return out, ""
}

func (i *inspector) looks(port uint32) bool {
	return i != nil && (i.off == nil || !off(i.off, port))
}

// off evaluates where a listener filter is disabled.
func off(p *listenerv3.ListenerFilterChainMatchPredicate, port uint32) bool {
	switch rule := p.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		return rule.AnyMatch
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		// The end is exclusive (envoy.type.v3.Int32Range).
		return int32(port) >= rule.DestinationPortRange.GetStart() && int32(port) < rule.DestinationPortRange.GetEnd()
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		return !off(rule.NotMatch, port)
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		for _, one := range rule.OrMatch.GetRules() {
			if off(one, port) {
				return true
			}
		}
		return false
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		for _, one := range rule.AndMatch.GetRules() {
			if !off(one, port) {
				return false
			}
		}
		return true
	}
	return false
}
