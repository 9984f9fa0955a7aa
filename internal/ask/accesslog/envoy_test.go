// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// refused is an entry of a workload's proxy, with all that is read of one.
func refused() *accesslogv3.HTTPAccessLogEntry {
	note, err := structpb.NewStruct(map[string]any{
		"enforced_engine_result": "denied", "enforced_effective_policy_id": "ns[shop]-policy[a]-rule[1]",
		"istio_dry_run_deny_shadow_engine_result": "denied", "istio_dry_run_deny_shadow_effective_policy_id": "ns[shop]-policy[b]-rule[0]",
		"istio_dry_run_allow_shadow_engine_result": "allowed", "istio_dry_run_allow_shadow_effective_policy_id": "none",
	})
	if err != nil {
		panic(err)
	}
	return &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			DownstreamLocalAddress: socket("10.0.0.1", 9080), DownstreamRemoteAddress: socket("10.0.1.1", 40000), DownstreamDirectRemoteAddress: socket("10.0.1.1", 40000),
			StartTime: timestamppb.New(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)), Duration: durationpb.New(3 * time.Millisecond),
			UpstreamCluster: "inbound|9080||;", RouteName: "default",
			ResponseFlags: &accesslogv3.ResponseFlags{UpstreamConnectionFailure: true, NoRouteFound: true},
			TlsProperties: &accesslogv3.TLSProperties{
				TlsVersion: accesslogv3.TLSProperties_TLSv1_3, TlsSniHostname: "outbound_.80_._.cart.shop.svc.cluster.local",
				PeerCertificateProperties: &accesslogv3.TLSProperties_CertificateProperties{SubjectAltName: []*accesslogv3.TLSProperties_CertificateProperties_SubjectAltName{
					{San: &accesslogv3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: "spiffe://cluster.local/ns/shop/sa/web"}},
				}},
			},
			UpstreamTransportFailureReason: "TLS_error:|1:x", DownstreamTransportFailureReason: "TLS_error:|1:y",
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.rbac": note}},
		},
		ProtocolVersion: accesslogv3.HTTPAccessLogEntry_HTTP2,
		Request:         &accesslogv3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_POST, Path: "/a?b=c", Authority: "cart", RequestId: "7b5d", ForwardedFor: "192.0.2.1", RequestBodyBytes: 4},
		Response:        &accesslogv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(403), ResponseCodeDetails: "rbac_access_denied_matched_policy[ns[shop]-policy[a]-rule[1]]", ResponseBodyBytes: 19},
	}
}

func TestAnEntryOfEnvoyIsRead(t *testing.T) {
	got, err := accesslog.OfHTTP(refused(), accesslog.Writer{Namespace: "shop", Pod: "cart-1"})
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort
	want := &accesslog.Entry{
		Method: "POST", Path: "/a?b=c", Protocol: "HTTP/2", Authority: "cart", Code: 403, Flags: []string{"UF", "NR"},
		Details: "rbac_access_denied_matched_policy[ns[shop]-policy[a]-rule[1]]", TransportFailure: "TLS_error:|1:x", DownstreamFailure: "TLS_error:|1:y",
		Start: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), Duration: 3 * time.Millisecond, Received: 4, Sent: 19, RequestID: "7b5d", ForwardedFor: "192.0.2.1",
		Cluster: "inbound|9080||", Local: at("10.0.0.1:9080"), Remote: at("10.0.1.1:40000"), Direct: at("10.0.1.1:40000"),
		ServerName: "outbound_.80_._.cart.shop.svc.cluster.local", TLSVersion: "TLSv1.3", Route: "default", Peer: "spiffe://cluster.local/ns/shop/sa/web",
		Shows: accesslog.Shows{ServerName: true, TLSVersion: true, Peer: true}, Writer: accesslog.Writer{Namespace: "shop", Pod: "cart-1"},
		RBAC: accesslog.RBAC{
			Enforced:   accesslog.Noted{Verdict: accesslog.NotedDenied, Policy: "ns[shop]-policy[a]-rule[1]"},
			TriedDeny:  accesslog.Noted{Verdict: accesslog.NotedDenied, Policy: "ns[shop]-policy[b]-rule[0]"},
			TriedAllow: accesslog.Noted{Verdict: accesslog.NotedAllowed},
		},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("\n%+v, want\n%+v", got, want)
	}
}

func TestAConnectionOfEnvoyIsRead(t *testing.T) {
	got, err := accesslog.OfTCP(&accesslogv3.TCPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			UpstreamCluster: "inbound|5432||", ConnectionTerminationDetails: "rbac_access_denied_matched_policy[none]",
			TimeToLastDownstreamTxByte: durationpb.New(time.Second),
		},
		ConnectionProperties: &accesslogv3.ConnectionProperties{ReceivedBytes: 7, SentBytes: 9},
	}, accesslog.Writer{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Ending() != accesslog.Denied || !got.Inbound() || got.Received != 7 || got.Sent != 9 || got.Duration != time.Second || got.Method != "" {
		t.Errorf("%+v", got)
	}
}

// TestEveryFlagHasItsName holds the names to those that filters of Istio's Telemetry know.
func TestPlaintextThatWasPassedOnIsNoHandshakeThatFailed(t *testing.T) {
	in := &accesslogv3.HTTPAccessLogEntry{CommonProperties: &accesslogv3.AccessLogCommon{
		DownstreamLocalAddress: socket("10.0.0.1", 9090), UpstreamCluster: "inbound|9090||", UpstreamRemoteAddress: socket("127.0.0.1", 43567),
		DownstreamTransportFailureReason: "TLS_error|error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
		AccessLogType:                    accesslogv3.AccessLogType_TcpConnectionEnd,
	}}
	e, err := accesslog.OfHTTP(in, accesslog.Writer{})
	if err != nil || e.DownstreamFailure != "" {
		t.Errorf("%+v, %v", e, err)
	}
	in.CommonProperties.UpstreamRemoteAddress = nil
	if e, err = accesslog.OfHTTP(in, accesslog.Writer{}); err != nil || e.DownstreamFailure == "" {
		t.Errorf("one that got nowhere: %+v, %v", e, err)
	}
}

func TestEveryFlagHasItsName(t *testing.T) {
	all := &accesslogv3.ResponseFlags{UnauthorizedDetails: &accesslogv3.ResponseFlags_Unauthorized{}}
	fields := all.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); field.Kind().String() == "bool" {
			one := &accesslogv3.ResponseFlags{}
			one.ProtoReflect().Set(field, protoreflect.ValueOfBool(true))
			got, err := accesslog.OfTCP(&accesslogv3.TCPAccessLogEntry{CommonProperties: &accesslogv3.AccessLogCommon{ResponseFlags: one}}, accesslog.Writer{})
			if err != nil || len(got.Flags) != 1 {
				t.Errorf("%s: %+v, %v", field.Name(), got, err)
			}
		}
	}
	if fields.Len() != 28 {
		t.Errorf("Envoy has %d flags, and 28 have names here", fields.Len())
	}
	got, err := accesslog.OfTCP(&accesslogv3.TCPAccessLogEntry{CommonProperties: &accesslogv3.AccessLogCommon{ResponseFlags: all}}, accesslog.Writer{})
	if err != nil || !slices.Equal(got.Flags, []string{"UAEX"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNumbersThatNobodyCanHaveMeantSayNothing(t *testing.T) {
	forged := refused()
	forged.CommonProperties.Duration = durationpb.New(-time.Second)
	forged.CommonProperties.StartTime = &timestamppb.Timestamp{Seconds: 1 << 62, Nanos: -1}
	forged.CommonProperties.DownstreamLocalAddress = socket("10.0.0.1", 1<<20)
	forged.CommonProperties.DownstreamRemoteAddress = socket("not an address", 1)
	forged.Response.ResponseCode = wrapperspb.UInt32(1 << 31)
	forged.Response.ResponseBodyBytes = 1 << 63
	got, err := accesslog.OfHTTP(forged, accesslog.Writer{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Duration != -1 || !got.Start.IsZero() || got.Local.IsValid() || got.Remote.IsValid() || got.Code != 0 || got.Sent != -1 {
		t.Errorf("%+v", got)
	}
	for name, e := range map[string]*accesslogv3.HTTPAccessLogEntry{
		"nothing": nil, "empty": {}, "too long": {Request: &accesslogv3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_GET, Path: strings.Repeat("x", accesslog.MaxLine+1)}},
	} {
		if got, err := accesslog.OfHTTP(e, accesslog.Writer{}); err == nil {
			t.Errorf("%s is read as %+v", name, got)
		}
	}
}

func FuzzOfHTTP(f *testing.F) {
	for _, e := range []*accesslogv3.HTTPAccessLogEntry{refused(), {}, {Request: &accesslogv3.HTTPRequestProperties{RequestMethod: 77}}} {
		raw, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := &accesslogv3.HTTPAccessLogEntry{}
		if proto.Unmarshal(raw, e) != nil {
			return
		}
		if got, err := accesslog.OfHTTP(e, accesslog.Writer{}); err == nil && (got.Code < 0 || got.Code > 999 || got.Duration < -1) {
			t.Errorf("%+v", got)
		}
	})
}

func TestWhatTheFiltersNotedIsReadOfEveryFormat(t *testing.T) {
	const note = `{"enforced_engine_result":"allowed","enforced_effective_policy_id":"ns[a]-policy[b]-rule[0]","istio_dry_run_deny_shadow_engine_result":"denied","istio_dry_run_deny_shadow_effective_policy_id":"x"}`
	want := accesslog.RBAC{
		Enforced: accesslog.Noted{Verdict: accesslog.NotedAllowed, Policy: "ns[a]-policy[b]-rule[0]"}, TriedDeny: accesslog.Noted{Verdict: accesslog.NotedDenied, Policy: "x"},
	}
	for name, line := range map[string]string{
		"an object in JSON": strings.TrimSuffix(served, "}") + `,"rbac":` + note + `}`,
		"text in JSON":      strings.TrimSuffix(served, "}") + fmt.Sprintf(`,"envoy.filters.http.rbac":%q}`, note),
		"a label":           withBody("", labels+","+attribute("rbac", note)),
		"a label beside":    withBody(denied, attribute("rbac", note)),
	} {
		if got, err := accesslog.Parse(line); err != nil || got.RBAC != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, text := range map[string]string{"a list": `["engine_result"]`, "cut": note[:40], "a verdict of nobody": `{"enforced_engine_result":"perhaps"}`, "a number": `{"enforced_engine_result":1}`} {
		got, err := accesslog.Parse(strings.TrimSuffix(served, "}") + fmt.Sprintf(`,"rbac":%q}`, text))
		if err != nil || got.RBAC != (accesslog.RBAC{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
