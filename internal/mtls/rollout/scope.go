// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Chosen are the namespaces that a rollout is for, in order, and those that it names
// and that are not there.
func Chosen(of v1alpha1.RolloutNamespaces, there []model.Namespace) (chosen, missing []string, err error) {
	known := map[string]labels.Set{}
	for _, n := range there {
		// The API server gives each namespace this label; files may leave it out.
		set := labels.Set{corev1.LabelMetadataName: n.Name}
		maps.Copy(set, n.Labels)
		known[n.Name] = set
	}
	if of.Selector == nil {
		for _, name := range of.Names {
			if known[name] == nil {
				missing = append(missing, name)
			}
			chosen = append(chosen, name)
		}
		slices.Sort(chosen)
		slices.Sort(missing)
		return chosen, missing, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(of.Selector)
	if err != nil {
		return nil, nil, fmt.Errorf("reading spec.namespaces.selector: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if selector.Matches(known[name]) {
			chosen = append(chosen, name)
		}
	}
	return chosen, nil, nil
}

// KindOf is what one stage of a rollout is about.
func KindOf(spec *v1alpha1.MutualTLSRolloutSpec) v1alpha1.RolloutStageKind {
	if spec.Stage == "" {
		return v1alpha1.StageService
	}
	return spec.Stage
}
