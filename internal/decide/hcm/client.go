// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// addressing is how the client's address is found.
type addressing struct {
	useRemote   bool
	hops        int
	skipAppend  bool
	internal    []netip.Prefix
	detections  []detection
	unsupported string
}

// detection is one extension that finds the client's address in a header.
type detection struct {
	header  string // empty: X-Forwarded-For
	hops    int
	trusted bool // its answer may be an internal one
	reject  int  // the code of a refusal where it finds nothing; 0: the next one is asked
	append  bool
}

// edge is whether this proxy is the first one that is trusted.
func (a *addressing) edge() bool { return a.useRemote && a.hops == 0 }

func compileAddressing(m *hcmv3.HttpConnectionManager) addressing {
	out := addressing{
		useRemote:  m.GetUseRemoteAddress().GetValue(),
		hops:       int(m.GetXffNumTrustedHops()),
		skipAppend: m.GetSkipXffAppend(),
	}
	if m.GetRepresentIpv4RemoteAddressAsIpv4MappedIpv6() {
		out.unsupported = "addresses are written as mapped IPv6 ones"
	}
	var ok bool
	if out.internal, ok = prefixes(m.GetInternalAddressConfig().GetCidrRanges()); !ok {
		out.unsupported = "internal_address_config has a range that is none"
	}
	for _, e := range m.GetOriginalIpDetectionExtensions() {
		d, ok := compileDetection(e)
		if !ok {
			out.unsupported = "the client's address is found by an extension that is not known: " + e.GetName()
		}
		out.detections = append(out.detections, d)
	}
	if len(out.detections) == 0 && !out.useRemote {
		out.detections = []detection{{hops: out.hops, trusted: true}}
	}
	return out
}

func compileDetection(e *corev3.TypedExtensionConfig) (detection, bool) {
	message, err := e.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return detection{}, false
	}
	switch c := message.(type) {
	case *xffv3.XffConfig:
		if c.GetXffTrustedCidrs() != nil {
			return detection{}, false
		}
		return detection{hops: int(c.GetXffNumTrustedHops()), trusted: true, append: !orElse(c.GetSkipXffAppend(), true)}, true
	case *customv3.CustomHeaderConfig:
		d := detection{header: strings.ToLower(c.GetHeaderName()), trusted: c.GetAllowExtensionToSetAddressAsTrusted()}
		if s := c.GetRejectWithStatus(); s != nil {
			if d.reject = int(s.GetCode()); d.reject < 400 || d.reject > 599 {
				d.reject = 403
			}
		}
		return d, d.header != ""
	}
	return detection{}, false
}

func prefixes(ranges []*corev3.CidrRange) ([]netip.Prefix, bool) {
	var out []netip.Prefix
	for _, r := range ranges {
		address, err := netip.ParseAddr(r.GetAddressPrefix())
		if err != nil {
			return nil, false
		}
		p, err := address.Prefix(int(r.GetPrefixLen().GetValue()))
		if err != nil {
			return nil, false
		}
		out = append(out, p)
	}
	return out, true
}

// client finds the client's address and changes the headers by who it is, as
// Envoy's ConnectionManagerUtility::mutateRequestHeaders.
func (m *Manager) client(s *stream.Stream, r *Request) (*stream.Reply, string) {
	if m.address.unsupported != "" {
		return nil, m.address.unsupported
	}
	m.hopByHop(s, r)
	remote, trusted, reply := m.remote(s)
	if reply != nil {
		return reply, ""
	}
	if _, has := s.Headers.Get(forwardedProto); !has {
		s.Headers.Set(forwardedProto, schemeOf(s.Connection))
	}
	if _, has := s.Headers.Get(forwardedPort); m.forwardedPort && (m.address.edge() || !has) {
		s.Headers.Set(forwardedPort, strconv.Itoa(int(s.Connection.Local.Port())))
	}
	m.scheme(s)

	internal := trusted && remote.IsValid() && within(m.address.internal, remote)
	if remote.IsValid() {
		s.Connection.Remote = remote
	}
	edge := !internal && m.address.useRemote
	if internal {
		s.Headers.Set("x-envoy-internal", "true")
	} else {
		m.sanitize(s, edge)
	}
	if m.via != "" {
		appendValue(s, "via", m.via, ", ")
	}
	if edge {
		s.Headers.Set("x-envoy-external-address", s.Connection.Remote.String())
	}
	m.clientCertificate(s)
	return nil, ""
}

const (
	forwardedFor   = "x-forwarded-for"
	forwardedProto = "x-forwarded-proto"
	forwardedPort  = "x-forwarded-port"
)

// remote is the client's address, invalid where none was found, and whether it
// may be an internal one; or a refusal.
func (m *Manager) remote(s *stream.Stream) (netip.Addr, bool, *stream.Reply) {
	if !m.address.useRemote {
		for _, d := range m.address.detections {
			address, trusted := d.find(s)
			if address.IsValid() {
				return address, trusted, nil
			}
			if d.reject != 0 {
				return address, false, refused(d.reject, "original_ip_detection_failed")
			}
		}
		return netip.Addr{}, false, nil
	}
	_, forwarded := s.Headers.Get(forwardedFor)
	direct := s.Connection.DirectRemote.Addr().Unmap()
	remote := direct
	if m.address.hops > 0 {
		if found, _ := lastForwarded(s, m.address.hops-1); found.IsValid() {
			remote = found
		}
	}
	if !m.address.skipAppend {
		appended := direct
		if loopback(direct) && s.Connection.Local.IsValid() {
			// Envoy writes the address of the machine that it runs on, which a
			// configuration does not say.
			appended = s.Connection.Local.Addr().Unmap()
		}
		appendValue(s, forwardedFor, appended.String(), ",")
	}
	if _, has := s.Headers.Get(forwardedProto); m.address.hops == 0 || !has {
		s.Headers.Set(forwardedProto, schemeOf(s.Connection))
	}
	return remote, !forwarded, nil
}

// find reads the address from a header.
func (d *detection) find(s *stream.Stream) (netip.Addr, bool) {
	if d.header == "" {
		address, single := lastForwarded(s, d.hops)
		if d.append {
			appendValue(s, forwardedFor, s.Connection.DirectRemote.Addr().Unmap().String(), ",")
		}
		return address, single
	}
	value, _ := s.Headers.Get(d.header)
	return parseAddress(value), d.trusted
}

// lastForwarded is the address that X-Forwarded-For has when so many from its end
// are skipped, and whether it is the only one there.
func lastForwarded(s *stream.Stream, skip int) (netip.Addr, bool) {
	value, has := s.Headers.Get(forwardedFor)
	if !has || value == "" {
		return netip.Addr{}, false
	}
	single := !strings.Contains(value, ",")
	for ; skip > 0; skip-- {
		at := strings.LastIndexByte(value, ',')
		if at < 0 {
			return netip.Addr{}, false
		}
		value = value[:at]
	}
	if at := strings.LastIndexByte(value, ','); at >= 0 {
		value = value[at+1:]
	}
	return parseAddress(value), single
}

// parseAddress reads an address as Envoy does from a header: with blanks around it,
// without a port.
func parseAddress(text string) netip.Addr {
	a, err := netip.ParseAddr(strings.Trim(text, " \t"))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a
}

// scheme sets :scheme where the client has not said it, from X-Forwarded-Proto if
// that is a scheme.
func (m *Manager) scheme(s *stream.Stream) {
	if m.schemeToSet != "" {
		s.Headers.Set(stream.Scheme, m.schemeToSet)
		s.Headers.Set(forwardedProto, m.schemeToSet)
		return
	}
	if has, _ := s.Headers.Get(stream.Scheme); has != "" {
		s.Headers.Set(stream.Scheme, strings.ToLower(has))
		return
	}
	scheme, _ := s.Headers.Get(forwardedProto)
	if scheme = strings.ToLower(scheme); scheme != "http" && scheme != "https" {
		scheme = schemeOf(s.Connection)
	}
	s.Headers.Set(stream.Scheme, scheme)
}

func schemeOf(c *stream.Connection) string {
	if c.TLS != nil {
		return "https"
	}
	return "http"
}

func within(ranges []netip.Prefix, a netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

func appendValue(s *stream.Stream, name, value, separator string) {
	if had, has := s.Headers.Get(name); has && had != "" {
		value = had + separator + value
	}
	s.Headers.Set(name, value)
}

// loopback is Envoy's isLoopbackAddress: of 127.0.0.0/8 one address only.
func loopback(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback()
}
