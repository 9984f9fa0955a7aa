// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/trellis-mesh/trellis/internal/model"
)

const (
	// private is the exportTo of a rule that stays in its namespace, public that of one
	// that is for all (pkg/config/visibility).
	private = "."
	public  = "*"
)

// rule is one DestinationRule as it was written.
type rule struct {
	object *networkingv1.DestinationRule
	name   model.Name
	// host is the whole one.
	host string
	// exportTo is as istiod reads it; empty where nothing is said.
	exportTo map[string]bool
	// local is false for a rule that is not for its own namespace.
	local bool
	// private is true for a rule that is for its own namespace alone.
	private bool
}

func (o *rule) spec() *networkingapi.DestinationRule { return &o.object.Spec }
func (o *rule) selector() *typeapi.WorkloadSelector {
	return o.object.Spec.GetWorkloadSelector()
}

// exportedTo reports whether clients of a namespace may have a rule that is looked up in
// another's (getExportedDestinationRuleFromNamespace).
func exportedTo(exportTo map[string]bool, namespace string) bool {
	return len(exportTo) == 0 || exportTo[public] || exportTo[namespace]
}

// index is one of istiod's: what it makes of rules by their hosts
// (consolidatedDestRules in pilot/pkg/model/push_context.go).
type index struct {
	hosts map[string][]*Rule
	// wildcards are the hosts among these that are, most specific ones first.
	wildcards []string
}

// find gives what is there for the most specific host that matches
// (MostSpecificHostMatch in pilot/pkg/model/config.go).
func (x *index) find(host string) (string, []*Rule) {
	if x == nil {
		return "", nil
	}
	if found, ok := x.hosts[host]; ok {
		return host, found
	}
	for _, wildcard := range x.wildcards {
		if covers(wildcard, host) {
			return wildcard, x.hosts[wildcard]
		}
	}
	return "", nil
}

// addRules makes the indexes (setDestinationRules in pilot/pkg/model/push_context.go).
func (r *Resolver) addRules(objects []*networkingv1.DestinationRule) {
	r.local, r.exported, r.rootLocal = map[string]*index{}, map[string]*index{}, &index{}
	for _, object := range objects {
		r.rules = append(r.rules, r.read(object))
	}
	slices.SortFunc(r.rules, compareRules)
	for _, o := range r.rules {
		if o.local {
			indexOf(r.local, o.name.Namespace).add(o)
		}
		switch {
		case !o.private:
			indexOf(r.exported, o.name.Namespace).add(o)
		case o.name.Namespace == r.root:
			r.rootLocal.add(o)
		}
	}
	for _, x := range slices.Concat(slices.Collect(maps.Values(r.local)), slices.Collect(maps.Values(r.exported)), []*index{r.rootLocal}) {
		for host := range x.hosts {
			if isWildcard(host) {
				x.wildcards = append(x.wildcards, host)
			}
		}
		slices.SortFunc(x.wildcards, compareHosts)
	}
}

func compareHosts(a, b string) int {
	switch {
	case a == b:
		return 0
	case moreSpecific(a, b):
		return -1
	}
	return 1
}

func indexOf(all map[string]*index, namespace string) *index {
	if all[namespace] == nil {
		all[namespace] = &index{}
	}
	return all[namespace]
}

func (r *Resolver) read(object *networkingv1.DestinationRule) *rule {
	o := &rule{object: object, name: nameOf(object), exportTo: map[string]bool{}}
	o.host = wholeHost(object.Spec.GetHost(), o.name.Namespace, r.domain)
	if o.selector() != nil {
		o.exportTo[private] = true
	} else {
		for _, namespace := range object.Spec.GetExportTo() {
			o.exportTo[namespace] = true
		}
	}
	own := o.exportTo[private] || o.exportTo[o.name.Namespace]
	o.local = len(o.exportTo) == 0 || o.exportTo[public] || own
	switch len(o.exportTo) {
	case 0:
		o.private = r.defaultPrivate
	case 1:
		o.private = own
	}
	return o
}

// compareRules is the order in which istiod reads (sortConfigBySelectorAndCreationTime).
func compareRules(a, b *rule) int {
	if hasA, hasB := a.selector() != nil, b.selector() != nil; hasA != hasB {
		if hasA {
			return -1
		}
		return 1
	}
	return cmp.Or(a.object.CreationTimestamp.Compare(b.object.CreationTimestamp.Time),
		strings.Compare(a.name.Name, b.name.Name), strings.Compare(a.name.Namespace, b.name.Namespace))
}

// add puts a rule into those that are there for its host, or beside them
// (mergeDestinationRule in pilot/pkg/model/destination_rule.go, with
// ENABLE_ENHANCED_DESTINATIONRULE_MERGE, which is the default). Whether it stands by
// itself is what the last one in the list says.
func (x *index) add(o *rule) {
	alone := true
	for _, there := range x.hosts[o.host] {
		same := maps.Equal(o.exportTo, there.exportTo)
		alone = !same
		if !same && !isSuperset(o.exportTo, there.exportTo) {
			continue
		}
		its, own := there.base.selector(), o.selector()
		bothSelect := its != nil && own != nil
		if bothSelect && !maps.Equal(its.GetMatchLabels(), own.GetMatchLabels()) {
			alone = true
			continue
		}
		if bothSelect || its == nil && own == nil {
			alone = false
		}
		there.merge(o)
	}
	if alone {
		if x.hosts == nil {
			x.hosts = map[string][]*Rule{}
		}
		x.hosts[o.host] = append(x.hosts[o.host], newRule(o))
	}
}

// isSuperset reports whether a has all of b, which has to say something.
func isSuperset(a, b map[string]bool) bool {
	for namespace := range b {
		if !a[namespace] {
			return false
		}
	}
	return len(b) > 0
}
