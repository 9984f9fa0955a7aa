// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"cmp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// caller is a workload: proxies that are sent alike.
type caller struct {
	name string
	// nodes are one of them on either side; before is nil where the workload is new.
	before *xds.Node
	after  xds.Node
	sides  [2]*asking
	found  []change
}

// callers are all that are there after a change, in order of their names. One that has other
// labels or another account than it had is the same, if it has its name.
func callers(before, after Side) []*caller {
	was := map[string]*xds.Node{}
	named := map[string]*xds.Node{}
	for _, n := range workloads(before) {
		was[n.Likeness()] = &n
		if name := before.nameOf(n); named[name] == nil {
			named[name] = &n
		}
	}
	var out []*caller
	for _, n := range workloads(after) {
		name := after.nameOf(n)
		out = append(out, &caller{name: name, before: cmp.Or(was[n.Likeness()], named[name]), after: n})
	}
	slices.SortStableFunc(out, func(a, b *caller) int { return strings.Compare(a.name, b.name) })
	return out
}

// workloads are one sidecar each of those that are sent alike.
func workloads(s Side) []xds.Node {
	seen := map[string]bool{}
	var out []xds.Node
	for _, n := range s.Nodes {
		if like := n.Likeness(); n.Type == xds.Sidecar && !seen[like] {
			seen[like] = true
			out = append(out, n)
		}
	}
	return out
}

// nameOf is the Application of a workload, or else its account.
func (s Side) nameOf(n xds.Node) string {
	if a := s.applicationOf(n); a != nil {
		return a.Namespace + "/" + a.Name
	}
	return n.Namespace + "/" + cmp.Or(n.ServiceAccount, n.Name)
}

// applicationOf is the first one whose Service leads to a workload; nil: none does.
func (s Side) applicationOf(n xds.Node) *v1alpha1.Application {
	var found *v1alpha1.Application
	for _, a := range s.Applications {
		if a.Namespace != n.Namespace || found != nil && found.Name < a.Name {
			continue
		}
		service, ok := s.Directory.Service(model.Name{Namespace: a.Namespace, Name: string(a.Spec.Service)})
		if ok && len(service.Selector) > 0 && model.Selects(service.Selector, n.Labels) {
			found = a
		}
	}
	return found
}
