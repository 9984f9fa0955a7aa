// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/world"
)

// PoliciesUnknown is what answers note where Policies is false.
const PoliciesUnknown = "which PeerAuthentications decide is not known: proxies are not told"

// Policies finds which DestinationRules and PeerAuthentications decide, of those that
// Istio takes. False: they are not known, since the mesh is known by dumps of proxies
// alone.
func (m *Mesh) Policies() (*resolve.Resolver, bool) {
	if m.generated == nil && m.Objects == nil {
		return nil, false
	}
	return world.Policies(m.All(), m.About, m.Problems), true
}

// All are the objects of the mesh, those that Trellis makes among them. Read only.
func (m *Mesh) All() []client.Object { return slices.Concat(m.Objects, m.input.Objects) }

// Namespaces are those among the objects of the mesh, with their labels.
func (m *Mesh) Namespaces() []model.Namespace {
	var out []model.Namespace
	for _, o := range m.All() {
		if o.GetObjectKind().GroupVersionKind().Kind == "Namespace" {
			out = append(out, model.Namespace{Name: o.GetName(), Labels: o.GetLabels()})
		}
	}
	return out
}
