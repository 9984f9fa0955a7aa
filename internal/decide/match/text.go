// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"errors"
	"fmt"
	"strings"

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
	for at := range len(s) {
		if s[at]-'A' < 26 {
			return lowerFrom(s, at)
		}
	}
	return s
}

func lowerFrom(s string, at int) string {
	b := []byte(s)
	for i := at; i < len(b); i++ {
		if b[i]-'A' < 26 {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
