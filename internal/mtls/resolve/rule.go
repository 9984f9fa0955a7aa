// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Rule is what istiod makes of one DestinationRule, or of several for one host in one
// namespace (ConsolidatedDestRule in pilot/pkg/model/push_context.go).
type Rule struct {
	// Name is the first one's. Clusters name it in their metadata, and no other.
	Name model.Name
	// Merged are the others, in order.
	Merged []model.Name
	// Host is the whole one.
	Host string
	// TrafficPolicy is whole that of one of them, the first that has one. Read only.
	TrafficPolicy *networkingapi.TrafficPolicy
	// PolicyFrom is which.
	PolicyFrom model.Name
	// Subsets are those of all; of one name the first counts.
	Subsets []Subset

	base     *rule
	exportTo map[string]bool
}

// Subset is one of a Rule.
type Subset struct {
	// From is the object that has it, Index its place there.
	From  model.Name
	Index int
	*networkingapi.Subset
}

func newRule(o *rule) *Rule {
	u := &Rule{Name: o.name, Host: o.host, base: o, exportTo: o.exportTo}
	u.takePolicy(o)
	for i, subset := range o.spec().GetSubsets() {
		u.Subsets = append(u.Subsets, Subset{From: o.name, Index: i, Subset: subset})
	}
	return u
}

// Selector are the labels that the workloads have to have; ok is false for a rule that
// is for all.
func (u *Rule) Selector() (labels map[string]string, ok bool) {
	selector := u.base.selector()
	return selector.GetMatchLabels(), selector != nil
}

// Subset finds one by its name; nil for none.
func (u *Rule) Subset(name string) *Subset {
	for i := range u.Subsets {
		if u.Subsets[i].GetName() == name {
			return &u.Subsets[i]
		}
	}
	return nil
}

// merge adds what a later one for the same host says: subsets with new names, and its
// trafficPolicy if there is none.
func (u *Rule) merge(o *rule) {
	u.Merged = append(u.Merged, o.name)
	// Of one object istiod takes subsets with one name twice.
	there := len(u.Subsets)
	for i, subset := range o.spec().GetSubsets() {
		if !hasSubset(u.Subsets[:there], subset.GetName()) {
			u.Subsets = append(u.Subsets, Subset{From: o.name, Index: i, Subset: subset})
		}
	}
	u.takePolicy(o)
}

func (u *Rule) takePolicy(o *rule) {
	if policy := o.spec().GetTrafficPolicy(); u.TrafficPolicy == nil && policy != nil {
		u.TrafficPolicy, u.PolicyFrom = policy, o.name
	}
}

func hasSubset(subsets []Subset, name string) bool {
	for _, s := range subsets {
		if s.GetName() == name {
			return true
		}
	}
	return false
}

// sources are all that it is made of, in order.
func (u *Rule) sources() []model.Name { return append([]model.Name{u.Name}, u.Merged...) }
