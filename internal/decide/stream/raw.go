// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import "strings"

// Raw takes header fields as they are sent: names are made lower case, and nothing
// is joined, which is left to the proxy that receives them.
func Raw(fields ...Header) Headers {
	out := Headers{fields: make([]Header, len(fields))}
	for i, f := range fields {
		out.fields[i] = Header{Name: strings.ToLower(f.Name), Value: f.Value}
	}
	return out
}

// Sent are the fields of a request as it is sent on: those of the pseudo-headers
// are said otherwise, and the host is the first.
func (s *Stream) Sent() Headers {
	out := Headers{fields: make([]Header, 1, len(s.Headers.fields))}
	out.fields[0] = Header{Name: "host", Value: s.Authority()}
	for _, f := range s.Headers.fields {
		if !strings.HasPrefix(f.Name, ":") && f.Name != "host" {
			out.fields = append(out.fields, f)
		}
	}
	return out
}
