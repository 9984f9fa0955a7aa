// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"fmt"
	"strconv"
	"strings"
)

// maxString is how many octets one string of a TXT record holds (RFC 1035 §3.3).
const maxString = 255

// quote writes a text as quoted strings of up to 255 octets each. Octets that are
// no printable ASCII become escapes of three octal digits.
func quote(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for i := 0; i < len(text); i++ {
		if i > 0 && i%maxString == 0 {
			out.WriteString(`" "`)
		}
		switch c := text[i]; {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&out, `\%03o`, c)
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// unquote is the whole text of a value: its strings one after another.
func unquote(value string) string {
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
		case inside:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// escaped reads what follows a backslash: three octal digits, or the character
// itself.
func escaped(s string) (octet byte, used int) {
	if len(s) >= 3 {
		if n, err := strconv.ParseUint(s[:3], 8, 8); err == nil {
			return byte(n), 3
		}
	}
	return s[0], 1
}

// unescape reads a name as answers have it, with octal escapes and a dot at the
// end.
func unescape(name string) string {
	var out strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+1 < len(name) {
			octet, used := escaped(name[i+1:])
			out.WriteByte(octet)
			i += used
			continue
		}
		out.WriteByte(name[i])
	}
	return strings.TrimSuffix(out.String(), ".")
}

// escapeName writes a name as answers have it, without the dot at the end.
func escapeName(name string) string {
	var out strings.Builder
	for _, c := range []byte(name) {
		if strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789-_.", c) >= 0 {
			out.WriteByte(c)
			continue
		}
		fmt.Fprintf(&out, `\%03o`, c)
	}
	return out.String()
}
