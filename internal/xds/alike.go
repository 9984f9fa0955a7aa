// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"maps"
	"slices"
	"strings"
)

// ownLabels are those that a controller gives to each pod or generation of pods. They decide
// about nothing, and would make each one of a kind.
var ownLabels = []string{"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"}

// Likeness is the same for proxies that are sent alike: of one type, namespace, account and
// set of labels.
func (n Node) Likeness() string {
	var out strings.Builder
	for _, part := range []string{string(n.Type), n.Namespace, n.ServiceAccount} {
		out.WriteString(part + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
		if !slices.Contains(ownLabels, name) {
			out.WriteString(name + "=" + n.Labels[name] + "\n")
		}
	}
	return out.String()
}
