// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"slices"
	"strings"
)

// Headers are the headers of a request in the order in which they came, names in
// lower case: also those that methods other than Add take. The zero value has none.
type Headers struct {
	fields []Header
}

// Header is one header field.
type Header struct{ Name, Value string }

// NewHeaders takes header fields in order. Names are made lower case.
func NewHeaders(fields ...Header) Headers {
	var h Headers
	for _, f := range fields {
		h.Add(f.Name, f.Value)
	}
	return h
}

// Grow makes room for so many more fields.
func (h *Headers) Grow(n int) { h.fields = slices.Grow(h.fields, n) }

// Clone is a copy whose changes do not show in h.
func (h *Headers) Clone() Headers { return Headers{fields: slices.Clone(h.fields)} }

// All are the fields in order. The slice must not be changed.
func (h *Headers) All() []Header { return h.fields }

// Values are the values of one header, in order; nil where it is missing.
func (h *Headers) Values(name string) []string {
	at := h.index(name)
	if at < 0 {
		return nil
	}
	out := []string{h.fields[at].Value}
	for _, f := range h.fields[at+1:] {
		if f.Name == name {
			out = append(out, f.Value)
		}
	}
	return out
}

// index is the place of the first field of a name; -1 for none.
func (h *Headers) index(name string) int {
	for i := range h.fields {
		if h.fields[i].Name == name {
			return i
		}
	}
	return -1
}

// Get is the first value of a header, and whether there is one.
func (h *Headers) Get(name string) (string, bool) {
	if at := h.index(name); at >= 0 {
		return h.fields[at].Value, true
	}
	return "", false
}

// Single is the value of a header that was sent once; false where there is none, or
// are several.
func (h *Headers) Single(name string) (string, bool) {
	at := -1
	for i := range h.fields {
		if h.fields[i].Name != name {
			continue
		}
		if at >= 0 {
			return "", false
		}
		at = i
	}
	if at < 0 {
		return "", false
	}
	return h.fields[at].Value, true
}

// Joined is what Envoy's header matchers compare: all values of a header with a
// comma between them, and whether there is one
// (HeaderUtility::getAllOfHeaderAsString).
func (h *Headers) Joined(name string) (string, bool) {
	values := h.Values(name)
	if len(values) == 0 {
		return "", false
	}
	return strings.Join(values, ","), true
}

// single are headers of which Envoy keeps one field: what comes after the first is
// joined to it. A test asks a real Envoy whether the list is right.
var single = map[string]bool{}

func init() {
	for _, name := range []string{
		"authorization", "content-type", "user-agent", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
		"x-forwarded-client-cert", "x-request-id", "origin", "via", "accept", "referer", "te", "grpc-timeout",
		"access-control-request-method", "access-control-request-headers", "accept-encoding", "cache-control",
		"x-forwarded-port", "if-match", "if-none-match", "if-modified-since", "if-range", "if-unmodified-since",
		"content-encoding", "pragma",
	} {
		single[name] = true
	}
}

// Add appends a field, or joins it to the one that is there where Envoy keeps one
// only (see single).
func (h *Headers) Add(name, value string) {
	name = strings.ToLower(name)
	if single[name] {
		if i := h.index(name); i >= 0 {
			h.fields[i].Value += "," + value
			return
		}
	}
	h.fields = append(h.fields, Header{Name: name, Value: value})
}

// Set replaces all fields of a name by one, in the place of the first.
func (h *Headers) Set(name, value string) {
	at := h.index(name)
	if at < 0 {
		h.fields = append(h.fields, Header{Name: name, Value: value})
		return
	}
	h.fields[at].Value = value
	rest := slices.DeleteFunc(h.fields[at+1:], func(f Header) bool { return f.Name == name })
	h.fields = h.fields[:at+1+len(rest)]
}

// Remove takes all fields of a name away.
func (h *Headers) Remove(name string) {
	if h.index(name) >= 0 {
		h.fields = slices.DeleteFunc(h.fields, func(f Header) bool { return f.Name == name })
	}
}

// RemoveFunc takes all fields away whose names are to go.
func (h *Headers) RemoveFunc(goes func(name string) bool) {
	h.fields = slices.DeleteFunc(h.fields, func(f Header) bool { return goes(f.Name) })
}

// The pseudo-headers of HTTP/2 (RFC 9113 §8.3.1).
const (
	Method    = ":method"
	Authority = ":authority"
	Path      = ":path"
	Scheme    = ":scheme"
)

// Method is the pseudo-header; empty where it is missing.
func (s *Stream) Method() string { return s.first(Method) }

// Path is the pseudo-header with the query; empty where it is missing.
func (s *Stream) Path() string { return s.first(Path) }

// Authority is the pseudo-header; empty where it is missing.
func (s *Stream) Authority() string { return s.first(Authority) }

func (s *Stream) first(name string) string {
	if at := s.Headers.index(name); at >= 0 {
		return s.Headers.fields[at].Value
	}
	return ""
}
