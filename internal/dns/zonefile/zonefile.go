// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package zonefile writes and reads the texts of TXT records as zone files have
// them (RFC 1035 §5.1), for providers whose interfaces speak that language.
// Vendors that escape in a way of their own have their own code.
package zonefile

import (
	"fmt"
	"strings"
)

// maxString is how many octets one string of a TXT record holds (RFC 1035 §3.3).
const maxString = 255

// Quote writes a text of any octets as quoted strings of up to 255 octets each,
// one space between them. Octets that are no printable ASCII become escapes of
// three decimal digits.
func Quote(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for i := range len(text) {
		if i > 0 && i%maxString == 0 {
			out.WriteString(`" "`)
		}
		switch c := text[i]; {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&out, `\%03d`, c)
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// Unquote is the whole text of a value: its strings one after another, quoted or
// not. It reads whatever it is given; where a quote or an escape has no end, the
// end of the value is taken for it.
func Unquote(value string) string {
	var out strings.Builder
	inside := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			inside = !inside
		case c == '\\' && i+1 < len(value):
			octet, used := escaped(value[i+1:])
			out.WriteByte(octet)
			i += used
		case inside || c != ' ' && c != '\t':
			out.WriteByte(c)
		}
	}
	return out.String()
}

// escaped reads what follows a backslash: three decimal digits that make an octet,
// or the character itself.
func escaped(s string) (octet byte, used int) {
	if len(s) < 3 {
		return s[0], 1
	}
	n := 0
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return s[0], 1
		}
		n = 10*n + int(c-'0')
	}
	if n > 255 {
		return s[0], 1
	}
	return byte(n), 3
}
