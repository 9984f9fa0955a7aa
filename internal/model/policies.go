// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model

import "github.com/trellis-mesh/trellis/api/v1alpha1"

// Policies are what security and compliance state, as it was written.
type Policies struct {
	Goals           []*v1alpha1.Goal
	Templates       []*v1alpha1.PolicyTemplate
	ClusterBindings []*v1alpha1.ClusterPolicyBinding
	Bindings        []*v1alpha1.PolicyBinding
	Exceptions      []*v1alpha1.PolicyException
}

func (p Policies) sorted() Policies {
	return Policies{
		Goals:           sortedBy(p.Goals, compareObjects[*v1alpha1.Goal]),
		Templates:       sortedBy(p.Templates, compareObjects[*v1alpha1.PolicyTemplate]),
		ClusterBindings: sortedBy(p.ClusterBindings, compareObjects[*v1alpha1.ClusterPolicyBinding]),
		Bindings:        sortedBy(p.Bindings, compareObjects[*v1alpha1.PolicyBinding]),
		Exceptions:      sortedBy(p.Exceptions, compareObjects[*v1alpha1.PolicyException]),
	}
}

// PolicyReference names an object of one of the kinds of policy.
func (s *Snapshot) PolicyReference(kind, namespace, name string) Reference {
	return Reference{Cluster: s.mesh.Cluster, Group: v1alpha1.GroupName, Kind: kind, Namespace: namespace, Name: name}
}
