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

// errNothing is the cause of a matcher that says nothing, which Envoy refuses.
var errNothing = errors.New("no pattern is given, and Envoy refuses that")

// kind is how a Text compares.
type kind int8

const (
	exact kind = iota
	prefix
	suffix
	contains
	expression
	custom
)

// Text is a compiled StringMatcher (envoy.type.matcher.v3.StringMatcher).
type Text struct {
	kind    kind
	pattern string // in lower case if fold is set
	fold    bool   // ASCII case does not matter
	regex   *Regex
	why     string // of custom
}

// NewText compiles a StringMatcher. It fails where Envoy refuses the matcher.
func NewText(m *matcherv3.StringMatcher) (*Text, error) {
	t := &Text{fold: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		t.kind, t.pattern = exact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		t.kind, t.pattern = prefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		t.kind, t.pattern = suffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		t.kind, t.pattern = contains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		if t.fold {
			return nil, errors.New("compiling a string matcher: Envoy refuses ignore_case with a regular expression")
		}
		r, err := NewRegex(p.SafeRegex)
		if err != nil {
			return nil, err
		}
		return &Text{kind: expression, regex: r}, nil
	case *matcherv3.StringMatcher_Custom:
		return &Text{kind: custom, why: "the string matcher " + p.Custom.GetName() + " is an extension"}, nil
	default:
		return nil, fmt.Errorf("compiling a string matcher: %w", errNothing)
	}
	if t.pattern == "" && t.kind != exact {
		return nil, errors.New("compiling a string matcher: Envoy refuses an empty prefix, suffix or part")
	}
	if t.fold {
		t.pattern = Lower(t.pattern)
	}
	return t, nil
}

// Exactly and WithPrefix make matchers without a proto.
func Exactly(s string) *Text { return &Text{kind: exact, pattern: s} }

// WithPrefix matches what begins with s; an empty one everything.
func WithPrefix(s string) *Text { return &Text{kind: prefix, pattern: s} }

// Match compares.
func (t *Text) Match(s string) Answer {
	switch t.kind {
	case expression:
		return t.regex.Match(s)
	case custom:
		return Cannot(t.why)
	}
	if t.fold {
		s = Lower(s)
	}
	switch t.kind {
	case prefix:
		return Is(strings.HasPrefix(s, t.pattern))
	case suffix:
		return Is(strings.HasSuffix(s, t.pattern))
	case contains:
		return Is(strings.Contains(s, t.pattern))
	}
	return Is(s == t.pattern)
}

// Lower changes ASCII letters only, as Envoy does whatever the locale is.
func Lower(s string) string {
	at := strings.IndexFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' })
	if at < 0 {
		return s
	}
	b := []byte(s)
	for i := at; i < len(b); i++ {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// Regex is a compiled RegexMatcher: RE2 (https://github.com/google/re2/wiki/Syntax),
// always for the whole text. Go's own expressions are RE2's but for single bytes
// and for text that is no UTF-8; both are Unknown.
type Regex struct {
	compiled *regexp.Regexp
	why      string // it is not compiled
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
	return &Regex{compiled: whole}, nil
}

// Match reports whether the expression matches all of s.
func (r *Regex) Match(s string) Answer {
	if r.compiled == nil {
		return Cannot(r.why)
	}
	if !utf8.ValidString(s) {
		return Cannot("a text that is compared with a regular expression is no UTF-8")
	}
	return Is(r.compiled.MatchString(s))
}
