// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// newRouteMatch compiles the part of a RouteMatch that this filter reads: path,
// headers and query.
func newRouteMatch(m *routev3.RouteMatch) (func(*stream.Stream) match.Answer, error) {
	path, err := newPathMatch(m)
	if err != nil {
		return nil, err
	}
	headers, err := match.NewHeaders(m.GetHeaders())
	if err != nil {
		return nil, err
	}
	parameters, err := match.NewParameters(m.GetQueryParameters())
	if err != nil {
		return nil, err
	}
	all := []func(*stream.Stream) match.Answer{
		path,
		func(s *stream.Stream) match.Answer { return headers.Match(&s.Headers) },
		func(s *stream.Stream) match.Answer { return parameters.Match(s.Path()) },
	}
	return func(s *stream.Stream) match.Answer {
		return match.And(all, func(ask func(*stream.Stream) match.Answer) match.Answer { return ask(s) })
	}, nil
}

func newPathMatch(m *routev3.RouteMatch) (func(*stream.Stream) match.Answer, error) {
	fold := m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	text := &matcherv3.StringMatcher{IgnoreCase: fold}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		if p.Prefix == "" {
			return func(*stream.Stream) match.Answer { return match.Yes }, nil
		}
		text.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: p.Prefix}
	case *routev3.RouteMatch_Path:
		text.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: p.Path}
	case *routev3.RouteMatch_SafeRegex:
		text = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: p.SafeRegex}}
	case *routev3.RouteMatch_ConnectMatcher_:
		return func(s *stream.Stream) match.Answer { return match.Is(s.Method() == "CONNECT") }, nil
	case *routev3.RouteMatch_PathSeparatedPrefix:
		if p.PathSeparatedPrefix == "" || strings.HasSuffix(p.PathSeparatedPrefix, "/") || strings.ContainsAny(p.PathSeparatedPrefix, "?#") {
			return nil, fmt.Errorf("%q is no prefix of whole segments", p.PathSeparatedPrefix)
		}
		return separatedPrefix(p.PathSeparatedPrefix, fold), nil
	case *routev3.RouteMatch_PathMatchPolicy:
		t, err := match.NewTemplate(p.PathMatchPolicy)
		return func(s *stream.Stream) match.Answer { return t.Match(s.Path()) }, err
	default:
		return nil, errNoMatch
	}
	t, err := match.NewText(text)
	if err != nil {
		return nil, fmt.Errorf("the path: %w", err)
	}
	return func(s *stream.Stream) match.Answer { return t.Match(match.WithoutQuery(s.Path())) }, nil
}

// separatedPrefix matches a prefix of whole segments.
func separatedPrefix(prefix string, fold bool) func(*stream.Stream) match.Answer {
	return func(s *stream.Stream) match.Answer {
		path := match.WithoutQuery(s.Path())
		if len(path) < len(prefix) || len(path) > len(prefix) && path[len(prefix)] != '/' {
			return match.No
		}
		head := path[:len(prefix)]
		return match.Is(head == prefix || fold && strings.EqualFold(head, prefix))
	}
}
