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
