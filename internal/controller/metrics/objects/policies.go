// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/model"
)

// of are the first objects of a kind by namespace and name, as many as are told of.
func of[T client.Object](objects []client.Object) []T {
	var out []T
	for _, o := range objects {
		if one, ok := o.(T); ok {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out[:min(len(out), mostSubjects)]
}

func rollup(r v1alpha1.PolicyRollup, tell func(state v1alpha1.PolicyState, n float64)) {
	tell(v1alpha1.StatePassing, float64(r.Passing))
	tell(v1alpha1.StateFailing, float64(r.Failing))
	tell(v1alpha1.StateExempt, float64(r.Exempt))
	tell(v1alpha1.StateUnknown, float64(r.Unknown))
}

func tellPolicies(out chan<- prometheus.Metric, objects []client.Object) {
	for _, g := range of[*v1alpha1.Goal](objects) {
		rollup(g.Status.Rollup, func(state v1alpha1.PolicyState, n float64) { gauge(out, descGoal, n, g.Name, string(state)) })
	}
	for _, b := range of[*v1alpha1.ClusterPolicyBinding](objects) {
		rollup(b.Status.Rollup, func(state v1alpha1.PolicyState, n float64) {
			gauge(out, descBinding, n, "ClusterPolicyBinding", "", b.Name, string(state))
		})
	}
	for _, b := range of[*v1alpha1.PolicyBinding](objects) {
		rollup(b.Status.Rollup, func(state v1alpha1.PolicyState, n float64) {
			gauge(out, descBinding, n, "PolicyBinding", b.Namespace, b.Name, string(state))
		})
	}
	for _, e := range of[*v1alpha1.PolicyException](objects) {
		// One that was never approved lets nothing go, and nobody misses it.
		if meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.ConditionReady) {
			gauge(out, descException, seconds(e.Spec.Expires.Time), e.Namespace, e.Name, e.Spec.Binding.Kind+" "+string(e.Spec.Binding.Name))
		}
	}
}

func tellCertificates(out chan<- prometheus.Metric, all []model.Certificate) {
	all = slices.DeleteFunc(slices.Clone(all), func(c model.Certificate) bool { return c.NotAfter.IsZero() })
	slices.SortFunc(all, func(a, b model.Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Ref.Namespace, b.Ref.Namespace), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
	for _, c := range all[:min(len(all), mostSubjects)] {
		gauge(out, descExpiry, seconds(c.NotAfter), c.Ref.Namespace, c.Ref.Name)
		gauge(out, descAlert, seconds(certificate.AlertTime(c.NotBefore, c.NotAfter)), c.Ref.Namespace, c.Ref.Name)
	}
}

func seconds(at time.Time) float64 { return float64(at.Unix()) }
