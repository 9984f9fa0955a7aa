// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package accesslog reads what Istio's proxies write into their access log, in
// Istio's default text format, in its JSON form, as OpenTelemetry's log records of
// either and as Envoy's own log entries, and knows what Envoy's response code details
// and response flags mean. A line is what a stranger may have shaped:
// the header fields in it are the client's. Nothing here trusts it, and whatever
// cannot be read is an error with the reason.
//
// Sources: Istio pilot/pkg/model/telemetry_logging.go (EnvoyTextLogFormat,
// EnvoyJSONLogFormatIstio, openTelemetryLog), Envoy "access log" and "response code
// details", OpenTelemetry's OTLP/JSON.
package accesslog

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// MaxLine is the longest line that is read, in bytes: headers and a path of what
// Envoy takes by default (60 KiB), twice.
const MaxLine = 128 << 10

// Entry is one line. Strings are as they were written, with "-" as empty.
type Entry struct {
	// Method and Path are empty for a connection that carried no HTTP. Path has
	// the query, as the client sent it.
	Method, Path, Protocol string
	// Authority is the host that the client asked for.
	Authority string
	// Code is the HTTP status, 0 for none.
	Code int
	// Flags are Envoy's response flags, such as NR.
	Flags []string
	// Details are the response code details, Termination those of a connection.
	Details, Termination string
	// TransportFailure is why the connection towards upstream failed: TLS, or the
	// connecting itself. DownstreamFailure is why TLS towards the client did, where
	// the format has it (%DOWNSTREAM_TRANSPORT_FAILURE_REASON%).
	TransportFailure, DownstreamFailure string
	// Start is when the request came; zero where the line does not say.
	Start time.Time
	// Duration is how long it took, Received and Sent how many bytes of bodies
	// passed, or of a connection; negative where the line does not say.
	Duration       time.Duration
	Received, Sent int64
	// RequestID is X-Request-Id, which the proxies of client and server share.
	RequestID string
	// ForwardedFor is X-Forwarded-For.
	ForwardedFor string
	// Cluster is Envoy's name of what it was sent to, such as inbound|9080||.
	Cluster string
	// Local and Remote are the ends of the connection that it came on; invalid
	// where they are not known.
	Local, Remote netip.AddrPort
	// Direct is the far end of the connection itself, where the format has it
	// (%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%): Remote may be what a header claims.
	Direct netip.AddrPort
	// Upstream is the endpoint that it was sent to, UpstreamLocal the own end of
	// the connection there: what the server's proxy has as Remote. Invalid where
	// they are not known: UpstreamLocal is not, of a connection that never stood.
	Upstream, UpstreamLocal netip.AddrPort
	// ServerName is the SNI.
	ServerName string
	// TLSVersion is that of the connection that it came on, such as TLSv1.3, where
	// the format has it (%DOWNSTREAM_TLS_VERSION%).
	TLSVersion string
	Route      string
	// Peer is the SPIFFE ID of the client, where the format has it
	// (%DOWNSTREAM_PEER_URI_SAN%).
	Peer string
	// RBAC is what Envoy's RBAC filters noted, where the format has it
	// (%DYNAMIC_METADATA(envoy.filters.http.rbac)%).
	RBAC RBAC
	// Shows are those of the last fields that the format has at all: where it has one,
	// empty means that the connection had none.
	Shows Shows
	// Writer is the pod whose proxy wrote the line.
	Writer Writer
}

// Shows says which fields the format of a line has.
type Shows struct{ ServerName, TLSVersion, Peer bool }

// Writer is a pod, as far as a line names who wrote it: empty where it does not.
type Writer struct{ Namespace, Pod string }

// Inbound reports whether the proxy of the server wrote the line; a line of a
// client's proxy or of a gateway names an outbound cluster, or none.
func (e *Entry) Inbound() bool {
	return strings.HasPrefix(e.Cluster, "inbound|") || strings.HasPrefix(e.Cluster, "InboundPassthrough")
}

// Errors of Parse.
var (
	// ErrFormat: the line is of none of the formats, or was cut.
	ErrFormat = errors.New("it is neither Istio's text format nor JSON, or was cut")
	// ErrSeveral: the line holds more than one record, which ParseAll reads.
	ErrSeveral = errors.New("it holds several log records, and one was expected")
	// ErrTooLong: the line is longer than MaxLine.
	ErrTooLong = fmt.Errorf("it is longer than %d KiB", MaxLine>>10)
)

// textLine is Istio's default format. Envoy escapes no quotes. So what the client
// shapes last, the user agent, takes as much as it can: the fields behind it are
// found from the end of the line, where no client writes.
var textLine = regexp.MustCompile(`^(?:[^"]*\s)?\[([^\]]*)\] "(\S+) (\S+) (\S+)" (\d+) (\S+) (\S+) (\S+) "(.*?)" (\d+) (\d+) (\d+|-) \S+ "([^"]*)" ".*" "([^"]*)" "([^"]*)" "([^"]*)" (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\s*$`)

// textFields are the groups of textLine by the names that Istio's JSON has for them.
var textFields = []string{
	"start_time", "method", "path", "protocol", "response_code", "response_flags", "response_code_details", "connection_termination_details",
	"upstream_transport_failure_reason", "bytes_received", "bytes_sent", "duration", "x_forwarded_for", "request_id", "authority", "upstream_host",
	"upstream_cluster", "upstream_local_address", "downstream_local_address", "downstream_remote_address", "requested_server_name", "route_name",
}

// prefix is what kubectl logs --prefix writes before a line.
var prefix = regexp.MustCompile(`^\[pod/([a-z0-9.-]+)/[a-z0-9-]+\] `)

// Parse reads one line, which holds one entry.
func Parse(line string) (*Entry, error) {
	if len(line) > MaxLine {
		return nil, unread(ErrTooLong)
	}
	entries, errs := ParseAll(line)
	switch {
	case len(entries)+len(errs) > 1:
		return nil, unread(ErrSeveral)
	case len(errs) > 0:
		return nil, errs[0]
	}
	return entries[0], nil
}

// ParseAll reads one line, or one document, of any format: an export of
// OpenTelemetry holds many entries, all others one. There is an error for each
// entry that cannot be read, and there is at least one entry or error.
func ParseAll(line string) ([]*Entry, []error) {
	if len(line) > MaxBatch {
		return nil, []error{unread(ErrTooLong)}
	}
	pod := prefix.FindStringSubmatch(line)
	if pod == nil {
		return parseBare(line)
	}
	entries, errs := parseBare(line[len(pod[0]):])
	for _, e := range entries {
		if e.Writer == (Writer{}) {
			e.Writer.Pod = pod[1]
		}
	}
	return entries, errs
}

// parseBare reads a line without what kubectl writes before it.
func parseBare(line string) ([]*Entry, []error) {
	found := parseRecords(line)
	if found != nil && found.Resources != nil {
		return found.entries()
	}
	// Formats that people wrote may well have a body or attributes among Istio's fields.
	e, err := parseOne(line)
	switch {
	case err == nil:
		return []*Entry{e}, nil
	case found != nil:
		return found.entries()
	}
	return nil, []error{err}
}

// parseOne reads Istio's text format or its JSON form.
func parseOne(line string) (*Entry, error) {
	if len(line) > MaxLine {
		return nil, unread(ErrTooLong)
	}
	if strings.HasPrefix(strings.TrimSpace(line), "{") {
		f, err := parseFields(line)
		if err != nil {
			return nil, err
		}
		out, err := f.entry()
		if err == nil && out.RBAC == (RBAC{}) {
			out.RBAC = nested(line)
		}
		return out, err
	}
	m := textLine.FindStringSubmatch(line)
	if m == nil {
		return nil, unread(ErrFormat)
	}
	f := fields{}
	for i, name := range textFields {
		f[name] = value(given(m[i+1]))
	}
	return f.entry()
}

func unread(err error) error { return fmt.Errorf("reading a line of an access log: %w", err) }

// checked refuses an entry that says nothing of what happened. One of a connection
// that went well says no more than where to.
func (e *Entry) checked() (*Entry, error) {
	// %UPSTREAM_CLUSTER% is the name that statistics have, which Istio ends so that Envoy
	// knows where it does (DelimitedStatsPrefix in pilot/pkg/networking/util/util.go).
	e.Cluster = strings.TrimSuffix(e.Cluster, ";")
	if e.Code < 0 || e.Code > 999 {
		e.Code = 0
	}
	// Where a port takes both, Envoy first looks whether a connection begins as a handshake,
	// and notes that it does not for one that it then passes on in plaintext. A handshake that
	// failed gets no further than that.
	if e.Inbound() && e.Upstream.IsValid() {
		e.DownstreamFailure = ""
	}
	ended := e.Code != 0 || len(e.Flags) > 0 || e.Details != "" || e.Termination != "" || e.DownstreamFailure != "" || e.TransportFailure != ""
	if !ended && e.Method == "" && e.Cluster == "" {
		return nil, errSilent
	}
	return e, nil
}

var errSilent = errors.New("reading a line of an access log: it names neither a request nor how it ended")
