// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package accesslog reads what Istio's proxies write into their access log, in
// Istio's default text format and in its JSON form, and knows what Envoy's response
// code details and response flags mean. A line is what a stranger may have shaped:
// the header fields in it are the client's. Nothing here trusts it, and whatever
// cannot be read is an error with the reason.
//
// Sources: Istio pilot/pkg/model/telemetry_logging.go (EnvoyTextLogFormat,
// EnvoyJSONLogFormatIstio), Envoy "access log" and "response code details".
package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
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
	// TransportFailure is why TLS towards upstream failed.
	TransportFailure string
	// ForwardedFor is X-Forwarded-For.
	ForwardedFor string
	// Cluster is Envoy's name of what it was sent to, such as inbound|9080||.
	Cluster string
	// Local and Remote are the ends of the connection that it came on; invalid
	// where they are not known.
	Local, Remote netip.AddrPort
	// ServerName is the SNI.
	ServerName string
	Route      string
	// Peer is the SPIFFE ID of the client, where the format has it
	// (%DOWNSTREAM_PEER_URI_SAN%).
	Peer string
}

// Inbound reports whether the proxy of the server wrote the line; a line of a
// client's proxy or of a gateway names an outbound cluster, or none.
func (e *Entry) Inbound() bool {
	return strings.HasPrefix(e.Cluster, "inbound|") || strings.HasPrefix(e.Cluster, "InboundPassthrough")
}

// Errors of Parse.
var (
	// ErrFormat: the line is neither of the two formats, or was cut.
	ErrFormat = errors.New("it is neither Istio's text format nor JSON, or was cut")
	// ErrTooLong: the line is longer than MaxLine.
	ErrTooLong = fmt.Errorf("it is longer than %d KiB", MaxLine>>10)
)

// textLine is Istio's default format. Envoy escapes no quotes. So what the client
// shapes last, the user agent, takes as much as it can: the fields behind it are
// found from the end of the line, where no client writes.
var textLine = regexp.MustCompile(`^(?:[^"]*\s)?\[([^\]]*)\] "(\S+) (\S+) (\S+)" (\d+) (\S+) (\S+) (\S+) "(.*?)" \d+ \d+ (?:\d+|-) \S+ "([^"]*)" "(.*)" "([^"]*)" "([^"]*)" "([^"]*)" (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\s*$`)

// Parse reads one line.
func Parse(line string) (*Entry, error) {
	switch {
	case len(line) > MaxLine:
		return nil, fmt.Errorf("reading a line of an access log: %w", ErrTooLong)
	case strings.HasPrefix(strings.TrimSpace(line), "{"):
		return parseJSON(line)
	}
	m := textLine.FindStringSubmatch(line)
	if m == nil {
		return nil, fmt.Errorf("reading a line of an access log: %w", ErrFormat)
	}
	for i := range m {
		m[i] = given(m[i])
	}
	out := &Entry{
		Method: m[2], Path: m[3], Protocol: m[4], Flags: flags(m[6]), Details: m[7], Termination: m[8], TransportFailure: m[9],
		ForwardedFor: m[10], Authority: m[13], Cluster: m[15], Local: address(m[17]), Remote: address(m[18]), ServerName: m[19], Route: m[20],
	}
	// A status of more digits than a number has is none.
	out.Code, _ = strconv.Atoi(m[5])
	return out.checked()
}

// jsonLine has the fields of Istio's JSON format, and a few that people add.
type jsonLine struct {
	Method      text `json:"method"`
	Path        text `json:"path"`
	Protocol    text `json:"protocol"`
	Authority   text `json:"authority"`
	Code        text `json:"response_code"`
	Flags       text `json:"response_flags"`
	Details     text `json:"response_code_details"`
	Termination text `json:"connection_termination_details"`
	Transport   text `json:"upstream_transport_failure_reason"`
	Forwarded   text `json:"x_forwarded_for"`
	Cluster     text `json:"upstream_cluster"`
	Local       text `json:"downstream_local_address"`
	Remote      text `json:"downstream_remote_address"`
	ServerName  text `json:"requested_server_name"`
	Route       text `json:"route_name"`
	Peer        text `json:"downstream_peer_uri_san"`
}

// text is a value that may be written as text, number or null.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err == nil {
		*t = text(given(s))
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("a value is neither text nor a number")
	}
	*t = text(n)
	return nil
}

func parseJSON(line string) (*Entry, error) {
	var j jsonLine
	decoder := json.NewDecoder(bytes.NewReader([]byte(line)))
	if err := decoder.Decode(&j); err != nil {
		return nil, fmt.Errorf("reading a line of an access log: %w", ErrFormat)
	}
	out := &Entry{
		Method: string(j.Method), Path: string(j.Path), Protocol: string(j.Protocol), Authority: string(j.Authority),
		Flags: flags(string(j.Flags)), Details: string(j.Details), Termination: string(j.Termination),
		TransportFailure: string(j.Transport), ForwardedFor: string(j.Forwarded), Cluster: string(j.Cluster),
		Local: address(string(j.Local)), Remote: address(string(j.Remote)), ServerName: string(j.ServerName),
		Route: string(j.Route), Peer: string(j.Peer),
	}
	out.Code, _ = strconv.Atoi(string(j.Code))
	return out.checked()
}

// checked refuses an entry that says nothing of what happened.
func (e *Entry) checked() (*Entry, error) {
	if e.Code < 0 || e.Code > 999 {
		e.Code = 0
	}
	if e.Code == 0 && len(e.Flags) == 0 && e.Details == "" && e.Termination == "" && e.Method == "" {
		return nil, fmt.Errorf("reading a line of an access log: it names neither a request nor how it ended")
	}
	return e, nil
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

func address(s string) netip.AddrPort {
	out, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}
	}
	return out
}
