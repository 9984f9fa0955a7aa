// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apiserver/pkg/cel/common"
)

// Value is a value as expressions see it. Many expressions read the same one, so it keeps
// what they have read; hence it is for one goroutine.
type Value = ref.Val

// value is JSON of a schema as Kubernetes makes values of it.
func value(of any, s *schema) Value {
	v := kept(common.UnstructuredToVal(of, s))
	switch v := v.(type) {
	case *keptObject:
		v.size = sizeOf(of)
	case *keptList:
		v.size = sizeOf(of)
	}
	return v
}

// size is that of a whole fact. What is neither object nor list is the word of an
// enumeration or a number.
func size(v Value) int {
	switch v := v.(type) {
	case *keptObject:
		return v.size
	case *keptList:
		return v.size
	}
	return sizes[0]
}

// kept makes objects and lists keep their parts. Everything else is as cheap as it can be.
func kept(v ref.Val) ref.Val {
	switch v := v.(type) {
	case traits.Mapper:
		return &keptObject{Mapper: v}
	case traits.Lister:
		return &keptList{Lister: v}
	}
	return v
}

// plainly is what a value was before it was kept: Kubernetes compares its own kinds of
// values among themselves.
func plainly(v ref.Val) ref.Val {
	switch v := v.(type) {
	case *keptObject:
		return v.Mapper
	case *keptList:
		return v.Lister
	}
	return v
}

// keptObject is an object or a map.
type keptObject struct {
	traits.Mapper
	fields map[string]field
	// size of all that is in it; known of whole facts alone.
	size int
}

type field struct {
	value ref.Val
	found bool
}

func (o *keptObject) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return o.Mapper.Find(key)
	}
	f, known := o.fields[string(name)]
	if !known {
		f.value, f.found = o.Mapper.Find(key)
		f.value = kept(f.value)
		if o.fields == nil {
			o.fields = make(map[string]field)
		}
		o.fields[string(name)] = f
	}
	return f.value, f.found
}

func (o *keptObject) Get(key ref.Val) ref.Val {
	if v, found := o.Find(key); found {
		return v
	}
	return o.Mapper.Get(key)
}

func (o *keptObject) Contains(key ref.Val) ref.Val {
	v, found := o.Find(key)
	if v != nil && types.IsUnknownOrError(v) {
		return v
	}
	return types.Bool(found)
}

func (o *keptObject) Equal(other ref.Val) ref.Val { return o.Mapper.Equal(plainly(other)) }

// keptList is a list, of any of the kinds that Kubernetes has.
type keptList struct {
	traits.Lister
	elements []ref.Val
	size     int
}

func (l *keptList) all() []ref.Val {
	if l.elements == nil {
		l.elements = []ref.Val{}
		for it := l.Lister.Iterator(); it.HasNext() == types.True; {
			l.elements = append(l.elements, kept(it.Next()))
		}
	}
	return l.elements
}

func (l *keptList) Get(index ref.Val) ref.Val {
	if i, ok := index.(types.Int); ok && i >= 0 && int(i) < len(l.all()) {
		return l.elements[i]
	}
	return l.Lister.Get(index)
}

func (l *keptList) Contains(v ref.Val) ref.Val {
	if text, ok := v.(types.String); ok {
		return l.containsText(text)
	}
	return l.Lister.Contains(plainly(v))
}

// containsText looks for a string. Elements of another type are not equal to it; whether
// that is an error is for Kubernetes to say.
func (l *keptList) containsText(text types.String) ref.Val {
	for _, e := range l.all() {
		s, ok := e.(types.String)
		if !ok {
			return l.Lister.Contains(text)
		}
		if s == text {
			return types.True
		}
	}
	return types.False
}

func (l *keptList) Equal(other ref.Val) ref.Val { return l.Lister.Equal(plainly(other)) }

func (l *keptList) Iterator() traits.Iterator { return &keptIterator{keptList: l} }

// keptIterator goes over the elements of a list.
type keptIterator struct {
	*keptList
	at int
}

func (i *keptIterator) HasNext() ref.Val { return types.Bool(i.at < len(i.all())) }

func (i *keptIterator) Next() ref.Val {
	i.at++
	return i.all()[i.at-1]
}
