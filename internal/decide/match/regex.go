// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Regex is a compiled RegexMatcher: RE2 (https://github.com/google/re2/wiki/Syntax),
// always for the whole text. Go's own expressions are RE2's but for single bytes
// and for text that is no UTF-8; both are Unknown.
type Regex struct {
	compiled *regexp.Regexp
	// plain says the same without the machine of the expression, where it is that
	// simple.
	plain *plain
	// needs are texts of which whatever matches has at least one; none: it is not
	// known that it needs any.
	needs []string
	why   string // it is not compiled
}

// maximumRegex bounds an expression in bytes. Envoy's own bound is that of the
// compiled program, which nothing that a person writes reaches.
const maximumRegex = 64 << 10

// NewRegex compiles a RegexMatcher. It fails where Envoy refuses the matcher.
func NewRegex(m *matcherv3.RegexMatcher) (*Regex, error) {
	return newRegex(m.GetRegex())
}

func newRegex(text string) (*Regex, error) {
	if text == "" {
		return nil, errors.New("compiling a regular expression: Envoy refuses an empty one")
	}
	if len(text) > maximumRegex {
		return &Regex{why: fmt.Sprintf("a regular expression has %d bytes, more than %d", len(text), maximumRegex)}, nil
	}
	if strings.Contains(text, "\\C") {
		return &Regex{why: "the regular expression " + text + " matches single bytes"}, nil
	}
	// By itself first: "a)|(b" is none, though it would be one in parentheses.
	if _, err := regexp.Compile(text); err != nil {
		return nil, fmt.Errorf("compiling a regular expression: %w", err)
	}
	whole, err := regexp.Compile(`\A(?:` + text + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("compiling a regular expression: %w", err)
	}
	out := &Regex{compiled: whole}
	out.plain, out.needs = simplified(text)
	return out, nil
}

// Match reports whether the expression matches all of s.
func (r *Regex) Match(s string) Answer {
	switch {
	case r.compiled == nil:
		return Cannot(r.why)
	case !utf8.ValidString(s):
		return Cannot("a text that is compared with a regular expression is no UTF-8")
	case r.plain != nil:
		return Is(r.plain.match(s))
	case r.rulesOut(s):
		return No
	}
	return Is(r.compiled.MatchString(s))
}

// rulesOut reports whether s has none of the texts of which the expression needs one.
func (r *Regex) rulesOut(s string) bool {
	for _, one := range r.needs {
		if strings.Contains(s, one) {
			return false
		}
	}
	return len(r.needs) > 0
}
