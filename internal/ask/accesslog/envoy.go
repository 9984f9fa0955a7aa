// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// OfHTTP reads an entry that Envoy sends by its access log service. By holds the pod
// whose proxy sent it.
func OfHTTP(in *accesslogv3.HTTPAccessLogEntry, by Writer) (*Entry, error) {
	out := ofCommon(in.GetCommonProperties(), by)
	request, response := in.GetRequest(), in.GetResponse()
	if m := request.GetRequestMethod(); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		out.Method = m.String()
	}
	out.Path, out.Authority = request.GetPath(), request.GetAuthority()
	out.RequestID, out.ForwardedFor = request.GetRequestId(), request.GetForwardedFor()
	out.Protocol = protocols[in.GetProtocolVersion()]
	if code := response.GetResponseCode().GetValue(); code <= 999 {
		out.Code = int(code)
	}
	out.Details = given(response.GetResponseCodeDetails())
	out.Received, out.Sent = amount(request.GetRequestBodyBytes()), amount(response.GetResponseBodyBytes())
	return out.complete()
}

// OfTCP reads an entry about a connection, as OfHTTP does.
func OfTCP(in *accesslogv3.TCPAccessLogEntry, by Writer) (*Entry, error) {
	out := ofCommon(in.GetCommonProperties(), by)
	connection := in.GetConnectionProperties()
	out.Received, out.Sent = amount(connection.GetReceivedBytes()), amount(connection.GetSentBytes())
	return out.complete()
}

// complete refuses what is about nothing, or longer than any line may be.
func (e *Entry) complete() (*Entry, error) {
	if len(e.Path)+len(e.Authority)+len(e.Details)+len(e.Termination)+len(e.ForwardedFor) > MaxLine {
		return nil, unread(ErrTooLong)
	}
	return e.checked()
}

var protocols = map[accesslogv3.HTTPAccessLogEntry_HTTPVersion]string{
	accesslogv3.HTTPAccessLogEntry_HTTP10: "HTTP/1.0", accesslogv3.HTTPAccessLogEntry_HTTP11: "HTTP/1.1",
	accesslogv3.HTTPAccessLogEntry_HTTP2: "HTTP/2", accesslogv3.HTTPAccessLogEntry_HTTP3: "HTTP/3",
}

var tlsVersions = map[accesslogv3.TLSProperties_TLSVersion]string{
	accesslogv3.TLSProperties_TLSv1: "TLSv1", accesslogv3.TLSProperties_TLSv1_1: "TLSv1.1",
	accesslogv3.TLSProperties_TLSv1_2: "TLSv1.2", accesslogv3.TLSProperties_TLSv1_3: "TLSv1.3",
}

func ofCommon(in *accesslogv3.AccessLogCommon, by Writer) *Entry {
	out := &Entry{
		Termination: given(in.GetConnectionTerminationDetails()), TransportFailure: given(in.GetUpstreamTransportFailureReason()),
		DownstreamFailure: given(in.GetDownstreamTransportFailureReason()), Cluster: given(in.GetUpstreamCluster()), Route: given(in.GetRouteName()),
		Local: addressOf(in.GetDownstreamLocalAddress()), Remote: addressOf(in.GetDownstreamRemoteAddress()),
		Direct:   addressOf(in.GetDownstreamDirectRemoteAddress()),
		Upstream: addressOf(in.GetUpstreamRemoteAddress()), UpstreamLocal: addressOf(in.GetUpstreamLocalAddress()),
		Flags: flagsOf(in.GetResponseFlags()), Duration: lasted(in), Writer: by,
		// What a connection did not have is left out, and nothing else is.
		Shows: Shows{ServerName: true, TLSVersion: true, Peer: true},
	}
	if start := in.GetStartTime(); start.IsValid() {
		out.Start = start.AsTime()
	}
	if tls := in.GetTlsProperties(); tls != nil {
		out.ServerName, out.TLSVersion = given(tls.GetTlsSniHostname()), tlsVersions[tls.GetTlsVersion()]
		for _, name := range tls.GetPeerCertificateProperties().GetSubjectAltName() {
			if uri := name.GetUri(); uri != "" {
				out.Peer = uri
				break
			}
		}
	}
	out.RBAC = noteOf(in.GetMetadata().GetFilterMetadata())
	return out
}

// noteOf reads the metadata of the RBAC filters, for HTTP and for connections.
func noteOf(all map[string]*structpb.Struct) RBAC {
	for _, filter := range [...]string{"envoy.filters.http.rbac", "envoy.filters.network.rbac"} {
		if keys := all[filter].GetFields(); len(keys) > 0 {
			return rbacOf(func(key string) string { return keys[key].GetStringValue() })
		}
	}
	return RBAC{}
}

// lasted is how long it took: older Envoys have no field for it, and say when the last
// byte was sent.
func lasted(in *accesslogv3.AccessLogCommon) time.Duration {
	for _, d := range [...]*durationpb.Duration{in.GetDuration(), in.GetTimeToLastDownstreamTxByte()} {
		if d.IsValid() {
			if out := d.AsDuration(); out >= 0 && out <= maxDuration {
				return out
			}
		}
	}
	return -1
}

// amount is a number of bytes; negative for one that nobody can have sent.
func amount(n uint64) int64 {
	if n > 1<<62 {
		return -1
	}
	return int64(n)
}

func addressOf(in *corev3.Address) netip.AddrPort {
	socket := in.GetSocketAddress()
	port := socket.GetPortValue()
	address, err := netip.ParseAddr(socket.GetAddress())
	if err != nil || port > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(address, uint16(port))
}

// flagsOf are the names of flags (source/common/stream_info/utility.h).
func flagsOf(in *accesslogv3.ResponseFlags) []string {
	if in == nil {
		return nil
	}
	var out []string
	for _, flag := range [...]struct {
		is   bool
		name string
	}{
		{in.GetFailedLocalHealthcheck(), "LH"}, {in.GetNoHealthyUpstream(), "UH"}, {in.GetUpstreamRequestTimeout(), "UT"},
		{in.GetLocalReset(), "LR"}, {in.GetUpstreamRemoteReset(), "UR"}, {in.GetUpstreamConnectionFailure(), "UF"},
		{in.GetUpstreamConnectionTermination(), "UC"}, {in.GetUpstreamOverflow(), "UO"}, {in.GetNoRouteFound(), "NR"},
		{in.GetDelayInjected(), "DI"}, {in.GetFaultInjected(), "FI"}, {in.GetRateLimited(), "RL"},
		{in.GetUnauthorizedDetails() != nil, "UAEX"}, {in.GetRateLimitServiceError(), "RLSE"},
		{in.GetDownstreamConnectionTermination(), "DC"}, {in.GetUpstreamRetryLimitExceeded(), "URX"}, {in.GetStreamIdleTimeout(), "SI"},
		{in.GetInvalidEnvoyRequestHeaders(), "IH"}, {in.GetDownstreamProtocolError(), "DPE"}, {in.GetUpstreamMaxStreamDurationReached(), "UMSDR"},
		{in.GetResponseFromCacheFilter(), "RFCF"}, {in.GetNoFilterConfigFound(), "NFCF"}, {in.GetDurationTimeout(), "DT"},
		{in.GetUpstreamProtocolError(), "UPE"}, {in.GetNoClusterFound(), "NC"}, {in.GetOverloadManager(), "OM"},
		{in.GetDnsResolutionFailure(), "DF"}, {in.GetDownstreamRemoteReset(), "DR"},
	} {
		if flag.is {
			out = append(out, flag.name)
		}
	}
	return out
}
