// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"maps"

	"google.golang.org/protobuf/types/known/structpb"
)

// Metadata is Envoy's dynamic metadata: by filter name, what it has said. The zero
// value has none.
//
// Nearly nobody reads it, so it is put together only for who does.
type Metadata struct {
	said []saying
}

// Fields are what a filter says at one time.
type Fields interface {
	// Fields are the values by key. They are never changed.
	GetFields() map[string]*structpb.Value
}

type saying struct {
	filter string
	fields Fields
}

// usualSayings is how often filters say something of a usual request.
const usualSayings = 4

// NewMetadata takes what filters have said, by their names.
func NewMetadata(said map[string]*structpb.Struct) *Metadata {
	out := &Metadata{}
	for filter, fields := range said {
		out.Merge(filter, fields)
	}
	return out
}

// Merge adds to what a filter has said, as Envoy's filters do: values of keys that
// are there already are replaced.
func (m *Metadata) Merge(filter string, fields Fields) {
	if m.said == nil {
		m.said = make([]saying, 0, usualSayings)
	}
	m.said = append(m.said, saying{filter, fields})
}

// Value is what a filter has said last of a key; nil for nothing.
func (m *Metadata) Value(filter, key string) *structpb.Value {
	for i := len(m.said) - 1; i >= 0; i-- {
		if m.said[i].filter != filter {
			continue
		}
		if v, there := m.said[i].fields.GetFields()[key]; there {
			return v
		}
	}
	return nil
}

// Of is all that a filter has said.
func (m *Metadata) Of(filter string) *structpb.Struct {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for _, s := range m.said {
		if s.filter == filter {
			maps.Copy(out.Fields, s.fields.GetFields())
		}
	}
	return out
}
