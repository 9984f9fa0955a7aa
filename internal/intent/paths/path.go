// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package paths knows what the paths of routes match, which of them decides a
// request, and which are refused because proxies and applications may read them
// differently. It knows no hosts and no authentication: the owner of a path is a
// value that it hands back.
package paths

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Acme is the prefix that certificate authorities ask for (RFC 8555 section
// 8.3). It is reserved on every host.
const Acme = "/.well-known/acme-challenge"

// Path matches request paths: one path, or a prefix of whole segments.
type Path struct {
	Value string
	// Prefix is true for Value and everything below it.
	Prefix bool
	// Guess is true for what stands in for a path that could not be used.
	Guess  bool
	Origin model.Origin
}

// Matches reports whether the path of a request is matched.
func (p Path) Matches(request string) bool {
	if request == p.Value {
		return true
	}
	if !p.Prefix {
		return false
	}
	return p.Value == "/" || strings.HasPrefix(request, p.Value) && request[len(p.Value)] == '/'
}

// Contains reports whether every request that q matches is matched by p too.
func (p Path) Contains(q Path) bool {
	if q.Prefix && !p.Prefix {
		return false
	}
	return p.Matches(q.Value)
}

// MoreSpecific orders paths so that the first match decides: longer ones
// first, and of equal ones the exact one. Ties are broken by text.
func MoreSpecific(a, b Path) int {
	exactFirst := func(p Path) int {
		if p.Prefix {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(len(b.Value), len(a.Value)),
		strings.Compare(a.Value, b.Value),
		cmp.Compare(exactFirst(a), exactFirst(b)),
	)
}

// Same reports whether two paths match the same requests.
func (p Path) Same(q Path) bool { return p.Value == q.Value && p.Prefix == q.Prefix }

// Check says what is wrong with a path that somebody wrote; empty when
// nothing is. Paths are literal: what a proxy or a back end might read as
// something else is refused.
func Check(value string, prefix bool) (problem, fix string) {
	for _, c := range checks {
		if problem, fix = c(value); problem != "" {
			return problem, fix
		}
	}
	if prefix && value != "/" && strings.HasSuffix(value, "/") {
		return "a prefix covers whole segments and does not end in a slash",
			fmt.Sprintf("write %q; it covers %q too", strings.TrimRight(value, "/"), value)
	}
	return "", ""
}

var checks = []func(string) (problem, fix string){
	func(v string) (string, string) {
		if strings.HasPrefix(v, "/") {
			return "", ""
		}
		return "a path begins with a slash", fmt.Sprintf("write %q", "/"+v)
	},
	func(v string) (string, string) {
		if !strings.ContainsAny(v, "?#") {
			return "", ""
		}
		return "a path has no query and no fragment", "leave out what follows ? or #; a route covers every query"
	},
	func(v string) (string, string) {
		if !strings.Contains(v, "%") {
			return "", ""
		}
		return "a path is written decoded, without percent-encoding", "write the character itself, or a prefix that ends before it"
	},
	func(v string) (string, string) {
		if !strings.Contains(v, "//") {
			return "", ""
		}
		return "an empty segment (//) is read differently by proxies and applications", "write a single slash"
	},
	func(v string) (string, string) {
		for _, s := range strings.Split(v, "/") {
			if s == "." || s == ".." {
				return "dot segments are removed before a route is chosen", "write the path without . and .. segments"
			}
		}
		return "", ""
	},
	func(v string) (string, string) {
		for _, sign := range []string{".*", ".+", "(", ")", "[", "]", "{", "}", "^", "|", "*"} {
			if strings.Contains(v, sign) {
				return fmt.Sprintf("%q looks like a pattern, and paths are literal", sign), "use prefix for everything below a path, or list the paths"
			}
		}
		if strings.HasSuffix(v, "$") {
			return "\"$\" at the end looks like a pattern, and paths are literal", "use exact for a path and nothing below it"
		}
		return "", ""
	},
	func(v string) (string, string) {
		for _, r := range v {
			if !strings.ContainsRune(literal, r) {
				return fmt.Sprintf("the character %q is read differently by proxies and applications", r), "use letters, digits and -._~!$&'+,:@= in segments (RFC 3986 section 3.3)"
			}
		}
		return "", ""
	},
}

// Stem is the longest path whose requests an unusable path may have meant: it
// is decoded and cleaned, and cut before the segment with the first character
// that is not literal or looks like a pattern.
func Stem(value string) string {
	value, _, _ = strings.Cut(value, "?")
	value, _, _ = strings.Cut(value, "#")
	if decoded, err := url.PathUnescape(value); err == nil {
		value = decoded
	}
	value = path.Clean("/" + strings.ReplaceAll(value, "\\", "/"))
	cut := strings.IndexFunc(value, func(r rune) bool { return !strings.ContainsRune(literal, r) })
	if i := strings.Index(value, ".+"); i >= 0 && (cut < 0 || i < cut) {
		cut = i
	}
	if cut >= 0 {
		value = path.Clean(value[:strings.LastIndexByte(value[:cut], '/')+1])
	}
	// What is left may end in the sign again: /a$/* was cut to /a$.
	for strings.HasSuffix(value, "$") {
		value = path.Clean("/" + strings.TrimRight(value, "$"))
	}
	return value
}

// literal are the characters of a path that everybody reads alike: unreserved
// and sub-delims of RFC 3986 without those that have a meaning somewhere.
const literal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'+,:@=/"

// Reserved reports whether a path is one for certificate authorities.
func Reserved(p Path) bool {
	return Path{Value: Acme, Prefix: true}.Contains(p)
}
