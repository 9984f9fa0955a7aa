// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// stated is the kind of an object and its conditions. Objects of caches have no
// TypeMeta. It is false for what is none of Trellis's own.
func stated(o client.Object) (string, []metav1.Condition, bool) {
	switch o := o.(type) {
	case *v1alpha1.Application:
		return "Application", o.Status.Conditions, true
	case *v1alpha1.SecureIngress:
		return "SecureIngress", o.Status.Conditions, true
	case *v1alpha1.HostClaim:
		return "HostClaim", nil, true
	case *v1alpha1.ManagedCertificate:
		return "ManagedCertificate", o.Status.Conditions, true
	case *v1alpha1.ManagedRecord:
		return "ManagedRecord", o.Status.Conditions, true
	case *v1alpha1.DNSProvider:
		return "DNSProvider", o.Status.Conditions, true
	case *v1alpha1.MutualTLSRollout:
		return "MutualTLSRollout", o.Status.Conditions, true
	}
	return policy(o)
}

// policy is the same of the kinds of security and compliance.
func policy(o client.Object) (string, []metav1.Condition, bool) {
	switch o := o.(type) {
	case *v1alpha1.Goal:
		return "Goal", o.Status.Conditions, true
	case *v1alpha1.PolicyTemplate:
		return "PolicyTemplate", o.Status.Conditions, true
	case *v1alpha1.ClusterPolicyBinding:
		return "ClusterPolicyBinding", o.Status.Conditions, true
	case *v1alpha1.PolicyBinding:
		return "PolicyBinding", o.Status.Conditions, true
	case *v1alpha1.PolicyException:
		return "PolicyException", o.Status.Conditions, true
	}
	return "", nil, false
}

// warnings are the conditions that are True where something is wrong. The last two are
// those of package managedcertificate.
var warnings = []string{v1alpha1.ConditionStalled, "Expiring", "Warned"}

// amiss reports whether a condition is not as it should be.
func amiss(c metav1.Condition) bool {
	switch {
	case c.Type == v1alpha1.ConditionReconciling:
		// It says that something goes on, and nothing of how it stands.
		return false
	case slices.Contains(warnings, c.Type):
		return c.Status == metav1.ConditionTrue
	}
	return c.Status != metav1.ConditionTrue
}

// total is what conditions are counted by.
type total struct{ kind, condition, status string }

// finding is one condition that is amiss.
type finding struct {
	kind, namespace, name string
	condition             metav1.Condition
}

// rank puts first what is certain, so that it is not what is left out.
func (f *finding) rank() int {
	switch f.condition.Status {
	case metav1.ConditionTrue:
		return 1
	case metav1.ConditionFalse:
		return 0
	}
	return 2
}

func (f *finding) compare(other *finding) int {
	return cmp.Or(cmp.Compare(f.rank(), other.rank()), cmp.Compare(f.kind, other.kind), cmp.Compare(f.namespace, other.namespace),
		cmp.Compare(f.name, other.name), cmp.Compare(f.condition.Type, other.condition.Type))
}

// survey counts objects and their conditions.
type survey struct {
	objects  map[string]int
	totals   map[total]int
	findings []*finding
}

func (s *survey) add(o client.Object) {
	kind, conditions, ok := stated(o)
	if !ok {
		return
	}
	s.objects[kind]++
	for _, c := range conditions {
		s.totals[total{kind, c.Type, string(c.Status)}]++
		if amiss(c) {
			s.findings = append(s.findings, &finding{kind, o.GetNamespace(), o.GetName(), c})
		}
	}
}

func (s *survey) tell(out chan<- prometheus.Metric) {
	for kind, n := range s.objects {
		gauge(out, descObjects, float64(n), kind)
	}
	for t, n := range s.totals {
		gauge(out, descTotals, float64(n), t.kind, t.condition, t.status)
	}
	slices.SortFunc(s.findings, (*finding).compare)
	omitted := max(0, len(s.findings)-mostConditions)
	for _, f := range s.findings[:len(s.findings)-omitted] {
		gauge(out, descAmiss, 1, f.kind, f.namespace, f.name, f.condition.Type, string(f.condition.Status), f.condition.Reason)
	}
	gauge(out, descOmitted, float64(omitted))
}
