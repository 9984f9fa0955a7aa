// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"slices"
)

// SelectorIndex finds what selects given labels, without looking at every selector
// of a namespace. The zero value cannot be added to; make one.
type SelectorIndex[T any] map[selectorKey][]selecting[T]

// selectorKey is one of the pairs of a selector, the first in order: labels that
// do not hold it cannot be selected.
type selectorKey struct{ namespace, key, value string }

type selecting[T any] struct {
	selector map[string]string
	value    T
}

// Add puts in a value by its selector, which has at least one label.
func (x SelectorIndex[T]) Add(namespace string, selector map[string]string, value T) {
	first := slices.Min(slices.Collect(maps.Keys(selector)))
	k := selectorKey{namespace, first, selector[first]}
	x[k] = append(x[k], selecting[T]{selector, value})
}

// Selecting are the values that select labels, in order of no account.
func (x SelectorIndex[T]) Selecting(namespace string, labels map[string]string) []T {
	var out []T
	for k, v := range labels {
		for _, s := range x[selectorKey{namespace, k, v}] {
			if Selects(s.selector, labels) {
				out = append(out, s.value)
			}
		}
	}
	return out
}
