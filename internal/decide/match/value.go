// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"errors"
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Value is a compiled ValueMatcher. Its zero value matches nothing.
type Value struct {
	match func(*structpb.Value) Answer
}

// maximumDepth bounds how deep matchers are nested.
const maximumDepth = 100

var errDeep = fmt.Errorf("matchers are nested deeper than %d", maximumDepth)

// NewValue compiles a ValueMatcher. It fails where Envoy refuses the matcher.
func NewValue(m *matcherv3.ValueMatcher) (*Value, error) {
	match, err := newValue(m, 0)
	if err != nil {
		return nil, fmt.Errorf("compiling a matcher of a value: %w", err)
	}
	return &Value{match: match}, nil
}

// Match compares a value; nil is one that is not there.
func (v *Value) Match(value *structpb.Value) Answer { return v.match(value) }

func newValue(m *matcherv3.ValueMatcher, depth int) (func(*structpb.Value) Answer, error) {
	if depth > maximumDepth {
		return nil, errDeep
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return func(v *structpb.Value) Answer {
			_, null := v.GetKind().(*structpb.Value_NullValue)
			return Is(null)
		}, nil
	case *matcherv3.ValueMatcher_DoubleMatch:
		return newDouble(p.DoubleMatch)
	case *matcherv3.ValueMatcher_StringMatch:
		text, err := NewText(p.StringMatch)
		return func(v *structpb.Value) Answer {
			s, ok := v.GetKind().(*structpb.Value_StringValue)
			if !ok {
				return No
			}
			return text.Match(s.StringValue)
		}, err
	case *matcherv3.ValueMatcher_BoolMatch:
		return func(v *structpb.Value) Answer {
			b, ok := v.GetKind().(*structpb.Value_BoolValue)
			return Is(ok && b.BoolValue == p.BoolMatch)
		}, nil
	case *matcherv3.ValueMatcher_PresentMatch:
		return func(v *structpb.Value) Answer { return Is(p.PresentMatch && v.GetKind() != nil) }, nil
	case *matcherv3.ValueMatcher_ListMatch:
		return newList(p.ListMatch, depth)
	case *matcherv3.ValueMatcher_OrMatch:
		return newAlternatives(p.OrMatch.GetValueMatchers(), depth)
	}
	return nil, errNothing
}

func newDouble(m *matcherv3.DoubleMatcher) (func(*structpb.Value) Answer, error) {
	var holds func(float64) bool
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.DoubleMatcher_Range:
		holds = func(n float64) bool { return p.Range.GetStart() <= n && n < p.Range.GetEnd() }
	case *matcherv3.DoubleMatcher_Exact:
		holds = func(n float64) bool { return n == p.Exact }
	default:
		return nil, errNothing
	}
	return func(v *structpb.Value) Answer {
		n, ok := v.GetKind().(*structpb.Value_NumberValue)
		return Is(ok && holds(n.NumberValue))
	}, nil
}

func newList(m *matcherv3.ListMatcher, depth int) (func(*structpb.Value) Answer, error) {
	if m.GetOneOf() == nil {
		return nil, errNothing
	}
	one, err := newValue(m.GetOneOf(), depth+1)
	if err != nil {
		return nil, err
	}
	return func(v *structpb.Value) Answer { return Or(v.GetListValue().GetValues(), one) }, nil
}

func newAlternatives(ms []*matcherv3.ValueMatcher, depth int) (func(*structpb.Value) Answer, error) {
	if len(ms) < 2 {
		return nil, errors.New("or_match has less than two alternatives, and Envoy refuses that")
	}
	var alternatives []func(*structpb.Value) Answer
	for _, m := range ms {
		one, err := newValue(m, depth+1)
		if err != nil {
			return nil, err
		}
		alternatives = append(alternatives, one)
	}
	return func(v *structpb.Value) Answer {
		return Or(alternatives, func(one func(*structpb.Value) Answer) Answer { return one(v) })
	}, nil
}

// Metadata is a compiled MetadataMatcher.
type Metadata struct {
	filter string
	path   []string
	value  func(*structpb.Value) Answer
	invert bool
}

// NewMetadata compiles a MetadataMatcher. It fails where Envoy refuses the
// matcher.
func NewMetadata(m *matcherv3.MetadataMatcher) (*Metadata, error) {
	out := &Metadata{filter: m.GetFilter(), invert: m.GetInvert()}
	if out.filter == "" || len(m.GetPath()) == 0 {
		return nil, errors.New("compiling a matcher of metadata: it has no filter or no path, and Envoy refuses that")
	}
	for _, s := range m.GetPath() {
		if s.GetKey() == "" {
			return nil, errors.New("compiling a matcher of metadata: its path has an empty part, and Envoy refuses that")
		}
		out.path = append(out.path, s.GetKey())
	}
	var err error
	if out.value, err = newValue(m.GetValue(), 0); err != nil {
		return nil, fmt.Errorf("compiling a matcher of the metadata of %s: %w", out.filter, err)
	}
	return out, nil
}

// Match looks the value up in metadata.
func (m *Metadata) Match(metadata *stream.Metadata) Answer {
	a := m.value(find(metadata.Value(m.filter, m.path[0]), m.path[1:]))
	if m.invert {
		return a.Not()
	}
	return a
}

// find follows keys through structs; nil is what is not there.
func find(v *structpb.Value, path []string) *structpb.Value {
	for _, key := range path {
		v = v.GetStructValue().GetFields()[key]
	}
	return v
}

// FilterState is a compiled FilterStateMatcher.
type FilterState struct {
	key  string
	text *Text
	why  string // it cannot be compared here
}

// NewFilterState compiles a FilterStateMatcher. It fails where Envoy refuses the
// matcher.
func NewFilterState(m *matcherv3.FilterStateMatcher) (*FilterState, error) {
	out := &FilterState{key: m.GetKey()}
	if out.key == "" {
		return nil, errors.New("compiling a matcher of filter state: it has no key, and Envoy refuses that")
	}
	switch p := m.GetMatcher().(type) {
	case *matcherv3.FilterStateMatcher_StringMatch:
		var err error
		if out.text, err = NewText(p.StringMatch); err != nil {
			return nil, fmt.Errorf("compiling a matcher of the filter state %s: %w", out.key, err)
		}
	case nil:
		return nil, fmt.Errorf("compiling a matcher of the filter state %s: %w", out.key, errNothing)
	default:
		out.why = "the filter state " + out.key + " is compared as an address"
	}
	return out, nil
}

// Match compares the object under the key; one that is not there is no match.
func (m *FilterState) Match(state map[string]string) Answer {
	value, ok := state[m.key]
	switch {
	case !ok:
		return No
	case m.text == nil:
		return Cannot(m.why)
	}
	return m.text.Match(value)
}
