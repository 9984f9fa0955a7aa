// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"errors"
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Parameter is one parameter of a query, as it is written: nothing is decoded.
type Parameter struct{ Name, Value string }

// Query are the parameters of a :path header, in order.
func Query(path string) []Parameter {
	_, query, found := strings.Cut(path, "?")
	if !found {
		return nil
	}
	query, _, _ = strings.Cut(query, "#")
	var out []Parameter
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		out = append(out, Parameter{Name: name, Value: value})
	}
	return out
}

// Parameters are compiled QueryParameterMatchers of which all must match.
type Parameters []parameter

type parameter struct {
	name string
	text *Text // nil: the parameter is wanted, or wanted missing
	want bool
}

// NewParameters compiles QueryParameterMatchers. It fails where Envoy refuses one.
func NewParameters(ms []*routev3.QueryParameterMatcher) (Parameters, error) {
	var out Parameters
	for _, m := range ms {
		p := parameter{name: m.GetName(), want: true}
		if p.name == "" {
			return nil, errors.New("compiling a matcher of a query parameter: it has no name, and Envoy refuses that")
		}
		switch s := m.GetQueryParameterMatchSpecifier().(type) {
		case *routev3.QueryParameterMatcher_StringMatch:
			text, err := NewText(s.StringMatch)
			if err != nil {
				return nil, fmt.Errorf("compiling a matcher of the query parameter %s: %w", p.name, err)
			}
			p.text = text
		case *routev3.QueryParameterMatcher_PresentMatch:
			p.want = s.PresentMatch
		}
		out = append(out, p)
	}
	return out, nil
}

// Match compares the query of a :path header. Of a parameter that is repeated,
// the first counts.
func (ps Parameters) Match(path string) Answer {
	if len(ps) == 0 {
		return Yes
	}
	query := Query(path)
	return And(ps, func(p parameter) Answer {
		for _, q := range query {
			if q.Name == p.name {
				if p.text != nil {
					return p.text.Match(q.Value)
				}
				return Is(p.want)
			}
		}
		return Is(p.text == nil && !p.want)
	})
}
