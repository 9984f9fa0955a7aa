// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/model"
)

// LeaveOutRunning leaves out the workloads of documents that run already as some of the
// pods: of these it is known what they are.
func (m *Mesh) LeaveOutRunning(pods []*corev1.Pod) {
	m.Objects = slices.DeleteFunc(m.Objects, func(object client.Object) bool {
		labels := templateLabels(object)
		return len(labels) > 0 && slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
			return p.Namespace == object.GetNamespace() && model.Selects(labels, p.Labels)
		})
	})
}

// templateLabels are those of the pods that a workload of a file has.
func templateLabels(object client.Object) map[string]string {
	raw, ok := object.(*unstructured.Unstructured)
	if !ok || raw.GroupVersionKind().Group != appsv1.GroupName && raw.GroupVersionKind().Group != batchv1.GroupName {
		return nil
	}
	labels, _, err := unstructured.NestedStringMap(raw.Object, "spec", "template", "metadata", "labels")
	if err != nil {
		return nil
	}
	return labels
}
