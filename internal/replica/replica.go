// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package replica finds the pods of a program of which each is asked by itself, because
// what a Service leads to is one of them and nobody knows which.
package replica

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Running are the pods of a namespace with some labels that run and have an address, in
// order of their names. It needs list on pods there; the error is that of the reader.
func Running(ctx context.Context, reader client.Reader, namespace string, selector map[string]string) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(selector)); err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool {
		return p.Status.PodIP == "" || p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning
	})
	slices.SortFunc(out, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Port is the number of the port of a name that a pod declares; false: it declares none.
func Port(pod *corev1.Pod, name string) (int32, bool) {
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.Name == name {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}
