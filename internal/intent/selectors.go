// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"maps"
	"slices"

	"github.com/trellis-mesh/trellis/internal/model"
)

// selectorIndex finds the Applications whose selectors select given labels,
// without looking at every Application of a namespace.
type selectorIndex map[selectorKey][]*Application

// selectorKey is one of the pairs of a selector, the first in order: labels that
// do not hold it cannot be selected.
type selectorKey struct{ namespace, key, value string }

func newSelectorIndex(applications []*Application) selectorIndex {
	x := make(selectorIndex, len(applications))
	for _, a := range applications {
		if a.Pods == nil {
			continue
		}
		first := slices.Min(slices.Collect(maps.Keys(a.Pods.Selector)))
		k := selectorKey{a.Ref.Namespace, first, a.Pods.Selector[first]}
		x[k] = append(x[k], a)
	}
	return x
}

// selecting returns the Applications that select labels, in order of no account.
func (x selectorIndex) selecting(namespace string, labels map[string]string) []*Application {
	var out []*Application
	for k, v := range labels {
		for _, a := range x[selectorKey{namespace, k, v}] {
			if model.Selects(a.Pods.Selector, labels) {
				out = append(out, a)
			}
		}
	}
	return out
}
