// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Header is a compiled HeaderMatcher (envoy.config.route.v3.HeaderMatcher).
type Header struct {
	name           string
	invert         bool
	missingIsEmpty bool
	// One of these is set; none is for presence.
	text  *Text
	span  *typev3.Int64Range
	there *bool // the header is wanted, or wanted missing
}

// NewHeader compiles a HeaderMatcher. It fails where Envoy refuses the matcher.
func NewHeader(m *routev3.HeaderMatcher) (*Header, error) {
	if m.GetName() == "" {
		return nil, errors.New("compiling a header matcher: it has no name, and Envoy refuses that")
	}
	h := &Header{name: strings.ToLower(m.GetName()), invert: m.GetInvertMatch(), missingIsEmpty: m.GetTreatMissingHeaderAsEmpty()}
	// Envoy keeps Host in :authority, under both names.
	if h.name == "host" {
		h.name = stream.Authority
	}
	var err error
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_RangeMatch:
		if h.span = s.RangeMatch; h.span == nil {
			h.span = &typev3.Int64Range{}
		}
	case *routev3.HeaderMatcher_PresentMatch:
		h.there = &s.PresentMatch
	case *routev3.HeaderMatcher_StringMatch:
		h.text, err = NewText(s.StringMatch)
	case nil:
		there := true
		h.there = &there
	default:
		h.text, err = deprecatedHeader(m)
	}
	if err != nil {
		return nil, fmt.Errorf("compiling a matcher of the header %s: %w", m.GetName(), err)
	}
	return h, nil
}

// deprecatedHeader reads the forms from before string_match, which Istio still
// writes in places.
func deprecatedHeader(m *routev3.HeaderMatcher) (*Text, error) {
	t := &Text{}
	//nolint:staticcheck // Deprecated fields are in configurations that proxies have.
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_ExactMatch:
		if s.ExactMatch == "" {
			// This one form takes nothing for anything.
			return WithPrefix(""), nil
		}
		return Exactly(s.ExactMatch), nil
	case *routev3.HeaderMatcher_SafeRegexMatch:
		return NewText(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: s.SafeRegexMatch}})
	case *routev3.HeaderMatcher_PrefixMatch:
		t.kind, t.pattern = prefix, s.PrefixMatch
	case *routev3.HeaderMatcher_SuffixMatch:
		t.kind, t.pattern = suffix, s.SuffixMatch
	case *routev3.HeaderMatcher_ContainsMatch:
		t.kind, t.pattern = contains, s.ContainsMatch
	default:
		return &Text{kind: custom, why: "a header is matched in a way that is not known here"}, nil
	}
	if t.pattern == "" {
		return nil, errNothing
	}
	return t, nil
}

// Match compares the headers of a request. Of a header that is sent twice each
// value is compared: it is enough that one matches, or inverted that none does.
// Envoy joined them once, which was a way around rules.
func (h *Header) Match(headers *stream.Headers) Answer {
	if value, is := headers.Single(h.name); is {
		return h.turned(h.one(value))
	}
	values := headers.Values(h.name)
	if len(values) == 0 && h.missingIsEmpty {
		values = []string{""}
	}
	if h.there != nil {
		return Is((len(values) > 0 == *h.there) != h.invert)
	}
	if len(values) == 0 {
		// Inverted or not: a header that is missing matches no value.
		return No
	}
	return h.turned(Or(values, h.one))
}

// turned is an answer as it is wanted.
func (h *Header) turned(a Answer) Answer {
	if h.invert {
		return a.Not()
	}
	return a
}

// one compares one value.
func (h *Header) one(value string) Answer {
	switch {
	case h.there != nil:
		return Is(*h.there)
	case h.text != nil:
		return h.text.Match(value)
	}
	n, err := strconv.ParseInt(strings.Trim(value, " \t\n\v\f\r"), 10, 64)
	return Is(err == nil && n >= h.span.GetStart() && n < h.span.GetEnd())
}

// Headers are compiled HeaderMatchers of which all must match.
type Headers []*Header

// NewHeaders compiles them in order.
func NewHeaders(ms []*routev3.HeaderMatcher) (Headers, error) {
	var out Headers
	for _, m := range ms {
		h, err := NewHeader(m)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// Match is true where all are, and where there are none.
func (hs Headers) Match(headers *stream.Headers) Answer {
	if len(hs) == 0 {
		return Yes
	}
	return And(hs, func(h *Header) Answer { return h.Match(headers) })
}
