// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Counts is the PeerAuthentication that counts on a level, whether it says a mode or
// not: of several only the first does. Nil: there is none. Read only.
func (t *ModeTrace) Counts(level Level) *securityv1.PeerAuthentication {
	p := map[Level]*policy{MeshLevel: t.mesh, NamespaceLevel: t.namespace, WorkloadLevel: t.workload, PortLevel: t.workload}[level]
	if p == nil {
		return nil
	}
	return p.object
}

// Authentication is the PeerAuthentication of a name, as it is written; nil for none.
// Read only.
func (r *Resolver) Authentication(name model.Name) *securityv1.PeerAuthentication {
	for _, p := range r.policies[name.Namespace] {
		if p.name == name {
			return p.object
		}
	}
	return nil
}

// Root is the mesh's root namespace.
func (r *Resolver) Root() string { return r.root }
