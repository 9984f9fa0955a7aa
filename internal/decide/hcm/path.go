// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import "strings"

// NormalizePath is what normalize_path does to the path of a request, the query
// left as it is (RFC 3986 §6.2.2, as Envoy's URL library understands it):
//
//   - parameters of a dot segment go away ("/a/..;x/b" is "/a/../b"), which Envoy
//     does since 1.40 or little before, and for dots in plain text only;
//   - dot segments are resolved, "%2e" counts as a dot, and going above the root
//     stays there;
//   - a backslash becomes a slash;
//   - escapes of letters, digits, "-", ".", "_" and "~" are undone, other escapes
//     stay as they are written, and invalid ones stay too;
//   - characters that no path may have are escaped.
//
// It says false where the path has a null byte: the request is refused then. A
// fragment is for the caller to see.
func NormalizePath(path string) (string, bool) {
	only, query := cutQuery(path)
	if isCanonical(only) {
		return path, true
	}
	c := canonical{out: make([]byte, 0, len(only)+8), invalid: -1}
	if !c.run(stripDotParameters(only)) {
		return "", false
	}
	return string(c.out) + query, true
}

// isCanonical reports whether a path has nothing in it that may have to change, as
// nearly all have.
func isCanonical(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c == '%' || c == '\\' || escapedBytes[c]:
			return false
		case c == '.' && (i == 0 || path[i-1] == '/'):
			return false
		}
	}
	return true
}

// MergeSlashes makes one slash of many in the path, not in the query. Of a path
// of slashes only, two stay.
func MergeSlashes(path string) string {
	only, query := cutQuery(path)
	if !strings.Contains(only, "//") {
		return path
	}
	if strings.Trim(only, "/") == "" {
		return "//" + query
	}
	var b strings.Builder
	b.Grow(len(path))
	for i := range len(only) {
		if i == 0 || only[i] != '/' || only[i-1] != '/' {
			b.WriteByte(only[i])
		}
	}
	return b.String() + query
}

// UnescapeSlashes undoes %2F and %5C in the path, not in the query, and says
// whether there were any.
func UnescapeSlashes(path string) (string, bool) {
	only, query := cutQuery(path)
	if !strings.Contains(only, "%") {
		return path, false
	}
	out := escapedSlashes.Replace(only)
	return out + query, len(out) != len(only)
}

var escapedSlashes = strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", `\`, "%5c", `\`)

func cutQuery(path string) (only, query string) {
	if at := strings.IndexByte(path, '?'); at >= 0 {
		return path[:at], path[at:]
	}
	return path, ""
}

// stripDotParameters takes the parameters (RFC 3986 §3.3) of segments "." and
// ".." away, which some servers do before they resolve dots.
func stripDotParameters(path string) string {
	if !strings.Contains(path, ".;") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		for _, dots := range [...]string{".", ".."} {
			if strings.HasPrefix(s, dots+";") {
				segments[i] = dots
			}
		}
	}
	return strings.Join(segments, "/")
}

// canonical writes one path in its canonical form.
type canonical struct {
	out []byte
	// invalid is where the last percent sign that begins no valid escape was
	// written; -1 before the first.
	invalid int
}

// run reads a path without query; false where it has a null byte.
func (c *canonical) run(path string) bool {
	ok := true
	for i := 0; i < len(path); i++ {
		switch ch := path[i]; {
		case dot(path, i) > 0:
			i += c.dots(path, i) - 1
		case ch == '\\':
			c.out = append(c.out, '/')
		case ch == '%':
			n, valid := c.percent(path, i)
			ok = ok && valid
			i += n - 1
		case escapedBytes[ch]:
			c.out = append(c.out, '%', upperHex[ch>>4], upperHex[ch&15])
			ok = ok && ch != 0
		default:
			c.out = append(c.out, ch)
		}
	}
	return ok
}

// dots reads what begins with a dot at i, and says how much of it is read.
func (c *canonical) dots(path string, i int) int {
	n := dot(path, i)
	if len(c.out) == 0 || c.out[len(c.out)-1] != '/' {
		c.out = append(c.out, '.')
		return n
	}
	after := i + n
	if after == len(path) {
		return n
	}
	if slash(path[after]) {
		return n + 1
	}
	second := dot(path, after)
	end := after + second
	switch {
	case second == 0 || end < len(path) && !slash(path[end]):
		c.out = append(c.out, '.')
		return n
	case end < len(path):
		second++
	}
	c.up()
	return n + second
}

// up goes back to the slash before the last one, if there is one.
func (c *canonical) up() {
	n := len(c.out) - 1
	for n > 0 && c.out[n-1] != '/' {
		n--
	}
	if n > 0 {
		c.out = c.out[:n]
	}
	if c.invalid >= len(c.out) {
		c.invalid = -1
	}
}

// percent reads what begins with a percent sign at i, and says how much of it is
// read and whether it may be there.
func (c *canonical) percent(path string, i int) (int, bool) {
	if !escape(path, i) {
		c.invalid = len(c.out)
		c.out = append(c.out, '%')
		return 1, true
	}
	value := unhex(path[i+1])<<4 | unhex(path[i+2])
	if !unreserved(value) {
		c.out = append(c.out, path[i:i+3]...)
		return 3, value != 0
	}
	c.out = append(c.out, value)
	if c.invalid >= 0 && c.invalid >= len(c.out)-3 {
		c.nested(path, i+3)
	}
	return 3, true
}

// nested keeps a character that was just unescaped from making an escape together
// with the lone percent sign before it: "%%32e" must not become "%2e". The percent
// sign is escaped then.
func (c *canonical) nested(path string, next int) {
	at, tail := c.invalid, c.out[c.invalid+1:]
	switch {
	case len(tail) == 1 && next < len(path) && isHex(tail[0]) && isHex(path[next]),
		len(tail) == 2 && isHex(tail[0]) && isHex(tail[1]):
		kept := string(tail)
		c.out = append(c.out[:at+1], "25"...)
		c.out = append(c.out, kept...)
	}
}

// dot is the length of a dot at i, plain or escaped; 0 for none.
func dot(path string, i int) int {
	switch {
	case path[i] == '.':
		return 1
	case path[i] == '%' && i+2 < len(path) && path[i+1] == '2' && path[i+2]|0x20 == 'e':
		return 3
	}
	return 0
}

func slash(c byte) bool { return c == '/' || c == '\\' }

// escapedBytes are those that the canonical form of a path has only escaped.
var escapedBytes = func() (out [256]bool) {
	for i := range out {
		c := byte(i)
		out[i] = c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>?^`{|}", c) >= 0
	}
	return out
}()

func unreserved(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 26 || strings.IndexByte("-._~", c) >= 0
}

const upperHex = "0123456789ABCDEF"

func escape(s string, i int) bool { return i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) }

func isHex(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
