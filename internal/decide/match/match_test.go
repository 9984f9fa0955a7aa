// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match_test

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

func read[M proto.Message](t testing.TB, text string, m M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

func TestUnknownStaysUnlessItCannotMatter(t *testing.T) {
	unknown := match.Cannot("nobody knows")
	self := func(a match.Answer) match.Answer { return a }
	for _, c := range []struct {
		name      string
		got, want match.Answer
	}{
		{"not", unknown.Not(), unknown},
		{"and true", match.And([]match.Answer{match.Yes, unknown, match.Yes}, self), unknown},
		{"and false", match.And([]match.Answer{unknown, match.No}, self), match.No},
		{"or false", match.Or([]match.Answer{unknown, match.No}, self), unknown},
		{"or true", match.Or([]match.Answer{unknown, match.Yes}, self), match.Yes},
		{"the first reason", match.Or([]match.Answer{unknown, match.Cannot("other")}, self), unknown},
		{"and of nothing", match.And(nil, self), match.Yes},
		{"or of nothing", match.Or(nil, self), match.No},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, c.got, c.want)
		}
	}
}

func TestWhatCannotBeComparedIsUnknown(t *testing.T) {
	for _, c := range []struct{ name, matcher, value string }{
		{"an extension", `{"custom":{"name":"mine","typedConfig":{"@type":"type.googleapis.com/google.protobuf.Empty"}}}`, "a"},
		{"single bytes", `{"safeRegex":{"regex":"a\\\\Cb"}}`, "a"},
		{"text that is no UTF-8", `{"safeRegex":{"regex":".*"}}`, "\xff"},
	} {
		m, err := match.NewText(read(t, c.matcher, &matcherv3.StringMatcher{}))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if a := m.Match(c.value); a.Truth != match.Unknown || a.Why == "" {
			t.Errorf("%s: %+v, want unknown with a reason", c.name, a)
		}
	}
}

func TestARegularExpressionIsForTheWholeText(t *testing.T) {
	m, err := match.NewText(read(t, `{"safeRegex":{"regex":"a|ab"}}`, &matcherv3.StringMatcher{}))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]match.Answer{"ab": match.Yes, "abc": match.No, "xa": match.No, "a\n": match.No} {
		if got := m.Match(value); got != want {
			t.Errorf("%q: %+v", value, got)
		}
	}
}

func TestAddressesThatAreNotGivenAreUnknown(t *testing.T) {
	r, err := match.NewRange(read(t, `{"addressPrefix":"10.0.0.0","prefixLen":8}`, &corev3.CidrRange{}))
	if err != nil {
		t.Fatal(err)
	}
	if a := match.Contains(r, netip.Addr{}, "client"); a.Truth != match.Unknown {
		t.Errorf("no address: %+v", a)
	}
	if a := match.Contains(r, netip.MustParseAddr("::ffff:10.1.1.1"), "client"); a != match.Yes {
		t.Errorf("IPv4 in IPv6: %+v", a)
	}
}

func FuzzConstructorsNeverPanic(f *testing.F) {
	for _, seed := range []proto.Message{
		&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "(a"}}},
		&routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{}},
		&routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{}},
		&matcherv3.MetadataMatcher{Filter: "a", Path: []*matcherv3.MetadataMatcher_PathSegment{{}}},
		&matcherv3.FilterStateMatcher{Key: "a", Matcher: &matcherv3.FilterStateMatcher_StringMatch{}},
		&corev3.CidrRange{AddressPrefix: "::1"},
		&matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{}},
		&routev3.QueryParameterMatcher{Name: "a"},
	} {
		encoded, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded, "/a?b=c#d")
	}
	f.Fuzz(func(_ *testing.T, encoded []byte, value string) {
		headers := stream.NewHeaders(stream.Header{Name: "a", Value: value})
		metadata := stream.NewMetadata(map[string]*structpb.Struct{"a": {Fields: map[string]*structpb.Value{"b": structpb.NewStringValue(value)}}})
		text, header, meta, state := &matcherv3.StringMatcher{}, &routev3.HeaderMatcher{}, &matcherv3.MetadataMatcher{}, &matcherv3.FilterStateMatcher{}
		cidr, path, query, values := &corev3.CidrRange{}, &matcherv3.PathMatcher{}, &routev3.QueryParameterMatcher{}, &matcherv3.ValueMatcher{}
		// Whatever the bytes are, each message takes what it can of them.
		for _, m := range []proto.Message{text, header, meta, state, cidr, path, query, values} {
			_ = proto.Unmarshal(encoded, m)
		}
		if m, err := match.NewText(text); err == nil {
			m.Match(value)
		}
		if m, err := match.NewHeader(header); err == nil {
			m.Match(&headers)
		}
		if m, err := match.NewMetadata(meta); err == nil {
			m.Match(metadata)
		}
		if m, err := match.NewFilterState(state); err == nil {
			m.Match(map[string]string{"a": value})
		}
		if r, err := match.NewRange(cidr); err == nil {
			match.Contains(r, netip.IPv4Unspecified(), "client")
		}
		if m, err := match.NewPath(path); err == nil {
			m.Match(value)
		}
		if m, err := match.NewParameters([]*routev3.QueryParameterMatcher{query}); err == nil {
			m.Match(value)
		}
		if m, err := match.NewValue(values); err == nil {
			m.Match(structpb.NewStringValue(value))
		}
	})
}

func TestConstructorsTakeNothingForNoMatcher(t *testing.T) {
	for name, err := range map[string]error{
		"text": second(match.NewText(nil)), "header": second(match.NewHeader(nil)), "path": second(match.NewPath(nil)),
		"range": second(match.NewRange(nil)), "value": second(match.NewValue(nil)), "metadata": second(match.NewMetadata(nil)),
		"filter state": second(match.NewFilterState(nil)), "parameter": second(match.NewParameters([]*routev3.QueryParameterMatcher{nil})),
	} {
		if err == nil {
			t.Errorf("%s: nil is taken", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestMatchersThatAreNestedForeverAreRefused(t *testing.T) {
	m := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}}
	for range 200 {
		m = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: m}}}}
	}
	if _, err := match.NewValue(m); err == nil || !strings.Contains(err.Error(), "deeper") {
		t.Errorf("error: %v", err)
	}
}
