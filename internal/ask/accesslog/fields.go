// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fields are what a line says by the names of Istio's JSON format. Names that people
// chose for the same, and those of OpenTelemetry's conventions, are among them under
// Istio's (see alias).
type fields map[string]value

// value is one that may be written as text, number or null. What is neither says
// nothing.
type value string

// UnmarshalJSON implements json.Unmarshaler.
func (v *value) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err == nil {
		*v = value(given(s))
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err == nil {
		*v = value(n)
	}
	return nil
}

// aliases are other names of fields: Envoy's operators in lower case, and the
// attributes that OpenTelemetry's conventions have for HTTP.
var aliases = map[string]string{
	"x_request_id": "request_id", "tls_version": "downstream_tls_version", "status": "response_code", "peer": "downstream_peer_uri_san",
	"http_request_method": "method", "url_path": "path", "http_response_status_code": "response_code", "host": "authority",
	"upstream_cluster_raw": "upstream_cluster",
}

var underscored = strings.NewReplacer(".", "_", "-", "_")

// alias is Istio's name of a field: without regard to case, dots and dashes.
func alias(name string) string {
	name = underscored.Replace(strings.ToLower(name))
	if known, ok := aliases[name]; ok {
		return known
	}
	return name
}

// fieldsOf takes fields by whatever names: one under Istio's own name goes before
// those under others, of which the first goes. One that is there and says nothing is
// empty.
func fieldsOf(named map[string]value) fields {
	out := make(fields, len(named))
	var others []string
	for name, v := range named {
		if alias(name) != name {
			others = append(others, name)
			continue
		}
		out[name] = v
	}
	slices.Sort(others)
	for _, name := range others {
		if own := alias(name); out[own] == "" {
			out[own] = named[name]
		}
	}
	return out
}

func parseFields(line string) (fields, error) {
	named := map[string]value{}
	if err := json.NewDecoder(strings.NewReader(line)).Decode(&named); err != nil {
		return nil, unread(ErrFormat)
	}
	return fieldsOf(named), nil
}

// entry makes an entry of fields that say how something ended.
func (f fields) entry() (*Entry, error) { return f.unchecked().checked() }

func (f fields) unchecked() *Entry {
	text := func(name string) string { return string(f[name]) }
	out := &Entry{
		Method: text("method"), Path: text("path"), Protocol: text("protocol"), Authority: text("authority"),
		Code: int(f.number("response_code", 0)), Flags: flags(text("response_flags")), Details: text("response_code_details"),
		Termination: text("connection_termination_details"), TransportFailure: text("upstream_transport_failure_reason"),
		DownstreamFailure: text("downstream_transport_failure_reason"), ForwardedFor: text("x_forwarded_for"), Cluster: text("upstream_cluster"),
		Local: f.address("downstream_local_address"), Remote: f.address("downstream_remote_address"),
		Direct:   f.address("downstream_direct_remote_address"),
		Upstream: f.address("upstream_host"), UpstreamLocal: f.address("upstream_local_address"),
		ServerName: text("requested_server_name"), Route: text("route_name"), Peer: text("downstream_peer_uri_san"),
		RequestID: text("request_id"), TLSVersion: text("downstream_tls_version"),
		Received: f.number("bytes_received", -1), Sent: f.number("bytes_sent", -1), Duration: -1, RBAC: f.rbac(),
	}
	_, out.Shows.ServerName = f["requested_server_name"]
	_, out.Shows.TLSVersion = f["downstream_tls_version"]
	_, out.Shows.Peer = f["downstream_peer_uri_san"]
	if ms := f.number("duration", -1); ms >= 0 && ms <= maxDuration.Milliseconds() {
		out.Duration = time.Duration(ms) * time.Millisecond
	}
	if start, err := time.Parse(time.RFC3339Nano, text("start_time")); err == nil {
		out.Start = start
	}
	return out
}

// maxDuration is longer than any connection lasts; what claims to be longer was made
// up.
const maxDuration = 10 * 365 * 24 * time.Hour

// number is a field that is one and not negative; otherwise what it is without.
func (f fields) number(name string, without int64) int64 {
	n, err := strconv.ParseInt(string(f[name]), 10, 64)
	if err != nil || n < 0 {
		return without
	}
	return n
}

func (f fields) address(name string) netip.AddrPort {
	out, err := netip.ParseAddrPort(string(f[name]))
	if err != nil {
		return netip.AddrPort{}
	}
	return out
}

// given is a field with Envoy's sign for nothing taken away.
func given(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func flags(s string) []string {
	if s = given(s); s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
