// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// expiring are those of the policies for which time matters, in no order.
func (g *Gatherer) expiring() model.Policies {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out model.Policies
	for _, name := range []string{policyTemplates, policyExceptions, clusterBindings} {
		w := g.watches[name]
		if w == nil {
			continue
		}
		for _, e := range w.entries() {
			switch o := e.object.(type) {
			case *v1alpha1.PolicyTemplate:
				out.Templates = append(out.Templates, o)
			case *v1alpha1.ClusterPolicyBinding:
				out.ClusterBindings = append(out.ClusterBindings, o)
			case *v1alpha1.PolicyException:
				if !leaving(e) {
					out.Exceptions = append(out.Exceptions, o)
				}
			}
		}
	}
	return out
}
